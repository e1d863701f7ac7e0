//! A key looked up in a table of a thousand rows, and in one of a million: `cargo bench
//! --all-features --bench million`. Takes a PostgreSQL that databases can be made in, as the tests
//! do, and a minute or two.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]
#![allow(clippy::print_stdout, reason = "that is what it is for")]

#[path = "support/mode.rs"]
mod mode;
#[path = "../tests/support/servers.rs"]
mod servers;

use std::{
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

use servers::{Database, Server};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, PgPool, Row, postgres::PgPoolOptions};
use tower_api_key::{
    key::KeyDigest,
    store::{KeyStore, PostgresStore},
};

const FEW: u32 = 1_000;
const MANY: u32 = 1_000_000;
/// Lookups to warm up with, and to measure, of each table.
const WARM_UP: u32 = 2_000;
const LOOKUPS: usize = 20_000;
/// The tables take turns in rounds of so many: other work of the machine slows down both.
const ROUND: usize = 500;

#[tokio::main]
async fn main() {
    if !mode::measures() {
        return; // It takes more rows than a test should.
    }
    let few = Table::new(FEW).await;
    let many = Table::new(MANY).await;
    let (Some(mut few), Some(mut many)) = (few, many) else { return };
    for table in [&mut few, &mut many] {
        table.look_up(WARM_UP as usize).await;
        table.times.clear();
    }
    for _ in 0..LOOKUPS / ROUND {
        few.look_up(ROUND).await;
        many.look_up(ROUND).await;
    }
    let (short, long) = (few.report(), many.report());
    println!("a million rows take {:.2} times as long", long.as_secs_f64() / short.as_secs_f64());
    println!("\n{}", many.plan().await);
}

/// A database with so many keys.
struct Table {
    store: PostgresStore,
    /// The store's only connection.
    pool: PgPool,
    _database: Database,
    rows: u32,
    times: Vec<Duration>,
    random: RandomState,
    next: u64,
}

impl Table {
    /// `None` when PostgreSQL is left out.
    async fn new(rows: u32) -> Option<Self> {
        let database = Database::new(Server::Postgres).await?;
        let pool = PgPoolOptions::new().max_connections(1).test_before_acquire(false);
        let pool = pool.connect(database.url()).await.unwrap();
        let store = PostgresStore::from_pool(pool.clone());
        store.migrate().await.unwrap();
        // The keys are not those of a secret, but their digests are as evenly spread.
        let insert = format!(
            "INSERT INTO api_keys (id, digest, start, name, owner, created_at, updated_at) \
             SELECT gen_random_uuid(), sha256(i::text::bytea), 'key_Ab3d', 'key ' || i, \
                 'owner ' || (i % 10000), 1795392000000 + i, 1795392000000 + i \
             FROM generate_series(0, {rows} - 1) AS i"
        );
        let began = Instant::now();
        database.run(&insert).await;
        // As autovacuum would have, sooner or later and in the middle of the measurement.
        database.run("VACUUM ANALYZE api_keys").await;
        println!("{rows} rows inserted in {:.1?}", began.elapsed());
        let (times, random) = (Vec::new(), RandomState::new());
        Some(Self { store, pool, _database: database, rows, times, random, next: 0 })
    }

    /// The digest of one of the keys, any.
    fn any_digest(&mut self) -> KeyDigest {
        self.next += 1;
        let key = self.random.hash_one(self.next) % u64::from(self.rows);
        KeyDigest::from_bytes(Sha256::digest(key.to_string()).into())
    }

    /// Looks up so many keys, one after the other.
    async fn look_up(&mut self, count: usize) {
        for _ in 0..count {
            let digest = self.any_digest();
            let began = Instant::now();
            let found = self.store.find(&digest).await.unwrap();
            self.times.push(began.elapsed());
            assert_eq!(found.unwrap().digest, digest);
        }
    }

    /// Says how long lookups took, and returns the median.
    fn report(&mut self) -> Duration {
        self.times.sort_unstable();
        let at = |percent: usize| self.times[self.times.len() * percent / 100];
        println!(
            "{:>9} rows: median {:.1?}, 90 % within {:.1?}, 99 % within {:.1?}; {} lookups",
            self.rows,
            at(50),
            at(90),
            at(99),
            self.times.len()
        );
        at(50)
    }

    /// The server's plan for the store's statement, as it has prepared it.
    async fn plan(&mut self) -> String {
        let digest = self.any_digest().to_hex();
        let mut connection = self.pool.acquire().await.unwrap();
        let find = "SELECT name FROM pg_prepared_statements WHERE statement LIKE '%digest = $1%'";
        let find = sqlx::raw_sql(find).fetch_one(&mut *connection).await.unwrap();
        let find: String = find.get(0);
        let explain = format!("EXPLAIN (ANALYZE) EXECUTE {find}('\\x{digest}')");
        let explain = sqlx::raw_sql(AssertSqlSafe(explain));
        let lines = explain.fetch_all(&mut *connection).await.unwrap();
        let lines = lines.iter().map(|line| line.get::<String, _>(0));
        lines.collect::<Vec<_>>().join("\n")
    }
}
