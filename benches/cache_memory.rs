//! Memory of a cache that holds a million keys, as a database would have made their records.
//!
//! `cargo bench --all-features --bench cache_memory`. On Linux, which says how much memory a
//! process has.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]
#![allow(clippy::print_stdout, reason = "that is what it is for")]

#[path = "support/memory.rs"]
mod memory;
#[path = "support/mode.rs"]
mod mode;

use std::{num::NonZeroU32, sync::Arc};

use async_trait::async_trait;
use memory::resident;
use tokio::runtime::Builder;
use tower_api_key::{
    KeyHasher, KeyId, OwnerId, Scopes, Timestamp,
    key::{KeyDigest, KeyRecord},
    store::{CachedStore, KeyStore, StoreError},
};

fn keys() -> u32 {
    if mode::measures() { 1_000_000 } else { 10_000 }
}

/// Makes a record whenever it is asked, as a database client does.
struct Database;

const NOW: Timestamp = Timestamp::from_unix_millis(1_795_392_000_000);

#[async_trait]
impl KeyStore for Database {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let number = u32::from_be_bytes(*digest.as_bytes().last_chunk().unwrap());
        let id = KeyId::generate(NOW).unwrap();
        let mut record = KeyRecord::new(id, *digest, format!("deployment {number:09}"), NOW);
        assert_eq!(record.name.len(), 20);
        record.start = "key_A1b2".into();
        record.owner = Some(OwnerId::new(format!("user-{number:07}")));
        record.scopes = Scopes::parse(["orders:read", "stock:write"]).unwrap();
        Ok(Some(Arc::new(record)))
    }
}

fn main() {
    let keys = keys();
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let cache = CachedStore::builder(Database)
        .with_capacity(keys as usize * 11 / 10)
        .with_lookup_budget(NonZeroU32::MAX)
        .build();
    let hasher = KeyHasher::sha256();
    let digest = |number: u32| {
        let mut bytes = *hasher.digest(number.to_string()).as_bytes();
        bytes[28..].copy_from_slice(&number.to_be_bytes());
        KeyDigest::from_bytes(bytes)
    };
    runtime.block_on(async {
        // What the process needs anyway.
        for number in 0..1_000 {
            cache.find(&digest(number)).await.unwrap().unwrap();
        }
        let (before, already) = (resident(), cache.stats().entries);
        for number in 0..keys {
            cache.find(&digest(number)).await.unwrap().unwrap();
        }
        let entries = cache.stats().entries - already;
        let bytes = resident().saturating_sub(before);
        println!("{} bytes each for {entries} keys in memory", bytes / entries);
    });
}
