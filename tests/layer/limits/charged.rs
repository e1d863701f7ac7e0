//! `ExtraCostLayer`: routes that cost more than others.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::{Layer, Service, ServiceBuilder, service_fn};
use tower_api_key::store::{KeyRepository, MemoryStore};
use tower_api_key::{
    ApiKeyLayer, RateLimits,
    extra_cost::ExtraCostLayer,
    limit::{LocalLimiter, Quota},
    nonzero,
};

use super::limits;
use crate::support::{KEY, clock, code, get, record_with, respond_now, with_key};

fn inner()
-> impl Service<Request<()>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send> + Clone
{
    service_fn(|_: Request<()>| async { Ok(Response::new(Full::from("inner"))) })
}

async fn setup() -> (ApiKeyLayer, RateLimits) {
    let store = MemoryStore::new();
    let quota = limits(Quota::per_hour(nonzero!(12)));
    store.insert(&record_with(KEY, |record| record.details.limits = quota)).await.unwrap();
    let rate = RateLimits::new(LocalLimiter::builder().with_clock(clock()).build());
    (ApiKeyLayer::new(store).with_rate_limits(rate.clone()), rate)
}

#[tokio::test]
async fn a_route_costs_more_than_others() {
    let (layer, rate) = setup().await;
    let export = ServiceBuilder::new()
        .layer(layer.clone())
        .layer(ExtraCostLayer::new(rate, nonzero!(9)))
        .service(inner());
    let other = layer.layer(inner());

    let response = respond_now(export.clone(), with_key(KEY));
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["ratelimit"], "\"test\";r=2;t=3000", "what is left after both");
    let denied = respond_now(export, with_key(KEY));
    assert_eq!((denied.status().as_u16(), &*code(&denied)), (429, "rate_limited"));
    assert_eq!(denied.headers()["retry-after"], "2400", "nine are missing but one");
    assert_eq!(respond_now(other.clone(), with_key(KEY)).status(), StatusCode::OK);
    assert_eq!(respond_now(other, with_key(KEY)).status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn requests_without_an_identity_are_free_only_where_this_layer_says_so() {
    let (layer, rate) = setup().await;
    let charge = ExtraCostLayer::new(rate, nonzero!(100));
    for outer in [layer.clone().allow_anonymous(), layer.with_bypass(|_| true)] {
        let around = |charge: ExtraCostLayer| {
            ServiceBuilder::new().layer(outer.clone()).layer(charge).service(inner())
        };
        let denied = respond_now(around(charge.clone()), get("/"));
        assert_eq!((denied.status().as_u16(), &*code(&denied)), (401, "missing_key"));
        let free = respond_now(around(charge.clone().allow_anonymous()), get("/"));
        assert_eq!(free.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_layer_that_allows_the_anonymous_charges_keys_all_the_same() {
    let (layer, rate) = setup().await;
    let service = ServiceBuilder::new()
        .layer(layer.allow_anonymous())
        .layer(ExtraCostLayer::new(rate, nonzero!(100)).allow_anonymous())
        .service(inner());
    let denied = respond_now(service, with_key(KEY));
    assert_eq!((denied.status().as_u16(), &*code(&denied)), (429, "rate_limited"));
}

#[tokio::test]
async fn without_a_layer_outside_it_says_what_to_do() {
    let (_, rate) = setup().await;
    let service =
        ServiceBuilder::new().layer(ExtraCostLayer::new(rate, nonzero!(1))).service(inner());
    let response = respond_now(service, get("/"));
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(String::from_utf8_lossy(response.body()).contains("ApiKeyLayer"));
}
