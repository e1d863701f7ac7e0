//! Keys under next and retired peppers, in floods, outages and at cold starts: they are as good as
//! those under the current one.

use std::{num::NonZeroU32, time::Duration};

use tower_api_key::{
    ApiKeyLayer, KeyHasher, KeyManager, KeyRecord, Peppers,
    store::{KeyRepository, KeyStore, StoreErrorKind, Update},
};

use crate::{
    flood::{ask, random_key},
    support::{Answer, Fixture, MILLISECOND, Mode, STALE_IF_ERROR, TTL, record, until},
};

const NEXT: &[u8] = b"the next pepper of these tests, 32 bytes";
const CURRENT: &[u8] = b"the current pepper of these tests, 32 bytes";
const RETIRED: &[u8] = b"the retired pepper of these tests, 32 bytes";
const OLDEST: &[u8] = b"the oldest pepper of these tests, 32 bytes";

const DOWN: Mode = Mode::Fail(StoreErrorKind::Unavailable);

fn under(pepper: &[u8]) -> KeyHasher {
    KeyHasher::hmac_sha256(Peppers::new(pepper).unwrap())
}

/// In the middle of a change.
fn changing_hasher() -> KeyHasher {
    let peppers = Peppers::new(CURRENT).unwrap().with_next(NEXT).unwrap();
    let peppers = peppers.with_retired(RETIRED).unwrap().with_retired(OLDEST).unwrap();
    KeyHasher::hmac_sha256(peppers)
}

/// A layer that changes its pepper, over a cache with a budget of ten, which the clock does not
/// refill.
struct Changing {
    fixture: Fixture,
    layer: ApiKeyLayer,
}

impl Changing {
    fn new() -> Self {
        Self::with_budget(10)
    }

    fn with_budget(lookups: u32) -> Self {
        let budget = NonZeroU32::new(lookups).unwrap();
        let fixture = Fixture::with(|cache| cache.with_lookup_budget(budget));
        let layer = ApiKeyLayer::new(fixture.cache.clone()).with_hasher(changing_hasher());
        Self { layer: layer.with_clock(fixture.clock.clone()), fixture }
    }

    /// A good key in the store, under this pepper.
    async fn key_under(&self, pepper: &[u8]) -> String {
        let key = random_key();
        self.fixture.store.insert(&record(under(pepper).digest(&key))).await;
        key
    }

    /// One that is in memory, too.
    async fn known_under(&self, pepper: &[u8]) -> String {
        let key = self.key_under(pepper).await;
        assert_eq!(self.ask(&key).await, "admitted");
        key
    }

    async fn ask(&self, key: &str) -> &'static str {
        ask(&self.layer, key).await
    }

    /// What becomes of a key, and how often the store is asked for that.
    async fn asks(&self, key: &str) -> (&'static str, usize) {
        let before = self.fixture.store.lookups();
        let outcome = self.ask(key).await;
        (outcome, self.fixture.store.lookups() - before)
    }

    /// Random keys, until one is refused for want of budget. Returns how often the store was asked.
    async fn flood(&self) -> usize {
        let before = self.fixture.store.lookups();
        while self.ask(&random_key()).await != "lookup_overloaded" {}
        self.fixture.store.lookups() - before
    }
}

const PEPPERS: [&[u8]; 4] = [NEXT, CURRENT, RETIRED, OLDEST];

/// The digests under the other peppers are not in memory: once the key is found, it is not looked
/// up by those.
#[tokio::test]
async fn known_keys_go_on_in_a_flood() {
    let changing = Changing::new();
    let mut known = Vec::new();
    for pepper in PEPPERS {
        known.push(changing.known_under(pepper).await);
    }
    // Longer than unknown digests are remembered, shorter than known ones live.
    changing.fixture.at(TTL / 2);
    changing.flood().await;
    for key in &known {
        assert_eq!(changing.asks(key).await, ("admitted", 0));
    }
    assert_eq!(changing.asks(&random_key()).await, ("lookup_overloaded", 0));
}

/// Out of their time, they are looked up, without any budget.
#[tokio::test]
async fn known_keys_are_looked_up_again_in_a_flood() {
    for after in [TTL, 2 * TTL + STALE_IF_ERROR] {
        let changing = Changing::new();
        let mut known = Vec::new();
        for pepper in PEPPERS {
            known.push(changing.known_under(pepper).await);
        }
        changing.fixture.at(after);
        changing.flood().await;
        for key in &known {
            assert_eq!(changing.asks(key).await, ("admitted", 1));
        }
    }
}

