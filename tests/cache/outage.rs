//! A store that is down: known keys go on for a while, and nobody is called bad.

use std::time::Duration;

use async_trait::async_trait;
use tower_api_key::{
    ApiKeyLayer, KeyHasher, RateLimits,
    limit::{Limit, LimitCheck, LimitDecision, Limits, Quota, RateLimiter, Tiers},
    nonzero,
    store::{StoreError, StoreErrorKind},
};

use crate::{
    flood::{ask, random_key},
    support::{
        Answer::{Good, Revoked, Unknown},
        Fixture, MILLISECOND, Mode, STALE_IF_ERROR, TTL, digest,
    },
};

const SECOND: Duration = Duration::from_secs(1);

const DOWN: Mode = Mode::Fail(StoreErrorKind::Unavailable);

#[tokio::test]
async fn known_keys_go_on_exactly_so_long() {
    for kind in [StoreErrorKind::Unavailable, StoreErrorKind::Timeout, StoreErrorKind::Corrupt] {
        let fixture = Fixture::knowing(&[digest(1)]).await;
        fixture.store.set(Mode::Fail(kind));
        for after in [TTL, TTL + STALE_IF_ERROR - MILLISECOND] {
            fixture.at(after);
            assert_eq!(fixture.find(&digest(1)).await, Ok(Good), "{kind:?}");
        }
        fixture.at(TTL + STALE_IF_ERROR);
        assert_eq!(fixture.find(&digest(1)).await, Err(kind));
        assert_eq!(fixture.cache.stats().stale, 2);
    }
}

#[tokio::test]
async fn not_at_all_if_that_is_what_was_asked_for() {
    let fixture = Fixture::with(|cache| cache.with_stale_if_error(Duration::ZERO));
    fixture.know(&[digest(1)]).await;
    fixture.store.set(DOWN);
    fixture.at(TTL - MILLISECOND);
    assert_eq!(fixture.find(&digest(1)).await, Ok(Good));
    fixture.at(TTL);
    assert_eq!(fixture.find(&digest(1)).await, Err(StoreErrorKind::Unavailable));
}

#[tokio::test]
async fn unknown_keys_are_told_to_try_again() {
    let fixture = Fixture::knowing(&[digest(1)]).await;
    assert_eq!(fixture.find(&digest(2)).await, Ok(Unknown));
    fixture.store.set(DOWN);
    assert_eq!(fixture.find(&digest(3)).await, Err(StoreErrorKind::Unavailable));
    // That a key does not exist is not held against it for longer than usual.
    assert_eq!(fixture.find(&digest(2)).await, Ok(Unknown));
    fixture.at(TTL);
    assert_eq!(fixture.find(&digest(2)).await, Err(StoreErrorKind::Unavailable));
    assert_eq!(fixture.find(&digest(1)).await, Ok(Good));
}

