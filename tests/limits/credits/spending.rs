//! What one node spends.

use std::{
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use tower_api_key::{
    credits::{Refill, RefillInterval, SpendOutcome},
    key::KeyRecord,
};

use super::support::{Place, is_done, spend_all};

fn done(remaining: u64) -> SpendOutcome {
    SpendOutcome::Done { remaining }
}

fn short(remaining: u64) -> SpendOutcome {
    SpendOutcome::Short { remaining, retry_after: None }
}

fn monthly(amount: u64) -> Refill {
    let amount = NonZeroU64::new(amount).unwrap();
    Refill::new(amount, RefillInterval::Month)
}

#[tokio::test]
async fn every_credit_is_spent_and_not_one_more() {
    let place = Place::new();
    let key = place.key(10_000).await;
    assert_eq!(spend_all(&place.credits, &key).await, 10_000);
    assert_eq!(place.credits.spend(&key, 1).await.unwrap(), short(0));
    assert_eq!(place.credits.spend_now(&key, 1), Some(short(0)), "it is known by now");
    assert_eq!(place.stored(&key).await, 0);
}

#[tokio::test]
async fn what_is_left_is_told_exactly_by_a_node_alone() {
    let place = Place::new();
    let key = place.key(1_000).await;
    assert_eq!(place.credits.spend_now(&key, 1), None, "nothing is held yet");
    for spent in 1..=900 {
        assert_eq!(place.credits.spend(&key, 1).await.unwrap(), done(1_000 - spent));
    }
    assert_eq!(place.stored(&key).await + place.credits.held(key.lineage()), 100);
}

#[tokio::test]
async fn a_cost_is_spent_whole_or_not_at_all() {
    let place = Place::new();
    let key = place.key(100).await;
    assert_eq!(place.credits.spend(&key, 60).await.unwrap(), done(40));
    assert_eq!(place.credits.spend(&key, 41).await.unwrap(), short(40));
    assert_eq!(place.credits.spend(&key, u64::MAX).await.unwrap(), short(40));
    assert_eq!(place.credits.spend(&key, 40).await.unwrap(), done(0));
}

#[tokio::test]
async fn a_cost_may_be_more_than_a_node_takes_at_a_time() {
    let place = Place::new();
    let key = place.key(1_000_000).await;
    assert_eq!(place.credits.spend(&key, 1).await.unwrap(), done(999_999));
    assert!(place.credits.held(key.lineage()) < 1_000);
    assert_eq!(place.credits.spend(&key, 600_000).await.unwrap(), done(399_999));
    assert_eq!(place.credits.spend(&key, 399_999).await.unwrap(), done(0));
}

#[tokio::test]
async fn nothing_is_always_affordable() {
    let place = Place::new();
    let key = place.key(1).await;
    assert!(place.credits.spend_now(&key, 0).is_some_and(is_done));
    assert_eq!(spend_all(&place.credits, &key).await, 1);
    assert_eq!(place.credits.spend_now(&key, 0), Some(done(0)));
    assert_eq!(place.stored(&key).await, 0);
    // Also while the balance that was set is not known here.
    let old = place.key(1_000).await;
    assert_eq!(place.credits.spend(&old, 1).await.unwrap(), done(999));
    let mut new = KeyRecord::clone(&*old);
    new.details.credits = Some(1);
    assert_eq!(place.credits.spend_now(&new, 0), Some(done(999)));
}

#[tokio::test]
async fn a_key_without_credits_spends_none() {
    let place = Place::new();
    let key = place.manager.create(tower_api_key::NewKey::named("free")).await.unwrap().record;
    assert_eq!(place.credits.spend_now(&key, 1_000), Some(done(u64::MAX)));
    place.credits.give_back(&key, 1_000);
    assert_eq!(place.credits.held(key.lineage()), 0);
}

#[tokio::test]
async fn a_key_whose_balance_is_not_there_is_exhausted() {
    let place = Place::new();
    let key = place.key(10).await;
    let elsewhere = Place::new();
    assert_eq!(elsewhere.credits.spend(&key, 1).await.unwrap(), short(0));
}

#[tokio::test]
async fn what_is_put_back_can_be_spent_again() {
    let place = Place::new();
    let key = place.key(100).await;
    assert_eq!(place.credits.spend(&key, 100).await.unwrap(), done(0));
    place.credits.give_back(&key, 30);
    assert_eq!(place.credits.spend_now(&key, 30), Some(done(0)));
    assert_eq!(place.credits.spend(&key, 1).await.unwrap(), short(0));
}

#[tokio::test]
async fn a_node_holds_little_when_little_is_left() {
    let place = Place::new();
    let key = place.key(1_600).await;
    let mut left = 1_600_u64;
    while left > 0 {
        assert!(is_done(place.credits.spend(&key, 1).await.unwrap()));
        left -= 1;
        let held = place.credits.held(key.lineage());
        assert!(held <= (left + 1).div_ceil(15), "{held} of {left}");
    }
}

#[tokio::test]
async fn credits_come_back_at_the_end_of_the_month() {
    let place = Place::new();
    let key = place.key_with(10, Some(monthly(10))).await;
    assert_eq!(spend_all(&place.credits, &key).await, 10);
    // 2028-02-29T10:00:00Z.
    let month = Duration::from_hours(29 * 24);
    let wait = |time| SpendOutcome::Short { remaining: 0, retry_after: Some(time) };
    assert_eq!(place.credits.spend(&key, 1).await.unwrap(), wait(month));
    place.clock.advance(month.saturating_sub(Duration::from_millis(1)));
    assert_eq!(place.credits.spend(&key, 1).await.unwrap(), wait(Duration::from_millis(1)));
    place.clock.advance(Duration::from_millis(1));
    assert_eq!(spend_all(&place.credits, &key).await, 10);
    // The 31st again.
    let month = Duration::from_hours(31 * 24);
    assert_eq!(place.credits.spend(&key, 1).await.unwrap(), wait(month));
}

#[tokio::test]
async fn a_clock_that_goes_back_brings_nothing_twice() {
    let place = Place::new();
    let key = place.key_with(10, Some(monthly(10))).await;
    let month = Duration::from_hours(29 * 24);
    for _ in 0..3 {
        place.clock.advance(month);
        spend_all(&place.credits, &key).await;
        place.clock.set(super::support::NOW);
        assert_eq!(spend_all(&place.credits, &key).await, 0);
        assert_eq!(spend_all(&place.node(), &key).await, 0);
    }
    // The first ten were never spent: a refill does not add up.
    assert_eq!(place.stored(&key).await, 0);
}

#[tokio::test]
async fn a_refill_of_less_than_the_cost_is_nothing_to_wait_for() {
    let place = Place::new();
    let key = place.key_with(10, Some(monthly(10))).await;
    assert_eq!(place.credits.spend(&key, 11).await.unwrap(), short(10));
    assert_eq!(place.credits.spend(&key, 10).await.unwrap(), done(0));
}

#[tokio::test(start_paused = true)]
async fn what_is_held_ends_with_the_refill_that_fills_the_balance_up() {
    let place = Place::new();
    let every = NonZeroU32::new(60).unwrap();
    let refill = Refill::new(NonZeroU64::new(1_000).unwrap(), RefillInterval::Seconds(every));
    let poor = place.key_with(1_000, Some(refill)).await;
    let rich = place.key_with(100_000, Some(refill)).await;
    for key in [&poor, &rich] {
        assert!(is_done(place.credits.spend(key, 1).await.unwrap()));
        assert!(place.credits.held(key.lineage()) > 0);
    }
    place.clock.advance(Duration::from_mins(1));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(place.credits.held(poor.lineage()), 0);
    assert_eq!(place.stored(&poor).await, 1_000);
    // To a balance that is higher, the refill has added nothing.
    place.credits.close().await.unwrap();
    assert_eq!(place.stored(&rich).await, 99_999);
}

/// Nor does a later look at the store, which gives nothing, give it an end.
#[tokio::test]
async fn what_would_have_added_up_does_not_end_with_a_refill() {
    let place = Place::new();
    let key = place.key_with(20_000, Some(monthly(9_000))).await;
    assert_eq!(place.credits.spend(&key, 1).await.unwrap(), done(19_999));
    assert!(is_done(place.node().spend(&key, 14_488).await.unwrap()));
    // So that more is wanted in advance, and the store has not plenty.
    for _ in 0..400 {
        assert!(place.credits.spend_now(&key, 1).is_some_and(is_done));
        tokio::task::yield_now().await;
    }
    assert_eq!((place.credits.held(key.lineage()), place.stored(&key).await), (111, 5_000));
    place.clock.advance(Duration::from_hours(24 * 31));
    // More than is held.
    assert!(is_done(place.credits.spend(&key, 200).await.unwrap()));
    assert_eq!(spend_all(&place.credits, &key).await, 8_911);
}
