//! Back ends that fall silent under load, with their connections open: what known keys notice of it,
//! and how soon it is over when the back end answers again.
//!
//! `cargo bench --all-features --bench silent [-- limiter redis postgres mysql]`. Takes a minute, and a
//! PostgreSQL, a MariaDB and a Redis, as the tests do. Compare lines of one run.

#![allow(clippy::print_stdout, reason = "that is what a bench is for")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

#[path = "support/mode.rs"]
mod mode;
#[path = "../tests/support/proxy.rs"]
mod proxy;
#[path = "../tests/support/servers.rs"]
mod servers;

use std::{
    convert::Infallible,
    env,
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode};
use proxy::Proxy;
use servers::{Database, Server, unique_name};
use tokio::{
    runtime::Builder,
    time::{MissedTickBehavior, interval, sleep},
};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_api_key::{
    ApiKeyLayer, KeyManager, NewKey, RateLimits,
    limit::{Limit, LimitCheck, LimitDecision, Limits, Quota, RateLimiter, RedisLimiter, Tiers},
    nonzero,
    store::{
        CachedStore, KeyRepository, MemoryStore, MySqlStore, PostgresStore, RedisStore, StoreError,
    },
};

/// Requests under way at most, each a millisecond and its own time after the one before.
const CLIENTS: usize = 16;
const PAUSE: Duration = Duration::from_millis(1);

/// How long a phase is, and how long the breaker may take to open: twice the time that a store may be silent.
fn phase() -> Duration {
    if mode::measures() { Duration::from_secs(5) } else { Duration::from_millis(300) }
}

fn opening() -> Duration {
    if mode::measures() { Duration::from_secs(6) } else { Duration::from_millis(600) }
}

const BACK_ENDS: [&str; 4] = ["limiter", "redis", "postgres", "mysql"];

fn main() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if !mode::measures() {
        // A test of the bench needs no server.
        return runtime.block_on(silent_from_the_start());
    }
    let wanted: Vec<_> = env::args().filter(|name| BACK_ENDS.contains(&&**name)).collect();
    for name in BACK_ENDS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            runtime.block_on(measure(name));
        }
    }
}

/// Tells when the limiter has decided, apart from the layer.
struct Told {
    limiter: RedisLimiter,
    decided: tokio::sync::watch::Sender<Option<Instant>>,
}

#[async_trait]
impl RateLimiter for Told {
    async fn check(&self, check: &LimitCheck<'_>) -> Result<LimitDecision, StoreError> {
        let decision = self.limiter.check(check).await?;
        self.decided.send_replace(Some(Instant::now()));
        Ok(decision)
    }

    fn give_back(&self, check: &LimitCheck<'_>, after: Duration) {
        self.limiter.give_back(check, after);
    }
}

/// Limits that let all in, of every key.
fn limits(limiter: impl RateLimiter) -> RateLimits {
    let many = Limit::new("hour", Quota::per_hour(nonzero!(100_000_000))).unwrap();
    RateLimits::new(limiter).with_tiers(Tiers::new().with_default(Limits::new([many]).unwrap()))
}

/// How long each request took, in microseconds, and with which status they were answered.
#[derive(Default)]
struct Seen {
    times: Vec<u128>,
    good: usize,
    /// 503: it could not be told.
    unavailable: usize,
    wrong: usize,
}

