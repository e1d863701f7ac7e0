//! Which requests are taken for preflights: those that a browser could have sent.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, Request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use proptest::prelude::*;
use tower_api_key::KeySource;

use super::{layer, options, outcome, pass, preflight};
use crate::support::KEY;

const ORIGIN: (&str, &str) = ("origin", "https://web.test");
const METHOD: (&str, &str) = ("access-control-request-method", "PUT");

#[test]
fn what_browsers_send_passes() {
    for more in [
        &[][..],
        &[("access-control-request-headers", "x-api-key,content-type")],
        &[("access-control-request-private-network", "true")],
        &[
            ("accept", "*/*"),
            ("accept-encoding", "gzip, deflate, br, zstd"),
            ("accept-language", "en"),
            ("cache-control", "no-cache"),
            ("connection", "keep-alive"),
            ("host", "api.test"),
            ("pragma", "no-cache"),
            ("referer", "https://web.test/"),
            ("sec-fetch-dest", "empty"),
            ("sec-fetch-mode", "cors"),
            ("sec-fetch-site", "cross-site"),
            ("user-agent", "Mozilla/5.0"),
            // And what proxies add.
            ("forwarded", "for=192.0.2.1"),
            ("via", "1.1 proxy"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-request-id", "1"),
        ],
    ] {
        let response = pass(layer(), preflight(more));
        assert_eq!(outcome(&response), "passed", "{more:?}");
        assert_eq!(response.body(), "nobody");
    }
    let opaque = options(&[("origin", "null"), METHOD]);
    assert_eq!(outcome(&pass(layer(), opaque)), "passed");
}

#[test]
fn each_part_must_be_there_once() {
    for headers in [
        vec![],
        vec![ORIGIN],
        vec![METHOD],
        vec![ORIGIN, ("access-control-request-headers", "x-api-key")],
        vec![ORIGIN, ORIGIN, METHOD],
        vec![ORIGIN, METHOD, METHOD],
        vec![("origin", ""), METHOD],
        vec![ORIGIN, ("access-control-request-method", "")],
        vec![ORIGIN, ("access-control-request-method", "PUT, POST")],
    ] {
        assert_eq!(outcome(&pass(layer(), options(&headers))), "missing_key", "{headers:?}");
    }
    for method in ["GET", "POST", "HEAD", "options", "OPTIONSX"] {
        let mut request = preflight(&[]);
        *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(outcome(&pass(layer(), request)), "missing_key", "{method}");
    }
}

#[test]
fn nothing_passes_that_a_browser_would_not_send() {
    for (name, value) in [
        ("content-type", "application/grpc"),
        ("content-type", ""),
        ("content-length", "0"),
        ("content-length", "5"),
        ("content-encoding", "gzip"),
        ("content-range", "bytes 0-1/2"),
        ("transfer-encoding", "chunked"),
        ("te", "trailers"),
        ("trailer", "x"),
        ("expect", "100-continue"),
        ("upgrade", "h2c"),
        ("x-http-method-override", "POST"),
        ("x-http-method", "POST"),
        ("x-method-override", "POST"),
        ("authorization", "Basic dXNlcjpwYXNz"),
        ("authorization", ""),
        ("proxy-authorization", "Basic dXNlcjpwYXNz"),
        ("cookie", "theme=dark"),
        ("grpc-timeout", "1S"),
        ("grpc-encoding", "identity"),
        ("x-grpc-web", "1"),
    ] {
        let answer = pass(layer(), preflight(&[(name, value)]));
        assert_eq!(outcome(&answer), "missing_key", "{name}: {value}");
    }
}

#[test]
fn a_request_with_a_credential_is_judged() {
    let layer = || {
        layer().with_sources([
            KeySource::x_api_key(),
            KeySource::bearer(),
            KeySource::query("api_key").unwrap(),
            KeySource::cookie("api_key").unwrap(),
            KeySource::header("x-admin-key").unwrap(),
        ])
    };
    let bearer = format!("Bearer {KEY}");
    let cookie = format!("api_key={KEY}");
    for (name, good, bad) in [
        ("x-api-key", KEY, "short"),
        ("x-admin-key", KEY, ""),
        ("authorization", &bearer, "Bearer"),
        ("cookie", &cookie, "api_key="),
    ] {
        assert_eq!(outcome(&pass(layer(), preflight(&[(name, bad)]))), "malformed_key", "{name}");
        let admitted = pass(layer(), preflight(&[(name, good)]));
        assert_eq!(admitted.body(), "key of the tests", "{name}");
        let two = [(name, good), (name, good)];
        assert_eq!(outcome(&pass(layer(), preflight(&two))), "ambiguous_key", "{name}");
    }
    for (query, expected) in [("api_key=", "malformed_key"), ("a=1&api%5Fkey=x", "malformed_key")] {
        let mut request = preflight(&[]);
        *request.uri_mut() = format!("/?{query}").parse().unwrap();
        assert_eq!(outcome(&pass(layer(), request)), expected);
    }
}

/// A body that says how it is, whatever a header says.
struct Says {
    is_end: bool,
    hint: SizeHint,
}

impl Body for Says {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        panic!("a preflight is told without reading its body")
    }

    fn is_end_stream(&self) -> bool {
        self.is_end
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

#[test]
fn a_body_is_seen_without_a_header_that_says_so() {
    let full = preflight(&[]).map(|_| Full::<Bytes>::from("x"));
    assert_eq!(outcome(&pass(layer(), full)), "missing_key");
    // Over HTTP/2 nothing is known of a body but that it may come.
    for (is_end, expected) in [(true, "passed"), (false, "missing_key")] {
        let body = Says { is_end, hint: SizeHint::default() };
        assert_eq!(outcome(&pass(layer(), preflight(&[]).map(|_| body))), expected);
    }
    // Its trailers are a part of it.
    let body = Says { is_end: false, hint: SizeHint::with_exact(0) };
    assert_eq!(outcome(&pass(layer(), preflight(&[]).map(|_| body))), "missing_key");
}

/// The headers that tests above send, good and bad.
fn any_header() -> impl Strategy<Value = (&'static str, String)> {
    let name = prop::sample::select(vec![
        "origin",
        "access-control-request-method",
        "access-control-request-headers",
        "accept",
        "content-type",
        "te",
        "cookie",
        "authorization",
        "x-api-key",
        "x-http-method-override",
    ]);
    (name, "[!-~]{0,6}")
}

proptest! {
    /// What passes has only headers that browsers send, and no key.
    #[test]
    fn what_passes_is_bare(headers in proptest::collection::vec(any_header(), 0..6)) {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let request: Request<_> = options(&headers);
        let sent = request.headers().clone();
        if outcome(&pass(layer(), request)) == "passed" {
            prop_assert_eq!(sent.get_all("origin").iter().count(), 1);
            prop_assert_eq!(sent.get_all("access-control-request-method").iter().count(), 1);
            for name in sent.keys() {
                prop_assert!(["origin", "accept"].contains(&name.as_str())
                    || name.as_str().starts_with("access-control-request-"));
            }
        }
    }
}