#[tokio::test]
async fn known_keys_go_on_in_an_outage() {
    let changing = Changing::with_budget(1_000);
    let mut known = Vec::new();
    for pepper in PEPPERS {
        known.push(changing.known_under(pepper).await);
    }
    let unknown = random_key();
    assert_eq!(changing.ask(&unknown).await, "unknown_key");
    changing.fixture.store.set(DOWN);
    for (after, lookups) in [
        (TTL / 2, 0),
        // The first one asks by its current digest, and then it is known that the store is down.
        (TTL, 1),
        (TTL + MILLISECOND, 0),
    ] {
        changing.fixture.at(after);
        let before = changing.fixture.store.lookups();
        for key in &known {
            assert_eq!(changing.ask(key).await, "admitted", "after {after:?}");
        }
        assert_eq!(changing.fixture.store.lookups() - before, lookups, "after {after:?}");
    }
    for key in [unknown, random_key()] {
        assert_eq!(changing.ask(&key).await, "store_unavailable");
    }
    changing.fixture.at(TTL + STALE_IF_ERROR);
    for key in &known {
        assert_eq!(changing.ask(key).await, "store_unavailable");
    }
}

/// Each lookup that does not answer leaves the others their turn.
#[tokio::test(start_paused = true)]
async fn known_keys_go_on_while_the_store_hangs() {
    for pepper in PEPPERS {
        let changing = Changing::with_budget(1_000);
        let key = changing.known_under(pepper).await;
        changing.fixture.store.set(Mode::Hang);
        for after in [TTL / 2, TTL] {
            changing.fixture.at(after);
            assert_eq!(changing.ask(&key).await, "admitted", "after {after:?}");
        }
        let start = tokio::time::Instant::now();
        assert_eq!(changing.ask(&key).await, "admitted");
        assert_eq!(start.elapsed(), Duration::ZERO, "now it is known that the store is down");
        assert_eq!(changing.ask(&random_key()).await, "store_unavailable");
        assert_eq!(start.elapsed().as_secs(), 5, "together");
    }
}

/// Memory knows that there is no such key by three of the digests. Of the fourth nobody knows.
#[tokio::test]
async fn one_lookup_that_fails_leaves_a_key_undecided() {
    for (mode, outcome) in [
        (DOWN, "store_unavailable"),
        (Mode::Fail(StoreErrorKind::Overloaded), "lookup_overloaded"),
        (Mode::Fail(StoreErrorKind::Corrupt), "store_unavailable"),
    ] {
        for failing in PEPPERS {
            let changing = Changing::with_budget(1_000);
            let key = random_key();
            changing.fixture.store.set_for(&under(failing).digest(&key), mode);
            for lookups in [4, 1, 1] {
                assert_eq!(changing.asks(&key).await, (outcome, lookups));
            }
        }
    }
}

/// By the digests before it, the lookup fails.
#[tokio::test]
async fn a_key_is_found_by_a_digest_after_one_that_fails() {
    let changing = Changing::with_budget(1_000);
    for (pepper, before) in
        [(NEXT, &[CURRENT][..]), (RETIRED, &[CURRENT, NEXT]), (OLDEST, &[RETIRED])]
    {
        let key = changing.key_under(pepper).await;
        for failing in before {
            changing.fixture.store.set_for(&under(failing).digest(&key), DOWN);
        }
        assert_eq!(changing.ask(&key).await, "admitted");
    }
}

/// Another node has renewed a key that this one knows by its old digest, and there is no bus to
/// tell. This one does not try to renew it at every request.
#[tokio::test]
async fn a_digest_that_another_node_has_renewed_is_learned() {
    let changing = Changing::new();
    let key = changing.known_under(RETIRED).await;
    let Fixture { cache, store, clock } = &changing.fixture;
    let renewed = under(CURRENT).digest(&key);
    let old = store.find(&under(RETIRED).digest(&key)).await.unwrap().unwrap();
    let mut record = KeyRecord::clone(&old);
    (record.digest, record.revision) = (renewed, old.revision + 1);
    assert_eq!(store.update(&record, old.revision).await.unwrap(), Update::Done);
    changing.fixture.at(TTL / 2);
    let manager = KeyManager::new(cache.clone()).with_clock(clock.clone());
    let layer = manager.with_hasher(changing_hasher()).layer();
    assert_eq!(ask(&layer, &key).await, "admitted");
    until(|| changing.fixture.find_now(&renewed) == Some(Answer::Good)).await;
    assert_eq!(*cache.get(record.id).await.unwrap().unwrap(), record);
}
