//! A process that has just started looks every key up, in every store: nobody is refused for that.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use tower_api_key::{
    clock::SettableClock,
    key::{KeyDigest, KeyRecord},
    store::{CachedStore, Changes, KeyRepository, KeyStore, MemoryStore, StoreError},
};

use crate::conformance::{at, digest, record};

/// A store that counts what it is asked.
struct Counting<S>(Arc<S>, Arc<AtomicUsize>);

#[async_trait]
impl<S: KeyStore> KeyStore for Counting<S> {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.1.fetch_add(1, SeqCst);
        self.0.find(digest).await
    }
}

const KEYS: u64 = 3_730;

/// With the default settings, and a clock that stands still: no token comes back with time.
async fn refuses_nobody(store: impl KeyRepository) {
    let numbers: Vec<u64> = (0..KEYS).collect();
    for chunk in numbers.chunks(100) {
        let mut changes = Changes::default();
        changes.inserts.extend(chunk.iter().map(|number| record(*number)));
        store.apply(&changes).await.unwrap();
    }
    let store = Arc::new(store);
    // One client that uses one key after the other, and a few hundred clients at a time.
    for clients in [1, 300] {
        let lookups = Arc::<AtomicUsize>::default();
        let cache = CachedStore::builder(Counting(store.clone(), lookups.clone()))
            .with_clock(SettableClock::new(at(1_795_392_000_000)))
            .build();
        let found = stream::iter(0..KEYS)
            .map(|number| {
                let cache = cache.clone();
                async move { cache.find(&digest(number)).await.map(|found| found.is_some()) }
            })
            .buffer_unordered(clients)
            .all(|found| async move { found.unwrap() });
        assert!(found.await, "every key is good");
        assert_eq!(cache.stats().shed, 0);
        assert_eq!(lookups.load(SeqCst) as u64, KEYS);
        // All of the budget is left for keys that do not exist, and no more.
        let mut refused = 0;
        for number in KEYS..KEYS + 1_100 {
            match cache.find(&digest(number)).await {
                Ok(found) => assert!(found.is_none()),
                Err(_) => refused += 1,
            }
        }
        assert_eq!(refused, 100);
        assert_eq!(lookups.load(SeqCst) as u64, KEYS + 1_000);
    }
}

#[tokio::test]
async fn memory() {
    refuses_nobody(MemoryStore::new()).await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn sqlite() {
    let file = crate::sqlite::File::new();
    refuses_nobody(file.open().await).await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn postgres() {
    let Some((store, _database)) = crate::postgres::open().await else { return };
    refuses_nobody(store).await;
}

#[cfg(feature = "mysql")]
#[tokio::test]
async fn mysql() {
    let Some((store, _database)) = crate::mysql::open().await else { return };
    refuses_nobody(store).await;
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn redis() {
    let Some((store, _user)) = crate::redis::open().await else { return };
    refuses_nobody(store).await;
}
