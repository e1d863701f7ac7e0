//! Watermarks that have been there for long enough go.

use std::time::Duration;

use tower_api_key::{Timestamp, clock::SettableClock, store::MemoryStore};

use crate::conformance::watermarks::old_ones_are_removed;

#[tokio::test]
async fn of_memory() {
    let clock = SettableClock::new(Timestamp::from_unix_millis(1_795_392_000_000));
    let store = MemoryStore::new().with_clock(clock.clone());
    old_ones_are_removed(&store, async || clock.advance(Duration::from_mins(1))).await;
}

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
const AGE: &str = "UPDATE api_keys_watermarks SET ended_at = ended_at - 60000";

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn of_sqlite() {
    let file = crate::sqlite::File::new();
    let store = file.open().await;
    let mut connection = file.connect().await;
    old_ones_are_removed(&store, async || crate::sqlite::run(&mut connection, AGE).await).await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn of_postgres() {
    use sqlx::Connection;
    let Some((store, database)) = crate::postgres::open().await else { return };
    let mut connection = sqlx::PgConnection::connect(database.url()).await.unwrap();
    let age = async || {
        sqlx::raw_sql(AGE).execute(&mut connection).await.unwrap();
    };
    old_ones_are_removed(&store, age).await;
}

#[cfg(feature = "mysql")]
#[tokio::test]
async fn of_mysql() {
    use sqlx::Connection;
    let Some((store, database)) = crate::mysql::open().await else { return };
    let mut connection = sqlx::MySqlConnection::connect(database.url()).await.unwrap();
    let age = async || {
        sqlx::raw_sql(AGE).execute(&mut connection).await.unwrap();
    };
    old_ones_are_removed(&store, age).await;
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn of_redis() {
    let Some((store, prefix)) = crate::redis::open().await else { return };
    let mut connection = prefix.connect();
    let watermarks = prefix.key("watermarks");
    let age = async || {
        let fields: Vec<String> = crate::redis::run(&mut connection, &["HKEYS", &watermarks]);
        for field in fields {
            let _: u64 = crate::redis::run(&mut connection, &["HSET", &watermarks, &field, "7"]);
        }
    };
    old_ones_are_removed(&store, age).await;
}
