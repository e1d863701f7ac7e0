//! A process that has just started and knows no key yet: nobody is refused for that.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::task::JoinSet;
use tower_api_key::{
    ApiKeyLayer, KeyHasher,
    clock::SettableClock,
    key::{KeyDigest, KeyRecord},
    store::{CachedStore, KeyRepository, KeyStore, MemoryStore, StoreError},
};

use crate::{
    flood::{ask, random_key},
    support::{MILLISECOND, NOW, record},
};

/// A database that takes twenty milliseconds, and holds these keys.
pub(crate) struct SlowDatabase(pub(crate) MemoryStore);

#[async_trait]
impl KeyStore for SlowDatabase {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.0.find(digest).await
    }
}

struct Fixture {
    cache: CachedStore<SlowDatabase>,
    layer: ApiKeyLayer,
    clock: SettableClock,
    keys: Vec<String>,
}

impl Fixture {
    /// A fresh process with the default settings, and so many good keys in the store.
    async fn new(keys: usize) -> Self {
        let clock = SettableClock::new(NOW);
        let store = MemoryStore::new();
        let keys: Vec<_> = (0..keys).map(|_| random_key()).collect();
        for key in &keys {
            store.insert(&record(KeyHasher::sha256().digest(key))).await.unwrap();
        }
        let cache = CachedStore::builder(SlowDatabase(store)).with_clock(clock.clone()).build();
        let layer = ApiKeyLayer::new(cache.clone()).with_clock(clock.clone());
        Self { cache, layer, clock, keys }
    }

    fn assert_all_were_looked_up(&self) {
        let stats = self.cache.stats();
        assert_eq!((stats.shed, stats.misses), (0, self.keys.len() as u64));
    }
}

#[tokio::test(start_paused = true)]
async fn five_thousand_requests_a_second() {
    let fixture = Fixture::new(20_000).await;
    let mut requests = JoinSet::new();
    for keys in fixture.keys.chunks(5) {
        for key in keys {
            let (layer, key) = (fixture.layer.clone(), key.clone());
            requests.spawn(async move { ask(&layer, &key).await });
        }
        fixture.clock.advance(MILLISECOND);
        tokio::time::advance(MILLISECOND).await;
    }
    assert!(requests.join_all().await.into_iter().all(|outcome| outcome == "admitted"));
    fixture.assert_all_were_looked_up();
}

#[tokio::test(start_paused = true)]
async fn one_client_with_one_key_after_the_other() {
    let fixture = Fixture::new(3_730).await;
    for key in &fixture.keys {
        assert_eq!(ask(&fixture.layer, key).await, "admitted");
    }
    fixture.assert_all_were_looked_up();
}

/// The clock stands still, so no token comes back with time.
#[tokio::test(start_paused = true)]
async fn ten_thousand_at_once() {
    let fixture = Fixture::new(10_000).await;
    let outcomes = join_all(fixture.keys.iter().map(|key| ask(&fixture.layer, key))).await;
    assert!(outcomes.into_iter().all(|outcome| outcome == "admitted"));
    fixture.assert_all_were_looked_up();
}

/// Random keys arrive as fast as good ones. The store is asked for no more random keys than the
/// budget allows, good keys that got in once go on getting in, and those that did not are told to
/// try again, never that they are unknown.
#[tokio::test(start_paused = true)]
async fn during_a_flood() {
    const SECONDS: usize = 4;
    let fixture = Fixture::new(2_000).await;
    let mut good = JoinSet::new();
    let mut bad = JoinSet::new();
    for key in fixture.keys.iter().cycle().take(1_000 * SECONDS) {
        for (requests, key) in [(&mut good, key.clone()), (&mut bad, random_key())] {
            let layer = fixture.layer.clone();
            requests.spawn(async move { ask(&layer, &key).await });
        }
        fixture.clock.advance(MILLISECOND);
        tokio::time::advance(MILLISECOND).await;
    }
    let (good, bad) = (good.join_all().await, bad.join_all().await);
    let count = |outcomes: &[&str], outcome| outcomes.iter().filter(|one| **one == outcome).count();
    let (admitted, refused) = (count(&good, "admitted"), count(&good, "lookup_overloaded"));
    assert_eq!(admitted + refused, good.len());
    let (unknown, refused) = (count(&bad, "unknown_key"), count(&bad, "lookup_overloaded"));
    assert_eq!(unknown + refused, bad.len());
    assert!(unknown <= 1_000 * (SECONDS + 1), "{unknown}");
    assert!(admitted > 0);
    for key in &fixture.keys {
        let mut outcome = ask(&fixture.layer, key).await;
        // The flood is over: whoever was told to try again gets in now.
        if outcome == "lookup_overloaded" {
            fixture.clock.advance(Duration::from_secs(1));
            outcome = ask(&fixture.layer, key).await;
        }
        assert_eq!(outcome, "admitted");
    }
}
