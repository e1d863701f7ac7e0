//! Good keys that come for the first time during a flood of random keys, at 30 times the lookup budget:
//! how many get in within two seconds, with and without the filter of known digests, and what known
//! keys notice of it, and in how many statements they were looked up. And what it takes to load the filter.
//!
//! `cargo bench --all-features --bench flood_cold [-- memory sqlite postgres redis]`, and with `alone`
//! a statement for each lookup. Takes some minutes,
//! and a PostgreSQL and a Redis, as the tests do. Compare lines of one run.

#![allow(clippy::print_stdout, reason = "that is what a bench is for")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]
#![allow(clippy::cast_precision_loss, reason = "figures for the reader")]

#[path = "support/mode.rs"]
mod mode;
#[path = "../tests/support/servers.rs"]
mod servers;

use std::{
    env,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::future::join_all;
use servers::{Database, Server, unique_name};
use tokio::{
    runtime::{Builder, Handle},
    time::sleep,
};
use tower_api_key::{
    KeyId, Timestamp,
    key::{KeyDigest, KeyRecord},
    store::{
        CachedStore, Changes, DigestCursor, KeyRepository, KeyStore, KnownDigests, LookupHint,
        MemoryStore, PostgresStore, RedisStore, SqliteStore, StoreError,
    },
};

const BUDGET: u64 = 1_000;
/// Random keys a second: thirty times the budget. An unoptimized build could not send so many.
fn rate() -> f64 {
    (if mode::measures() { 30 * BUDGET } else { BUDGET }) as f64
}

/// Good keys in the store: those that are known before the flood, and those that come in it.
const KNOWN: u64 = 1_000;
const COLD: u64 = 200;
/// How long a cold key has to get in, and how long it waits between two tries.
const PATIENT: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(250);

fn keys_to_load(store: &str) -> u64 {
    match store {
        _ if !mode::measures() => 2_000,
        // A gigabyte there.
        "redis" => 200_000,
        _ => 1_000_000,
    }
}

/// A store that hides its digests or lists them, and counts what it was asked for.
#[derive(Clone)]
struct Counted {
    store: Arc<dyn KeyRepository>,
    lists: bool,
    takes: Duration,
    /// Digests that it was asked for, and statements.
    asked: Arc<AtomicU64>,
    statements: Arc<AtomicU64>,
    not_found: Arc<AtomicU64>,
    listed: Arc<AtomicU64>,
}

#[async_trait]
impl KeyStore for Counted {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.find_many(&[*digest]).await.remove(0)
    }

    async fn find_many(
        &self,
        digests: &[KeyDigest],
    ) -> Vec<Result<Option<Arc<KeyRecord>>, StoreError>> {
        if !self.takes.is_zero() {
            sleep(self.takes).await;
        }
        let found = self.store.find_many(digests).await;
        let not_found = found.iter().filter(|answer| matches!(answer, Ok(None))).count();
        self.not_found.fetch_add(not_found as u64, Relaxed);
        self.asked.fetch_add(digests.len() as u64, Relaxed);
        self.statements.fetch_add(1, Relaxed);
        found
    }

    fn max_batch(&self) -> usize {
        if env::args().any(|argument| argument == "alone") { 1 } else { self.store.max_batch() }
    }

    fn known_digests(&self) -> Option<&dyn KnownDigests> {
        self.lists.then_some(self)
    }
}

#[async_trait]
impl KnownDigests for Counted {
    async fn count(&self) -> Result<u64, StoreError> {
        self.store.known_digests().unwrap().count().await
    }

    async fn page(
        &self,
        after: Option<DigestCursor>,
        limit: usize,
    ) -> Result<(Vec<KeyDigest>, Option<DigestCursor>), StoreError> {
        let page = self.store.known_digests().unwrap().page(after, limit).await?;
        self.listed.fetch_add(page.0.len() as u64, Relaxed);
        Ok(page)
    }

    async fn added(
        &self,
        after: KeyId,
        limit: usize,
    ) -> Result<Vec<(KeyId, KeyDigest)>, StoreError> {
        self.store.known_digests().unwrap().added(after, limit).await
    }
}