impl Seen {
    fn percentile(&mut self, percent: usize) -> u128 {
        self.times.sort_unstable();
        let place = self.times.len() * percent / 100;
        self.times.get(place.min(self.times.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    fn line(&mut self) -> String {
        let (half, most) = (self.percentile(50), self.percentile(99));
        let Self { good, unavailable, wrong, .. } = self;
        format!(
            "p50 {half:>6} µs  p99 {most:>7} µs  {good:>6} let in, {unavailable:>6} 503, {wrong} wrong"
        )
    }
}

async fn status(layer: &ApiKeyLayer, key: &str) -> StatusCode {
    let inner =
        service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    let request = Request::builder().header("x-api-key", key).body(()).unwrap();
    ServiceBuilder::new().layer(layer).service(inner).oneshot(request).await.unwrap().status()
}

/// Requests with this key for so long.
async fn load(layer: &ApiKeyLayer, key: &str, time: Duration) -> Seen {
    let client = async || {
        let (mut seen, end) = (Seen::default(), Instant::now() + time);
        let mut ticks = interval(PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while Instant::now() < end {
            ticks.tick().await;
            let start = Instant::now();
            let status = status(layer, key).await;
            seen.times.push(start.elapsed().as_micros());
            match status {
                StatusCode::OK => seen.good += 1,
                StatusCode::SERVICE_UNAVAILABLE => seen.unavailable += 1,
                _ => seen.wrong += 1,
            }
        }
        seen
    };
    let mut all = Seen::default();
    for seen in join_all((0..CLIENTS).map(|_| client())).await {
        all.times.extend(seen.times);
        all.good += seen.good;
        all.unavailable += seen.unavailable;
        all.wrong += seen.wrong;
    }
    all
}

/// Normal, silent and back again; `is_back` waits until the back end itself has answered.
async fn phases(
    name: &str,
    layer: &ApiKeyLayer,
    key: &str,
    proxy: &mut Proxy,
    is_back: impl AsyncFn(Instant),
) {
    assert_eq!(status(layer, key).await, StatusCode::OK);
    println!("{name:<26} normal   {}", load(layer, key, phase()).await.line());
    proxy.freeze();
    println!("{name:<26} opening  {}", load(layer, key, opening()).await.line());
    println!("{name:<26} silent   {}", load(layer, key, phase()).await.line());
    proxy.pass();
    let start = Instant::now();
    let back = async {
        is_back(start).await;
        start.elapsed()
    };
    let (mut seen, back) = tokio::join!(load(layer, key, phase()), back);
    println!("{name:<26} back     {}  after {} ms", seen.line(), back.as_millis());
}

/// The time after which a layer without a cache lets this key in.
async fn let_in(layer: &ApiKeyLayer, key: &str) {
    while status(layer, key).await != StatusCode::OK {
        sleep(PAUSE).await;
    }
}

async fn measure(name: &str) {
    match name {
        "limiter" => {
            let Some(url) = Server::Redis.url() else { return };
            let mut proxy = Proxy::before(&url);
            let limiter = RedisLimiter::builder(proxy.url()).with_prefix(&unique_name());
            let (decided, mut told) = tokio::sync::watch::channel(None);
            let limiter = Told { limiter: limiter.connect().await.unwrap(), decided };
            let store = MemoryStore::new();
            let key = issue(&store).await;
            let layer = ApiKeyLayer::new(store).with_rate_limits(limits(limiter));
            let is_back = async |start: Instant| {
                let mut told = told.clone();
                let _ = told.wait_for(|decided| decided.is_some_and(|at| at > start)).await;
            };
            phases("rate limits in Redis", &layer, &key, &mut proxy, is_back).await;
            told.mark_unchanged();
        }
        "redis" => {
            let Some(url) = Server::Redis.url() else { return };
            let mut proxy = Proxy::before(&url);
            let store = RedisStore::new(proxy.url()).unwrap().with_prefix(&unique_name()).unwrap();
            store.migrate().await.unwrap();
            with_store("Redis", store, &mut proxy).await;
        }
        "postgres" => {
            let Some(database) = Database::new(Server::Postgres).await else { return };
            let mut proxy = Proxy::before(database.url());
            let store = PostgresStore::connect(proxy.url()).await.unwrap();
            with_store("PostgreSQL", store, &mut proxy).await;
        }
        _ => {
            let Some(database) = Database::new(Server::MySql).await else { return };
            let mut proxy = Proxy::before(database.url());
            let store = MySqlStore::connect(proxy.url()).await.unwrap();
            with_store("MariaDB", store, &mut proxy).await;
        }
    }
}

/// The same keys behind a cache, and without one.
async fn with_store(name: &str, store: impl KeyRepository + Clone, proxy: &mut Proxy) {
    let key = issue(&store).await;
    let direct = ApiKeyLayer::new(store.clone());
    // So short that keys are looked up again all the time.
    let cache = CachedStore::builder(store.clone()).with_ttl(Duration::from_secs(1)).build();
    let cached = ApiKeyLayer::new(cache);
    let is_back = async |_| let_in(&direct, &key).await;
    phases(&format!("{name}, cached"), &cached, &key, proxy, is_back).await;
    phases(&format!("{name}, without a cache"), &direct, &key, proxy, is_back).await;
    store.close().await;
}

async fn issue(store: &(impl KeyRepository + Clone)) -> String {
    let issued = KeyManager::new(store.clone()).create(NewKey::named("key")).await.unwrap();
    issued.secret.expose().to_owned()
}

/// A limiter that accepts and says nothing from the first request on.
async fn silent_from_the_start() {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let store = MemoryStore::new();
    let key = issue(&store).await;
    let limits = limits(RedisLimiter::new(&url).unwrap());
    let layer = ApiKeyLayer::new(store).with_rate_limits(limits);
    for name in ["opening", "silent"] {
        let mut seen = load(&layer, &key, opening()).await;
        println!("{name:<8} {}", seen.line());
        assert_eq!((seen.unavailable, seen.wrong), (0, 0));
    }
}