#[tokio::test]
async fn one_lookup_a_second_asks_whether_it_is_back() {
    let keys: Vec<_> = (0..50).map(digest).collect();
    let fixture = Fixture::knowing(&keys).await;
    fixture.at(TTL);
    fixture.store.set(DOWN);
    assert_eq!(fixture.find(&keys[0]).await, Ok(Good));
    let before = fixture.store.lookups();
    for _ in 0..100 {
        fixture.clock.advance(Duration::from_millis(100));
        for key in &keys {
            assert_eq!(fixture.find_now(key), Some(Good), "nobody waits");
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(fixture.store.lookups() - before, 10);
    let stats = fixture.cache.stats();
    assert_eq!((stats.stale, stats.refreshes), (5_001, 10));
}

#[tokio::test]
async fn when_it_is_back_nothing_stays_as_it_was() {
    let keys: Vec<_> = (0..50).map(digest).collect();
    let fixture = Fixture::knowing(&keys).await;
    fixture.at(TTL);
    fixture.store.set(DOWN);
    for key in &keys {
        assert_eq!(fixture.find(key).await, Ok(Good));
        fixture.store.revoke(key).await;
    }
    fixture.store.set(Mode::Answer);
    let lookups = fixture.store.lookups();
    fixture.at(TTL + SECOND - MILLISECOND);
    assert_eq!(fixture.find_now(&keys[0]), Some(Good), "nobody has noticed yet");
    fixture.at(TTL + SECOND);
    assert_eq!(fixture.find_now(&keys[0]), Some(Good), "this one asks");
    fixture.store.asked(lookups + 1).await;
    for key in &keys {
        assert_eq!(fixture.find(key).await, Ok(Revoked));
    }
}

/// Nobody asked for a while: what was known about the store is as old as what is about the key.
#[tokio::test]
async fn an_outage_that_nobody_has_watched_is_not_believed_in() {
    let fixture = Fixture::knowing(&[digest(1)]).await;
    fixture.store.set(DOWN);
    fixture.at(TTL);
    assert_eq!(fixture.find(&digest(2)).await, Err(StoreErrorKind::Unavailable));
    fixture.store.revoke(&digest(1)).await;
    fixture.store.set(Mode::Answer);
    fixture.at(TTL + 3 * SECOND);
    assert_eq!(fixture.find(&digest(1)).await, Ok(Revoked));
}

#[tokio::test]
async fn an_unknown_key_that_is_looked_up_notices_too() {
    let fixture = Fixture::knowing(&[digest(1)]).await;
    fixture.store.set(DOWN);
    fixture.at(TTL);
    assert_eq!(fixture.find(&digest(2)).await, Err(StoreErrorKind::Unavailable));
    assert_eq!(fixture.find_now(&digest(1)), Some(Good));
    fixture.store.revoke(&digest(1)).await;
    fixture.store.set(Mode::Answer);
    assert_eq!(fixture.find(&digest(2)).await, Ok(Unknown));
    assert_eq!(fixture.find_now(&digest(1)), None, "no longer an excuse");
    assert_eq!(fixture.find(&digest(1)).await, Ok(Revoked));
}

/// One row that cannot be read, or a store that is too busy for one key, says nothing about the
/// others.
#[tokio::test]
async fn what_is_wrong_with_one_key_is_no_outage() {
    for kind in [StoreErrorKind::Corrupt, StoreErrorKind::Overloaded] {
        let fixture = Fixture::knowing(&[digest(1), digest(2)]).await;
        fixture.store.set_for(&digest(1), Mode::Fail(kind));
        fixture.store.revoke(&digest(2)).await;
        fixture.at(TTL);
        assert_eq!(fixture.find(&digest(1)).await, Ok(Good));
        assert_eq!(fixture.find_now(&digest(2)), None, "{kind:?}");
        assert_eq!(fixture.find(&digest(2)).await, Ok(Revoked));
        // Nor is the store asked for the bad one at every request.
        let before = fixture.store.lookups();
        for millis in 0..3_000 {
            fixture.at(TTL + millis * MILLISECOND);
            assert_eq!(fixture.find(&digest(1)).await, Ok(Good));
        }
        assert_eq!(fixture.store.lookups() - before, 2, "{kind:?}");
    }
}

#[tokio::test]
async fn neither_is_a_spent_budget() {
    let one = std::num::NonZeroU32::MIN;
    let fixture = Fixture::with(|cache| cache.with_lookup_budget(one));
    fixture.know(&[digest(1)]).await;
    fixture.at(TTL);
    assert_eq!(fixture.find(&digest(2)).await, Ok(Unknown));
    assert_eq!(fixture.find(&digest(3)).await, Err(StoreErrorKind::Overloaded));
    assert_eq!(fixture.find_now(&digest(1)), None);
}

/// What is known to have changed is not excused by any outage.
#[tokio::test]
async fn a_key_that_was_changed_does_not_go_on() {
    let fixture = Fixture::knowing(&[digest(1)]).await;
    fixture.store.set(DOWN);
    fixture.at(TTL);
    assert_eq!(fixture.find(&digest(1)).await, Ok(Good));
    fixture.cache.forget(&[digest(1)]);
    assert_eq!(fixture.find_now(&digest(1)), None);
    assert_eq!(fixture.find(&digest(1)).await, Err(StoreErrorKind::Unavailable));
}

/// A limiter that says nothing.
struct Silent;

#[async_trait]
impl RateLimiter for Silent {
    async fn check(&self, _: &LimitCheck<'_>) -> Result<LimitDecision, StoreError> {
        std::future::pending().await
    }

    fn give_back(&self, _: &LimitCheck<'_>, _: Duration) {}
}

/// Limits of every key, whose limiter says nothing.
pub(crate) fn silent_limits() -> RateLimits {
    let minute = Limit::new("minute", Quota::per_minute(nonzero!(1_000))).unwrap();
    RateLimits::new(Silent).with_tiers(Tiers::new().with_default(Limits::new([minute]).unwrap()))
}

/// A key that is out of its time is looked up, and goes on as it was only where the store is down.
#[tokio::test(start_paused = true)]
async fn an_outage_of_the_limiter_is_none_of_the_store() {
    for (mode, outcome) in [(Mode::Answer, "revoked_key"), (DOWN, "admitted")] {
        let key = random_key();
        let digest = KeyHasher::sha256().digest(&key);
        let fixture = Fixture::knowing(&[digest]).await;
        let layer = ApiKeyLayer::new(fixture.cache.clone())
            .with_clock(fixture.clock.clone())
            .with_rate_limits(silent_limits());
        for _ in 0..10 {
            assert_eq!(ask(&layer, &key).await, "admitted");
        }
        fixture.store.revoke(&digest).await;
        fixture.store.set(mode);
        fixture.at(TTL);
        let before = fixture.store.lookups();
        assert_eq!(ask(&layer, &key).await, outcome);
        assert_eq!(fixture.store.lookups(), before + 1);
    }
}
