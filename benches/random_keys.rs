//! Lookups of random keys among so many that hardly one is in the processor's caches: a `MemoryStore`
//! and a cache, against a plain map with the same records.
//!
//! `cargo bench --all-features --bench random_keys`, among a million. With a number behind
//! `--`, among as many: ten million take 6 GiB.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]
#![allow(clippy::print_stdout, reason = "that is what it is for")]

#[path = "support/mode.rs"]
mod mode;

use std::{
    collections::HashMap,
    hint::black_box,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio::runtime::Builder;
use tower_api_key::{
    KeyHasher, KeyId, OwnerId, Scopes, Timestamp,
    key::{KeyDigest, KeyRecord, KeyStatus},
    store::{CachedStore, KeyRepository, KeyStore, Lookup, MemoryStore, StoreError},
};

const NOW: Timestamp = Timestamp::from_unix_millis(1_795_392_000_000);

const ROUNDS: usize = 21;

fn keys() -> u32 {
    let asked = std::env::args().find_map(|argument| argument.parse().ok());
    asked.unwrap_or(if mode::measures() { 1_000_000 } else { 2_000 })
}

fn lookups() -> u32 {
    if mode::measures() { 200_000 } else { 1_000 }
}

/// As good as any: SHA-256 of each number, which takes longer than a lookup, stays out of the figures.
fn digest(number: u32) -> KeyDigest {
    KeyHasher::sha256().digest(number.to_be_bytes())
}

fn record(number: u32) -> KeyRecord {
    let (id, name) = (KeyId::generate(NOW).unwrap(), format!("deployment {number:09}"));
    let mut record = KeyRecord::new(id, digest(number), name, NOW);
    record.owner = Some(OwnerId::new(format!("user-{number:07}")));
    record.scopes = Scopes::parse(["orders:read", "stock:write"]).unwrap();
    record
}

/// The store behind the cache: the same records.
struct Behind(MemoryStore);

#[async_trait]
impl KeyStore for Behind {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.0.find(digest).await
    }
}

type Plain = HashMap<[u8; 32], Arc<KeyRecord>>;

fn main() {
    let keys = keys();
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let store = MemoryStore::new();
    let cache = CachedStore::builder(Behind(store.clone()))
        // A cache divides its room evenly, and keys fall where their digests lead them.
        .with_capacity(keys as usize * 11 / 10 + 4_000)
        .with_lookup_budget(NonZeroU32::MAX)
        // Ten million take longer to keep than an entry lives otherwise.
        .with_ttl(Duration::from_hours(24))
        .build();
    let mut plain = Plain::new();
    runtime.block_on(async {
        for number in 0..keys {
            let digest = digest(number);
            store.insert(&record(number)).await.unwrap();
            plain.insert(*digest.as_bytes(), cache.find(&digest).await.unwrap().unwrap());
        }
    });
    let in_plain = |digest: &KeyDigest| plain.get(digest.as_bytes()).cloned();
    let in_store = |digest: &KeyDigest| found(store.find_now(digest));
    let in_cache = |digest: &KeyDigest| found(cache.find_now(digest));
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut times: [Vec<f64>; 3] = Default::default();
    for _ in 0..ROUNDS {
        let digests: Vec<_> = (0..lookups()).map(|_| digest(next(&mut random) % keys)).collect();
        // Each round begins with other keys, so none finds what the one before it has brought.
        let (one, rest) = digests.split_at(digests.len() / 3);
        let (two, three) = rest.split_at(one.len());
        times[0].push(nanos(one, in_plain));
        times[1].push(nanos(two, in_store));
        times[2].push(nanos(&three[..one.len()], in_cache));
    }
    let [plain, store, cache] = times.map(median);
    println!("among {keys} keys, ns a lookup, the median of {ROUNDS} rounds in turns");
    for (place, nanos) in [("a plain map", plain), ("a MemoryStore", store), ("a cache", cache)] {
        println!("  {place:<14} {nanos:6.0}  {:.2} times", nanos / plain);
    }
}

fn found(lookup: Option<Lookup>) -> Option<Arc<KeyRecord>> {
    match lookup {
        Some(Lookup::Found(record)) => Some(record),
        Some(Lookup::NotFound) | None => None,
    }
}

/// How long a lookup takes, and to see that the key may be used.
fn nanos(digests: &[KeyDigest], find: impl Fn(&KeyDigest) -> Option<Arc<KeyRecord>>) -> f64 {
    let start = Instant::now();
    for digest in digests {
        let record = black_box(find(digest)).unwrap();
        assert!(record.digest == *digest && record.status(NOW) == KeyStatus::Active);
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(u32::try_from(digests.len()).unwrap())
}

/// Xorshift, as a number below 2³².
fn next(state: &mut u64) -> u32 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    u32::try_from(*state >> 32).unwrap()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
