//! Time to spend a credit that this node holds, beside the lookup of its key and beside nothing;
//! and how many leases a second nodes take from SQLite, alone and against each other.
//!
//! `cargo bench --all-features --bench credits`. Compare lines of one run, never of two.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]
#![allow(clippy::print_stdout, reason = "it is what a bench is for")]
#![allow(clippy::cast_precision_loss, reason = "for a rate that people read")]

#[path = "support/mode.rs"]
mod mode;

use std::{
    hint::black_box,
    num::NonZeroU64,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::Criterion;
use tower_api_key::{
    Credits, KeyManager, NewKey,
    credits::{NewCredits, SpendOutcome},
    key::KeyRecord,
    store::{KeyRepository, KeyStore, MemoryStore, SqliteStore},
};

/// Lineages that a node holds credits of.
const LINEAGES: usize = 1_000;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    spends(&runtime);
    runtime.block_on(leases());
}

fn spends(runtime: &tokio::runtime::Runtime) {
    let mut criterion = Criterion::default().configure_from_args();
    let store = MemoryStore::new();
    let plenty = NonZeroU64::new(1 << 40).unwrap();
    let credits = Credits::builder(store.clone()).with_lease(plenty).build().unwrap();
    let keys: Vec<_> = runtime.block_on(async {
        let mut keys = Vec::new();
        for _ in 0..LINEAGES {
            let key = key(&store, 1 << 50).await;
            credits.spend(&key, 1).await.unwrap();
            keys.push(key);
        }
        keys
    });
    let free = runtime.block_on(async {
        KeyManager::new(store.clone()).create(NewKey::named("free")).await.unwrap().record
    });

    let mut group = criterion.benchmark_group("credits");
    let mut line = |name: &str, run: &dyn Fn(&Arc<KeyRecord>)| {
        let mut next = keys.iter().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| run(black_box(next.next().unwrap())));
        });
    };
    line("nothing", &|key| {
        black_box(key);
    });
    line("a lookup of the key", &|key| {
        black_box(store.find_now(&key.digest));
    });
    line("a key that spends none", &|_| {
        black_box(credits.spend_now(&free, 1));
    });
    line("a credit that is held", &|key| {
        black_box(credits.spend_now(key, 1));
    });
    group.finish();
    criterion.final_summary();
}

/// Takes one credit at a time, so that every spend is a lease. SQLite lets one program write at a time,
/// and those that wait for their turn for more than two seconds fail.
async fn leases() {
    let seconds = if mode::measures() { 3.0 } else { 0.1 };
    for nodes in [1, 4, 8] {
        let folder = tempfile::tempdir().unwrap();
        let mut tasks = Vec::new();
        let mut shared = None;
        for _ in 0..nodes {
            let store = SqliteStore::open(folder.path().join("keys.db")).await.unwrap();
            if shared.is_none() {
                shared = Some(key(&store, 1 << 40).await);
            }
            let key = shared.clone().unwrap();
            let credits = Credits::builder(store).with_lease(NonZeroU64::MIN).build().unwrap();
            tasks.push(tokio::spawn(async move {
                let (start, mut count, mut failed) = (Instant::now(), 0_u64, 0_u64);
                while start.elapsed() < Duration::from_secs_f64(seconds) {
                    match credits.spend(&key, 1).await {
                        Ok(spend) => count += u64::from(matches!(spend, SpendOutcome::Done { .. })),
                        Err(_) => failed += 1,
                    }
                }
                (count, failed)
            }));
        }
        let (mut count, mut failed) = (0, 0);
        for task in tasks {
            let (own, own_failed) = task.await.unwrap();
            count += own;
            failed += own_failed;
        }
        let rate = count as f64 / seconds;
        println!(
            "{nodes} nodes on one lineage in SQLite: {rate:.0} leases a second, {failed} failed"
        );
    }
}

async fn key(store: &(impl KeyRepository + Clone), remaining: u64) -> Arc<KeyRecord> {
    let credits = Some(NewCredits { remaining, refill: None });
    let new = NewKey { credits, ..NewKey::named("bench") };
    KeyManager::new(store.clone()).create(new).await.unwrap().record
}
