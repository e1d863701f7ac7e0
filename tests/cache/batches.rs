//! Lookups that go to the store together, and the cache around them.

use tokio::task::JoinSet;

use crate::support::{
    Answer::{Good, Revoked, Unknown},
    Fixture, Listing, Mode, digest, find, record, until,
};

/// What comes while two statements are under way is asked for together, once one of them ends.
#[tokio::test]
async fn a_hundred_misses_are_three_statements() {
    let fixture = Fixture::new();
    fixture.store.batch(128);
    fixture.store.set(Mode::Wait);
    for number in (0..100).step_by(2) {
        fixture.store.insert(&record(digest(number))).await;
    }
    let mut callers = JoinSet::new();
    for number in 0..100 {
        let cache = fixture.cache.clone();
        callers.spawn(async move { (number, find(&cache, &digest(number)).await) });
        match number {
            0 => fixture.store.asked(1).await,
            1 => fixture.store.asked(2).await,
            _ => {}
        }
    }
    until(|| fixture.cache.stats().misses == 100).await;
    fixture.store.release(0);
    fixture.store.asked(100).await;
    fixture.store.release(1);
    fixture.store.release(2);
    for (number, answer) in callers.join_all().await {
        assert_eq!(answer, Ok(if number % 2 == 0 { Good } else { Unknown }), "{number}");
    }
    assert_eq!(fixture.store.statements(), [1, 1, 98]);
}

/// What comes at one moment is asked for together.
#[tokio::test]
async fn misses_of_one_moment_are_one_statement() {
    let fixture = Fixture::new();
    fixture.store.batch(128);
    let mut callers = JoinSet::new();
    for number in 0..100 {
        let cache = fixture.cache.clone();
        callers.spawn(async move { find(&cache, &digest(number)).await });
    }
    assert!(callers.join_all().await.into_iter().all(|answer| answer == Ok(Unknown)));
    assert_eq!(fixture.store.statements(), [100]);
}

/// A statement that began before the change must not answer a request that came after it, nor be kept.
#[tokio::test]
async fn no_statement_from_before_a_change_answers_a_request_after_it() {
    let (fixture, key) = (Fixture::new(), digest(1));
    fixture.store.batch(128);
    fixture.store.insert(&record(key)).await;
    fixture.store.set(Mode::Wait);
    let before = fixture.spawn_find(key);
    fixture.store.asked(1).await;
    fixture.store.revoke(&key).await;
    fixture.cache.forget(&[key]);
    let after = fixture.spawn_find(key);
    fixture.store.asked(2).await;
    fixture.store.release(0);
    fixture.store.answered(1).await;
    tokio::task::yield_now().await;
    assert!(!after.is_finished());
    assert_eq!(fixture.find_now(&key), None);
    fixture.store.release(1);
    assert_eq!((before.await.unwrap(), after.await.unwrap()), (Ok(Revoked), Ok(Revoked)));
    assert_eq!(fixture.find_now(&key), Some(Revoked));
}

/// Where not all have room in a statement, the keys that most probably exist go first.
#[tokio::test(start_paused = true)]
async fn listed_keys_go_first() {
    let fixture = Fixture::new();
    fixture.store.batch(3);
    fixture.store.list(Listing::Works);
    for number in 0..4 {
        fixture.store.insert(&record(digest(number))).await;
    }
    // The first lookup has the filter loaded.
    assert_eq!(fixture.find(&digest(0)).await, Ok(Good));
    while fixture.cache.stats().filter_keys.is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    fixture.store.set(Mode::Wait);
    let mut callers = Vec::new();
    for number in [10, 11, 12, 13, 1, 2] {
        callers.push(fixture.spawn_find(digest(number)));
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
    fixture.store.asked(3).await;
    fixture.store.release(0);
    fixture.store.asked(6).await;
    let third = fixture.store.digests_of(3);
    assert_eq!(third, [digest(1), digest(2), digest(12)]);
    for waiting in [1, 2] {
        fixture.store.release(waiting);
    }
    fixture.store.asked(7).await;
    fixture.store.release(3);
    for (caller, expected) in
        callers.into_iter().zip([Unknown, Unknown, Unknown, Unknown, Good, Good])
    {
        assert_eq!(caller.await.unwrap(), Ok(expected));
    }
}
