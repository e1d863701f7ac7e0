//! Uniform denials where something inside the layer denies.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use tower::{Layer, service_fn};
use tower_api_key::{
    ApiKeyLayer, OwnerId, OwnerLayer, RateLimits, Rejection, RejectionKind,
    limit::{Limit, Limits, LocalLimiter, Quota},
    nonzero,
};

use crate::{
    grpc::as_grpc,
    stores::TestStore,
    support::{KEY, OTHER_KEY, code, header_values, record_with, respond, respond_now, with_key},
};

fn one_limit(quota: Quota) -> Limits {
    Limits::new([Limit::new("test", quota).unwrap()]).unwrap()
}

fn text(response: &Response<Bytes>) -> String {
    // In their order, which a client sees as well.
    let headers: Vec<_> = response.headers().iter().collect();
    format!("{} {headers:?} {:?}", response.status(), response.body())
}

/// A key that exists, whose owner a layer inside refuses, looks like one that does not exist: no
/// field tells of its limits, which the request was charged.
#[tokio::test]
async fn a_key_of_an_inactive_owner_looks_like_none() {
    let owned = record_with(KEY, |key| {
        key.owner = Some("user-1".into());
        key.details.limits = one_limit(Quota::per_minute(nonzero!(9)));
    });
    let layer = ApiKeyLayer::new(TestStore::new([owned]))
        .with_rate_limits(RateLimits::new(LocalLimiter::new()))
        .with_uniform_denials();
    let nobody = async |_: OwnerId| Ok::<Option<()>, Infallible>(None);
    let inner = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("never")))
    });
    let service = layer.layer(OwnerLayer::new(nobody).layer(inner));
    let ask = async |request: Request<()>| respond(service.clone(), request).await;

    let (inactive, unknown) = (ask(with_key(KEY)).await, ask(with_key(OTHER_KEY)).await);
    assert_eq!(text(&inactive), text(&unknown));
    assert_eq!((inactive.status().as_u16(), &*code(&inactive)), (401, "invalid_key"));
    let kinds = [&inactive, &unknown]
        .map(|response| response.extensions().get::<Rejection>().expect("a rejection").kind());
    assert_eq!(kinds, [RejectionKind::InactiveOwner, RejectionKind::Unknown], "the service knows");

    let [inactive, unknown] =
        [KEY, OTHER_KEY].map(|key| as_grpc(with_key(key), "application/grpc"));
    let (inactive, unknown) = (ask(inactive).await, ask(unknown).await);
    assert_eq!(text(&inactive), text(&unknown));
    assert_eq!(inactive.headers()["grpc-status"], "16");
}

/// What a handler or a layer between says of limits and waits is not told either.
#[test]
fn nothing_that_was_added_inside_tells_them_apart() {
    let layer = ApiKeyLayer::new(TestStore::new([record_with(KEY, |_| {})])).with_uniform_denials();
    let inner = service_fn(async |_: Request<()>| {
        let rejection = Rejection::new(RejectionKind::Disabled)
            .with_retry_after(std::time::Duration::from_secs(9));
        let mut response = Response::new(Full::<Bytes>::default());
        response.extensions_mut().insert(rejection);
        for name in ["ratelimit", "ratelimit-policy", "credits-remaining", "x-ratelimit-limit"] {
            response.headers_mut().insert(name, HeaderValue::from_static("1"));
        }
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        // What lets a browser read the denial stays.
        let any = HeaderValue::from_static("*");
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any);
        Ok::<_, Infallible>(response)
    });
    let mut denied = respond_now(layer.layer(inner), with_key(KEY));
    assert_eq!(header_values(&denied, header::ACCESS_CONTROL_ALLOW_ORIGIN), ["*"]);
    denied.headers_mut().remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    let unknown = respond_now(layer.layer(inner), with_key(OTHER_KEY));
    assert_eq!(text(&denied), text(&unknown));
}
