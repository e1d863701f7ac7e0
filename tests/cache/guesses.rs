//! A throttle in front of a cache that has listed its keys: the two together say which lookups wait.

use std::{net::IpAddr, num::NonZeroU32};

use futures_util::{FutureExt, future::join_all};
use tower_api_key::{
    ApiKeyLayer, KeyHasher, auth::FailureThrottle, limit::Quota, nonzero, store::KeyStore,
};

use crate::{
    flood::{ask, random_key},
    ranks::ranked_with,
    support::{Fixture, Mode, record, until},
};

/// So that the budget refuses no lookup of these tests.
const BUDGET: NonZeroU32 = nonzero!(10_000);

async fn office(good: &[String]) -> (Fixture, ApiKeyLayer) {
    let digests: Vec<_> = good.iter().map(|key| KeyHasher::sha256().digest(key)).collect();
    let fixture = ranked_with(&digests, |cache| cache.with_lookup_budget(BUDGET)).await;
    let throttle = FailureThrottle::builder(Quota::per_minute(nonzero!(8)))
        .with_per_start(Quota::per_minute(nonzero!(8)))
        .with_clock(fixture.clock.clone())
        .build();
    let layer = ApiKeyLayer::new(fixture.cache.clone())
        .with_clock(fixture.clock.clone())
        .with_client_address(|_| Some(IpAddr::from([192, 0, 2, 1])))
        .with_failure_throttle(throttle)
        .unwrap();
    (fixture, layer)
}

#[tokio::test(start_paused = true)]
async fn a_hundred_cold_keys_and_a_guesser_behind_one_address() {
    let good: Vec<_> = (0..100).map(|_| random_key()).collect();
    let (fixture, layer) = office(&good).await;
    let before = fixture.store.lookups();
    fixture.store.set(Mode::Wait);
    // Two thousand guesses of a client that hangs up while they wait, and some that stay.
    for _ in 0..2_000 {
        let key = random_key();
        let mut guess = Box::pin(ask(&layer, &key));
        assert!(guess.as_mut().now_or_never().is_none(), "it waits");
        tokio::task::yield_now().await;
    }
    let bad: Vec<_> = (0..50).map(|_| random_key()).collect();
    let guesses = join_all(bad.iter().map(|key| ask(&layer, key)));
    let keys = join_all(good.iter().map(|key| ask(&layer, key)));
    let release = async {
        until(|| fixture.store.lookups() >= before + 16 + 100).await;
        fixture.store.set(Mode::Answer);
        (0..16 + 100).for_each(|lookup| fixture.store.release(lookup));
    };
    let (guesses, keys, ()) = tokio::join!(guesses, keys, release);
    assert!(keys.iter().all(|outcome| *outcome == "admitted"), "{keys:?}");
    // Those that were pending, and those whose turn came before eight of them had failed.
    let looked_up = guesses.iter().filter(|outcome| **outcome == "unknown_key").count();
    let refused = guesses.iter().filter(|outcome| **outcome == "too_many_failures").count();
    assert!(looked_up <= 8 && looked_up + refused == 50, "{guesses:?}");
    assert_eq!(fixture.store.lookups() - before, 16 + 100 + looked_up);
    assert_eq!(ask(&layer, &random_key()).await, "too_many_failures");
}

/// Before the filter is loaded, and of a store that cannot list its keys, each key may exist.
#[tokio::test(start_paused = true)]
async fn a_cache_lists_what_it_has_loaded() {
    let good = [random_key()];
    let (fixture, _) = office(&good).await;
    let digest = |key: &str| KeyHasher::sha256().digest(key);
    assert!(fixture.cache.may_exist(&digest(&good[0])));
    assert!(!fixture.cache.may_exist(&digest(&random_key())));
    let unloaded = Fixture::with(|cache| cache);
    assert!(unloaded.cache.may_exist(&digest(&random_key())));
    let key = random_key();
    fixture.store.insert(&record(digest(&key))).await;
    assert!(!fixture.cache.may_exist(&digest(&key)), "another program has added it just now");
}
