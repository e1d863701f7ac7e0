//! Poolers that give out connections by transaction, such as PgBouncer: a connection has statements
//! that another client prepared, and lacks those that this one did.

use sqlx::{
    Executor, PgPool,
    postgres::{PgConnection, PgPoolOptions},
    raw_sql,
};
use tower_api_key::store::{KeyStore, PostgresStore, StoreError, StoreErrorKind};

use crate::{
    conformance::digest,
    servers::{Database, Server},
    support::texts,
};

#[track_caller]
fn assert_pooler(error: &StoreError, code: &str) {
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    let texts = texts(error);
    assert!(texts.contains("PgBouncer") && texts.contains(code), "{texts}");
}

#[tokio::test]
async fn statements_of_another_client_are_named() {
    let Some(database) = Database::new(Server::Postgres).await else { return };
    PostgresStore::connect(database.url()).await.unwrap();
    let pool = PgPoolOptions::new().after_connect(|connection: &mut PgConnection, _| {
        // What sqlx calls the first statement of every connection.
        let prepare = connection.execute(raw_sql("PREPARE sqlx_s_1 AS SELECT 1"));
        Box::pin(async move { prepare.await.map(drop) })
    });
    let store = PostgresStore::from_pool(pool.connect(database.url()).await.unwrap());
    assert_pooler(&store.migrate().await.unwrap_err(), "42P05");
    assert_pooler(&store.find(&digest(1)).await.unwrap_err(), "42P05");
}

#[tokio::test]
async fn statements_that_are_gone_are_named() {
    let Some(database) = Database::new(Server::Postgres).await else { return };
    PostgresStore::connect(database.url()).await.unwrap();
    let pool = PgPoolOptions::new().max_connections(1);
    let pool: PgPool = pool.connect(database.url()).await.unwrap();
    let store = PostgresStore::from_pool(pool.clone());
    assert!(store.find(&digest(1)).await.unwrap().is_none());
    pool.execute(raw_sql("DEALLOCATE ALL")).await.unwrap();
    assert_pooler(&store.find(&digest(1)).await.unwrap_err(), "26000");
}
