//! `Vary` and `Cache-Control`, so that no shared cache gives one caller's answer to another.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use tower::{ServiceBuilder, service_fn};
use tower_api_key::{ApiKeyLayer, KeySource};

use crate::{
    stores::TestStore,
    support::{KEY, get, header_values, record, request, request_to, respond_now, with_key},
};

fn layer() -> ApiKeyLayer {
    ApiKeyLayer::new(TestStore::new([record(KEY)]))
}

/// `Vary` and `Cache-Control` of the response, when the application set these.
fn caching_with(
    layer: ApiKeyLayer,
    app: &'static [(&'static str, &'static str)],
    request: Request<()>,
) -> (Vec<String>, Vec<String>) {
    let inner = service_fn(move |_: Request<()>| async move {
        let response = app
            .iter()
            .fold(Response::builder(), |response, (name, value)| response.header(*name, *value));
        Ok::<_, Infallible>(response.body(Full::<Bytes>::from("inner")).unwrap())
    });
    let response = respond_now(ServiceBuilder::new().layer(layer).service(inner), request);
    let values = |name| header_values(&response, name).into_iter().map(str::to_owned).collect();
    (values(header::VARY), values(header::CACHE_CONTROL))
}

fn caching(layer: ApiKeyLayer, request: Request<()>) -> (Vec<String>, Vec<String>) {
    caching_with(layer, &[], request)
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

const OURS: &str = "x-api-key, authorization";

#[test]
fn authenticated_answers_are_private_and_vary() {
    let expected = (strings(&[OURS]), strings(&["private"]));
    assert_eq!(caching(layer(), with_key(KEY)), expected);
    // The same wherever among the sources the key was.
    let bearer = format!("Bearer {KEY}");
    assert_eq!(caching(layer(), request(&[("authorization", bearer)])), expected);
}

#[test]
fn the_application_decides_about_caching() {
    let app = &[("cache-control", "public, max-age=60")];
    let expected = (strings(&[OURS]), strings(&["public, max-age=60"]));
    assert_eq!(caching_with(layer(), app, with_key(KEY)), expected);
}

/// In one line: some caches read no other.
#[test]
fn the_applications_vary_stays_beside_ours() {
    let app = &[("vary", "accept-encoding"), ("vary", "origin")];
    let (vary, _) = caching_with(layer(), app, with_key(KEY));
    assert_eq!(vary, ["accept-encoding, origin, x-api-key, authorization"]);
}

#[test]
fn what_the_application_named_is_not_named_again() {
    for (app, expected) in [
        (&[("vary", "*")][..], "*"),
        (&[("vary", "accept-encoding"), ("vary", "origin,*")], "*"),
        (&[("vary", OURS)], OURS),
        (&[("vary", "AUTHORIZATION, Origin ,X-Api-Key")], "AUTHORIZATION, Origin, X-Api-Key"),
        (&[("vary", "authorization"), ("vary", "x-api-key")], "authorization, x-api-key"),
        (&[("vary", "x-api-key"), ("vary", "a")], "x-api-key, a, authorization"),
        (&[("vary", "Authorization")], "Authorization, x-api-key"),
        (&[("vary", "x-api-keys, *x")], "x-api-keys, *x, x-api-key, authorization"),
        (&[("vary", "")], OURS),
        (&[("vary", ",, a ,"), ("vary", "A")], "a, x-api-key, authorization"),
    ] {
        assert_eq!(caching_with(layer(), app, with_key(KEY)).0, [expected], "{app:?}");
    }
}

#[test]
fn anonymous_answers_vary_and_may_be_shared() {
    let layer = layer().allow_anonymous();
    assert_eq!(caching(layer.clone(), get("/")), (strings(&[OURS]), vec![]));
    assert_eq!(caching(layer, with_key(KEY)).1, ["private"]);
}

#[test]
fn answers_that_depend_on_no_key_are_left_alone() {
    let bypass = layer().with_bypass(|_| true);
    assert_eq!(caching(bypass, with_key(KEY)), (vec![], vec![]));
    let response = crate::preflights::pass(layer(), crate::preflights::preflight(&[]));
    assert_eq!(response.status(), 200);
    let values = |name| header_values(&response, name).len();
    assert_eq!((values(header::VARY), values(header::CACHE_CONTROL)), (0, 0));
}

#[test]
fn off_by_choice() {
    let layer = layer().allow_anonymous().insecure_without_cache_headers();
    assert_eq!(caching(layer.clone(), with_key(KEY)), (vec![], vec![]));
    assert_eq!(caching(layer.clone(), get("/")), (vec![], vec![]));
    // Denials are still nobody else's business.
    assert_eq!(caching(layer, with_key("malformed")).1, ["no-store"]);
}

#[test]
fn a_key_in_the_query_is_part_of_the_caches_own_key() {
    let layer = layer().with_sources([KeySource::query("api_key").unwrap()]);
    let request = request_to::<&str>(&format!("/?api_key={KEY}"), &[]);
    assert_eq!(caching(layer, request), (vec![], strings(&["private"])));
}

#[test]
fn each_header_is_named_once() {
    let layer = layer().with_sources([
        KeySource::bearer(),
        KeySource::header_scheme("authorization", "Token").unwrap(),
        KeySource::cookie("a").unwrap(),
        KeySource::cookie("b").unwrap(),
        KeySource::query("api_key").unwrap(),
        KeySource::header("X-Api-Key").unwrap(),
        KeySource::basic(),
        KeySource::websocket_protocol("api-key").unwrap(),
        KeySource::path_segment("/hooks").unwrap(),
    ]);
    let (vary, _) = caching(layer, with_key(KEY));
    assert_eq!(vary, ["authorization, cookie, x-api-key, sec-websocket-protocol"]);
}
