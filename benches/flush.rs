//! Time to write down the uses of ten thousand busy keys: `cargo bench
//! --all-features --bench flush`. Takes a PostgreSQL and a MySQL that databases can be made in, as
//! the tests do.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]
#![allow(clippy::print_stdout, reason = "that is what it is for")]

#[path = "support/mode.rs"]
mod mode;
#[path = "../tests/support/servers.rs"]
mod servers;

use std::{
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use servers::{Database, Server};
use tower_api_key::{
    KeyId, Timestamp,
    key::{KeyDigest, KeyRecord},
    store::{Changes, KeyRepository, KeyUse, MySqlStore, PostgresStore, SqliteStore},
    usage::{HourlyUsage, UsageOutcome, UsageQuery},
};

const KEYS: usize = 10_000;
/// How many keys are written by one statement.
const BATCHES: [usize; 3] = [1_000, 2_000, 10_000];
const ROUNDS: usize = 15;
const HOUR: i64 = 3_600_000;

#[tokio::main]
async fn main() {
    if !mode::measures() {
        return; // It takes more writes than a test should.
    }
    let directory = tempfile::tempdir().unwrap();
    measure("SQLite", &SqliteStore::open(directory.path().join("keys.db")).await.unwrap()).await;
    if let Some(database) = Database::new(Server::Postgres).await {
        measure("PostgreSQL", &PostgresStore::connect(database.url()).await.unwrap()).await;
    }
    if let Some(database) = Database::new(Server::MySql).await {
        measure("MySQL", &MySqlStore::connect(database.url()).await.unwrap()).await;
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis)
}

/// Ids made at different times sort in no order of what the keys are used for.
fn id(number: u64) -> KeyId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    id[8..].copy_from_slice(&number.to_be_bytes());
    KeyId::from_bytes(id)
}

fn key(number: u64) -> KeyRecord {
    let mut digest = [7; 32];
    digest[..8].copy_from_slice(&number.wrapping_mul(0xbf58_476d_1ce4_e5b9).to_be_bytes());
    let digest = KeyDigest::from_bytes(digest);
    let mut key = KeyRecord::new(id(number), digest, format!("key {number}"), at(0));
    key.owner = Some(owner(number).as_str().into());
    key
}

fn owner(number: u64) -> String {
    format!("user-{}@example.com", number % 1_000)
}

fn uses(round: i64) -> Vec<KeyUse> {
    let key_use = |number: u64| {
        let mut key_use = KeyUse::new(id(number), 5, at(round));
        key_use.last_used_from = Some(IpAddr::V6(Ipv6Addr::from(u128::MAX - u128::from(number))));
        key_use
    };
    (0..KEYS as u64).map(key_use).collect()
}

fn usage(hour: i64) -> Vec<HourlyUsage> {
    let usage = |number| {
        HourlyUsage::new(id(number), at(hour * HOUR), UsageOutcome::Accepted, 5)
            .with_owner(Some(owner(number).as_str().into()))
    };
    (0..KEYS as u64).map(usage).collect()
}

async fn measure(name: &str, store: &impl KeyRepository) {
    for first in (0..KEYS as u64).step_by(1_000) {
        let inserts = (first..first + 1_000).map(key).collect();
        store.apply(&Changes::default().with_inserts(inserts)).await.unwrap();
    }
    let mut hour = 0;
    for batch in BATCHES {
        let (mut used, mut new, mut again) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..(ROUNDS * batch).div_ceil(KEYS) {
            for part in uses(round.try_into().unwrap()).chunks(batch) {
                used.push(timed(store.record_uses(part)).await);
            }
            hour += 1;
            for times in [&mut new, &mut again] {
                for part in usage(hour).chunks(batch) {
                    times.push(timed(store.usage_log().unwrap().record_usage(part)).await);
                }
            }
        }
        for (what, mut times) in
            [("uses", used), ("usage of a new hour", new), ("usage of the same hour", again)]
        {
            times.sort_unstable();
            println!(
                "{name}: {what}, {batch} keys a statement and {} for all: median {:.1?}, longest \
                 {:.1?} of {}",
                KEYS.div_ceil(batch),
                times[times.len() / 2],
                times[times.len() - 1],
                times.len()
            );
        }
    }
    let day = UsageQuery::new(at(0), at(24 * HOUR));
    let began = Instant::now();
    let hours = store.usage_log().unwrap().usage(&day).await.unwrap().len();
    println!("{name}: {hours} sums of all keys' hours in {:.1?}", began.elapsed());
    let began = Instant::now();
    store.usage_log().unwrap().busiest(&day, 100).await.unwrap();
    println!("{name}: the 100 busiest keys in {:.1?}", began.elapsed());
}

async fn timed<T, E: std::fmt::Debug>(call: impl Future<Output = Result<T, E>>) -> Duration {
    let began = Instant::now();
    call.await.unwrap();
    began.elapsed()
}
