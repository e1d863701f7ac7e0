//! Concurrent misses of one key are one lookup, whatever becomes of those who wait for it.

use std::error::Error;

use futures_util::FutureExt;
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
};
use tower_api_key::store::{KeyStore, StoreErrorKind};

use crate::support::{
    Answer::{Good, Revoked, Unknown},
    Fixture, Mode, digest, find, record, until,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_misses_are_one_lookup() {
    let fixture = Fixture::new();
    fixture.store.insert(&record(digest(1))).await;
    fixture.store.set(Mode::Wait);
    // One key that exists, and one that does not.
    for (number, key, expected) in [(0, digest(1), Good), (1, digest(2), Unknown)] {
        let mut callers = JoinSet::new();
        for _ in 0..1_000 {
            let cache = fixture.cache.clone();
            callers.spawn(async move { find(&cache, &key).await });
        }
        until(|| fixture.cache.stats().coalesced == (number + 1) * 999).await;
        let number = usize::try_from(number).unwrap();
        fixture.store.asked(number + 1).await;
        fixture.store.release(number);
        for answer in callers.join_all().await {
            assert_eq!(answer, Ok(expected));
        }
    }
    assert_eq!(fixture.store.lookups(), 2);
    assert_eq!(fixture.cache.stats().misses, 2);
}

/// Also when the answer arrives while some have looked into the cache and not asked yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_asks_again_who_was_just_late() {
    const KEYS: u64 = 200;

    let fixture = Fixture::new();
    for number in 0..KEYS {
        let mut callers = JoinSet::new();
        for _ in 0..20 {
            let cache = fixture.cache.clone();
            callers.spawn(async move { find(&cache, &digest(number)).await });
        }
        assert!(callers.join_all().await.iter().all(|answer| *answer == Ok(Unknown)));
    }
    let stats = fixture.cache.stats();
    assert_eq!(fixture.store.lookups(), usize::try_from(KEYS).unwrap());
    // Every request was counted once.
    assert_eq!(stats.misses, KEYS);
    assert_eq!(stats.misses + stats.coalesced + stats.hits, 20 * KEYS);
}

#[tokio::test]
async fn a_caller_who_goes_away_takes_nothing_along() {
    let fixture = Fixture::new();
    fixture.store.insert(&record(digest(1))).await;
    fixture.store.set(Mode::Wait);
    let leader = fixture.spawn_find(digest(1));
    fixture.store.asked(1).await;
    let follower = fixture.spawn_find(digest(1));
    until(|| fixture.cache.stats().coalesced == 1).await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    fixture.store.release(0);
    assert_eq!(follower.await.unwrap(), Ok(Good));

    // And when nobody is left, the answer is kept for the next.
    let alone = fixture.spawn_find(digest(2));
    fixture.store.asked(2).await;
    alone.abort();
    fixture.store.release(1);
    fixture.store.answered(2).await;
    assert_eq!(fixture.find_now(&digest(2)), Some(Unknown));
    assert_eq!(fixture.store.lookups(), 2);
}

#[tokio::test]
async fn a_store_that_panics_leaves_nobody_waiting() {
    let (fixture, key) = (Fixture::new(), digest(1));
    fixture.store.insert(&record(key)).await;
    fixture.store.set(Mode::Panic);
    let (one, two) = tokio::join!(fixture.find(&key), fixture.find(&key));
    assert_eq!((one, two), (Err(StoreErrorKind::Unavailable), Err(StoreErrorKind::Unavailable)));
    assert_eq!(fixture.store.lookups(), 1);
    fixture.store.set(Mode::Answer);
    assert_eq!(fixture.find(&digest(1)).await, Ok(Good));
}

/// It is an error of the request all the same, and not the end of its task.
#[tokio::test]
async fn a_store_that_panics_at_once_ends_no_request() {
    let (fixture, key) = (Fixture::new(), digest(1));
    fixture.store.set(Mode::PanicAtOnce);
    assert_eq!(fixture.find(&key).await, Err(StoreErrorKind::Unavailable));
    fixture.store.set(Mode::Answer);
    assert_eq!(fixture.find(&key).await, Ok(Unknown));
}