/// As random as any: of a counter, by splitmix64.
fn digest(number: u64) -> KeyDigest {
    let mut bytes = [0; 32];
    for (index, chunk) in (0_u64..).zip(bytes.as_chunks_mut::<8>().0) {
        let mut word = (4 * number + index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        *chunk = (word ^ (word >> 31)).to_le_bytes();
    }
    KeyDigest::from_bytes(bytes)
}

/// Adds the keys of these numbers.
async fn fill(store: &dyn KeyRepository, numbers: std::ops::Range<u64>) {
    let now = Timestamp::from_unix_millis(1_795_392_000_000);
    let numbers: Vec<u64> = numbers.collect();
    for numbers in numbers.chunks(250) {
        let key = |number: &u64| {
            KeyRecord::new(KeyId::generate(now).unwrap(), digest(*number), "key", now)
        };
        let records: Vec<_> = numbers.iter().map(key).collect();
        store.apply(&Changes::default().with_inserts(records)).await.unwrap();
    }
}

fn main() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let names = ["memory", "sqlite", "postgres", "redis"];
    let wanted: Vec<String> = env::args().filter(|name| names.contains(&&**name)).collect();
    for name in names {
        // A test of the bench needs no server.
        let is_wanted = if mode::measures() {
            wanted.is_empty() || wanted.iter().any(|wanted| wanted == name)
        } else {
            name == "memory"
        };
        if is_wanted {
            runtime.block_on(with_store(name));
        }
    }
}

