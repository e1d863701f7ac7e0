//! Requests a second whose key is looked up in a database, through the layer without a cache and by a
//! query that is written by hand, over the same table and with the same pool.
//!
//! `database [--rounds N] [--json FILE]`. PostgreSQL is the one at `TEST_POSTGRES_URL`, or on this
//! machine; it is given a schema that is dropped again. SQLite is a file.

use std::{
    env, fs,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use http::{Request, StatusCode};
use peers::{
    arguments,
    by_hand::Record,
    inner::{NoOp, take_kept},
    keys::{Keys, layered},
    requests::{Carrier, X_API_KEY, request},
    statistics::median,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::{
    PgPool, Row, SqlitePool,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use subtle::ConstantTimeEq;
use tower_api_key::{
    KeyManager, Timestamp,
    auth::ApiKeyAuth,
    store::{Changes, KeyRepository, PostgresStore, SqliteStore},
};
use tower_layer::Layer;
use tower_service::Service;

type Error = Box<dyn std::error::Error>;

/// Keys in the table.
const KEYS: usize = 10_000;
/// Requests that are under way at a time.
const TASKS: usize = 32;
/// Connections of a pool.
const CONNECTIONS: u32 = 4;
/// How long each way is measured when it has its turn.
const TURN: Duration = Duration::from_millis(700);

fn main() -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let keys = Arc::new(Keys::new(KEYS));
    let rounds = arguments::number("--rounds").unwrap_or(5);
    let mut databases = Vec::new();
    databases.push(runtime.block_on(sqlite(&keys, rounds))?);
    match runtime.block_on(postgres(&keys, rounds)) {
        Ok(figures) => databases.push(figures),
        Err(error) => eprintln!("PostgreSQL is left out: {error}"),
    }
    if let Some(file) = arguments::option("--json") {
        let report = json!({ "rounds": rounds, "tasks": TASKS, "databases": databases });
        fs::write(file, serde_json::to_string_pretty(&report)?)?;
    }
    Ok(())
}

async fn sqlite(keys: &Arc<Keys>, rounds: usize) -> Result<Value, Error> {
    let file = env::temp_dir().join(format!("peers.{}.db", std::process::id()));
    let options = SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal);
    let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS).connect_with(options).await?;
    let store = SqliteStore::from_pool(pool.clone());
    store.migrate().await?;
    fill(&store, keys).await?;
    let figures = compare("SQLite", keys, store, pool.clone(), rounds).await;
    pool.close().await;
    for end in ["", "-wal", "-shm"] {
        drop(fs::remove_file(format!("{}{end}", file.display())));
    }
    figures
}

async fn postgres(keys: &Arc<Keys>, rounds: usize) -> Result<Value, Error> {
    let url = env::var("TEST_POSTGRES_URL");
    let url = url.unwrap_or_else(|_| "postgres://root@127.0.0.1:5432/postgres".to_owned());
    let schema = format!("peers_{}", std::process::id());
    let options: PgConnectOptions = url.parse()?;
    let options = options.options([("search_path", &schema)]);
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect_with(options).await?;
    sqlx::query(sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).execute(&pool).await?;
    let figures = async {
        let store = PostgresStore::from_pool(pool.clone());
        store.migrate().await?;
        fill(&store, keys).await?;
        sqlx::query("ANALYZE api_keys").execute(&pool).await?;
        compare("PostgreSQL", keys, store, pool.clone(), rounds).await
    };
    let figures = figures.await;
    let drop = format!("DROP SCHEMA {schema} CASCADE");
    sqlx::query(sqlx::AssertSqlSafe(drop)).execute(&pool).await?;
    figures
}

async fn fill(store: &impl KeyRepository, keys: &Keys) -> Result<(), Error> {
    let now = Timestamp::from(SystemTime::now());
    let records: Vec<_> = keys.records().values().map(|record| layered(record, now)).collect();
    for records in records.chunks(500) {
        let mut changes = Changes::default();
        changes.inserts = records.to_vec();
        store.apply(&changes).await?;
    }
    Ok(())
}

/// A table of keys that is asked by hand.
trait Table: Clone + Send + Sync + 'static {
    /// The key with this digest.
    fn find(
        &self,
        digest: [u8; 32],
    ) -> impl Future<Output = Result<Option<Record>, sqlx::Error>> + Send;
}

