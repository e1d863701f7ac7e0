//! Hostile requests: each is denied for the right reason, and never as a fault of the service.

use http::{HeaderValue, Request, Uri};
use tower_api_key::{ApiKeyLayer, KeySource};

use crate::{
    stores::TestStore,
    support::{KEY, get, record, request, send},
};

fn layer() -> ApiKeyLayer {
    ApiKeyLayer::new(TestStore::new([record(KEY)])).with_sources([
        KeySource::x_api_key(),
        KeySource::bearer(),
        KeySource::query("api_key").unwrap(),
        KeySource::cookie("api_key").unwrap(),
    ])
}

fn outcome(request: Request<()>) -> String {
    let answer = send(&layer(), request);
    assert!(answer.response.status().as_u16() < 500);
    answer.outcome()
}

fn header(name: &str, value: impl AsRef<[u8]>) -> String {
    outcome(request(&[(name, value)]))
}

#[test]
fn sixty_four_kibibytes() {
    let large = "k".repeat(64 * 1024);
    assert_eq!(header("x-api-key", &large), "malformed_key");
    assert_eq!(header("authorization", format!("Bearer {large}")), "malformed_key");
    assert_eq!(header("authorization", &large), "missing_key");
    assert_eq!(header("authorization", format!("Bearer{}{KEY}", " ".repeat(65_536))), "admitted");
    assert_eq!(header("cookie", format!("api_key={large}")), "malformed_key");
    assert_eq!(header("cookie", &large), "missing_key");
    assert_eq!(header("cookie", ";".repeat(65_536)), "missing_key");
    assert_eq!(header("cookie", "=;".repeat(32_768)), "missing_key");
    assert_eq!(header("x-unrelated", &large), "missing_key");
    // The longest URI that the `http` crate reads is one byte short of 64 KiB.
    let longest = |piece: &str| {
        let room = u16::MAX as usize - 1 - "/?api_key=".len();
        format!("/?api_key={}", piece.repeat(room / piece.len()))
    };
    for piece in ["k", "%6b", "%00", "%"] {
        assert_eq!(outcome(get(&longest(piece))), "malformed_key", "{piece}");
    }
    assert_eq!(outcome(get(&longest("&"))), "malformed_key");
    assert_eq!(outcome(get(&longest("&api_key="))), "ambiguous_key");
}

#[test]
fn every_byte_that_a_header_may_hold() {
    for byte in (0..=0xff_u8).filter(|byte| HeaderValue::from_bytes(&[*byte]).is_ok()) {
        // In a key, only visible ASCII is one.
        let key = [KEY.as_bytes(), &[byte]].concat();
        let is_graphic = byte.is_ascii_graphic();
        let inside = if is_graphic { "unknown_key" } else { "malformed_key" };
        let split = [&KEY.as_bytes()[..20], &[byte], &KEY.as_bytes()[20..]].concat();
        assert_eq!(header("x-api-key", &split), inside, "0x{byte:02x}");
        assert_eq!(header("authorization", [b"Bearer ", &*split].concat()), inside, "0x{byte:02x}");
        // White space around a value is no part of it.
        let expected = if matches!(byte, b' ' | b'\t') { "admitted" } else { inside };
        assert_eq!(header("x-api-key", &key), expected, "0x{byte:02x}");
        assert_eq!(header("authorization", [b"Bearer ", &*key].concat()), expected, "0x{byte:02x}");
        // Alone, it is nothing that could be a key.
        assert_eq!(header("x-api-key", [byte]), "malformed_key", "0x{byte:02x}");
        assert_eq!(header("authorization", [byte; 64]), "missing_key", "0x{byte:02x}");
        assert_eq!(header("cookie", [byte; 64]), "missing_key", "0x{byte:02x}");
        // In a cookie, the separator and the spaces around it end the value.
        let expected = match byte {
            b';' | b' ' | b'\t' => "admitted",
            byte if byte.is_ascii_graphic() => "unknown_key",
            _ => "malformed_key",
        };
        let cookie = [b"api_key=", &*key].concat();
        assert_eq!(header("cookie", &cookie), expected, "0x{byte:02x}");
    }
}

#[test]
fn every_escape_in_a_query() {
    for byte in 0..=0xff_u8 {
        let expected = if byte.is_ascii_graphic() { "unknown_key" } else { "malformed_key" };
        let target = format!("/?api_key={KEY}%{byte:02X}");
        assert_eq!(outcome(get(&target)), expected, "{target}");
    }
}

#[test]
fn every_byte_that_a_query_may_hold() {
    for byte in 0..=0xff_u8 {
        let target = [b"/?api_key=", KEY.as_bytes(), &[byte]].concat();
        let Ok(uri) = Uri::try_from(target) else { continue };
        let mut request = get("/");
        *request.uri_mut() = uri;
        let expected = match byte {
            // The end of the pair, and the end of the query.
            b'&' | b'#' => "admitted",
            b'%' => "malformed_key",
            byte if byte.is_ascii_graphic() => "unknown_key",
            _ => "malformed_key",
        };
        assert_eq!(outcome(request), expected, "0x{byte:02x}");
    }
}

#[test]
fn bearer_alone_twice_and_joined() {
    for (value, expected) in [
        ("Bearer".to_owned(), "malformed_key"),
        ("Bearer ".to_owned(), "malformed_key"),
        ("bearer      ".to_owned(), "malformed_key"),
        (format!("Bearer {KEY}, Bearer {KEY}"), "malformed_key"),
        (format!("Bearer Bearer {KEY}"), "malformed_key"),
        (format!("Bearer {KEY},{KEY}"), "unknown_key"),
        (format!("Bearer\t{KEY}"), "missing_key"),
        (format!("Bearer,{KEY}"), "missing_key"),
        (format!("Basic, Bearer {KEY}"), "missing_key"),
    ] {
        assert_eq!(header("authorization", &value), expected, "{value:?}");
    }
    let twice = [("authorization", "Bearer"), ("authorization", "Bearer")];
    assert_eq!(outcome(request(&twice)), "ambiguous_key");
}

#[test]
fn values_that_a_proxy_joined() {
    assert_eq!(header("x-api-key", format!("{KEY}, {KEY}")), "malformed_key");
    assert_eq!(header("x-api-key", format!("{KEY},{KEY}")), "unknown_key");
    assert_eq!(header("x-api-key", ","), "malformed_key");
}

#[test]
fn a_thousand_of_each() {
    for (name, value) in
        [("x-api-key", KEY), ("x-api-key", ""), ("authorization", "Bearer"), ("cookie", "api_key=")]
    {
        assert_eq!(
            outcome(request(&vec![(name, value); 1000])),
            "ambiguous_key",
            "{name}: {value}"
        );
    }
    for (name, value) in [("authorization", "Basic x"), ("cookie", "api_key"), ("x-other", KEY)] {
        assert_eq!(outcome(request(&vec![(name, value); 1000])), "missing_key", "{name}: {value}");
    }
}

#[test]
fn targets_of_every_form() {
    for target in ["*", "/", "/?", "//", "api.test:443", "http://api.test", "http://[::1]:80/?x"] {
        let uri: Uri = target.parse().unwrap();
        let mut request = request(&[("x-api-key", KEY)]);
        *request.uri_mut() = uri.clone();
        let answer = send(&layer().hide_credentials(), request);
        assert_eq!(answer.seen().uri, uri, "{target}");

        let mut request = get("/");
        *request.uri_mut() = uri;
        assert_eq!(outcome(request), "missing_key", "{target}");
    }
}
