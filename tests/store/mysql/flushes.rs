//! What the server is asked to do when uses are written. That is the same for every SQL database;
//! MySQL is the one that counts it.

use sqlx::{MySqlPool, Row, mysql::MySqlPoolOptions};
use tower_api_key::{
    store::{Changes, KeyRepository, KeyUse, MySqlStore, UsageLog},
    usage::{HourlyUsage, UsageOutcome},
};

use crate::{
    conformance::{at, record, stored},
    servers::{Database, Server},
};

/// How many prepared statements the pool's only connection has run.
async fn executed(pool: &MySqlPool) -> u64 {
    let status = sqlx::raw_sql("SHOW SESSION STATUS LIKE 'Com_stmt_execute'");
    let status = status.fetch_one(pool).await.unwrap();
    status.try_get_unchecked::<String, _>(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn ten_thousand_busy_keys_take_few_statements() {
    const KEYS: u64 = 10_000;
    const BATCH: usize = 2_000;
    let Some(database) = Database::new(Server::MySql).await else { return };
    let pool = MySqlPoolOptions::new().max_connections(1).connect(database.url()).await.unwrap();
    let store = MySqlStore::from_pool(pool.clone());
    store.migrate().await.unwrap();
    let inserts = (0..KEYS).map(record).collect();
    store.apply(&Changes::default().with_inserts(inserts)).await.unwrap();
    let uses: Vec<_> = (0..KEYS)
        .map(|number| {
            let mut key_use = KeyUse::new(record(number).id, 3, at(7));
            key_use.last_used_from =
                Some("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap());
            key_use
        })
        .collect();
    let usage: Vec<_> = (0..KEYS)
        .map(|number| {
            HourlyUsage::new(record(number).id, at(0), UsageOutcome::Accepted, 3)
                .with_owner(Some("Ω".repeat(255).as_str().into()))
        })
        .collect();

    let before = executed(&pool).await;
    for part in uses.chunks(BATCH) {
        store.record_uses(part).await.unwrap();
    }
    for part in usage.chunks(BATCH) {
        store.record_usage(part).await.unwrap();
    }
    assert_eq!(executed(&pool).await - before, 10);
    assert_eq!(stored(&store, record(KEYS - 1).id).await.use_count, 3);
}
