//! How many unknown keys are looked up, and who is not counted among them.

use std::{num::NonZeroU32, time::Duration};

use tower_api_key::store::StoreErrorKind;

use crate::support::{
    Answer::{Good, Revoked, Unknown},
    Fixture, MILLISECOND, Mode, NOT_FOUND_TTL, STALE_IF_ERROR, TTL, digest, record, until,
};

/// A cache that looks up ten unknown keys a second.
fn fixture() -> Fixture {
    Fixture::with(|cache| cache.with_lookup_budget(NonZeroU32::new(10).unwrap()))
}

/// How many of these keys were looked up. The others must have been refused for want of budget.
async fn looked_up(fixture: &Fixture, keys: std::ops::Range<u64>) -> usize {
    let before = fixture.store.lookups();
    let count = keys.end - keys.start;
    let mut shed = 0;
    for number in keys {
        match fixture.find(&digest(number)).await {
            Ok(Unknown) => {}
            Err(StoreErrorKind::Overloaded) => shed += 1,
            other => panic!("{other:?}"),
        }
    }
    let asked = fixture.store.lookups() - before;
    assert_eq!(asked + shed, usize::try_from(count).unwrap());
    asked
}

#[tokio::test]
async fn it_is_exact() {
    let fixture = fixture();
    assert_eq!(looked_up(&fixture, 0..100).await, 10);
    fixture.at(Duration::from_millis(99));
    assert_eq!(looked_up(&fixture, 100..200).await, 0);
    fixture.at(Duration::from_millis(100));
    assert_eq!(looked_up(&fixture, 200..300).await, 1);
    fixture.at(Duration::from_millis(600));
    assert_eq!(looked_up(&fixture, 300..400).await, 5);
    fixture.at(Duration::from_mins(1));
    assert_eq!(looked_up(&fixture, 400..500).await, 10);
    let stats = fixture.cache.stats();
    assert_eq!((stats.misses, stats.shed, stats.hits), (26, 474, 0));
}

#[tokio::test]
async fn keys_that_are_known_spend_nothing() {
    let fixture = fixture();
    let known: Vec<_> = (1_000..1_008).map(digest).collect();
    fixture.know(&known).await;
    let exhaust = |start| looked_up(&fixture, start..start + 50);
    exhaust(0).await;
    for key in &known {
        assert_eq!(fixture.find(key).await, Ok(Good), "fresh");
    }
    for (start, after, when) in [
        (100, TTL, "out of their time"),
        (200, 2 * TTL + STALE_IF_ERROR, "long forgotten, but for their being there"),
    ] {
        fixture.at(after);
        assert_eq!(exhaust(start).await, 10);
        for key in &known {
            assert_eq!(fixture.find(key).await, Ok(Good), "{when}");
        }
    }
    for key in &known {
        fixture.store.revoke(key).await;
    }
    fixture.cache.forget(&known);
    for key in &known {
        assert_eq!(fixture.find(key).await, Ok(Revoked), "changed");
    }
    assert_eq!(exhaust(300).await, 0, "all that time there was nothing left");
}

#[tokio::test]
async fn nor_do_unknown_keys_that_are_remembered() {
    let fixture = fixture();
    assert_eq!(looked_up(&fixture, 0..10).await, 10);
    for _ in 0..100 {
        for number in 0..10 {
            assert_eq!(fixture.find(&digest(number)).await, Ok(Unknown));
        }
    }
    assert_eq!(fixture.store.lookups(), 10);
    assert_eq!(fixture.cache.stats().hits, 1_000);
    fixture.at(NOT_FOUND_TTL);
    assert_eq!(looked_up(&fixture, 0..10).await, 10);
}

#[tokio::test]
async fn nor_does_waiting_for_somebody_elses_lookup() {
    let fixture = fixture();
    fixture.store.set(Mode::Wait);
    let callers: Vec<_> = (0..100).map(|_| fixture.spawn_find(digest(1))).collect();
    until(|| fixture.cache.stats().coalesced == 99).await;
    fixture.store.release(0);
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Ok(Unknown));
    }
    fixture.store.set(Mode::Answer);
    assert_eq!(looked_up(&fixture, 10..110).await, 9);
}

