//! Scope and cost layers in shadow, inside a layer that is or is not.

use std::convert::Infallible;

use http::{Request, Response};
use http_body_util::Full;
use tower::{ServiceBuilder, layer::util::Stack, service_fn};
use tower_api_key::{
    ApiKeyLayer, KeySource, RateLimits, RejectionKind, RequireScopesLayer,
    auth::{Enforcement, Unidentified, WouldDeny},
    extra_cost::ExtraCostLayer,
    limit::{LocalLimiter, Quota, Tiers},
    nonzero,
};

use super::{in_shadow, keys, send, send_now};
use crate::{
    limits::limits,
    stores::TestStore,
    support::{KEY, OTHER_KEY, at, clock, get, record, respond_now, with_key},
};

fn scopes() -> RequireScopesLayer {
    RequireScopesLayer::all(["orders:read"]).unwrap().with_clock(clock())
}

#[test]
fn a_scope_layer_in_shadow_tells_of_what_it_would_deny() {
    let layer = scopes().shadow_until(at(1_000));
    let passed = send_now(&Stack::new(layer, keys()), with_key(KEY));
    assert_eq!(passed.response.status(), 200);
    assert_eq!(passed.would_deny(), Some(RejectionKind::InsufficientScope));
    assert_eq!(passed.identity(), Some("good"), "the layer outside enforces, and has let it in");
    let denial = passed.response.extensions().get::<WouldDeny>().unwrap();
    assert_eq!(denial.rejection().missing_scopes().unwrap().as_str(), "orders:read");
    assert!(denial.rejection().key().is_some());
}

/// The outermost denial is the one with which the request would have ended.
#[test]
fn the_first_denial_stays() {
    let layer = scopes().shadow_until(at(1_000));
    let stack = Stack::new(layer, in_shadow());
    for (request, kind) in [
        (with_key(KEY), RejectionKind::InsufficientScope),
        (with_key(OTHER_KEY), RejectionKind::Revoked),
        (get("/"), RejectionKind::Missing),
    ] {
        let passed = send_now(&stack, request);
        assert!(passed.is_untouched());
        assert_eq!(passed.would_deny(), Some(kind));
    }
}

/// A layer inside that is not in shadow enforces: also for want of an identity, which a request that would
/// have been denied does not have.
#[test]
fn an_enforcing_layer_inside_denies() {
    let stack = Stack::new(scopes(), in_shadow());
    for (request, status) in [(with_key(KEY), 403), (with_key(OTHER_KEY), 401), (get("/"), 401)] {
        assert_eq!(send_now(&stack, request).response.status(), status);
    }
    // The denial that is rendered anew, by a layer that enforces, still tells of the one in between.
    let between = Stack::new(scopes(), scopes().shadow_until(at(1_000)));
    let response = send_now(&Stack::new(between, keys()), with_key(KEY)).response;
    assert_eq!(response.status(), 403);
    let would_deny = response.extensions().get::<WouldDeny>().unwrap();
    assert_eq!(would_deny.rejection().kind(), RejectionKind::InsufficientScope);
}

#[test]
fn a_scope_layer_ends_its_shadow_by_its_clock() {
    let clock = clock();
    let layer = RequireScopesLayer::all(["orders:read"])
        .unwrap()
        .shadow_until(at(1_000))
        .with_clock(clock.clone());
    let stack = Stack::new(layer, keys());
    assert_eq!(send_now(&stack, with_key(KEY)).response.status(), 200);
    clock.set(at(1_000));
    assert_eq!(send_now(&stack, with_key(KEY)).response.status(), 403);
}

/// Ten at once. Each request costs one, and four more where it is dear.
#[test]
fn what_is_charged_in_shadow_is_charged_together_and_to_no_real_limit() {
    let quota = Tiers::new().with_default(limits(Quota::per_hour(nonzero!(10))));
    let limiter = LocalLimiter::builder().with_clock(clock()).build();
    let rate = RateLimits::new(limiter.clone()).with_tiers(quota);
    let layer = ApiKeyLayer::new(TestStore::new([record(KEY)]))
        .with_clock(clock())
        .with_rate_limits(rate.clone())
        .shadow_until(at(1_000));
    let dear = ExtraCostLayer::new(rate, nonzero!(4)).with_clock(clock()).shadow_until(at(1_000));
    let inner = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::from("inner")))
    });
    let service = ServiceBuilder::new().layer(layer).layer(dear).service(inner);
    let mut denials = Vec::new();
    for _ in 0..4 {
        let response = respond_now(service.clone(), with_key(KEY));
        assert!(response.headers().is_empty(), "{response:?}");
        let denial = response.extensions().get::<WouldDeny>();
        denials.push(denial.map(|denial| denial.rejection().kind()));
    }
    let rate_limited = Some(RejectionKind::RateLimited);
    assert_eq!(denials, [None, None, rate_limited, rate_limited]);
    assert!(limiter.is_empty());
}

