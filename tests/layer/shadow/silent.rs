//! Stores that have to be waited for: no request waits long for a decision that changes nothing.

use std::time::Duration;

use tokio::time::Instant;
use tower_api_key::{
    ApiKeyLayer, RejectionKind,
    auth::{Enforcement, Unidentified, WaitingLimit},
    store::StoreErrorKind,
};

use super::{Passed, send};
use crate::{
    stores::TestStore,
    support::{KEY, at, clock, record, with_key},
};

fn over(store: TestStore) -> ApiKeyLayer {
    ApiKeyLayer::new(store).with_clock(clock())
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_slow_is_waited_for() {
    let layer = over(TestStore::waiting([record(KEY)])).shadow_until(at(1_000));
    let passed = send(&layer, with_key(KEY)).await;
    assert_eq!(passed.identity(), Some("key of the tests"));
    let passed = send(&layer, with_key("unknown-key-of-these-tests-0123")).await;
    assert_eq!(passed.would_deny(), Some(RejectionKind::Unknown));
    assert!(passed.is_untouched());
}

#[tokio::test(start_paused = true)]
async fn a_silent_store_costs_fifty_milliseconds() {
    let began = Instant::now();
    let passed = send(&over(TestStore::stuck()).shadow_until(at(1_000)), with_key(KEY)).await;
    assert_eq!(began.elapsed(), Duration::from_millis(50));
    assert_undecided(&passed);
}

/// A denial that enforcement would have been quicker with is one.
#[tokio::test(start_paused = true)]
async fn a_shorter_timeout_is_the_layers_own() {
    let layer = over(TestStore::stuck()).with_lookup_timeout(Duration::from_millis(20));
    let passed = send(&layer.shadow_until(at(1_000)), with_key(KEY)).await;
    assert_eq!(passed.would_deny(), Some(RejectionKind::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_would_have_denied() {
    let store = TestStore::failing(StoreErrorKind::Unavailable);
    let passed = send(&over(store).shadow_until(at(1_000)), with_key(KEY)).await;
    assert!(passed.is_untouched());
    assert_eq!(passed.would_deny(), Some(RejectionKind::Unavailable));
}

/// What waits in shadow takes no place of requests that are enforced, and there is an end to it.
#[tokio::test(start_paused = true)]
async fn requests_in_shadow_have_their_own_bound() {
    let waiting = WaitingLimit::builder().with_max_requests(1).build();
    let layer =
        over(TestStore::stuck()).with_waiting_limit(waiting.clone()).shadow_until(at(1_000));
    let mut requests = tokio::task::JoinSet::new();
    let began = Instant::now();
    for _ in 0..1_001 {
        let layer = layer.clone();
        requests.spawn(async move {
            let passed = send(&layer, with_key(KEY)).await;
            assert_undecided(&passed);
            Instant::now()
        });
    }
    let ends = requests.join_all().await;
    let at_once = ends.iter().filter(|end| **end == began).count();
    assert_eq!(at_once, 1, "the one for which there is no room does not wait");
    assert_eq!((waiting.requests(), waiting.shed()), (0, 0));
}

/// Where requests without a known key are enforced, a silent store is waited for as ever: that an enforced
/// key might be let in unseen would be no enforcement.
#[tokio::test(start_paused = true)]
async fn enforcement_waits_for_the_record() {
    for (unidentified, waits, status) in
        [(Unidentified::Shadow, 50, 200), (Unidentified::Enforce, 5_000, 503)]
    {
        let enforcement = Enforcement::by(|_| true, unidentified);
        let layer = over(TestStore::stuck()).shadow_until(at(1_000)).with_enforcement(enforcement);
        let began = Instant::now();
        let passed = send(&layer, with_key(KEY)).await;
        assert_eq!(passed.response.status(), status);
        assert_eq!(began.elapsed(), Duration::from_millis(waits));
    }
}

/// A request that is given up while it waits leaves nothing behind.
#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_frees_its_place() {
    let layer = over(TestStore::stuck()).shadow_until(at(1_000));
    for _ in 0..3_000 {
        let request = send(&layer, with_key(KEY));
        let given_up = tokio::time::timeout(Duration::from_millis(1), request).await;
        assert!(given_up.is_err(), "each of them waits");
    }
    // There is room for one that waits all the time it may.
    let began = Instant::now();
    assert_undecided(&send(&layer, with_key(KEY)).await);
    assert_eq!(began.elapsed(), Duration::from_millis(50));
}

/// A slow store is asked no more often than it answers: a request that has gone on leaves its place taken.
#[tokio::test(start_paused = true)]
async fn what_was_given_up_keeps_its_place_until_its_end() {
    let layer = over(TestStore::stuck()).shadow_until(at(1_000));
    let (mut requests, began) = (tokio::task::JoinSet::new(), Instant::now());
    for _ in 0..1_000 {
        let layer = layer.clone();
        requests.spawn(async move { assert_undecided(&send(&layer, with_key(KEY)).await) });
    }
    requests.join_all().await;
    assert_eq!(began.elapsed(), Duration::from_millis(50));
    for (waits, expected) in [(0, 0), (4_900, 0), (100, 50)] {
        tokio::time::advance(Duration::from_millis(waits)).await;
        tokio::task::yield_now().await;
        let began = Instant::now();
        assert_undecided(&send(&layer, with_key(KEY)).await);
        assert_eq!(began.elapsed(), Duration::from_millis(expected), "after {waits} ms more");
    }
}

fn assert_undecided(passed: &Passed) {
    assert!(passed.is_untouched());
    assert_eq!((passed.would_deny(), passed.identity()), (None, None));
}
