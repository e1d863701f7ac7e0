//! Memory of a million keys: in a `MemoryStore`, and in a cache, as a database would have made their
//! records.
//!
//! `cargo bench --all-features --bench cache_memory`. On Linux, which says how much memory a
//! process has.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]
#![allow(clippy::print_stdout, reason = "that is what it is for")]

#[path = "support/memory.rs"]
mod memory;
#[path = "support/mode.rs"]
mod mode;

use std::{num::NonZeroU32, ops::Range, sync::Arc};

use async_trait::async_trait;
use memory::resident;
use tokio::runtime::Builder;
use tower_api_key::{
    KeyHasher, KeyId, OwnerId, Scopes, Timestamp,
    key::{KeyDigest, KeyRecord},
    store::{CachedStore, KeyRepository, KeyStore, MemoryStore, StoreError},
};

fn keys() -> u32 {
    if mode::measures() { 1_000_000 } else { 10_000 }
}

const NOW: Timestamp = Timestamp::from_unix_millis(1_795_392_000_000);

fn digest(number: u32) -> KeyDigest {
    let mut bytes = *KeyHasher::sha256().digest(number.to_string()).as_bytes();
    bytes[28..].copy_from_slice(&number.to_be_bytes());
    KeyDigest::from_bytes(bytes)
}

/// With an owner and two scopes.
fn record(digest: KeyDigest) -> KeyRecord {
    let number = u32::from_be_bytes(*digest.as_bytes().last_chunk().unwrap());
    let id = KeyId::generate(NOW).unwrap();
    let mut record = KeyRecord::new(id, digest, format!("deployment {number:09}"), NOW);
    assert_eq!(record.name.len(), 20);
    record.start = "key_A1b2".into();
    record.owner = Some(OwnerId::new(format!("user-{number:07}")));
    record.scopes = Scopes::parse(["orders:read", "stock:write"]).unwrap();
    record
}

/// Makes a record whenever it is asked, as a database client does.
struct Database;

#[async_trait]
impl KeyStore for Database {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        Ok(Some(Arc::new(record(*digest))))
    }
}

fn main() {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    // One after the other, and both to the end: what one gives back, the other would take.
    let store = runtime.block_on(in_a_store());
    let cache = runtime.block_on(in_a_cache());
    drop((store, cache));
}

async fn in_a_store() -> MemoryStore {
    let store = MemoryStore::new();
    let fill = async |numbers: Range<u32>| {
        for number in numbers {
            store.insert(&record(digest(number))).await.unwrap();
        }
    };
    // What the process needs anyway.
    fill(0..1_000).await;
    let before = resident();
    fill(1_000..keys()).await;
    report("a MemoryStore", resident() - before, keys() - 1_000);
    store
}

async fn in_a_cache() -> CachedStore<Database> {
    let cache = CachedStore::builder(Database)
        .with_capacity(keys() as usize * 11 / 10)
        .with_lookup_budget(NonZeroU32::MAX)
        .build();
    let fill = async |numbers: Range<u32>| {
        for number in numbers {
            cache.find(&digest(number)).await.unwrap().unwrap();
        }
    };
    fill(0..1_000).await;
    let before = resident();
    fill(1_000..keys()).await;
    assert_eq!(cache.stats().entries, keys() as usize);
    report("a cache", resident() - before, keys() - 1_000);
    cache
}

fn report(place: &str, bytes: usize, keys: u32) {
    println!("{} bytes each for {keys} keys in {place}", bytes / keys as usize);
}
