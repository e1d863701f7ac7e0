//! Keys in use are looked up again before their time is up.

use std::time::Duration;

use tower_api_key::store::StoreErrorKind;

use crate::support::{
    Answer::{Good, Revoked},
    Fixture, MILLISECOND, Mode, TTL, digest, find, until,
};

/// When the last fifth begins.
const DUE: Duration = Duration::from_secs(24);

#[tokio::test]
async fn one_hit_in_the_last_fifth_asks_for_all() {
    let fixture = Fixture::knowing(&[digest(1)]).await;
    fixture.store.revoke(&digest(1)).await;
    fixture.store.set(Mode::Wait);
    fixture.at(DUE - MILLISECOND);
    assert_eq!(fixture.find_now(&digest(1)), Some(Good));
    tokio::task::yield_now().await;
    assert_eq!(fixture.store.lookups(), 1);

    fixture.at(DUE);
    for _ in 0..1_000 {
        assert_eq!(fixture.find_now(&digest(1)), Some(Good), "nobody waits");
        tokio::task::yield_now().await;
    }
    assert_eq!(fixture.store.lookups(), 2);
    fixture.store.release(0);
    fixture.store.answered(2).await;
    for _ in 0..1_000 {
        assert_eq!(fixture.find_now(&digest(1)), Some(Revoked));
    }
    // Fresh for the whole of its time again.
    fixture.at(DUE + DUE - MILLISECOND);
    assert_eq!(fixture.find_now(&digest(1)), Some(Revoked));
    tokio::task::yield_now().await;
    let stats = fixture.cache.stats();
    assert_eq!((stats.misses, stats.refreshes, stats.coalesced), (2, 1, 0));
    assert_eq!((stats.hits, stats.stale), (2_002, 0));
    assert_eq!(fixture.store.lookups(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_together_ask_once() {
    // On a busy machine a lookup may take long, which must not count as an outage here.
    let fixture = Fixture::with(|cache| cache.with_soft_timeout(Duration::from_mins(5)));
    fixture.know(&[digest(1)]).await;
    for round in 1..=200 {
        fixture.at(DUE * round);
        let hits = || {
            let cache = fixture.cache.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    assert_eq!(find(&cache, &digest(1)).await, Ok(Good));
                }
            })
        };
        let (one, two) = tokio::join!(hits(), hits());
        one.and(two).unwrap();
        // A hit leaves it to the next one while the last answer is being kept, which may take long on a busy
        // machine.
        until(|| {
            assert_eq!(fixture.find_now(&digest(1)), Some(Good));
            fixture.cache.stats().refreshes == u64::from(round)
        })
        .await;
        // Only the new answer is not too old for this.
        fixture.at(DUE * round + DUE - MILLISECOND);
        until(|| fixture.find_now(&digest(1)).is_some()).await;
        assert_eq!(fixture.cache.stats().refreshes, u64::from(round));
    }
    assert_eq!(fixture.store.lookups(), 201);
}

#[tokio::test]
async fn a_failed_one_is_repeated_after_a_second() {
    // Neither says that the store is down.
    for kind in [StoreErrorKind::Corrupt, StoreErrorKind::Overloaded] {
        let fixture = Fixture::knowing(&[digest(1)]).await;
        fixture.store.set(Mode::Fail(kind));
        for millis in 0..3_500 {
            fixture.at(DUE + millis * MILLISECOND);
            assert_eq!(fixture.find_now(&digest(1)), Some(Good));
            tokio::task::yield_now().await;
        }
        assert_eq!(fixture.store.lookups(), 1 + 4, "at 0, 1, 2 and 3 seconds");
    }
}

#[tokio::test]
async fn keys_that_nobody_uses_are_left_alone() {
    let fixture = Fixture::knowing(&[digest(1)]).await;
    fixture.at(DUE);
    tokio::task::yield_now().await;
    fixture.at(TTL);
    tokio::task::yield_now().await;
    assert_eq!(fixture.store.lookups(), 1);
}
