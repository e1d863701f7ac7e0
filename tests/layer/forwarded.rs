//! The client's address behind proxies: which element of which header, and what it decides.

use std::net::IpAddr;

use tower_api_key::{
    ApiKeyLayer, ConfigError,
    auth::{ClientAddress, FailureThrottle, ForwardedFor, RequestHead},
    limit::Quota,
    nonzero,
    store::{KeyRepository, MemoryStore},
};

use crate::support::{KEY, clock, record_with, request, send};

const PROXY: &str = "10.0.0.9";
const STRANGER: &str = "198.51.100.7";

fn proxies(header: &str) -> ForwardedFor {
    let trusted = ["10.0.0.0/8", "2001:db8:7::/48"].map(|network| network.parse().unwrap());
    ForwardedFor::new(header, trusted).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// As a dual-stack socket shows them, and as peers and elements are not compared.
#[test]
fn networks_of_ipv4_may_be_written_as_ipv6() {
    for network in ["::ffff:10.0.0.0/104", "::ffff:10.0.0.9/128"] {
        let proxies = ForwardedFor::new("x-forwarded-for", [network.parse().unwrap()]).unwrap();
        let request = request(&[("x-forwarded-for", "192.0.2.1, ::ffff:10.0.0.9")]);
        for peer in [PROXY, "::ffff:10.0.0.9"] {
            let client = proxies.client(Some(ip(peer)), &RequestHead::from(&request));
            assert_eq!(client.known(), Some(ip("192.0.2.1")), "{network} {peer}");
        }
        let client = proxies.client(Some(ip(STRANGER)), &RequestHead::from(&request));
        assert_eq!(client.known(), Some(ip(STRANGER)), "{network}");
    }
}

/// The address that is found, or the text `unknown`, for a request with these lines.
fn found(header: &str, peer: &str, lines: &[&str]) -> String {
    let lines: Vec<_> = lines.iter().map(|line| (header, *line)).collect();
    let request = request(&lines);
    let client = proxies(header).client(Some(ip(peer)), &RequestHead::from(&request));
    if let Some(known) = client.known() {
        assert_eq!(client.charged(), Some(known));
        known.to_string()
    } else {
        assert_eq!(client.charged(), Some(ip(peer).to_canonical()));
        "unknown".into()
    }
}

/// A client on a machine with a proxy has the address of that machine, and chooses no other.
#[test]
fn the_nearest_proxy_is_believed_about_its_own_client_alone() {
    let peers = ["10.0.0.0/8".parse().unwrap()];
    let nearest = ForwardedFor::nearest("x-forwarded-for", peers).unwrap();
    let behind = nearest.clone().behind(["192.0.2.0/24".parse().unwrap()]);
    let found = |clients: &ForwardedFor, peer, lines: &[&str]| {
        let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        clients.client(Some(ip(peer)), &RequestHead::from(&request(&lines))).known()
    };
    for (peer, lines, of_nearest, of_behind) in [
        (PROXY, &["203.0.113.5, 10.0.0.9"][..], Some("10.0.0.9"), Some("10.0.0.9")),
        (PROXY, &["203.0.113.5", "10.0.0.9"], Some("10.0.0.9"), Some("10.0.0.9")),
        (PROXY, &["203.0.113.5, 192.0.2.1"], Some("192.0.2.1"), Some("203.0.113.5")),
        (PROXY, &["192.0.2.1"], Some("192.0.2.1"), Some("192.0.2.1")),
        (PROXY, &["203.0.113.5, unknown"], None, None),
        (PROXY, &[], None, None),
        (STRANGER, &["203.0.113.5"], Some(STRANGER), Some(STRANGER)),
        // In front of a peer, and none.
        ("192.0.2.1", &["203.0.113.5"], Some("192.0.2.1"), Some("192.0.2.1")),
    ] {
        assert_eq!(found(&nearest, peer, lines), of_nearest.map(ip), "{peer} {lines:?}");
        assert_eq!(found(&behind, peer, lines), of_behind.map(ip), "{peer} {lines:?}");
    }
    assert_eq!(ForwardedFor::nearest("x", []).unwrap_err(), ConfigError::NoTrustedNetwork);
}

#[test]
fn the_last_element_that_is_no_proxy_is_the_client() {
    for (lines, expected) in [
        (&["192.0.2.1"][..], "192.0.2.1"),
        (&["203.0.113.5, 192.0.2.1"], "192.0.2.1"),
        (&["203.0.113.5,192.0.2.1 , 10.0.0.8,\t10.1.2.3"], "192.0.2.1"),
        // The lines are one list.
        (&["203.0.113.5", "192.0.2.1"], "192.0.2.1"),
        (&["203.0.113.5, 192.0.2.1", "10.0.0.8"], "192.0.2.1"),
        (&["192.0.2.1", "10.0.0.8, 10.0.0.7"], "192.0.2.1"),
        // Where all are trusted, the first is the client.
        (&["10.0.0.7, 10.0.0.8"], "10.0.0.7"),
        (&["10.0.0.7", "10.0.0.8"], "10.0.0.7"),
        // Forms of an address.
        (&["192.0.2.1:4711"], "192.0.2.1"),
        (&["::ffff:192.0.2.1"], "192.0.2.1"),
        (&["[::ffff:192.0.2.1]:80"], "192.0.2.1"),
        (&["2001:db8::1"], "2001:db8::1"),
        (&["[2001:db8::1]"], "2001:db8::1"),
        (&["[2001:db8::1]:80, 2001:db8:7::1, ::ffff:10.0.0.1"], "2001:db8::1"),
        // What the client sent is not read.
        (&["unknown, 192.0.2.1"], "192.0.2.1"),
        (&["\", , x, 192.0.2.1"], "192.0.2.1"),
        (&["\u{e9}, 192.0.2.1"], "192.0.2.1"),
        // What a proxy cannot tell is not passed over.
        (&["192.0.2.1, unknown"], "unknown"),
        (&["192.0.2.1, unknown, 10.0.0.8"], "unknown"),
        (&["192.0.2.1", "unknown"], "unknown"),
        (&["192.0.2.1, "], "unknown"),
        (&["192.0.2.1", ""], "unknown"),
        (&[""], "unknown"),
        (&["192.0.2.1,,10.0.0.8"], "unknown"),
        (&["192.0.2.1, client.example"], "unknown"),
        (&["192.0.2.1, 192.0.2.300"], "unknown"),
        (&["192.0.2.1, 192.0.2.2:"], "unknown"),
        (&["192.0.2.1, 192.0.2.2:x"], "unknown"),
        (&["192.0.2.1, [2001:db8::1"], "unknown"),
        (&["192.0.2.1, [2001:db8::1]x"], "unknown"),
        (&["192.0.2.1, [192.0.2.2]"], "unknown"),
        (&["192.0.2.1, \"192.0.2.2\""], "unknown"),
        (&["192.0.2.1 192.0.2.2"], "unknown"),
        (&[], "unknown"),
    ] {
        assert_eq!(found("x-forwarded-for", PROXY, lines), expected, "{lines:?}");
        // The same from a dual-stack socket.
        assert_eq!(found("X-Forwarded-For", "::ffff:10.0.0.9", lines), expected, "{lines:?}");
    }
}

#[test]
fn forwarded_is_read_by_its_own_rules() {
    for (lines, expected) in [
        (&["for=192.0.2.1"][..], "192.0.2.1"),
        (&["For=192.0.2.1;proto=https;by=10.0.0.9"], "192.0.2.1"),
        (&["proto=http ; FOR=\"192.0.2.1:80\""], "192.0.2.1"),
        (&["for=203.0.113.5, for=192.0.2.1"], "192.0.2.1"),
        (&["for=203.0.113.5;by=x,for=192.0.2.1, for=10.0.0.8"], "192.0.2.1"),
        (&["for=203.0.113.5", "for=192.0.2.1", "for=10.0.0.8"], "192.0.2.1"),
        (&["for=\"[2001:db8::1]:80\""], "2001:db8::1"),
        (&["for=[2001:db8::1]"], "2001:db8::1"),
        (&["for=\"\\192.0.2.1\""], "192.0.2.1"),
        // A comma, a semicolon and an escape in quotes.
        (&["for=192.0.2.1;x=\"a, for=203.0.113.5; \\\" b\""], "192.0.2.1"),
        // A quote that the client left open swallows no line of a proxy.
        (&["for=\"203.0.113.5", "for=192.0.2.1"], "192.0.2.1"),
        (&["for=_hidden, for=192.0.2.1"], "192.0.2.1"),
        (&["x=\"\u{e9}\", for=192.0.2.1"], "192.0.2.1"),
        // What a proxy cannot tell, or not clearly.
        (&["for=192.0.2.1, for=unknown"], "unknown"),
        (&["for=192.0.2.1, for=_hidden"], "unknown"),
        (&["for=192.0.2.1, proto=https"], "unknown"),
        (&["for=192.0.2.1;for=203.0.113.5"], "unknown"),
        (&["for=192.0.2.1, "], "unknown"),
        (&["for=192.0.2.1;"], "unknown"),
        (&["192.0.2.1"], "unknown"),
        (&["for = 192.0.2.1"], "unknown"),
        (&["for=\"203.0.113.5, for=192.0.2.1"], "unknown"),
        (&["for=203.0.113.5;x=\", for=\"192.0.2.1\""], "unknown"),
        (&["for=\"192.0.2.1\"x"], "unknown"),
        (&["=192.0.2.1"], "unknown"),
        (&["=x;for=192.0.2.1"], "unknown"),
        (&["a b=x;for=192.0.2.1"], "unknown"),
        (&["by=;for=192.0.2.1"], "unknown"),
        (&["by=a\\b;for=192.0.2.1"], "unknown"),
        (&["for="], "unknown"),
        (&[], "unknown"),
    ] {
        assert_eq!(found("Forwarded", PROXY, lines), expected, "{lines:?}");
    }
}

#[test]
fn other_peers_and_other_headers_are_not_believed() {
    assert_eq!(found("x-forwarded-for", STRANGER, &["192.0.2.1"]), STRANGER);
    assert_eq!(found("forwarded", STRANGER, &["for=192.0.2.1"]), STRANGER);
    assert_eq!(found("x-forwarded-for", "2001:db8:8::1", &["192.0.2.1"]), "2001:db8:8::1");
    let others = request(&[
        ("forwarded", "for=192.0.2.1"),
        ("x-real-ip", "192.0.2.1"),
        ("x-forwarded-for", "203.0.113.5"),
    ]);
    let head = RequestHead::from(&others);
    let client = |header| proxies(header).client(Some(ip(PROXY)), &head);
    assert_eq!(client("x-forwarded-for"), ip("203.0.113.5").into());
    assert_eq!(client("x-client-ip"), ClientAddress::unknown_behind(ip(PROXY)));
    assert_eq!(proxies("x-forwarded-for").client(None, &head), ClientAddress::default());
    let error = ForwardedFor::new("x forwarded for", ["10.0.0.0/8".parse().unwrap()]).unwrap_err();
    assert!(matches!(error, ConfigError::SourceName { .. }), "{error}");
    // It would never be read.
    let error = ForwardedFor::new("x-forwarded-for", []).unwrap_err();
    assert_eq!(error, ConfigError::NoTrustedNetwork);
}

/// A layer behind proxies, with a key that is bound to a network.
async fn bound() -> ApiKeyLayer {
    let store = MemoryStore::new();
    let networks = ["192.0.2.0/24", "10.0.0.0/8", "::ffff:172.16.0.0/108"];
    let networks = networks.map(|network| network.parse().unwrap());
    let bound =
        record_with(KEY, |record| record.details.allowed_addresses = networks.to_vec().into());
    store.insert(&bound).await.unwrap();
    let throttle = FailureThrottle::builder(Quota::per_hour(nonzero!(2)))
        .with_per_start(Quota::per_hour(nonzero!(2)))
        .with_clock(clock())
        .build();
    let proxies = proxies("x-forwarded-for");
    ApiKeyLayer::new(store)
        .with_client_address(move |request| {
            proxies.client(request.extensions.get::<IpAddr>().copied(), request)
        })
        .with_failure_throttle(throttle)
        .unwrap()
}

fn knock(layer: &ApiKeyLayer, peer: &str, key: &str, forwarded: &str) -> String {
    let mut request = request(&[("x-api-key", key), ("x-forwarded-for", forwarded)]);
    request.extensions_mut().insert(ip(peer));
    send(layer, request).outcome()
}

/// Also where the proxy's own address is on the list.
#[tokio::test]
async fn an_allow_list_refuses_a_client_that_the_proxy_cannot_tell() {
    for (peer, forwarded, expected) in [
        (PROXY, "192.0.2.1", "admitted"),
        (PROXY, "203.0.113.5, 192.0.2.1", "admitted"),
        (PROXY, "10.0.0.8", "admitted"),
        (PROXY, "172.16.0.1", "admitted"),
        (PROXY, "::ffff:172.16.0.1", "admitted"),
        (PROXY, "172.32.0.1", "address_not_allowed"),
        (PROXY, "192.0.2.1, 203.0.113.5", "address_not_allowed"),
        (PROXY, "192.0.2.1, unknown", "address_not_allowed"),
        (PROXY, "", "address_not_allowed"),
        (STRANGER, "192.0.2.1", "address_not_allowed"),
    ] {
        assert_eq!(knock(&bound().await, peer, KEY, forwarded), expected, "{forwarded}");
    }
}

#[tokio::test]
async fn the_throttle_charges_the_client_or_else_the_peer() {
    let layer = bound().await;
    let guess = |peer: &str, forwarded: &str| knock(&layer, peer, "a-guess-at-some-key", forwarded);
    for forwarded in ["203.0.113.5", "192.0.2.1, 203.0.113.5"] {
        assert_eq!(guess(PROXY, forwarded), "unknown_key");
    }
    assert_eq!(guess(PROXY, "198.51.100.1, 203.0.113.5"), "too_many_failures");
    assert_eq!(guess(PROXY, "203.0.113.6"), "unknown_key");
    // A client that hides is charged with all that hide behind the same proxy.
    for forwarded in ["203.0.113.5, unknown", "x"] {
        assert_eq!(guess(PROXY, forwarded), "unknown_key");
    }
    assert_eq!(guess(PROXY, "another, one"), "too_many_failures");
    assert_eq!(knock(&layer, PROXY, KEY, "192.0.2.1"), "admitted");
    // A stranger chooses no address.
    for forwarded in ["203.0.113.7", "203.0.113.8"] {
        assert_eq!(guess(STRANGER, forwarded), "unknown_key");
    }
    assert_eq!(guess(STRANGER, "203.0.113.9"), "too_many_failures");
    assert_eq!(guess(PROXY, "203.0.113.9"), "unknown_key");
}
