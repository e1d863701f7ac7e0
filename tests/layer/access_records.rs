//! What a layer tells access logs outside.

use std::convert::Infallible;

use http::{Request, Response};
use tower::{Layer, service_fn};
use tower_api_key::{
    ApiKeyLayer, KeyId, RejectionKind, RequireScopesLayer,
    auth::{AccessOutcome, AccessRecord},
    key::KeyRecord,
};

use crate::{
    stores::TestStore,
    support::{KEY, OTHER_KEY, get, record_with, respond_now, with_key},
};

fn ours() -> (ApiKeyLayer, KeyRecord) {
    let record = record_with(KEY, |record| record.owner = Some("ada".into()));
    (ApiKeyLayer::new(TestStore::new([record.clone()])).with_access_records(), record)
}

/// The record in the response of a service with this layer, as its key, its owner and its outcome.
fn told<L, S, B>(
    layer: L,
    request: Request<()>,
) -> Option<(Option<KeyId>, Option<String>, AccessOutcome)>
where
    L: Layer<Inner, Service = S>,
    S: tower::Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = bytes::Bytes>,
    B::Error: std::fmt::Debug,
{
    let response = respond_now(layer.layer(service_fn(answer as fn(_) -> _)), request);
    let access = response.extensions().get::<AccessRecord>()?.clone();
    Some((access.key, access.owner.map(|owner| owner.to_string()), access.outcome))
}

type Inner = tower::util::ServiceFn<fn(Request<()>) -> std::future::Ready<Answer>>;
type Answer = Result<Response<http_body_util::Full<bytes::Bytes>>, Infallible>;

fn answer(_: Request<()>) -> std::future::Ready<Answer> {
    std::future::ready(Ok(Response::default()))
}

#[test]
fn the_key_its_owner_and_the_decision_are_told() {
    let (layer, record) = ours();
    let known = (Some(record.id), Some("ada".to_owned()));
    let with = |outcome| Some((known.0, known.1.clone(), outcome));
    let without = |outcome| Some((None, None, outcome));
    assert_eq!(told(layer.clone(), with_key(KEY)), with(AccessOutcome::Admitted));
    let denied = AccessOutcome::Denied;
    assert_eq!(told(layer.clone(), get("/")), without(denied(RejectionKind::Missing)));
    assert_eq!(told(layer.clone(), with_key(OTHER_KEY)), without(denied(RejectionKind::Unknown)));
    let let_in = without(AccessOutcome::WithoutKey);
    assert_eq!(told(layer.clone().allow_anonymous(), get("/")), let_in);
    assert_eq!(told(layer.clone().with_bypass(|_| true), with_key(KEY)), let_in);
    // Inside, and answered alike to the client.
    let scopes = RequireScopesLayer::all(["orders:read"]).unwrap();
    let layer = (layer.with_uniform_denials(), scopes);
    assert_eq!(told(layer, with_key(KEY)), with(denied(RejectionKind::InsufficientScope)));
}

#[test]
fn a_key_that_is_no_good_is_named() {
    let mut record = ours().1;
    record.disabled = true;
    let layer = ApiKeyLayer::new(TestStore::new([record.clone()])).with_access_records();
    let expected = AccessOutcome::Denied(RejectionKind::Disabled);
    let told = told(layer.with_uniform_denials(), with_key(KEY));
    assert_eq!(told, Some((Some(record.id), Some("ada".to_owned()), expected)));
}

#[test]
fn the_innermost_layer_knows_best() {
    let (inner, record) = ours();
    let outer = ApiKeyLayer::new(TestStore::new([])).with_access_records().with_bypass(|_| true);
    let told = told((outer, inner), with_key(KEY)).unwrap();
    assert_eq!((told.0, told.2), (Some(record.id), AccessOutcome::Admitted));
}

#[test]
fn a_denial_by_a_layer_that_tells_nothing_is_no_admission() {
    let outer = ours().0.with_bypass(|_| true);
    let inner = ApiKeyLayer::new(TestStore::new([]));
    let denied = AccessOutcome::Denied(RejectionKind::Unknown);
    assert_eq!(told((outer, inner), with_key(KEY)), Some((None, None, denied)));
}

#[test]
fn nothing_is_told_unless_it_is_asked_for() {
    let layer = ApiKeyLayer::new(TestStore::new([ours().1]));
    assert_eq!(told(layer.clone(), with_key(KEY)), None);
    assert_eq!(told(layer, with_key(OTHER_KEY)), None);
}
