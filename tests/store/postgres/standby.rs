//! Servers that copy another one. They may not know yet that a key was revoked.

use sqlx::PgPool;
use tower_api_key::store::{KeyRepository, KeyStore, PostgresStore, StoreErrorKind};

use super::Postgres;
use crate::{
    conformance::{digest, record},
    own::OwnServer,
    proxy::Proxy,
    remote::{Remote, Session},
    servers::Server,
    support::texts,
};

#[tokio::test]
async fn a_standby_is_not_asked() {
    if Server::Postgres.url().is_none() {
        return;
    }
    let mut primary = OwnServer::start(Server::Postgres).expect("the programs of PostgreSQL");
    let name = Proxy::before(&primary.url());
    let store = PostgresStore::connect(name.url()).await.unwrap();
    store.insert(&record(1)).await.unwrap();
    let standby = primary.start_standby(&[]);

    let error = PostgresStore::connect(&standby.url()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(texts(&error).contains("standby"), "{error:?}");
    // The tables are there, and a pool of the application's would read them.
    let pool = PgPool::connect(&standby.url()).await.unwrap();
    let error = PostgresStore::from_pool(pool).migrate().await.unwrap_err();
    assert!(texts(&error).contains("standby"), "{error:?}");

    // The primary is gone, and its name leads to the standby before that takes over.
    name.lead_to(&standby.url());
    primary.kill();
    for _ in 0..2 {
        let kind = store.find(&digest(1)).await.unwrap_err().kind();
        assert!(matches!(kind, StoreErrorKind::Timeout | StoreErrorKind::Unavailable), "{kind:?}");
    }
    let mut session = Postgres::session(&standby.url()).await;
    assert_eq!(session.rows("SELECT pg_promote()::text").await, ["true"]);
    assert_eq!(store.find(&digest(1)).await.unwrap().as_deref(), Some(&record(1)));
    store.insert(&record(2)).await.unwrap();
}
