//! Keys under next and retired peppers, in floods, outages and at cold starts: they are as good as
//! those under the current one.

use std::{
    future::{Future, poll_fn},
    num::NonZeroU32,
    pin::pin,
    task::Poll,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::task::JoinSet;
use tower_api_key::{
    ApiKeyLayer, KeyHasher, KeyManager, Peppers,
    clock::SettableClock,
    key::KeyRecord,
    store::{ApplyOutcome, CachedStore, KeyRepository, KeyStore, MemoryStore, StoreErrorKind},
};

use crate::{
    cold_start::SlowDatabase,
    flood::{ask, random_key},
    support::{
        Answer, Fixture, Listing, MILLISECOND, Mode, NOW, STALE_IF_ERROR, TTL, record, until,
    },
};

pub(crate) const NEXT: &[u8] = b"the next pepper of these tests, 32 bytes";
const CURRENT: &[u8] = b"the current pepper of these tests, 32 bytes";
const RETIRED: &[u8] = b"the retired pepper of these tests, 32 bytes";
pub(crate) const OLDEST: &[u8] = b"the oldest pepper of these tests, 32 bytes";

const DOWN: Mode = Mode::Fail(StoreErrorKind::Unavailable);

pub(crate) fn under(pepper: &[u8]) -> KeyHasher {
    KeyHasher::hmac_sha256(Peppers::new(pepper).unwrap())
}

/// In the middle of a change.
pub(crate) fn changing_hasher() -> KeyHasher {
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

/// Where the filter knows the digests that there are, a key is asked for by these alone; and an unknown
/// key by all of them at once.
#[tokio::test]
async fn the_digests_of_a_key_go_in_one_statement() {
    let changing = Changing::with_budget(1_000);
    changing.fixture.store.batch(128);
    changing.fixture.store.list(Listing::Works);
    let mut keys = Vec::new();
    for pepper in PEPPERS {
        keys.push(changing.key_under(pepper).await);
    }
    // The first lookup has the filter loaded.
    assert_eq!(changing.ask(&random_key()).await, "unknown_key");
    until(|| changing.fixture.cache.stats().filter_keys.is_some()).await;
    let statements = |since: usize| changing.fixture.store.statements().split_off(since);
    for key in keys {
        let before = statements(0).len();
        assert_eq!(changing.ask(&key).await, "admitted");
        assert_eq!(statements(before), [1]);
    }
    let before = statements(0).len();
    assert_eq!(changing.ask(&random_key()).await, "unknown_key");
    assert_eq!(statements(before), [4]);
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

/// Clients with good keys under any pepper, one after the other: the clock stands still, and the
/// budget is ten.
#[tokio::test]
async fn at_a_cold_start_good_keys_cost_nothing() {
    for budget in [10, 1] {
        let changing = Changing::with_budget(budget);
        for _ in 0..20 {
            for (pepper, lookups) in [(CURRENT, 1), (NEXT, 2), (RETIRED, 3), (OLDEST, 4)] {
                let key = changing.key_under(pepper).await;
                assert_eq!(changing.asks(&key).await, ("admitted", lookups));
            }
        }
        assert_eq!(changing.fixture.cache.stats().shed, 0);
    }
}

/// An unknown key costs a token for each of its digests, whoever came before it.
#[tokio::test]
async fn a_flood_gets_nothing_back() {
    let changing = Changing::with_budget(100);
    for _ in 0..50 {
        let key = changing.key_under(OLDEST).await;
        assert_eq!(changing.ask(&key).await, "admitted");
    }
    // Twenty-four keys by four digests each; one that might need a fifth lookup, for which there is
    // no token, by the last three of them. The last token is for a lookup that is the only one.
    assert_eq!(changing.flood().await, 24 * 4 + 3);
    assert_eq!(changing.flood().await, 0);
}

/// Requests at once with one good key share its lookups, and its tokens come back once.
#[tokio::test]
async fn who_shares_a_lookup_gives_nothing_back_twice() {
    let changing = Changing::with_budget(100);
    let store = &changing.fixture.store;
    store.set(Mode::Wait);
    let (good, bad) = (changing.key_under(OLDEST).await, random_key());
    let mut requests = JoinSet::new();
    for key in [&good, &bad] {
        for _ in 0..20 {
            let (layer, key) = (changing.layer.clone(), key.clone());
            requests.spawn(async move { ask(&layer, &key).await });
        }
    }
    for waiting in 0..8 {
        store.asked(waiting + 1).await;
        store.release(waiting);
    }
    let outcomes = requests.join_all().await;
    let admitted = outcomes.iter().filter(|outcome| **outcome == "admitted").count();
    let unknown = outcomes.iter().filter(|outcome| **outcome == "unknown_key").count();
    assert_eq!((admitted, unknown, store.lookups()), (20, 20, 8));
    store.set(Mode::Answer);
    // Four of the hundred were spent: see above.
    assert_eq!(changing.flood().await, 23 * 4 + 3);
}

/// The client goes away while its key is looked up: what was asked for is spent.
#[tokio::test]
async fn who_goes_away_gives_nothing_back() {
    let changing = Changing::with_budget(10);
    let store = &changing.fixture.store;
    store.set(Mode::Wait);
    for number in 0..2 {
        let layer = changing.layer.clone();
        let request = tokio::spawn(async move { ask(&layer, &random_key()).await });
        store.asked(2 * number + 1).await;
        store.release(2 * number);
        store.asked(2 * number + 2).await;
        request.abort();
        assert!(request.await.unwrap_err().is_cancelled());
        store.release(2 * number + 1);
    }
    store.answered(4).await;
    store.set(Mode::Answer);
    tokio::task::yield_now().await;
    // Four of the ten were spent: see above.
    assert_eq!(changing.flood().await, 4 + 1);
}

/// As in `cold_start.rs`: no token comes back with time.
#[tokio::test(start_paused = true)]
async fn ten_thousand_at_once_under_a_retired_pepper() {
    let clock = SettableClock::new(NOW);
    let store = MemoryStore::new();
    let keys: Vec<_> = (0..10_000).map(|_| random_key()).collect();
    for key in &keys {
        store.insert(&record(under(RETIRED).digest(key))).await.unwrap();
    }
    let peppers = Peppers::new(CURRENT).unwrap().with_retired(RETIRED).unwrap();
    let cache = CachedStore::builder(SlowDatabase(store)).with_clock(clock.clone()).build();
    let layer = ApiKeyLayer::new(cache.clone()).with_hasher(KeyHasher::hmac_sha256(peppers));
    let outcomes = join_all(keys.iter().map(|key| ask(&layer, key))).await;
    assert!(outcomes.into_iter().all(|outcome| outcome == "admitted"));
    let stats = cache.stats();
    assert_eq!((stats.shed, stats.misses), (0, 20_000));
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
    assert_eq!(store.update(&old, &record).await.unwrap(), ApplyOutcome::Done);
    changing.fixture.at(TTL / 2);
    let manager = KeyManager::new(cache.clone()).with_clock(clock.clone());
    let layer = manager.with_hasher(changing_hasher()).layer();
    assert_eq!(ask(&layer, &key).await, "admitted");
    until(|| changing.fixture.find_now(&renewed) == Some(Answer::Good)).await;
    assert_eq!(*cache.get(record.id).await.unwrap().unwrap(), record);
}

/// Requests with one key share what its lookups have reserved. Where each of these fails at once,
/// every request would begin anew.
#[tokio::test(start_paused = true)]
async fn a_store_that_fails_at_once_is_asked_within_the_budget() {
    for kind in [StoreErrorKind::Unavailable, StoreErrorKind::Overloaded] {
        let changing = Changing::with_budget(30);
        changing.fixture.store.set(Mode::Fail(kind));
        let keys: Vec<_> = (0..6).map(|_| random_key()).collect();
        let requests = keys.iter().flat_map(|key| std::iter::repeat_n(key, 50));
        join_all(requests.map(|key| ask(&changing.layer, key))).await;
        let asked = changing.fixture.store.lookups();
        assert!(asked <= 30, "{kind:?}: asked {asked} times");
    }
}

/// The others are silent until the time is up.
#[tokio::test(start_paused = true)]
async fn the_first_lookup_that_failed_is_what_is_told() {
    let changing = Changing::new();
    let (store, key) = (&changing.fixture.store, random_key());
    store.set_for(&under(CURRENT).digest(&key), Mode::Fail(StoreErrorKind::Overloaded));
    for silent in [NEXT, RETIRED, OLDEST] {
        store.set_for(&under(silent).digest(&key), Mode::Hang);
    }
    assert_eq!(changing.ask(&key).await, "lookup_overloaded");
}

/// The store takes more than a lookup's share of the time, and there are tokens for this key alone.
#[tokio::test(start_paused = true)]
async fn a_lookup_takes_the_tokens_of_an_earlier_one_that_is_under_way() {
    let changing = Changing::with_budget(5);
    let key = changing.key_under(RETIRED).await;
    for slow in [CURRENT, NEXT] {
        changing.fixture.store.set_for(&under(slow).digest(&key), Mode::Hang);
    }
    let start = tokio::time::Instant::now();
    assert_eq!(changing.ask(&key).await, "admitted");
    assert!(start.elapsed() < Duration::from_secs(4), "its turn came after two shares of five");
    assert_eq!(changing.fixture.cache.stats().shed, 0);
}

/// It waited for its tokens, which the lookup of another key held.
#[tokio::test(start_paused = true)]
async fn a_lookup_takes_the_tokens_of_an_earlier_one_that_was_in_line() {
    for (after, share) in [(100, "its first lookup has tokens"), (2_000, "it waits for them")] {
        let changing = Changing::with_budget(5);
        let store = &changing.fixture.store;
        let (other, key) = (changing.key_under(CURRENT).await, changing.key_under(RETIRED).await);
        store.set_for(&under(CURRENT).digest(&other), Mode::Wait);
        store.set_for(&under(CURRENT).digest(&key), Mode::Hang);
        let release = async {
            store.asked(1).await;
            tokio::time::sleep(Duration::from_millis(after)).await;
            store.release(0);
        };
        let late = async {
            store.asked(1).await;
            changing.ask(&key).await
        };
        let twin = async {
            tokio::time::sleep(MILLISECOND).await;
            changing.ask(&key).await
        };
        let (other, late, twin, ()) = tokio::join!(changing.ask(&other), late, twin, release);
        assert_eq!((other, late, twin), ("admitted", "admitted", "admitted"), "{share}");
        assert_eq!(changing.fixture.cache.stats().shed, 0, "{share}");
    }
}

/// Two requests with one key: the second begins a lookup after the first one's lookup has ended,
/// and before the first request has taken note of that. There are tokens for one of them.
#[tokio::test(start_paused = true)]
async fn a_request_keeps_no_tokens_while_it_waits_for_another_one() {
    for pepper in [NEXT, RETIRED, OLDEST] {
        let changing = Changing::with_budget(5);
        let store = &changing.fixture.store;
        let key = changing.key_under(pepper).await;
        store.set_for(&under(CURRENT).digest(&key), Mode::Wait);
        let mut first = pin!(changing.ask(&key));
        let waits = poll_fn(|cx| Poll::Ready(first.as_mut().poll(cx).is_pending())).await;
        assert!(waits);
        store.asked(1).await;
        store.release(0);
        // By then, a request that is not polled makes its lookup no longer itself.
        tokio::time::sleep(Duration::from_millis(101)).await;
        store.answered(1).await;
        until(|| changing.fixture.find_now(&under(CURRENT).digest(&key)).is_some()).await;
        let second = changing.ask(&key);
        let start = tokio::time::Instant::now();
        // The second one is polled first.
        let (second, first) = futures_util::future::join(second, first).await;
        assert_eq!((first, second), ("admitted", "admitted"));
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(changing.fixture.cache.stats().shed, 0);
    }
}
