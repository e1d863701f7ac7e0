//! A flood of distinct, well-formed random keys while known keys are served: its effect on the
//! store and on the known keys.
//!
//! `cargo bench --all-features --bench flood`. Takes a minute. Compare lines of one run.

#![allow(clippy::print_stdout, reason = "that is what a bench is for")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

#[path = "support/mode.rs"]
mod mode;

use std::{
    convert::Infallible,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::runtime::{Builder, Handle};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_api_key::{
    ApiKeyLayer, KeyFormat, KeyHasher, KeyId, Rejection, RejectionKind, Timestamp,
    key::{KeyDigest, KeyRecord},
    store::{CachedStore, KeyRepository, KeyStore, MemoryStore, StoreError},
};

const KNOWN: usize = 1_000;
const BUDGET: u32 = 1_000;
/// Clients that send unknown keys, one request after the other.
const CALLERS: usize = 64;

fn phase() -> Duration {
    if mode::measures() { Duration::from_secs(30) } else { Duration::from_millis(100) }
}

/// Short, so that known keys are looked up again during the flood.
const TTL: Duration = Duration::from_secs(5);

/// A database that takes a millisecond, and counts how often it finds a key and how often none.
#[derive(Clone, Default)]
struct Database {
    keys: MemoryStore,
    found: Arc<AtomicU64>,
    not_found: Arc<AtomicU64>,
}

#[async_trait]
impl KeyStore for Database {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let found = self.keys.find(digest).await?;
        if found.is_some() { &self.found } else { &self.not_found }.fetch_add(1, Relaxed);
        Ok(found)
    }
}

fn main() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _entered = runtime.enter();
    let database = Database::default();
    let cache = CachedStore::builder(database.clone())
        .with_ttl(TTL)
        .with_lookup_budget(NonZeroU32::new(BUDGET).unwrap())
        .build();
    let format = KeyFormat::new("key").unwrap();
    let layer = ApiKeyLayer::new(cache.clone()).with_formats([format.clone()]);
    let known: Vec<_> = (0..KNOWN).map(|_| random_key(&format)).collect();
    runtime.block_on(async {
        let now = Timestamp::from_unix_millis(1_795_392_000_000);
        for key in &known {
            let digest = KeyHasher::sha256().digest(key);
            let record = KeyRecord::new(KeyId::generate(now).unwrap(), digest, "known", now);
            database.keys.insert(&record).await.unwrap();
            assert_eq!(ask(&layer, key).await, None);
        }
    });

    println!("{KNOWN} known keys, one request after the other:");
    let alone = known_keys(&layer, &known);
    println!("  without the flood  {alone}");

    let is_over = Arc::new(AtomicBool::new(false));
    let found = database.found.load(Relaxed);
    let start = Instant::now();
    let flood: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (layer, format, is_over) = (layer.clone(), format.clone(), is_over.clone());
            runtime.spawn(async move {
                let mut requests = 0_u64;
                while !is_over.load(Relaxed) {
                    let kind = ask(&layer, &random_key(&format)).await.unwrap();
                    assert!(matches!(kind, RejectionKind::Unknown | RejectionKind::Overloaded));
                    requests += 1;
                }
                requests
            })
        })
        .collect();
    let flooded = known_keys(&layer, &known);
    println!("  with the flood     {flooded}");
    is_over.store(true, Relaxed);
    let requests: u64 = runtime.block_on(async {
        let mut sum = 0;
        for task in flood {
            sum += task.await.unwrap();
        }
        sum
    });
    let seconds = start.elapsed().as_secs_f64();
    let budget = f64::from(BUDGET) * (seconds + 1.0);
    println!("the flood: {requests} requests in {seconds:.1} s, {} shed", cache.stats().shed);
    println!(
        "the store: {} lookups of unknown keys, budget {budget:.0} with a second's worth at once; \
         {} of known keys",
        database.not_found.load(Relaxed),
        database.found.load(Relaxed) - found,
    );
    println!("p99 of known keys: {:.2} times", flooded.p99 / alone.p99);
}

fn random_key(format: &KeyFormat) -> String {
    format.generate().unwrap().expose().to_owned()
}

/// Why a request with this key was denied, if it was.
async fn ask(layer: &ApiKeyLayer, key: &str) -> Option<RejectionKind> {
    let inner = service_fn(|_: Request<()>| {
        std::future::ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
    });
    let service = ServiceBuilder::new().layer(layer.clone()).service(inner);
    let request = Request::get("/").header("x-api-key", key).body(()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    response.extensions().get().map(Rejection::kind)
}

/// How long requests took, in nanoseconds.
struct Latencies {
    count: usize,
    p50: f64,
    p99: f64,
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { count, p50, p99 } = self;
        write!(f, "{count} admitted, none refused; p50 {p50:.0} ns, p99 {p99:.0} ns")
    }
}

/// Requests with known keys for a while, on a thread of their own. Every one must be admitted.
fn known_keys(layer: &ApiKeyLayer, known: &[String]) -> Latencies {
    let runtime = Handle::current();
    let mut times = thread::scope(|scope| {
        let requests = scope.spawn(|| {
            let _entered = runtime.enter();
            let (mut times, start) = (Vec::new(), Instant::now());
            let phase = phase();
            for key in known.iter().cycle() {
                let sent = Instant::now();
                assert_eq!(runtime.block_on(ask(layer, key)), None);
                times.push(u32::try_from(sent.elapsed().as_nanos()).unwrap_or(u32::MAX));
                if start.elapsed() >= phase {
                    break;
                }
            }
            times
        });
        requests.join().unwrap()
    });
    times.sort_unstable();
    let at = |share: usize| f64::from(times[times.len() * share / 100]);
    Latencies { count: times.len(), p50: at(50), p99: at(99) }
}