/// A store that answers in its first poll. The first task is the one that loads the filter.
#[tokio::test]
async fn a_lookup_that_one_request_waits_for_takes_no_task() {
    let fixture = Fixture::new();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for number in 0..10 {
        // In one poll.
        assert_eq!(fixture.find(&digest(number)).now_or_never(), Some(Ok(Unknown)));
    }
    assert!(tasks() <= before + 1);
    assert_eq!(fixture.store.lookups(), 10);

    fixture.store.set(Mode::Wait);
    let mut waits = fixture.spawn_find(digest(10));
    fixture.store.asked(11).await;
    assert!((&mut waits).now_or_never().is_none());
    // Its own: it makes the lookup itself.
    assert!((before + 1..=before + 2).contains(&tasks()));
    let also_waits = fixture.spawn_find(digest(10));
    until(|| fixture.cache.stats().coalesced == 1).await;
    // Those of both, and the lookup's.
    assert!((before + 3..=before + 4).contains(&tasks()));
    fixture.store.release(0);
    assert_eq!(waits.await.unwrap(), Ok(Unknown));
    assert_eq!(also_waits.await.unwrap(), Ok(Unknown));
}

#[tokio::test]
async fn an_error_is_everybodys_and_is_not_remembered() {
    let fixture = Fixture::new();
    fixture.store.insert(&record(digest(1))).await;
    fixture.store.set(Mode::Fail(StoreErrorKind::Corrupt));
    let key = digest(1);
    let (one, two) = tokio::join!(fixture.cache.find(&key), fixture.cache.find(&key));
    for error in [one.unwrap_err(), two.unwrap_err()] {
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        assert_eq!(error.source().unwrap().to_string(), "no route to host");
    }
    assert_eq!(fixture.store.lookups(), 1);
    assert_eq!(fixture.cache.stats().entries, 0);
    fixture.store.set(Mode::Answer);
    assert_eq!(fixture.find(&digest(1)).await, Ok(Good));
}

#[tokio::test]
async fn an_answer_from_before_a_change_reaches_nobody() {
    let fixture = Fixture::new();
    fixture.store.insert(&record(digest(1))).await;
    fixture.store.set(Mode::Wait);
    let caller = fixture.spawn_find(digest(1));
    fixture.store.asked(1).await;
    fixture.store.revoke(&digest(1)).await;
    fixture.cache.forget(&[digest(1)]);
    // The caller asks again, without waiting for the first lookup.
    fixture.store.asked(2).await;
    fixture.store.release(1);
    assert_eq!(caller.await.unwrap(), Ok(Revoked));
    // The first answers last, and changes nothing.
    fixture.store.release(0);
    fixture.store.answered(2).await;
    assert_eq!(fixture.find_now(&digest(1)), Some(Revoked));
    assert_eq!(fixture.store.lookups(), 2);
}

#[tokio::test]
async fn nor_one_from_before_everything_was_forgotten() {
    let fixture = Fixture::new();
    fixture.store.insert(&record(digest(1))).await;
    fixture.store.set(Mode::Wait);
    let caller = fixture.spawn_find(digest(1));
    fixture.store.asked(1).await;
    fixture.store.revoke(&digest(1)).await;
    fixture.cache.clear();
    fixture.store.asked(2).await;
    fixture.store.release(0);
    fixture.store.answered(1).await;
    assert_eq!(fixture.cache.stats().entries, 0, "the answer from before was not kept");
    fixture.store.release(1);
    assert_eq!(caller.await.unwrap(), Ok(Revoked));
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap()
}

#[test]
fn a_runtime_that_is_shut_down_leaves_nobody_waiting() {
    let (first, second) = (runtime(), runtime());
    let fixture = Fixture::new();
    fixture.store.set(Mode::Hang);
    let ask = || {
        let cache = fixture.cache.clone();
        async move { find(&cache, &digest(1)).await }
    };
    first.spawn(ask());
    second.block_on(fixture.store.asked(1));
    let follower = second.spawn(ask());
    second.block_on(until(|| fixture.cache.stats().coalesced == 1));
    first.shutdown_background();
    assert_eq!(second.block_on(follower).unwrap(), Err(StoreErrorKind::Unavailable));
}

#[test]
fn without_a_runtime_a_miss_is_an_error_and_a_hit_is_a_hit() {
    let fixture = Fixture::new();
    assert_eq!(fixture.find(&digest(1)).now_or_never(), Some(Err(StoreErrorKind::Unavailable)));
    assert_eq!(fixture.store.lookups(), 0);
    runtime().block_on(fixture.know(&[digest(1)]));
    // Also when it is time to look again.
    fixture.at(crate::support::TTL - crate::support::MILLISECOND);
    assert_eq!(fixture.find_now(&digest(1)), Some(Good));
    assert_eq!(fixture.store.lookups(), 1);
}