#[test]
fn a_scope_layer_enforces_for_some_keys() {
    for (unidentified, without_key) in [(Unidentified::Shadow, 200), (Unidentified::Enforce, 401)] {
        let by = Enforcement::by(|record| record.name == "good", unidentified);
        let layer = scopes().shadow_until(at(1_000)).with_enforcement(by);
        let stack = Stack::new(layer, keys().allow_anonymous());
        assert_eq!(send_now(&stack, with_key(KEY)).response.status(), 403);
        assert_eq!(send_now(&stack, get("/")).response.status(), without_key);
        let by = Enforcement::by(|record| record.name != "good", unidentified);
        let layer = scopes().shadow_until(at(1_000)).with_enforcement(by);
        let passed = send_now(&Stack::new(layer, keys()), with_key(KEY));
        assert_eq!(passed.would_deny(), Some(RejectionKind::InsufficientScope));
    }
}

/// Of a request that would have been denied, no layer further in is told.
#[test]
fn a_request_that_has_ended_is_judged_no_further() {
    let rate = RateLimits::new(LocalLimiter::builder().with_clock(clock()).build())
        .with_tiers(Tiers::new().with_default(limits(Quota::per_hour(nonzero!(1)))));
    let other = KeySource::header("x-other").unwrap();
    let outer = keys().with_sources([other]).shadow_until(at(1_000));
    let inner = keys().with_rate_limits(rate.clone()).shadow_until(at(1_000));
    let stack = Stack::new(inner.clone(), outer);
    for _ in 0..3 {
        let passed = send_now(&stack, with_key(KEY));
        assert_eq!(passed.would_deny(), Some(RejectionKind::Missing));
        assert_eq!(passed.identity(), None);
    }
    // Nothing was counted: the one request of the hour is left.
    assert_eq!(send_now(&inner, with_key(KEY)).would_deny(), None);
    assert_eq!(send_now(&inner, with_key(KEY)).would_deny(), Some(RejectionKind::RateLimited));
}

/// It ends where a layer inside would have denied the request, unless a layer that enforces gave it.
#[test]
fn an_identity_ends_with_the_first_denial() {
    let none = KeySource::header("x-other").unwrap();
    let inner = || keys().with_sources([none.clone()]).shadow_until(at(1_000));
    let passed = send_now(&Stack::new(inner(), in_shadow()), with_key(KEY));
    assert_eq!((passed.would_deny(), passed.identity()), (Some(RejectionKind::Missing), None));
    let passed = send_now(&Stack::new(inner(), keys()), with_key(KEY));
    assert_eq!(passed.would_deny(), Some(RejectionKind::Missing));
    assert_eq!(passed.identity(), Some("good"));
    let scopes = scopes().shadow_until(at(1_000));
    let passed = send_now(&Stack::new(scopes, in_shadow()), with_key(KEY));
    assert_eq!(passed.identity(), None);
}

/// Two layers of a service, each with a part of its routes.
#[test]
fn layers_beside_each_other_count_together() {
    let rate = RateLimits::new(LocalLimiter::builder().with_clock(clock()).build())
        .with_tiers(Tiers::new().with_default(limits(Quota::per_hour(nonzero!(4)))));
    let layer = keys().with_rate_limits(rate);
    let [one, other] = [(), ()].map(|()| layer.clone().shadow_until(at(1_000)));
    for _ in 0..2 {
        assert_eq!(send_now(&one, with_key(KEY)).would_deny(), None);
        assert_eq!(send_now(&other, with_key(KEY)).would_deny(), None);
    }
    assert_eq!(send_now(&one, with_key(KEY)).would_deny(), Some(RejectionKind::RateLimited));
}

/// A layer of the same limits that enforces outside has counted the request.
#[test]
fn what_is_counted_outside_is_counted_once() {
    let rate = RateLimits::new(LocalLimiter::builder().with_clock(clock()).build())
        .with_tiers(Tiers::new().with_default(limits(Quota::per_hour(nonzero!(4)))))
        .with_cost(|request| if request.method == "POST" { 4 } else { 1 });
    let layer = keys().with_rate_limits(rate);
    let stack = Stack::new(layer.clone().shadow_until(at(1_000)), layer.clone());
    for _ in 0..4 {
        let passed = send_now(&stack, with_key(KEY));
        assert_eq!((passed.response.status().as_u16(), passed.would_deny()), (200, None));
    }
    assert_eq!(send_now(&stack, with_key(KEY)).response.status(), 429);
    // And nothing was counted apart.
    let alone = layer.shadow_until(at(1_000));
    assert_eq!(send_now(&alone, with_key(KEY)).would_deny(), None);
}

/// A layer inside does not take it for a request without a key.
#[tokio::test(start_paused = true)]
async fn an_undecided_request_stays_so() {
    let outer = ApiKeyLayer::new(TestStore::stuck()).with_clock(clock()).shadow_until(at(1_000));
    let stack = Stack::new(scopes().shadow_until(at(1_000)), outer);
    let passed = send(&stack, with_key(KEY)).await;
    assert!(passed.is_untouched());
    assert_eq!((passed.would_deny(), passed.identity()), (None, None));
}
