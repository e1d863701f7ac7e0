//! Keys that are enforced while others are in shadow.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use http::Request;
use tower_api_key::{
    ApiKeyLayer, RateLimits, RejectionKind,
    auth::{AccessRecord, Enforcement, ShadowLayer, Unidentified},
    key::KeyRecord,
    limit::{LocalLimiter, Quota, Tiers},
    nonzero,
};

use super::{send, send_now};
use crate::{
    limits::limits,
    stores::TestStore,
    support::{at, clock, get, record_with, with_key},
};

const GOOD: &str = "a-good-key-of-these-tests-012345";
const REVOKED: &str = "a-revoked-key-of-these-tests-012";
const ENFORCED: &str = "an-enforced-key-of-these-tests-01";
const ENFORCED_REVOKED: &str = "an-enforced-revoked-key-of-tests";
const UNKNOWN: &str = "an-unknown-key-of-these-tests-01";

/// Two keys of an owner that is enforced, and two of one that is not.
fn keys() -> [KeyRecord; 4] {
    let key = |key, owner: &str, is_revoked: bool| {
        record_with(key, |record| {
            record.owner = Some(owner.into());
            record.details.revoked_at = is_revoked.then_some(at(-1));
        })
    };
    [
        key(GOOD, "shadow", false),
        key(REVOKED, "shadow", true),
        key(ENFORCED, "enforced", false),
        key(ENFORCED_REVOKED, "enforced", true),
    ]
}

fn layer(
    change: impl FnOnce(ApiKeyLayer) -> ApiKeyLayer,
    unidentified: Unidentified,
) -> ShadowLayer {
    over(TestStore::new(keys()), change, unidentified)
}

fn over(
    store: TestStore,
    change: impl FnOnce(ApiKeyLayer) -> ApiKeyLayer,
    unidentified: Unidentified,
) -> ShadowLayer {
    let is_enforced = |owner: &tower_api_key::OwnerId| owner.as_str() == "enforced";
    let enforcement =
        Enforcement::by(move |record| record.owner.as_ref().is_some_and(is_enforced), unidentified);
    change(ApiKeyLayer::new(store).with_clock(clock()))
        .shadow_until(at(1_000))
        .with_enforcement(enforcement)
}

fn outcome(layer: &ShadowLayer, request: Request<()>) -> (u16, Option<RejectionKind>, bool) {
    let passed = send_now(layer, request);
    let status = passed.response.status().as_u16();
    (status, passed.would_deny(), passed.identity().is_some())
}

#[test]
fn the_record_decides_and_the_rest_is_chosen() {
    use RejectionKind as K;

    for unidentified in [Unidentified::Shadow, Unidentified::Enforce] {
        let layer = layer(|layer| layer, unidentified);
        assert_eq!(outcome(&layer, with_key(GOOD)), (200, None, true));
        assert_eq!(outcome(&layer, with_key(REVOKED)), (200, Some(K::Revoked), false));
        assert_eq!(outcome(&layer, with_key(ENFORCED)), (200, None, true));
        assert_eq!(outcome(&layer, with_key(ENFORCED_REVOKED)), (401, None, false));
        for (request, kind) in [
            (get("/"), K::Missing),
            (with_key("short"), K::Malformed),
            (with_key(UNKNOWN), K::Unknown),
        ] {
            let expected = match unidentified {
                Unidentified::Shadow => (200, Some(kind), false),
                Unidentified::Enforce => (401, None, false),
            };
            assert_eq!(outcome(&layer, request), expected, "{kind:?} {unidentified:?}");
        }
    }
}

/// Enforcement is the layer's own, with all that follows: caches, hidden keys, hooks.
#[test]
fn an_enforced_key_is_let_in_as_ever() {
    let layer = layer(ApiKeyLayer::hide_credentials, Unidentified::Shadow);
    let passed = send_now(&layer, with_key(ENFORCED));
    assert!(!passed.response.headers().is_empty());
    assert!(passed.seen.unwrap().headers.is_empty(), "its key is hidden");
    let passed = send_now(&layer, with_key(GOOD));
    assert!(passed.is_untouched());
    assert_eq!(passed.seen.unwrap().headers["x-api-key"], GOOD);
}

#[test]
fn hooks_hear_of_denials_and_of_no_others() {
    let denials = Arc::new(AtomicUsize::new(0));
    let counted = denials.clone();
    let layer = layer(
        move |layer| layer.with_event_hook(move |_| _ = counted.fetch_add(1, SeqCst)),
        Unidentified::Shadow,
    );
    for (key, heard) in
        [(GOOD, 0), (REVOKED, 0), (UNKNOWN, 0), (ENFORCED, 0), (ENFORCED_REVOKED, 1)]
    {
        outcome(&layer, with_key(key));
        assert_eq!(denials.load(SeqCst), heard, "{key}");
    }
}

/// A bypass is one, in earnest or not.
#[test]
fn requests_that_pass_by_go_on() {
    for (unidentified, in_earnest) in [(Unidentified::Shadow, false), (Unidentified::Enforce, true)]
    {
        let open = |layer: ApiKeyLayer| layer.with_bypass(|_| true).with_access_records();
        let passed = send_now(&layer(open, unidentified), get("/"));
        assert_eq!((passed.response.status().as_u16(), passed.would_deny()), (200, None));
        assert_eq!(passed.response.extensions().get::<AccessRecord>().is_some(), in_earnest);
    }
}

/// Enforced keys spend in earnest, and the others apart.
#[test]
fn each_kind_of_key_has_its_own_counts() {
    let limiter = LocalLimiter::builder().with_clock(clock()).build();
    let rate = RateLimits::new(limiter.clone())
        .with_tiers(Tiers::new().with_default(limits(Quota::per_hour(nonzero!(2)))));
    let store = TestStore::new(keys());
    for unidentified in [Unidentified::Shadow, Unidentified::Enforce] {
        let with_limits = |layer: ApiKeyLayer| layer.with_rate_limits(rate.clone());
        let layer = over(store.clone(), with_limits, unidentified);
        let is_first = limiter.is_empty();
        for expected in [None, None, Some(RejectionKind::RateLimited)] {
            let expected = if is_first { expected } else { Some(RejectionKind::RateLimited) };
            assert_eq!(
                outcome(&layer, with_key(GOOD)).1,
                expected,
                "counted by all layers in shadow"
            );
        }
        if is_first {
            assert!(limiter.is_empty(), "no key in shadow is counted in earnest");
        }
        let statuses = [(); 3].map(|()| outcome(&layer, with_key(ENFORCED)).0);
        assert_eq!(statuses, if is_first { [200, 200, 429] } else { [429; 3] });
        assert_eq!(limiter.len(), 1);
    }
}

/// The record is waited for, and then decides.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_waited_for_decides_as_well() {
    for unidentified in [Unidentified::Shadow, Unidentified::Enforce] {
        let layer = over(TestStore::waiting(keys()), |layer| layer, unidentified);
        for (key, expected) in [
            (GOOD, (200, None)),
            (REVOKED, (200, Some(RejectionKind::Revoked))),
            (ENFORCED, (200, None)),
            (ENFORCED_REVOKED, (401, None)),
        ] {
            let passed = send(&layer, with_key(key)).await;
            assert_eq!((passed.response.status().as_u16(), passed.would_deny()), expected, "{key}");
        }
    }
}
