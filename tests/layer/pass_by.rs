//! Requests that are let in without an identity: the bypass, the anonymous. Preflights are not
//! among them; see [`preflights`](crate::preflights).

use http::{Method, Request};
use tower_api_key::{ApiKeyLayer, AuthenticatedKey};

use crate::{
    stores::TestStore,
    support::{KEY, OTHER_KEY, get, record, request, send, with_key},
};

fn layer() -> ApiKeyLayer {
    ApiKeyLayer::new(TestStore::new([record(KEY)]))
}

fn of_method(method: Method, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = request(headers);
    *request.method_mut() = method;
    request
}

#[test]
fn options_with_a_key_is_a_request_like_any_other() {
    let answer = send(&layer(), of_method(Method::OPTIONS, &[("x-api-key", KEY)]));
    assert_eq!(answer.outcome(), "admitted");
}

#[test]
fn the_bypass_decides_by_anything_in_the_head() {
    #[derive(Clone)]
    struct Internal;
    let layer = layer().with_bypass(|request| {
        request.uri.path() == "/health"
            || request.method == Method::HEAD
            || request.headers.contains_key("x-probe")
            || request.extensions.get::<Internal>().is_some()
    });
    assert_eq!(send(&layer, get("/health")).outcome(), "anonymous");
    assert_eq!(send(&layer, get("/health?verbose")).outcome(), "anonymous");
    assert_eq!(send(&layer, of_method(Method::HEAD, &[])).outcome(), "anonymous");
    assert_eq!(send(&layer, request(&[("x-probe", "1")])).outcome(), "anonymous");
    let mut internal = get("/");
    internal.extensions_mut().insert(Internal);
    assert_eq!(send(&layer, internal).outcome(), "anonymous");

    assert_eq!(send(&layer, get("/healthy")).outcome(), "missing_key");
    assert_eq!(send(&layer, get("/")).outcome(), "missing_key");
}

#[test]
fn what_is_not_known_as_a_key_stays_in_the_request_of_the_bypass() {
    let layer = layer().with_bypass(|_| true).hide_credentials();
    let answer = send(&layer, with_key(KEY));
    let value = &answer.seen().headers["x-api-key"];
    assert_eq!(value, KEY);
    assert!(!value.is_sensitive());
    assert!(answer.seen().extensions.get::<AuthenticatedKey>().is_none());
}

#[test]
fn anonymous_is_only_who_sends_no_credential() {
    let layer = layer().allow_anonymous();
    for (request, outcome) in [
        (get("/"), "anonymous"),
        (request(&[("authorization", "Basic dXNlcjpwYXNz")]), "anonymous"),
        (with_key(KEY), "admitted"),
        (with_key(OTHER_KEY), "unknown_key"),
        (with_key("malformed"), "malformed_key"),
        (with_key(""), "malformed_key"),
        (request(&[("authorization", "Bearer")]), "malformed_key"),
        (request(&[("x-api-key", KEY), ("x-api-key", "")]), "ambiguous_key"),
    ] {
        let shown = format!("{request:?}");
        assert_eq!(send(&layer, request).outcome(), outcome, "{shown}");
    }
}

#[test]
fn anonymous_requests_must_be_secure_as_well() {
    let layer = layer().allow_anonymous().require_secure_transport();
    assert_eq!(send(&layer, get("http://api.test/")).outcome(), "insecure_transport");
    assert_eq!(send(&layer, get("https://api.test/")).outcome(), "anonymous");
}
