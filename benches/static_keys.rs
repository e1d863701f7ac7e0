//! Time per lookup in the stores that answer at once, alone and while another thread looks up, too.
//!
//! `cargo bench --all-features --bench static_keys`. Compare lines of one run, never of two.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

use std::{
    fmt::Write,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use criterion::Criterion;
use tower_api_key::{
    KeyHasher, KeyId, Timestamp,
    key::{KeyDigest, KeyRecord},
    store::{FileStore, FixedStore, KeyRepository, KeyStore, MemoryStore},
};

const KEYS: usize = 100;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let digests: Vec<_> = (0..KEYS).map(|n| KeyHasher::sha256().digest(format!("{n}"))).collect();

    let (mut fixed, memory) = (FixedStore::new(), MemoryStore::new());
    let mut text = String::new();
    for (number, digest) in digests.iter().enumerate() {
        fixed = fixed.with_digest(&format!("key {number}"), *digest).unwrap();
        let id = KeyId::generate(Timestamp::UNIX_EPOCH).unwrap();
        let record = KeyRecord::new(id, *digest, "key", Timestamp::UNIX_EPOCH);
        runtime.block_on(memory.insert(&record)).unwrap();
        writeln!(text, "[[keys]]\ndigest = \"{}\"\nname = \"key {number}\"", digest.to_hex())
            .unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    std::fs::write(&path, text).unwrap();
    let file = runtime.block_on(FileStore::open(path)).unwrap();

    let stores: [(&str, Arc<dyn KeyStore>); 3] = [
        ("FixedStore", Arc::new(fixed)),
        ("FileStore", Arc::new(file)),
        ("MemoryStore", Arc::new(memory)),
    ];
    for others in [0, 1] {
        let mut group = criterion.benchmark_group(format!("find_now beside {others} threads"));
        for (name, store) in &stores {
            let going = AtomicBool::new(true);
            thread::scope(|scope| {
                for _ in 0..others {
                    // Another key, so that what is shared is the store and not the record.
                    let other = digests[KEYS - 1];
                    let going = &going;
                    scope.spawn(move || {
                        while going.load(Ordering::Relaxed) {
                            black_box(store.find_now(&other));
                        }
                    });
                }
                let mut next = digests[..KEYS - 1].iter().cycle();
                group.bench_function(*name, |bencher| {
                    bencher.iter(|| find(&**store, next.next().unwrap()));
                });
                going.store(false, Ordering::Relaxed);
            });
        }
        group.finish();
    }
    criterion.final_summary();
}

#[inline(never)]
fn find(store: &dyn KeyStore, digest: &KeyDigest) {
    black_box(store.find_now(digest));
}
