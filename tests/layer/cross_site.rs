//! 3. Extract: a key in a cookie, which browsers send along with requests of other sites.

use std::time::Duration;

use http::{HeaderValue, Method, Request, Version, header};
use tower_api_key::{
    ApiKeyLayer, KeySource, Precedence, RejectionKind, auth::FailureThrottle, limit::Quota, nonzero,
};

use crate::{
    stores::TestStore,
    support::{KEY, OTHER_KEY, record, request, request_to, send},
};

const SAFE: [Method; 4] = [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE];
const UNSAFE: [&str; 7] = ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "PROPFIND", "get"];

/// Headers of a request to `api.example`, and whether an unsafe method is let in with them.
#[rustfmt::skip]
const HEADERS: [(&[(&str, &str)], bool); 25] = [
    // No browser: there is nothing to say where it comes from.
    (&[], true),
    (&[("sec-fetch-site", "same-origin")], true),
    (&[("sec-fetch-site", "none")], true),
    (&[("sec-fetch-site", "cross-site")], false),
    (&[("sec-fetch-site", "same-site")], false),
    (&[("sec-fetch-site", "")], false),
    (&[("sec-fetch-site", "Same-Origin")], false),
    (&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "same-origin")], false),
    // What the browser says of the site stands above the origin.
    (&[("sec-fetch-site", "cross-site"), ("origin", "https://api.example")], false),
    (&[("sec-fetch-site", "same-origin"), ("origin", "https://other.example")], true),
    // An older browser.
    (&[("origin", "https://api.example")], true),
    (&[("origin", "http://api.example")], true),
    (&[("origin", "https://API.example")], true),
    (&[("origin", "https://api.example:443")], true),
    (&[("origin", "https://api.example:8443")], false),
    (&[("origin", "http://api.example:443")], false),
    (&[("origin", "https://other.example")], false),
    (&[("origin", "https://api.example.evil.example")], false),
    (&[("origin", "https://evil.example/api.example")], false),
    (&[("origin", "https://api.example@evil.example")], false),
    (&[("origin", "null")], false),
    (&[("origin", "")], false),
    (&[("origin", "api.example")], false),
    (&[("origin", "ftp://api.example")], false),
    (&[("origin", "https://api.example"), ("origin", "https://api.example")], false),
];

fn layer() -> ApiKeyLayer {
    ApiKeyLayer::new(TestStore::new([record(KEY)]))
        .with_source(KeySource::cookie("key").unwrap())
        .with_source(KeySource::query("api_key").unwrap())
}

fn by_cookie(method: &str, headers: &[(&str, &str)]) -> Request<()> {
    let cookie = format!("key={KEY}");
    let mut all = vec![("cookie", &*cookie), ("host", "api.example")];
    all.extend(headers);
    let mut request = request(&all);
    *request.method_mut() = method.parse().unwrap();
    request
}

fn outcome(request: Request<()>) -> String {
    send(&layer(), request).outcome()
}

#[test]
fn unsafe_methods_need_to_come_from_the_services_own_pages() {
    for (headers, is_own) in HEADERS {
        for method in UNSAFE {
            let expected = if is_own { "admitted" } else { "cross_site_request" };
            assert_eq!(outcome(by_cookie(method, headers)), expected, "{method} {headers:?}");
        }
        for method in SAFE {
            assert_eq!(outcome(by_cookie(method.as_str(), headers)), "admitted", "{headers:?}");
        }
        // A WebSocket is opened with `GET`, and what it carries is no safe method.
        let upgrade = [headers, &[("upgrade", "websocket")]].concat();
        let expected = if is_own { "admitted" } else { "cross_site_request" };
        assert_eq!(outcome(by_cookie("GET", &upgrade)), expected, "{upgrade:?}");
    }
}

#[test]
fn the_host_is_that_of_the_target_where_it_has_one() {
    let cookie = format!("key={KEY}");
    for (target, host, origin, is_own) in [
        ("https://api.example/", None, "https://api.example", true),
        ("https://api.example/", Some("other.example"), "https://api.example", true),
        ("https://api.example/", Some("other.example"), "https://other.example", false),
        ("https://api.example:8443/", None, "https://api.example:8443", true),
        ("https://api.example:8443/", None, "https://api.example", false),
        ("/", None, "https://api.example", false),
        ("/", Some("api.example:443"), "https://api.example", true),
        ("/", Some("api.example:3000"), "http://api.example:3000", true),
        ("/", Some("[2001:db8::1]:3000"), "http://[2001:db8::1]:3000", true),
        ("/", Some("api.example, other.example"), "https://api.example", false),
    ] {
        let mut request = request_to(target, &[("cookie", &*cookie), ("origin", origin)]);
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        if let Some(host) = host {
            request.headers_mut().insert(header::HOST, HeaderValue::from_static(host));
        }
        let expected = if is_own { "admitted" } else { "cross_site_request" };
        assert_eq!(outcome(request), expected, "{target} {host:?} {origin}");
    }
    let mut twice = by_cookie("POST", &[("origin", "https://api.example")]);
    twice.headers_mut().append(header::HOST, HeaderValue::from_static("api.example"));
    assert_eq!(outcome(twice), "cross_site_request");
}