macro_rules! table {
    ($pool:ty, $row:ty, $id:expr, $statement:expr) => {
        impl Table for $pool {
            async fn find(&self, digest: [u8; 32]) -> Result<Option<Record>, sqlx::Error> {
                let query = sqlx::query($statement).bind(&digest[..]);
                let Some(row) = query.fetch_optional(self).await? else { return Ok(None) };
                let id: fn(&$row) -> Result<[u8; 16], sqlx::Error> = $id;
                let scopes: &str = row.try_get(3)?;
                let revoked: Option<i64> = row.try_get(4)?;
                let deleted: Option<i64> = row.try_get(5)?;
                let expires: Option<i64> = row.try_get(6)?;
                let disabled: bool = row.try_get(7)?;
                let after = |millis: i64| Duration::from_millis(millis.unsigned_abs());
                Ok(Some(Record {
                    id: id(&row)?,
                    digest,
                    name: row.try_get(1)?,
                    owner: row.try_get::<Option<String>, _>(2)?.unwrap_or_default(),
                    scopes: serde_json::from_str(scopes)
                        .map_err(|error| sqlx::Error::Decode(error.into()))?,
                    is_revoked: revoked.is_some() || deleted.is_some() || disabled,
                    expires_at: expires.map(|millis| SystemTime::UNIX_EPOCH + after(millis)),
                }))
            }
        }
    };
}

table!(
    SqlitePool,
    sqlx::sqlite::SqliteRow,
    |row| Ok(row.try_get::<&[u8], _>(0)?.try_into().unwrap_or_default()),
    "SELECT id, name, owner, scopes, revoked_at, deleted_at, expires_at, disabled \
        FROM api_keys WHERE digest = ?"
);
table!(
    PgPool,
    sqlx::postgres::PgRow,
    |row| Ok(row.try_get::<&[u8], _>(0)?.try_into().unwrap_or_default()),
    "SELECT uuid_send(id), name, owner, scopes, revoked_at, deleted_at, expires_at, disabled \
        FROM api_keys WHERE digest = $1"
);

/// A check by hand.
#[derive(Clone)]
struct ByHand<T> {
    inner: NoOp,
    table: T,
}

/// A way to answer a request.
trait Way: Clone + Send + 'static {
    /// The status of the answer.
    fn answer(&mut self, request: Request<()>) -> impl Future<Output = StatusCode> + Send;
}

impl<T: Table> Way for ByHand<T> {
    async fn answer(&mut self, mut request: Request<()>) -> StatusCode {
        let Some(key) = request.headers().get(X_API_KEY) else { return StatusCode::UNAUTHORIZED };
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        match self.table.find(digest).await {
            Ok(Some(record)) if bool::from(record.digest.ct_eq(&digest)) && record.is_valid() => {
                request.extensions_mut().insert(Arc::new(record));
                let Ok(response) = self.inner.call(request).await;
                response.status()
            }
            Ok(_) => StatusCode::UNAUTHORIZED,
            Err(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl Way for ApiKeyAuth<NoOp> {
    async fn answer(&mut self, request: Request<()>) -> StatusCode {
        let Ok(response) = self.call(request).await;
        response.status()
    }
}

async fn compare<T: Table>(
    database: &str,
    keys: &Arc<Keys>,
    store: impl KeyRepository,
    table: T,
    rounds: usize,
) -> Result<Value, Error> {
    let inner = NoOp { with_headers: true };
    let by_hand = ByHand { inner, table };
    let layer: ApiKeyAuth<NoOp> = KeyManager::new(store).layer().layer(inner);
    let mut values = Vec::new();
    for outcome in ["valid", "unknown"] {
        let (mut hand, mut ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=rounds {
            let by_hand_rate = rate(keys, outcome, &by_hand).await?;
            let our_rate = rate(keys, outcome, &layer).await?;
            if round > 0 {
                hand.push(by_hand_rate);
                ours.push(our_rate);
                ratios.push(our_rate / by_hand_rate);
            }
        }
        let (hand, ours, ratio) = (median(hand), median(ours), median(ratios));
        println!(
            "{database:10} {outcome:8} by hand {hand:8.0} requests/s, the layer {ours:8.0}, \
             {:5.1} %",
            ratio * 100.0
        );
        values.push(json!({
            "database": database, "outcome": outcome,
            "by_hand": hand, "ours": ours, "ratio": ratio,
        }));
    }
    Ok(Value::from(values))
}

/// Requests a second of many tasks.
async fn rate(keys: &Arc<Keys>, outcome: &'static str, way: &impl Way) -> Result<f64, Error> {
    let end = Arc::new(AtomicBool::new(false));
    let expected = if outcome == "valid" { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
    let start = Instant::now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (keys, end, mut way) = (keys.clone(), end.clone(), way.clone());
            tokio::spawn(async move {
                let mut count = 0_u32;
                let mut next = task * keys.sent().len() / TASKS;
                while !end.load(Ordering::Relaxed) {
                    next = (next + 1) % keys.sent().len();
                    let request = match outcome {
                        "valid" => request(Carrier::Own, Some(&keys.sent()[next])),
                        _ => request(Carrier::Own, Some(&keys.unknown())),
                    };
                    let status = way.answer(request).await;
                    take_kept();
                    assert_eq!(status, expected);
                    count += 1;
                }
                count
            })
        })
        .collect();
    tokio::time::sleep(TURN).await;
    end.store(true, Ordering::Relaxed);
    let mut sum = 0;
    for task in tasks {
        sum += task.await?;
    }
    Ok(f64::from(sum) / start.elapsed().as_secs_f64())
}
