//! Requests whose key is not in memory: their time over a store that answers at once, and how many a
//! second there are over a database, against a query written by hand with the same pool.
//!
//! `cargo bench --all-features --bench misses [-- instant sqlite postgres]`. Takes two minutes, and a
//! PostgreSQL, as the tests do. Compare lines of one run.

#![allow(clippy::print_stdout, reason = "that is what a bench is for")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]
#![allow(clippy::cast_precision_loss, reason = "figures for the reader")]

#[path = "support/mode.rs"]
mod mode;
#[path = "../tests/support/servers.rs"]
mod servers;

use std::{
    collections::HashMap,
    convert::Infallible,
    env,
    future::{Ready, ready},
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use servers::{Database, Server};
use sha2::{Digest, Sha256};
use sqlx::{
    AssertSqlSafe, PgPool, SqlitePool,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};
use tokio::runtime::Builder;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_api_key::{
    ApiKeyLayer, KeyFormat, KeyHasher, KeyId, Scopes, Timestamp, async_trait,
    auth::{FailureThrottle, ResponseBody},
    key::{KeyDigest, KeyRecord},
    limit::Quota,
    nonzero,
    store::{
        CachedStore, Changes, KeyRepository, KeyStore, MemoryStore, PostgresStore, SqliteStore,
        StoreError,
    },
};

/// Requests that wait at a time.
const TASKS: [usize; 2] = [64, 1];

/// Connections of a pool: the default of sqlx.
const CONNECTIONS: u32 = 10;

/// For each task that waits at a time.
fn keys(tasks: usize) -> usize {
    match (mode::measures(), tasks) {
        (false, _) => 100,
        (true, 1) => 2_000,
        (true, _) => 10_000,
    }
}

fn rounds() -> usize {
    if mode::measures() { 9 } else { 1 }
}

fn main() {
    let wanted: Vec<String> = env::args().collect();
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let names = ["instant", "sqlite", "postgres"];
    let is_wanted = |name: &str| wanted.iter().any(|wanted| wanted == name);
    for name in names {
        // A test of the bench needs no server.
        let is_wanted = if names.iter().any(|name| is_wanted(name)) {
            is_wanted(name)
        } else {
            mode::measures() || name != "postgres"
        };
        match name {
            _ if !is_wanted => {}
            "instant" => runtime.block_on(async { tokio::spawn(instant()).await.unwrap() }),
            "sqlite" => runtime.block_on(sqlite()),
            _ => runtime.block_on(postgres()),
        }
    }
}

/// A key, as a caller sends it, and its record.
fn key() -> (String, KeyRecord) {
    let format = KeyFormat::new("key").unwrap();
    let key = format.generate().unwrap().expose().to_owned();
    let now = Timestamp::from(SystemTime::now());
    let digest = KeyHasher::sha256().digest(&key);
    let mut record = KeyRecord::new(KeyId::generate(now).unwrap(), digest, "CI of the shop", now);
    record.start = key[..8].into();
    record.owner = Some("acme".into());
    record.scopes = Scopes::parse(["orders:read", "orders:write"]).unwrap();
    (key, record)
}

fn request(key: &str) -> Request<()> {
    Request::get("/v1/orders").header("x-api-key", key).body(()).unwrap()
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

// A store that answers at once

/// A store of an application's own that answers in its first poll.
#[derive(Clone)]
struct Instantly(Arc<HashMap<[u8; 32], Arc<KeyRecord>>>);

#[async_trait]
impl KeyStore for Instantly {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        Ok(self.0.get(digest.as_bytes()).cloned())
    }
}

type Inner = Response<Full<Bytes>>;

fn no_op(_: Request<()>) -> Ready<Result<Inner, Infallible>> {
    ready(Ok(Response::new(Full::default())))
}

type Make<'m> = Box<dyn Fn() -> ApiKeyLayer + Send + Sync + 'm>;

/// In a task of a runtime with two threads, as servers have it: each key once, one after the other.
async fn instant() {
    let keys: Vec<_> = (0..if mode::measures() { 5_000 } else { 100 }).map(|_| key()).collect();
    let memory = MemoryStore::new();
    for (_, record) in &keys {
        memory.insert(record).await.unwrap();
    }
    let records = keys.iter().map(|(_, record)| {
        let record = Arc::new(record.clone());
        (*record.digest.as_bytes(), record)
    });
    let own = Instantly(Arc::new(records.collect()));
    let throttled = |store| {
        let layer = ApiKeyLayer::new(store).with_client_address(|_| Some([192, 0, 2, 1].into()));
        let throttle = FailureThrottle::new(Quota::per_minute(nonzero!(20)));
        layer.with_failure_throttle(throttle).unwrap()
    };
    let cached = || CachedStore::new(memory.clone());
    let variants: Vec<(&str, Make<'_>)> = vec![
        ("a store in memory, as `find_now`", Box::new(|| ApiKeyLayer::new(memory.clone()))),
        ("a store of one's own, in its first poll", Box::new(|| ApiKeyLayer::new(own.clone()))),
        ("the same, with a throttle", Box::new(|| throttled(own.clone()))),
        ("a cache, empty, over a store in memory", Box::new(|| ApiKeyLayer::new(cached()))),
        (
            "the same, over a store of one's own",
            Box::new(|| ApiKeyLayer::new(CachedStore::new(own.clone()))),
        ),
    ];
    let mut bare = Vec::new();
    let mut times = vec![Vec::new(); variants.len()];
    for _ in 0..rounds() {
        bare.push(
            each(service_fn(no_op).map_response(|r: Inner| r.map(ResponseBody::from)), &keys).await,
        );
        for ((_, layer), times) in variants.iter().zip(&mut times) {
            times.push(each(layer().layer(service_fn(no_op)), &keys).await);
        }
    }
    let bare = median(bare);
    println!("a request with a key for the first time, over the bare service ({bare:.0} ns):");
    for ((name, _), times) in variants.iter().zip(times) {
        println!("  {name:42} {:8.0} ns", median(times) - bare);
    }
}

/// Nanoseconds for each of these keys.
async fn each<S>(mut service: S, keys: &[(String, KeyRecord)]) -> f64
where
    S: Service<Request<()>, Response = Response<ResponseBody<Full<Bytes>>>, Error = Infallible>,
{
    let requests: Vec<_> = keys.iter().map(|(key, _)| request(key)).collect();
    // Freeing is not what is measured.
    let mut responses = Vec::with_capacity(requests.len());
    let start = Instant::now();
    for request in requests {
        responses.push(service.ready().await.unwrap().call(request).await.unwrap());
    }
    let nanos = start.elapsed().as_nanos() as f64 / keys.len() as f64;
    assert!(responses.iter().all(|response| response.status() == StatusCode::OK));
    nanos
}

// A database

/// A pool, and a table beside ours that a careful engineer would make.
#[derive(Clone)]
enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// The query by hand: the columns that a request needs, by their position.
const BY_HAND: &str = "SELECT id, name, owner, scopes, disabled, expires_at, revoked_at \
    FROM hand_written WHERE digest = $1";

type Row = (Vec<u8>, String, Option<String>, String, bool, Option<i64>, Option<i64>);

/// The caller, for the service inside the middleware by hand.
#[derive(Clone)]
#[allow(dead_code, reason = "nobody reads it here")]
struct Caller {
    id: Vec<u8>,
    name: String,
    owner: Option<String>,
    scopes: Vec<String>,
}

impl Pool {
    /// Copies our keys into a table for the query by hand.
    async fn copy(&self) {
        let (bytes, id) = match self {
            Self::Sqlite(_) => ("blob", "id"),
            Self::Postgres(_) => ("bytea", "uuid_send(id)"),
        };
        let sql = format!(
            "CREATE TABLE hand_written (id {bytes} PRIMARY KEY, digest {bytes} NOT NULL UNIQUE, \
                 name text NOT NULL, owner text, scopes text NOT NULL, disabled boolean NOT NULL, \
                 created_at bigint NOT NULL, expires_at bigint, revoked_at bigint); \
             INSERT INTO hand_written SELECT {id}, digest, name, owner, 'orders:read orders:write', \
                 disabled, created_at, expires_at, revoked_at FROM api_keys; \
             ANALYZE"
        );
        let sql = AssertSqlSafe(sql);
        match self {
            Self::Sqlite(pool) => drop(sqlx::raw_sql(sql).execute(pool).await.unwrap()),
            Self::Postgres(pool) => drop(sqlx::raw_sql(sql).execute(pool).await.unwrap()),
        }
    }

    async fn find(&self, digest: &[u8]) -> sqlx::Result<Option<Row>> {
        match self {
            Self::Sqlite(pool) => sqlx::query_as(BY_HAND).bind(digest).fetch_optional(pool).await,
            Self::Postgres(pool) => sqlx::query_as(BY_HAND).bind(digest).fetch_optional(pool).await,
        }
    }

    /// The middleware by hand.
    async fn answer(&self, mut request: Request<()>) -> Inner {
        let denied = |status| {
            let mut response = Response::new(Full::default());
            *response.status_mut() = status;
            response
        };
        let Some(key) = request.headers().get("x-api-key") else {
            return denied(StatusCode::UNAUTHORIZED);
        };
        let digest = Sha256::digest(key.as_bytes());
        let row = match self.find(&digest).await {
            Ok(Some(row)) => row,
            Ok(None) => return denied(StatusCode::UNAUTHORIZED),
            Err(_) => return denied(StatusCode::SERVICE_UNAVAILABLE),
        };
        let (id, name, owner, scopes, disabled, expires_at, revoked_at) = row;
        let now = Timestamp::from(SystemTime::now()).as_unix_millis();
        if disabled || revoked_at.is_some() || expires_at.is_some_and(|end| end <= now) {
            return denied(StatusCode::UNAUTHORIZED);
        }
        let scopes = scopes.split(' ').map(str::to_owned).collect();
        request.extensions_mut().insert(Caller { id, name, owner, scopes });
        no_op(black_box(request)).await.unwrap()
    }
}

async fn sqlite() {
    let directory = tempfile::tempdir().unwrap();
    for tests in [true, false] {
        let options = SqliteConnectOptions::new()
            .filename(directory.path().join(format!("{tests}.db")))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal);
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS);
        let pool = pool.test_before_acquire(tests).connect_with(options).await.unwrap();
        let store = SqliteStore::from_pool(pool.clone());
        store.migrate().await.unwrap();
        compare("SQLite", tests, &Pool::Sqlite(pool), store).await;
    }
}