/// Browsers send these along by themselves too, once their user or the system has given them; and
/// whatever is a cookie, however it is read.
#[test]
fn every_source_that_browsers_fill_by_themselves() {
    let schemes = ["Digest", "digest", "Negotiate", "NTLM"];
    let mut sources: Vec<_> = schemes
        .map(|scheme| {
            (
                KeySource::header_scheme("authorization", scheme),
                "authorization",
                format!("{scheme} {KEY}"),
                false,
            )
        })
        .into();
    sources.push((KeySource::header("Cookie"), "cookie", KEY.to_owned(), false));
    for other in ["Token", "Basically", "Bearer"] {
        sources.push((
            KeySource::header_scheme("authorization", other),
            "authorization",
            format!("{other} {KEY}"),
            true,
        ));
    }
    sources.push((KeySource::header("Authorization"), "authorization", KEY.to_owned(), true));
    for (source, name, value, is_admitted) in sources {
        let layer = ApiKeyLayer::new(TestStore::new([record(KEY)])).with_sources([source.unwrap()]);
        let from = |site| {
            let mut request = request(&[(name, &*value), ("sec-fetch-site", site)]);
            *request.method_mut() = Method::POST;
            send(&layer, request).outcome()
        };
        assert_eq!(from("same-origin"), "admitted", "{value}");
        let expected = if is_admitted { "admitted" } else { "cross_site_request" };
        assert_eq!(from("cross-site"), expected, "{value}");
    }
}

/// A page of another site cannot put a key into a header or into the query: it does not know it.
#[test]
fn other_sources_are_not_asked() {
    let from_elsewhere = ("sec-fetch-site", "cross-site");
    let bearer = format!("Bearer {KEY}");
    for header in [("x-api-key", KEY), ("authorization", &*bearer)] {
        let mut request = request(&[header, from_elsewhere]);
        *request.method_mut() = Method::POST;
        assert_eq!(outcome(request), "admitted");
    }
    let mut request = request_to(&format!("/?api_key={KEY}"), &[from_elsewhere]);
    *request.method_mut() = Method::POST;
    assert_eq!(outcome(request), "admitted");

    // The credential that decides is the one in the header.
    let cookie = format!("key={OTHER_KEY}");
    let mut both =
        crate::support::request(&[("x-api-key", KEY), ("cookie", &*cookie), from_elsewhere]);
    *both.method_mut() = Method::POST;
    let layer = layer().with_precedence(Precedence::FirstSource);
    assert_eq!(send(&layer, both).outcome(), "admitted");
}

/// Another site learns nothing of the key, and its requests are no failures of the browser's
/// network.
#[test]
fn the_key_is_not_looked_at() {
    let store = TestStore::new([record(KEY)]);
    let layer = ApiKeyLayer::new(store.clone())
        .with_source(KeySource::cookie("key").unwrap())
        .allow_anonymous()
        .with_client_address(|_| Some([192, 0, 2, 1].into()))
        .with_failure_throttle(FailureThrottle::new(
            Quota::new(nonzero!(1), Duration::from_hours(1)).unwrap(),
        ))
        .unwrap();
    for cookie in [KEY, OTHER_KEY, "malformed"].repeat(3) {
        let cookie = format!("key={cookie}");
        let mut request = request(&[("cookie", &*cookie), ("sec-fetch-site", "cross-site")]);
        *request.method_mut() = Method::POST;
        let answer = send(&layer, request);
        assert_eq!(answer.outcome(), "cross_site_request");
        assert_eq!(answer.rejection().kind(), RejectionKind::CrossSite);
        assert_eq!(answer.rejection().key(), None);
    }
    assert_eq!((store.asked_now(), store.asked()), (0, 0));
    assert_eq!(send(&layer, request(&[("x-api-key", KEY)])).outcome(), "admitted");
}
