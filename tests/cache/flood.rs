//! Random keys by the thousand, while known keys are served.
//!
//! How fast is for `cargo bench --bench flood` to say. Here it is counted, and one test makes sure
//! that known keys are not slower by whole lookups.

use std::{
    convert::Infallible,
    future::ready,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::Empty;
use tokio::{
    runtime::{Builder, Handle},
    task::JoinSet,
};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_api_key::{
    ApiKeyLayer, KeyFormat, KeyHasher, KeyManager, NewKey, Rejection,
    clock::SettableClock,
    key::{KeyDigest, KeyRecord},
    store::{CachedStore, KeyRepository, KeyStore, MemoryStore, StoreError},
};

use crate::support::{Fixture, NOW, TTL, record};

/// How a request with this key ends: `admitted`, or the code of the denial.
pub(crate) async fn ask(layer: &ApiKeyLayer, key: &str) -> &'static str {
    let inner = service_fn(|_: Request<()>| {
        ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
    });
    let service = ServiceBuilder::new().layer(layer.clone()).service(inner);
    let request = Request::get("/").header("x-api-key", key).body(()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    match response.extensions().get::<Rejection>() {
        Some(rejection) => rejection.kind().code(),
        None => "admitted",
    }
}

const BUDGET: u32 = 500;

/// A layer that knows ten keys, and those keys.
async fn serving(fixture: &Fixture) -> (ApiKeyLayer, Vec<String>) {
    let manager = KeyManager::new(fixture.cache.clone()).with_clock(fixture.clock.clone());
    let layer = manager.layer();
    let mut known = Vec::new();
    for number in 0..10 {
        let issued = manager.create(NewKey::named(format!("key {number}"))).await.unwrap();
        known.push(issued.secret.expose().to_owned());
        assert_eq!(ask(&layer, &known[number]).await, "admitted");
    }
    (layer, known)
}

/// A well-formed key that nobody has issued.
pub(crate) fn random_key() -> String {
    let format = KeyFormat::new("key").unwrap();
    format.generate().unwrap().expose().to_owned()
}

fn fixture() -> Fixture {
    Fixture::with(|cache| cache.with_lookup_budget(NonZeroU32::new(BUDGET).unwrap()))
}

#[tokio::test]
async fn the_store_sees_no_more_than_the_budget_and_known_keys_nothing_of_it() {
    let fixture = fixture();
    let (layer, known) = serving(&fixture).await;
    let (mut unknown, mut overloaded, mut admitted) = (0, 0, 0);
    let before = fixture.store.lookups();
    // Forty seconds, in which every known key goes out of its time.
    for millis in (0..40_000).step_by(10) {
        fixture.at(Duration::from_millis(millis));
        for _ in 0..10 {
            match ask(&layer, &random_key()).await {
                "unknown_key" => unknown += 1,
                "lookup_overloaded" => overloaded += 1,
                other => panic!("{other}"),
            }
        }
        let key = &known[usize::try_from(millis).unwrap() / 10 % known.len()];
        assert_eq!(ask(&layer, key).await, "admitted");
        admitted += 1;
    }
    assert_eq!(unknown + overloaded, 40_000);
    assert_eq!(admitted, 4_000);
    // A second's worth at once, and then what forty seconds bring, but for the last ten
    // milliseconds of them. The ten keys that were looked up before were found.
    let budget = usize::try_from(BUDGET).unwrap();
    assert_eq!(unknown, budget + 40 * budget - budget / 100);
    let for_known = fixture.store.lookups() - before - unknown;
    // Each in the last fifth of its time, which is up to a tenth shorter than the whole.
    assert_eq!(for_known, known.len());
    assert!(Duration::from_secs(40) < 2 * TTL.mul_f64(0.8 * 0.9), "a single time each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_is_with_everybody_at_once() {
    const REQUESTS: usize = 5_000;
    let fixture = fixture();
    let (layer, known) = serving(&fixture).await;
    let before = fixture.store.lookups();
    let mut flood = JoinSet::new();
    for _ in 0..4 {
        let layer = layer.clone();
        flood.spawn(async move {
            let mut overloaded = 0;
            for _ in 0..REQUESTS {
                let outcome = ask(&layer, &random_key()).await;
                assert!(matches!(outcome, "unknown_key" | "lookup_overloaded"), "{outcome}");
                overloaded += usize::from(outcome == "lookup_overloaded");
            }
            overloaded
        });
    }
    for number in 0..REQUESTS {
        assert_eq!(ask(&layer, &known[number % known.len()]).await, "admitted");
    }
    let overloaded: usize = flood.join_all().await.into_iter().sum();
    // The clock stands still: there was one second's worth, and the known keys took nothing of it.
    let budget = usize::try_from(BUDGET).unwrap();
    assert_eq!(fixture.store.lookups() - before, budget);
    assert_eq!(overloaded, 4 * REQUESTS - budget);
}

/// A database that takes two milliseconds.
struct SlowDatabase(MemoryStore);

#[async_trait]
impl KeyStore for SlowDatabase {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.0.find(digest).await
    }
}

const KNOWN: usize = 1_000;

/// What makes this say something about the cache and nothing about the machine:
///
/// - A hit takes microseconds here, and the lookup that a known key must not have to wait for takes
///   two milliseconds. Four times is far from both.
/// - Whoever takes the processor away does so every few milliseconds at most: that is one request
///   among hundreds, and no 99th percentile.
/// - Rounds with and without the flood take turns, and the best of either kind are compared. A
///   machine that is busy with something else may spoil some of them, a cache that lets known keys
///   wait spoils all.
#[test]
fn known_keys_take_no_longer() {
    const ROUNDS: usize = 8;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let _entered = runtime.enter();
    let clock = SettableClock::new(NOW);
    let keys = MemoryStore::new();
    // With room for the known keys, and for a fraction of the unknown ones.
    let cache = CachedStore::builder(SlowDatabase(keys.clone()))
        .with_capacity(2 * KNOWN)
        .with_lookup_budget(NonZeroU32::new(2_000).unwrap())
        .with_clock(clock.clone())
        .build();
    let layer = ApiKeyLayer::new(cache.clone()).with_clock(clock.clone());
    let known = runtime.block_on(async {
        let known: Vec<_> = (0..KNOWN).map(|_| random_key()).collect();
        for key in &known {
            keys.insert(&record(KeyHasher::sha256().digest(key))).await.unwrap();
        }
        let asked = known.iter().map(|key| ask(&layer, key));
        assert!(join_all(asked).await.iter().all(|outcome| *outcome == "admitted"));
        known
    });

    let (mut quiet, mut flooded) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        quiet.push(p99(&layer, &known));
        // A second's worth of the budget for each round; not so long that known keys are looked up
        // again.
        clock.advance(Duration::from_secs(1));
        let misses = cache.stats().misses;
        let flood = Flood::over(&layer);
        flooded.push(p99(&layer, &known));
        flood.end();
        assert!(cache.stats().misses - misses >= 200, "this was no flood");
    }
    let (quiet, flooded) = (quiet.iter().min().unwrap(), flooded.iter().min().unwrap());
    assert!(*flooded <= 4 * *quiet, "{flooded:?}, and {quiet:?} without the flood");
}

