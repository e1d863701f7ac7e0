//! Requests that are made so that the proxy, the decision and the application read them differently.

use crate::{
    application::{KEY, Services},
    cases::{behind, header, told},
    proxies::{Kind, Proxy},
    smuggling::{CLOSED, WITHOUT_KEY},
};

fn nothing_is_smuggled(proxy: &Proxy, services: &Services) {
    let good = header("X-API-Key", KEY);
    for (line, headers) in CLOSED {
        let reply = proxy.ask(&format!("{line} HTTP/1.1"), &[&[&*good], headers].concat());
        let is_refused = matches!(reply.status, 400 | 403 | 404) && !reply.body.contains("reached");
        assert!(is_refused, "{line} {headers:?}: {reply:?}");
    }
    for (line, headers) in WITHOUT_KEY {
        let reply = proxy.ask(&format!("{line} HTTP/1.1"), headers);
        let is_refused = matches!(reply.status, 400..=499) && !reply.body.contains("reached");
        assert!(is_refused, "{line} {headers:?}: {reply:?}");
    }
    // Nothing says which host is meant.
    let reply = proxy.send(&["GET /orders/7 HTTP/1.0", &good]);
    assert!(!reply.body.contains("reached"), "{reply:?}");

    // Let in, with the identity of the key and no other, or not at all.
    let referer = header("Referer", &format!("https://api.example/?api_key={KEY}"));
    for (connection, headers) in [
        ("close", &["X-Api-Key-Id: forged", "x-api-key-id: forged"][..]),
        ("close", &["X-API-KEY-OWNER: forged", "X-Api-Key-Scopes: forged"]),
        ("close", &["X_Api_Key_Id: forged", "X-Api_Key-Owner: forged"]),
        ("close", &["X.Api.Key.Id: forged"]),
        ("close, X-Api-Key-Id", &[]),
        ("close, x-api-key-owner, X-Api-Key-Scopes", &["X-Api-Key-Owner: forged"]),
        ("close", &[&*referer, "X-Original-URL: /forged", "X-Forwarded-Uri: /forged"]),
        ("close", &["Content-Type: application/grpc", "TE: trailers"]),
    ] {
        let connection = header("Connection", connection);
        let lines = ["GET /orders/7 HTTP/1.1", "Host: api.example", &connection, &good];
        let reply = proxy.send(&[&lines, headers].concat());
        assert!(!reply.body.contains("forged") && !reply.body.contains(KEY), "{reply:?}");
        if reply.status == 200 {
            assert_eq!(told(&reply, "x-api-key-id").as_ref(), Some(&services.id), "{reply:?}");
            assert_eq!(told(&reply, "x-api-key-owner").unwrap(), "Zo%C3%AB");
            assert_eq!(told(&reply, "x-api-key-scopes").unwrap(), "orders:read");
        } else {
            assert!(matches!(reply.status, 400 | 403), "{headers:?}: {reply:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_smuggled_past_nginx() {
    behind(Kind::Nginx, nothing_is_smuggled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_smuggled_past_caddy() {
    behind(Kind::Caddy, nothing_is_smuggled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_smuggled_past_haproxy() {
    behind(Kind::HaProxy, nothing_is_smuggled).await;
}

/// `HAProxy` goes on with a request whose script fails. A client can have it fail, by a question that is larger
/// than its buffer, and have headers left out of the question.
fn a_script_that_fails_opens_nothing(proxy: &Proxy, _: &Services) {
    let host = header("Host", &"a".repeat(2_000));
    for length in (11_000..15_400).step_by(200) {
        let filler = header("X-Filler", &"f".repeat(length));
        let reply = proxy.send(&["GET /orders/7 HTTP/1.1", &host, "Connection: close", &filler]);
        assert!(!reply.body.contains("reached"), "{length}: {reply:?}");
    }
    let good = header("X-API-Key", KEY);
    let many: Vec<String> = (0..96).map(|number| header(&format!("X-{number}"), "1")).collect();
    let many: Vec<&str> = many.iter().map(|line| &**line).collect();
    let reply = proxy.ask("GET /orders/7 HTTP/1.1", &[&[&*good], &*many].concat());
    assert!(matches!(reply.status, 400 | 431) && !reply.body.contains("reached"), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_of_haproxy_that_fails_opens_nothing() {
    behind(Kind::HaProxy, a_script_that_fails_opens_nothing).await;
}

/// A service that took one would be sent further requests past the proxy.
fn no_other_protocol_is_switched_to(proxy: &Proxy, _: &Services) {
    let lines = ["GET /orders/7 HTTP/1.1", "Host: api.example", "Connection: close, Upgrade"];
    let good = header("X-API-Key", KEY);
    let reply = proxy.send(&[&lines[..], &["Upgrade: h2c", &good]].concat());
    assert!(reply.status == 400 && !reply.body.contains("reached"), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_protocol_is_switched_to_by_haproxy() {
    behind(Kind::HaProxy, no_other_protocol_is_switched_to).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_protocol_is_switched_to_by_caddy() {
    behind(Kind::Caddy, no_other_protocol_is_switched_to).await;
}
