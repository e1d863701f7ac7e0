//! How much a cache holds, and what makes way.

use std::num::NonZeroU32;

use crate::support::{
    Answer::{Good, Unknown},
    Fixture, digest,
};

/// A power of two, so that it divides evenly into however many parts the cache has.
const CAPACITY: usize = 1_024;

fn fixture() -> Fixture {
    let plenty = NonZeroU32::MAX;
    Fixture::with(|cache| cache.with_capacity(CAPACITY).with_lookup_budget(plenty))
}

#[tokio::test]
async fn there_is_room_for_so_many_of_either_kind() {
    let fixture = fixture();
    let known: Vec<_> = (0..5_000).map(digest).collect();
    fixture.know(&known).await;
    let found = fixture.cache.stats().entries;
    assert!(found <= CAPACITY && found > CAPACITY / 2, "{found}");
    for number in 10_000..20_000 {
        assert_eq!(fixture.find(&digest(number)).await, Ok(Unknown));
    }
    let both = fixture.cache.stats().entries;
    assert!(both <= 2 * CAPACITY && both > found + CAPACITY / 2, "{both}");
}

/// What made way is counted; what is forgotten, renewed or unknown is not.
#[tokio::test]
async fn evictions_are_counted() {
    let fixture = fixture();
    let evictions = || fixture.cache.stats().evictions;
    let known: Vec<_> = (0..100).map(digest).collect();
    fixture.know(&known).await;
    fixture.cache.forget(&known);
    for key in &known {
        assert_eq!(fixture.find(key).await, Ok(Good));
    }
    for number in 10_000..20_000 {
        assert_eq!(fixture.find(&digest(number)).await, Ok(Unknown));
    }
    fixture.cache.clear();
    assert_eq!(evictions(), 0);

    let known: Vec<_> = (100..5_100).map(digest).collect();
    fixture.know(&known).await;
    let left = fixture.cache.stats().entries;
    assert_eq!(evictions(), 5_000 - u64::try_from(left).unwrap());
}

#[tokio::test]
async fn unknown_keys_displace_no_known_one() {
    let fixture = fixture();
    let known: Vec<_> = (0..100).map(digest).collect();
    fixture.know(&known).await;
    for number in 1_000..21_000 {
        assert_eq!(fixture.find(&digest(number)).await, Ok(Unknown));
    }
    let lookups = fixture.store.lookups();
    for key in &known {
        assert_eq!(fixture.find_now(key), Some(Good));
    }
    assert_eq!(fixture.store.lookups(), lookups);
}

#[tokio::test]
async fn keys_in_use_stay_when_others_come_once() {
    let fixture = fixture();
    let used: Vec<_> = (0..100).map(digest).collect();
    fixture.know(&used).await;
    for number in 1_000..6_000 {
        fixture.know(&[digest(number)]).await;
        if number % 10 == 0 {
            assert!(used.iter().all(|key| fixture.find_now(key).is_some()), "{number}");
        }
    }
}

#[tokio::test]
async fn no_room_is_no_cache() {
    let fixture = Fixture::with(|cache| cache.with_capacity(0));
    fixture.know(&[digest(1)]).await;
    assert_eq!(fixture.find(&digest(1)).await, Ok(Good));
    assert_eq!(fixture.find(&digest(2)).await, Ok(Unknown));
    assert_eq!(fixture.store.lookups(), 3);
    assert_eq!(fixture.cache.stats().entries, 0);
}