async fn with_store(name: &str) {
    let directory = tempfile::tempdir().unwrap();
    let mut database = None;
    let mut prefix = None;
    let (store, takes): (Arc<dyn KeyRepository>, _) = match name {
        "memory" => (Arc::new(MemoryStore::new()), Duration::from_millis(1)),
        "sqlite" => {
            let store = SqliteStore::open(directory.path().join("keys.db")).await.unwrap();
            (Arc::new(store), Duration::ZERO)
        }
        "postgres" => {
            let Some(made) = Database::new(Server::Postgres).await else { return };
            let store = PostgresStore::connect(made.url()).await.unwrap();
            database = Some(made);
            (Arc::new(store), Duration::ZERO)
        }
        _ => {
            let Some(url) = Server::Redis.url() else { return };
            let name = unique_name();
            let store = RedisStore::new(&url).unwrap().with_prefix(&name).unwrap();
            store.migrate().await.unwrap();
            prefix = Some((url, name));
            (Arc::new(store), Duration::ZERO)
        }
    };
    fill(&*store, 0..KNOWN + 4 * COLD).await;
    let counted = |lists| Counted {
        store: store.clone(),
        lists,
        takes,
        asked: Arc::default(),
        statements: Arc::default(),
        not_found: Arc::default(),
        listed: Arc::default(),
    };
    let mut cold = KNOWN;
    for lists in [false, true] {
        for networks in [1, 10_000] {
            flood(name, &counted(lists), networks, cold..cold + COLD).await;
            cold += COLD;
        }
    }
    load(name, &store, counted(true)).await;
    store.close().await;
    drop(database);
    if let Some((url, name)) = prefix {
        let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
        let keys: Vec<String> =
            redis::cmd("KEYS").arg(format!("{{{name}}}:*")).query(&mut connection).unwrap();
        redis::cmd("DEL").arg(keys).exec(&mut connection).unwrap();
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(if mode::measures() { seconds } else { seconds / 20.0 })
}

async fn flood(name: &str, store: &Counted, networks: u64, cold: std::ops::Range<u64>) {
    let cache = CachedStore::new(store.clone());
    for number in 0..KNOWN {
        assert!(cache.find(&digest(number)).await.unwrap().is_some());
    }
    while store.lists && cache.stats().filter_keys.is_none() {
        sleep(Duration::from_millis(10)).await;
    }
    // The same generator, where the requests go nowhere.
    let bare = Flood::over(None, networks);
    sleep(seconds(1.0)).await;
    let control = p99(&cache, seconds(2.0)).await;
    bare.end().await;

    let flood = Flood::over(Some(cache.clone()), networks);
    // A second's worth of the budget is gone.
    sleep(seconds(2.0)).await;
    let (before, not_found) = (Instant::now(), store.not_found.load(Relaxed));
    let (asked, statements) = (store.asked.load(Relaxed), store.statements.load(Relaxed));
    let cold = tokio::spawn(join_all(cold.map(|number| {
        let cache = cache.clone();
        tokio::spawn(async move {
            sleep(seconds(4.0).mul_f64(number as f64 % COLD as f64 / COLD as f64)).await;
            let (start, mut first) = (Instant::now(), true);
            while start.elapsed() < PATIENT {
                let hint = LookupHint::new().with_address(Some(IpAddr::from([192, 0, 2, 1])));
                if matches!(cache.find_for(&digest(number), hint).await, Ok(Some(_))) {
                    return (true, first);
                }
                first = false;
                sleep(AGAIN).await;
            }
            (false, false)
        })
    })));
    let flooded = p99(&cache, seconds(4.0)).await;
    let cold: Vec<_> = cold.await.unwrap().into_iter().map(Result::unwrap).collect();
    let took = before.elapsed().as_secs_f64();
    let not_found = store.not_found.load(Relaxed) - not_found;
    let asked = store.asked.load(Relaxed) - asked;
    let statements = store.statements.load(Relaxed) - statements;
    let sent = flood.end().await;
    let count = |is: fn(&(bool, bool)) -> bool| cold.iter().filter(|one| is(one)).count();
    println!(
        "{name}, {}, {networks} networks: {} of {} good keys in within 2 s, {} at the first try; known \
         keys' p99 {flooded:.1?}, {control:.1?} in the control; {sent:.0} random keys a second, {:.0} \
         of them looked up; {asked} lookups in {statements} statements, {:.1} in each; {} listed were \
         shed",
        if store.lists { "filter" } else { "no filter" },
        count(|one| one.0),
        cold.len(),
        count(|one| one.1),
        not_found as f64 / took,
        asked as f64 / statements as f64,
        cache.stats().shed_listed,
    );
}

/// The 99th percentile of requests with known keys, on a thread of their own.
async fn p99(cache: &CachedStore<Counted>, during: Duration) -> Duration {
    let (cache, runtime) = (cache.clone(), Handle::current());
    let times = thread::spawn(move || {
        let (mut times, start) = (Vec::new(), Instant::now());
        for number in (0..KNOWN).cycle() {
            let sent = Instant::now();
            assert!(runtime.block_on(cache.find(&digest(number))).unwrap().is_some());
            times.push(sent.elapsed());
            if start.elapsed() >= during {
                break;
            }
            thread::sleep(Duration::from_micros(50));
        }
        times.sort_unstable();
        times[times.len() * 99 / 100]
    });
    tokio::task::spawn_blocking(|| times.join().unwrap()).await.unwrap()
}

/// Random keys at a fixed rate, each by a task of its own, whatever becomes of the others. A thread
/// sends a few at a time: tokio's timers go by the millisecond, which brings tokens between two of
/// them.
struct Flood {
    thread: thread::JoinHandle<f64>,
    is_over: Arc<AtomicBool>,
}

impl Flood {
    fn over(cache: Option<CachedStore<Counted>>, networks: u64) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1 << 40);
        const TICK: Duration = Duration::from_micros(50);
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, runtime) = (is_over.clone(), Handle::current());
        let thread = thread::spawn(move || {
            let (start, mut sent) = (Instant::now(), 0_u64);
            while !over.load(Relaxed) {
                thread::sleep(TICK);
                // Looked at for each key: a generator that cannot keep up must still end.
                while !over.load(Relaxed) && (sent as f64) < start.elapsed().as_secs_f64() * rate()
                {
                    sent += 1;
                    let number = NEXT.fetch_add(1, Relaxed);
                    let network = u32::try_from(number % networks).unwrap();
                    let address = IpAddr::from((0x0a00_0000 + (network << 8)).to_be_bytes());
                    let (cache, digest) = (cache.clone(), digest(number));
                    runtime.spawn(async move {
                        let hint = LookupHint::new().with_address(Some(address));
                        match cache {
                            Some(cache) => drop(cache.find_for(&digest, hint).await),
                            None => _ = std::hint::black_box((digest, hint)),
                        }
                    });
                }
            }
            sent as f64 / start.elapsed().as_secs_f64()
        });
        Self { thread, is_over }
    }

    async fn end(self) -> f64 {
        self.is_over.store(true, Relaxed);
        tokio::task::spawn_blocking(|| self.thread.join().unwrap()).await.unwrap()
    }
}

/// Loads the filter, and says how long that took.
async fn load(name: &str, store: &Arc<dyn KeyRepository>, counted: Counted) {
    let keys = keys_to_load(name);
    fill(&**store, 1 << 50..(1 << 50) + keys - KNOWN - 4 * COLD).await;
    let cache = CachedStore::new(counted.clone());
    cache.find(&digest(0)).await.unwrap();
    while counted.listed.load(Relaxed) == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    let start = Instant::now();
    while cache.stats().filter_keys.is_none() {
        sleep(Duration::from_millis(1)).await;
    }
    let took = start.elapsed().as_secs_f64();
    let stats = cache.stats();
    // In hexadecimal there.
    let bytes = counted.listed.load(Relaxed) * if name == "redis" { 64 } else { 32 };
    let ten_million = took * 1e7 / keys as f64;
    println!(
        "{name}: {keys} digests of {bytes} bytes loaded in {took:.2} s, into {} bytes: {:.2} a key; ten \
         million would take {ten_million:.0} s",
        stats.filter_bytes,
        stats.filter_bytes as f64 / keys as f64,
    );
}
