//! How long an answer is used.

use std::time::Duration;

use tower_api_key::{ApiKeyLayer, KeyHasher, clock::SettableClock};

use crate::{
    flood::ask,
    support::{
        Answer::{Good, Revoked, Unknown},
        Fixture, MILLISECOND, Mode, NOT_FOUND_TTL, NOW, TTL, digest, jittered_digest, record,
    },
};

#[tokio::test]
async fn keys_that_exist_live_up_to_their_time_and_no_less_than_nine_tenths_of_it() {
    for (first, millis) in [(0, 30_000), (1, 29_989), (128, 28_495), (254, 27_012), (255, 27_000)] {
        let key = jittered_digest(first, 1);
        let fixture = Fixture::knowing(&[key]).await;
        let lifetime = Duration::from_millis(millis);
        fixture.at(lifetime - MILLISECOND);
        assert_eq!(fixture.find_now(&key), Some(Good), "byte {first}");
        fixture.at(lifetime);
        assert_eq!(fixture.find_now(&key), None, "byte {first}");
    }
}

#[tokio::test]
async fn keys_that_do_not_exist_have_a_time_of_their_own() {
    for (first, millis) in [(0, 5_000), (128, 4_750), (255, 4_500)] {
        let key = jittered_digest(first, 1);
        let fixture = Fixture::new();
        assert_eq!(fixture.find(&key).await, Ok(Unknown));
        let lifetime = Duration::from_millis(millis);
        fixture.at(lifetime - MILLISECOND);
        assert_eq!(fixture.find_now(&key), Some(Unknown), "byte {first}");
        fixture.at(lifetime);
        assert_eq!(fixture.find_now(&key), None, "byte {first}");
        assert_eq!(fixture.store.lookups(), 1);
    }
}

#[tokio::test]
async fn a_key_that_comes_into_being_is_found_in_time() {
    let fixture = Fixture::new();
    assert_eq!(fixture.find(&digest(1)).await, Ok(Unknown));
    fixture.store.insert(&record(digest(1))).await;
    fixture.at(NOT_FOUND_TTL - MILLISECOND);
    assert_eq!(fixture.find(&digest(1)).await, Ok(Unknown));
    fixture.at(NOT_FOUND_TTL);
    assert_eq!(fixture.find(&digest(1)).await, Ok(Good));
    assert_eq!(fixture.cache.stats().entries, 1, "no longer among those that do not exist");
}

#[tokio::test]
async fn a_deleted_key_is_refused_in_time() {
    let fixture = Fixture::knowing(&[digest(1)]).await;
    fixture.store.revoke(&digest(1)).await;
    fixture.at(TTL);
    assert_eq!(fixture.find(&digest(1)).await, Ok(Revoked));
    tower_api_key::store::KeyRepository::purge(&fixture.store, NOW.saturating_add(TTL), None)
        .await
        .unwrap();
    fixture.at(2 * TTL);
    assert_eq!(fixture.find(&digest(1)).await, Ok(Unknown));
    assert_eq!(fixture.cache.stats().entries, 1, "no longer among those that exist");
}

/// What the store said may have been overtaken while it was on its way.
#[tokio::test]
async fn time_counts_from_the_question_and_not_from_the_answer() {
    let (fixture, key) = (Fixture::new(), digest(1));
    fixture.store.insert(&record(key)).await;
    fixture.store.set(Mode::Wait);
    let later = async {
        fixture.store.asked(1).await;
        fixture.at(Duration::from_secs(4));
        fixture.store.release(0);
    };
    let (found, ()) = tokio::join!(fixture.find(&key), later);
    assert_eq!(found, Ok(Good));
    fixture.at(TTL - MILLISECOND);
    assert_eq!(fixture.find_now(&digest(1)), Some(Good));
    fixture.at(TTL);
    assert_eq!(fixture.find_now(&digest(1)), None);
}

#[tokio::test]
async fn a_clock_that_is_set_back_makes_nothing_live_longer() {
    let fixture = Fixture::knowing(&[digest(1)]).await;
    assert_eq!(fixture.find(&digest(2)).await, Ok(Unknown));
    fixture.clock.set(NOW.saturating_sub(MILLISECOND));
    assert_eq!(fixture.find_now(&digest(1)), None);
    assert_eq!(fixture.find_now(&digest(2)), None);
    assert_eq!(fixture.find(&digest(1)).await, Ok(Good));
    assert_eq!(fixture.find(&digest(2)).await, Ok(Unknown));
    assert_eq!(fixture.store.lookups(), 4);
    assert_eq!(fixture.find_now(&digest(1)), Some(Good));
}

#[tokio::test]
async fn no_time_to_live_is_no_cache() {
    let fixture =
        Fixture::with(|cache| cache.with_ttl(Duration::ZERO).with_not_found_ttl(Duration::ZERO));
    fixture.store.insert(&record(digest(1))).await;
    for _ in 0..3 {
        assert_eq!(fixture.find(&digest(1)).await, Ok(Good));
        assert_eq!(fixture.find(&digest(2)).await, Ok(Unknown));
    }
    assert_eq!(fixture.store.lookups(), 6);
}

#[tokio::test]
async fn a_key_that_expires_by_itself_is_refused_on_time() {
    const KEY: &str = "a-key-that-expires-by-itself";
    let fixture = Fixture::new();
    let mut record = record(KeyHasher::sha256().digest(KEY));
    record.expires_at = Some(NOW.saturating_add(Duration::from_secs(10)));
    fixture.store.insert(&record).await;
    let layer = ApiKeyLayer::new(fixture.cache.clone()).with_clock(fixture.clock.clone());
    assert_eq!(ask(&layer, KEY).await, "admitted");
    fixture.at(Duration::from_secs(10) - MILLISECOND);
    assert_eq!(ask(&layer, KEY).await, "admitted");
    fixture.at(Duration::from_secs(10));
    assert_eq!(ask(&layer, KEY).await, "expired_key");
    assert_eq!(fixture.store.lookups(), 1);
}

/// A cache may go by a clock that is late, and does so by default.
#[tokio::test]
async fn the_layer_goes_by_a_clock_of_its_own() {
    const KEY: &str = "a-key-that-expires-before-the-cache-thinks-so";
    let fixture = Fixture::new();
    let mut record = record(KeyHasher::sha256().digest(KEY));
    record.expires_at = Some(NOW.saturating_add(MILLISECOND));
    fixture.store.insert(&record).await;
    let exact = SettableClock::new(NOW);
    let layer = ApiKeyLayer::new(fixture.cache.clone()).with_clock(exact.clone());
    assert_eq!(ask(&layer, KEY).await, "admitted");
    exact.advance(MILLISECOND);
    assert_eq!(ask(&layer, KEY).await, "expired_key");
    assert_eq!(fixture.store.lookups(), 1);
}