/// What 99 of 100 requests with known keys do not exceed, each sent after the other.
fn p99(layer: &ApiKeyLayer, known: &[String]) -> Duration {
    let time = |key: &String| {
        let start = Instant::now();
        assert_eq!(Handle::current().block_on(ask(layer, key)), "admitted");
        start.elapsed()
    };
    let mut times: Vec<_> = known.iter().cycle().take(3 * KNOWN).map(time).collect();
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// Callers who send random keys until it ends.
struct Flood {
    callers: JoinSet<()>,
    is_over: Arc<AtomicBool>,
}

impl Flood {
    /// Begins one, and waits until it is well on its way.
    fn over(layer: &ApiKeyLayer) -> Self {
        const CALLERS: usize = 64;
        let (is_over, unknown) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let caller = || {
            let (layer, is_over, unknown) = (layer.clone(), is_over.clone(), unknown.clone());
            async move {
                while !is_over.load(SeqCst) {
                    if ask(&layer, &random_key()).await == "unknown_key" {
                        unknown.fetch_add(1, SeqCst);
                    }
                    // As a connection does between two requests.
                    tokio::task::yield_now().await;
                }
            }
        };
        let callers = (0..CALLERS).map(|_| caller()).collect();
        while unknown.load(SeqCst) < 200 {
            std::thread::yield_now();
        }
        Self { callers, is_over }
    }

    fn end(self) {
        self.is_over.store(true, SeqCst);
        Handle::current().block_on(self.callers.join_all());
    }
}
