//! A store that does not answer, or takes its time. Tokio's clock is paused: it moves to the next
//! timer when nothing else is left to do.

use std::{num::NonZeroU32, time::Duration};

use tokio::time::Instant;
use tower_api_key::{ApiKeyLayer, KeyHasher, store::StoreErrorKind};

use crate::{
    flood::ask,
    support::{
        Answer::{Good, Revoked, Unknown},
        Fixture, Mode, TTL, digest, record, until,
    },
};

const SOFT_TIMEOUT: Duration = Duration::from_millis(500);
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::test(start_paused = true)]
async fn known_keys_wait_a_little_and_then_not_at_all() {
    let fixture = Fixture::knowing(&[digest(1), digest(2)]).await;
    fixture.at(TTL);
    fixture.store.set(Mode::Hang);
    let start = Instant::now();
    assert_eq!(fixture.find(&digest(1)).await, Ok(Good));
    assert_eq!(start.elapsed(), SOFT_TIMEOUT);
    // Others do not have to find out for themselves.
    assert_eq!(fixture.find_now(&digest(1)), Some(Good));
    assert_eq!(fixture.find_now(&digest(2)), Some(Good));
    assert_eq!(fixture.cache.stats().stale, 3);
}

#[tokio::test(start_paused = true)]
async fn unknown_keys_wait_until_the_lookup_is_given_up() {
    let fixture = Fixture::new();
    fixture.store.set(Mode::Hang);
    let start = Instant::now();
    assert_eq!(fixture.find(&digest(1)).await, Err(StoreErrorKind::Timeout));
    assert_eq!(start.elapsed(), LOOKUP_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_asked_once_a_second() {
    // More than lookups that hang at the same time.
    let keys: Vec<_> = (0..10).map(digest).collect();
    let fixture = Fixture::knowing(&keys).await;
    fixture.at(TTL);
    fixture.store.set(Mode::Hang);
    let before = fixture.store.lookups();
    assert_eq!(fixture.find(&keys[0]).await, Ok(Good));
    fixture.clock.advance(SOFT_TIMEOUT);
    for _ in 0..200 {
        for key in &keys {
            assert_eq!(fixture.find_now(key), Some(Good), "nobody waits");
        }
        fixture.pass(Duration::from_millis(100)).await;
    }
    assert_eq!(fixture.store.lookups() - before, 1 + 20);

    // A lookup that hangs when the store comes back is given up in its time.
    for key in &keys {
        fixture.store.revoke(key).await;
    }
    fixture.store.set(Mode::Answer);
    for _ in 0..60 {
        fixture.pass(Duration::from_millis(100)).await;
    }
    let answers = fixture.store.answers();
    assert_eq!(fixture.find_now(&keys[0]), Some(Good), "this one asks");
    fixture.store.answered(answers + 1).await;
    for key in &keys {
        assert_eq!(fixture.find(key).await, Ok(Revoked));
    }
}

/// It has not asked the store yet, which has answered since the lookup began that it waits for.
#[tokio::test(start_paused = true)]
async fn one_that_waits_in_line_does_not_tell_that_the_store_is_slow() {
    let fixture = Fixture::with(|cache| cache.with_lookup_budget(NonZeroU32::MIN));
    fixture.know(&[digest(1), digest(2)]).await;
    fixture.store.set_for(&digest(3), Mode::Hang);
    let hangs = fixture.spawn_find(digest(3));
    fixture.store.asked(3).await;
    fixture.at(TTL);
    assert_eq!(fixture.find(&digest(2)).await, Ok(Good));
    let in_line = fixture.spawn_find(digest(4));
    tokio::time::sleep(2 * SOFT_TIMEOUT).await;
    assert!(!in_line.is_finished());
    fixture.store.revoke(&digest(1)).await;
    assert_eq!(fixture.find(&digest(1)).await, Ok(Revoked), "not what was last known");
    assert_eq!(hangs.await.unwrap(), Err(StoreErrorKind::Timeout));
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_counts() {
    let fixture = Fixture::knowing(&[digest(1)]).await;
    fixture.store.revoke(&digest(1)).await;
    fixture.at(TTL);
    fixture.store.set(Mode::Wait);
    assert_eq!(fixture.find(&digest(1)).await, Ok(Good), "the last that was known");
    fixture.store.release(0);
    fixture.store.answered(2).await;
    assert_eq!(fixture.find_now(&digest(1)), Some(Revoked));
    assert_eq!(fixture.store.lookups(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_changed_while_it_waits_does_not_go_on() {
    let fixture = Fixture::knowing(&[digest(1)]).await;
    fixture.at(TTL);
    fixture.store.set(Mode::Hang);
    let waiting = fixture.spawn_find(digest(1));
    fixture.store.asked(2).await;
    fixture.cache.forget(&[digest(1)]);
    assert_eq!(waiting.await.unwrap(), Err(StoreErrorKind::Timeout));
}

#[tokio::test(start_paused = true)]
async fn the_layers_own_timeout_does_not_come_first() {
    const KEY: &str = "a-key-of-a-store-that-hangs";
    let key = KeyHasher::sha256().digest(KEY);
    let fixture = Fixture::new();
    fixture.store.insert(&record(key)).await;
    let layer = ApiKeyLayer::new(fixture.cache.clone()).with_clock(fixture.clock.clone());
    assert_eq!(ask(&layer, KEY).await, "admitted");
    fixture.at(TTL);
    fixture.store.set(Mode::Hang);
    assert_eq!(ask(&layer, KEY).await, "admitted");
    assert_eq!(ask(&layer, "a-key-that-nobody-knows").await, "store_unavailable");
}

/// With connections kept by lookups that hang, one that works is enough.
#[tokio::test(start_paused = true)]
async fn a_lookup_that_hangs_while_others_are_answered_is_no_outage() {
    let fixture = Fixture::knowing(&[digest(1), digest(2)]).await;
    fixture.at(TTL);
    fixture.store.set_for(&digest(1), Mode::Hang);
    let waiting = fixture.spawn_find(digest(1));
    fixture.store.asked(3).await;
    assert_eq!(fixture.find(&digest(3)).await, Ok(Unknown));
    assert_eq!(waiting.await.unwrap(), Ok(Good));
    assert_eq!(fixture.find_now(&digest(2)), None, "to be looked up");
    until(|| fixture.cache.stats().stale == 1).await;
}
