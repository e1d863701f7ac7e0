//! A list of a million keys, page by page: `cargo bench --all-features --bench list_million`. Takes
//! a PostgreSQL that databases can be made in, as the tests do, and a minute or two.
//!
//! Pages are found by key and not counted off, so the last costs as much as the first, and memory
//! holds one page at a time.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]
#![allow(clippy::print_stdout, reason = "that is what it is for")]

#[path = "support/memory.rs"]
mod memory;
#[path = "support/mode.rs"]
mod mode;
#[path = "../tests/support/servers.rs"]
mod servers;

use std::time::{Duration, Instant};

use memory::resident;
use servers::{Database, Server};
use tower_api_key::{
    KeyManager,
    store::{KeyQuery, PostgresStore},
};

const ROWS: usize = 1_000_000;
const PER_PAGE: usize = 100;
/// Pages at each end whose times are compared, by their medians.
const SOME: usize = 500;

#[tokio::main]
async fn main() {
    if !mode::measures() {
        return; // It takes more rows than a test should.
    }
    let Some(database) = Database::new(Server::Postgres).await else { return };
    let store = PostgresStore::connect(database.url()).await.unwrap();
    fill(&database).await;
    let manager = KeyManager::new(store);
    // Connections, statements and the server's own memory: what is measured is a list and not the
    // first one.
    for _ in 0..SOME {
        manager.list(&KeyQuery::new(PER_PAGE)).await.unwrap();
    }

    let (mut query, mut listed, mut last) = (KeyQuery::new(PER_PAGE), 0, None);
    let (mut times, mut memory) = (Vec::with_capacity(ROWS / PER_PAGE), Vec::new());
    loop {
        let began = Instant::now();
        let page = manager.list(&query).await.unwrap();
        times.push(began.elapsed());
        for record in page.items {
            assert!(last.is_none_or(|last| record.id < last), "twice, or out of order");
            last = Some(record.id);
            listed += 1;
        }
        if times.len() % 1_000 == 0 {
            memory.push(resident() / 1_024);
        }
        let Some(next) = page.next else { break };
        query = query.after(next);
    }
    assert_eq!(listed, ROWS);

    let pages = times.len();
    let (first, rest) = (median(&times[..SOME]), median(&times[pages - SOME..]));
    println!("{pages} pages of {PER_PAGE} keys in {:.1?}", times.iter().sum::<Duration>());
    println!("pages 1 to {SOME}: {first:.1?} each; the last {SOME}: {rest:.1?} each");
    println!("the last pages take {:.2} times as long", rest.as_secs_f64() / first.as_secs_f64());
    let (early, late) = (memory.first().unwrap(), memory.last().unwrap());
    println!("memory of the process: {early} KiB after 1000 pages, {late} KiB after {pages}");
}

/// The keys, with ids of rising times as the manager makes them.
async fn fill(database: &Database) {
    let insert = format!(
        "INSERT INTO api_keys (id, digest, start, name, owner, created_at, updated_at) \
         SELECT (lpad(to_hex(1795392000000 + i), 12, '0') || '7000' || \
                 substr(md5(i::text), 1, 16))::uuid, \
             sha256(i::text::bytea), 'key_Ab3d', 'key ' || i, \
             'owner ' || (i % 10000), 1795392000000 + i, 1795392000000 + i \
         FROM generate_series(0, {ROWS} - 1) AS i"
    );
    let began = Instant::now();
    database.run(&insert).await;
    // As autovacuum would have, sooner or later and in the middle of the measurement.
    database.run("VACUUM ANALYZE api_keys").await;
    println!("{ROWS} rows inserted in {:.1?}", began.elapsed());
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
}