/// Nobody knows of a key that is looked up whether there is one: lookups under way count until the
/// store has answered. Those that must wait are not refused.
#[tokio::test]
async fn lookups_under_way_are_no_more_than_the_budget() {
    for (is_good, answer) in [(true, Ok(Good)), (false, Ok(Unknown))] {
        let fixture = fixture();
        fixture.store.set(Mode::Wait);
        let mut callers = Vec::new();
        for number in 0..30 {
            if is_good {
                fixture.store.insert(&record(digest(number))).await;
            }
            callers.push(fixture.spawn_find(digest(number)));
            tokio::task::yield_now().await;
        }
        let releasing = async {
            for number in 0..if is_good { 30 } else { 10 } {
                fixture.store.asked(number + 1).await;
                // The others wait for one of these ten.
                assert!(fixture.store.lookups() <= number + 10);
                fixture.store.release(number);
                fixture.store.answered(number + 1).await;
            }
        };
        releasing.await;
        let mut answers = Vec::new();
        for caller in callers {
            answers.push(caller.await.unwrap());
        }
        let looked_up = answers.iter().filter(|one| **one == answer).count();
        let refused = answers.iter().filter(|one| **one == Err(StoreErrorKind::Overloaded)).count();
        assert_eq!((looked_up, refused), if is_good { (30, 0) } else { (10, 20) });
        assert_eq!(fixture.store.lookups(), looked_up);
    }
}

/// A store that does not answer keeps all tokens. Who waits for one is told to try again.
#[tokio::test(start_paused = true)]
async fn waiting_for_the_budget_ends_with_the_lookup_timeout() {
    let fixture = fixture();
    fixture.store.set(Mode::Hang);
    let mut callers = Vec::new();
    for number in 0..20 {
        callers.push(fixture.spawn_find(digest(number)));
    }
    let (mut timeouts, mut refused) = (0, 0);
    for caller in callers {
        match caller.await.unwrap() {
            Err(StoreErrorKind::Timeout) => timeouts += 1,
            Err(StoreErrorKind::Overloaded) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((timeouts, refused), (10, 10));
    assert_eq!(fixture.store.lookups(), 10);
}

/// What time brings goes to those who wait, whether or not a lookup ends.
#[tokio::test(start_paused = true)]
async fn time_brings_tokens_to_those_who_wait() {
    let fixture = fixture();
    assert_eq!(looked_up(&fixture, 0..5).await, 5);
    let spawn = |number| fixture.spawn_find(digest(number));
    fixture.store.set(Mode::Hang);
    let hanging: Vec<_> = (10..15).map(spawn).collect();
    fixture.store.asked(10).await;
    fixture.store.set(Mode::Answer);
    let waiting: Vec<_> = (20..23).map(spawn).collect();
    for (number, one) in waiting.into_iter().enumerate() {
        fixture.pass(Duration::from_millis(98)).await;
        tokio::task::yield_now().await;
        assert_eq!(fixture.store.lookups(), 10 + number, "not yet");
        // The timer goes by whole milliseconds.
        fixture.pass(2 * MILLISECOND).await;
        assert_eq!(one.await.unwrap(), Ok(Unknown));
    }
    for one in hanging {
        assert_eq!(one.await.unwrap(), Err(StoreErrorKind::Timeout));
    }
}

/// An error says nothing about whether there is such a key: a flood does not ask a failing store
/// any more often.
#[tokio::test]
async fn errors_spend_the_budget() {
    let fixture = fixture();
    fixture.store.set(Mode::Fail(StoreErrorKind::Unavailable));
    for number in 0..100 {
        assert!(fixture.find(&digest(number)).await.is_err());
    }
    assert_eq!(fixture.store.lookups(), 10);
}
