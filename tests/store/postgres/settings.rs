//! Databases that are set up in another way than usual.

use sqlx::{PgPool, postgres::PgConnectOptions};
use tokio::task::JoinSet;
use tower_api_key::store::{
    ApplyOutcome, KeyRepository, KeyStore, KeyUse, PostgresStore, StoreErrorKind,
};

use super::Postgres;
use crate::{
    conformance::{at, digest, full, record, record_at, stored},
    remote::{Remote, Session},
    servers::{Database, Server},
};

/// Applications with a schema for each tenant: the tables are made where the `search_path` begins,
/// also when there are others of that name further on.
#[tokio::test]
async fn each_schema_has_tables_of_its_own() {
    let Some((public, database)) = super::open().await else { return };
    let mut session = Postgres::session(database.url()).await;
    session.run("CREATE SCHEMA tenant").await.unwrap();
    let options: PgConnectOptions = database.url().parse().unwrap();
    let options = options.options([("search_path", "tenant,public")]);
    let tenant = PostgresStore::from_pool(PgPool::connect_with(options).await.unwrap());
    tenant.migrate().await.unwrap();

    public.insert(&full(1)).await.unwrap();
    tenant.insert(&full(2)).await.unwrap();
    assert!(tenant.find(&digest(1)).await.unwrap().is_none());
    assert!(public.find(&digest(2)).await.unwrap().is_none());
    assert_eq!(session.rows("SELECT count(*) FROM tenant.api_keys").await, ["1"]);
}

/// Where every statement is serializable, those that collide are errors, and are tried again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serializable_transactions_lose_nothing() {
    for level in ["repeatable read", "serializable"] {
        let Some(database) = Database::new(Server::Postgres).await else { return };
        let name = database.name();
        let sql = format!("ALTER DATABASE {name} SET default_transaction_isolation = '{level}'");
        database.administer(&sql).await;

        let mut nodes = JoinSet::new();
        for node in 0..4_u64 {
            let url = database.url().to_owned();
            nodes.spawn(async move {
                // A connection of the store's own is not set up so.
                let store = Postgres::from_pool(&url).await;
                store.migrate().await.unwrap();
                // Whoever comes first makes it.
                if let Err(error) = store.insert(&record(1)).await {
                    assert_eq!(error.kind(), StoreErrorKind::Duplicate, "{error:?}");
                }
                let mut done = 0;
                for round in 0..10 {
                    let key_use = KeyUse::new(record(1).id, 1, at(1));
                    store.record_uses(&[key_use]).await.unwrap();
                    let (old, mut edited) = (record_at(1, round), record_at(1, round + 1));
                    edited.name = format!("{node} in round {round}").into();
                    done +=
                        u64::from(store.update(&old, &edited).await.unwrap() == ApplyOutcome::Done);
                }
                (store, done)
            });
        }
        let nodes = nodes.join_all().await;
        let key = stored(&nodes[0].0, record(1).id).await;
        assert_eq!(key.use_count, 40);
        assert_eq!(nodes.iter().map(|(_, done)| done).sum::<u64>(), key.revision);
    }
}

/// A limit that the administrator has set.
#[tokio::test]
async fn a_statement_that_the_server_ends_is_a_timeout() {
    let Some(database) = Database::new(Server::Postgres).await else { return };
    let sql = format!("ALTER DATABASE {} SET statement_timeout = '100ms'", database.name());
    database.administer(&sql).await;
    let store = PostgresStore::connect(database.url()).await.unwrap();
    store.insert(&record(1)).await.unwrap();
    let mut other = Postgres::session(database.url()).await;
    other.run(Postgres::LOCK).await.unwrap();
    let error = store.find(&digest(1)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Timeout, "{error:?}");
    other.run("ROLLBACK").await.unwrap();
    assert_eq!(store.find(&digest(1)).await.unwrap().as_deref(), Some(&record(1)));
}

/// What is up to date is used as it is, without the right to change it.
#[tokio::test]
async fn a_database_that_may_only_be_read_can_be_opened() {
    let Some((store, database)) = super::open().await else { return };
    store.insert(&record(1)).await.unwrap();
    let sql = format!("ALTER DATABASE {} SET default_transaction_read_only = on", database.name());
    database.administer(&sql).await;
    let reader = PostgresStore::connect(database.url()).await.unwrap();
    assert_eq!(reader.find(&digest(1)).await.unwrap().as_deref(), Some(&record(1)));
    let error = reader.insert(&record(2)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
}