async fn postgres() {
    for tests in [true, false] {
        let Some(database) = Database::new(Server::Postgres).await else { return };
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS);
        let pool = pool.test_before_acquire(tests).connect(database.url()).await.unwrap();
        let store = PostgresStore::from_pool(pool.clone());
        store.migrate().await.unwrap();
        compare("PostgreSQL", tests, &Pool::Postgres(pool), store).await;
    }
}

async fn compare<S>(name: &str, tests: bool, pool: &Pool, store: S)
where
    S: KeyRepository + Clone,
{
    let keys: Vec<_> = (0..keys(2)).map(|_| key()).collect();
    for keys in keys.chunks(500) {
        let records = keys.iter().map(|(_, record)| record.clone());
        store.apply(&Changes::default().with_inserts(records.collect::<Vec<_>>())).await.unwrap();
    }
    pool.copy().await;
    let keys: Arc<[String]> = keys.into_iter().map(|(key, _)| key).collect();
    println!(
        "{name}, a pool of {CONNECTIONS} connections{}:",
        if tests { ", which tests them before use" } else { "" }
    );
    for tasks in TASKS {
        let keys: Arc<[String]> = keys.iter().take(self::keys(tasks)).cloned().collect();
        let [mut by_hand, mut uncached, mut cached] = [const { Vec::new() }; 3];
        for _ in 0..rounds() {
            let rate = {
                let pool = pool.clone();
                rate(tasks, &keys, move |request| {
                    let pool = pool.clone();
                    async move { pool.answer(request).await.status() }
                })
                .await
            };
            by_hand.push(rate);
            uncached.push(through(ApiKeyLayer::new(store.clone()), tasks, &keys).await / rate);
            let cache = CachedStore::new(store.clone());
            cached.push(through(ApiKeyLayer::new(cache.clone()), tasks, &keys).await / rate);
            assert_eq!(cache.stats().misses, keys.len() as u64);
        }
        println!(
            "  {tasks:2} at a time: by hand {:6.0} a second; the store {:.2} times that, behind a \
             cache without the keys {:.2} times",
            median(by_hand),
            median(uncached),
            median(cached),
        );
    }
}

async fn through(layer: ApiKeyLayer, tasks: usize, keys: &Arc<[String]>) -> f64 {
    let service = layer.layer(service_fn(no_op));
    rate(tasks, keys, move |request| {
        let mut service = service.clone();
        async move { service.ready().await.unwrap().call(request).await.unwrap().status() }
    })
    .await
}

/// Requests a second, each key once.
async fn rate<F>(
    tasks: usize,
    keys: &Arc<[String]>,
    send: impl Fn(Request<()>) -> F + Clone + Send + 'static,
) -> f64
where
    F: Future<Output = StatusCode> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let (next, keys, send) = (next.clone(), keys.clone(), send.clone());
            tokio::spawn(async move {
                while let Some(key) = keys.get(next.fetch_add(1, Relaxed)) {
                    assert_eq!(send(request(key)).await, StatusCode::OK);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let rate = keys.len() as f64 / start.elapsed().as_secs_f64();
    // What was given back is back.
    tokio::time::sleep(Duration::from_millis(5)).await;
    rate
}
