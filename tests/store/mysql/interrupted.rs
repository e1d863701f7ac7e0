//! MySQL cannot take back the making of a table, so a migration that was interrupted is finished.

use tower_api_key::store::{KeyRepository, MySqlStore, StoreErrorKind};

use super::MySql;
use crate::{
    conformance::{full, stored},
    remote::{Remote, Session},
    servers::{Database, Server},
    support::texts,
};

const BEGUN: &str = "
    CREATE TABLE api_keys_schema (version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT);
    INSERT INTO api_keys_schema (version) VALUES (1)";

async fn is_finished(database: &Database, session: &mut impl Session) {
    let store = MySqlStore::connect(database.url()).await.unwrap();
    store.insert(&full(1)).await.unwrap();
    assert_eq!(stored(&store, full(1).id).await, full(1));
    let applied = "SELECT version FROM api_keys_schema WHERE applied_at > 0 ORDER BY version";
    assert_eq!(session.rows(applied).await, ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
}

#[tokio::test]
async fn before_the_table_was_made() {
    let Some(database) = Database::new(Server::MySql).await else { return };
    let mut session = MySql::session(database.url()).await;
    session.run(BEGUN).await.unwrap();
    is_finished(&database, &mut session).await;
}

#[tokio::test]
async fn after_the_table_was_made() {
    let Some(database) = Database::new(Server::MySql).await else { return };
    let mut session = MySql::session(database.url()).await;
    session.run(BEGUN).await.unwrap();
    session.run(FIRST).await.unwrap();
    is_finished(&database, &mut session).await;
}

const FIRST: &str = include_str!("../../../src/store/mysql/1_keys.sql");
const SECOND: &str = include_str!("../../../src/store/mysql/2_management.sql");
const THIRD: &str = include_str!("../../../src/store/mysql/3_credits.sql");
const FOURTH: &str = include_str!("../../../src/store/mysql/4_usage.sql");
const FIFTH: &str = include_str!("../../../src/store/mysql/5_owners.sql");
const SIXTH: &str = include_str!("../../../src/store/mysql/6_requests.sql");
const SEVENTH: &str = include_str!("../../../src/store/mysql/7_needs.sql");
const EIGHTH: &str = include_str!("../../../src/store/mysql/8_heartbeat.sql");
const NINTH: &str = include_str!("../../../src/store/mysql/9_watermarks.sql");

/// A later migration is begun, and its statements were made up to one or another.
#[tokio::test]
async fn between_the_statements_of_an_upgrade() {
    for (number, upgrade) in
        (2..).zip([SECOND, THIRD, FOURTH, FIFTH, SIXTH, SEVENTH, EIGHTH, NINTH])
    {
        let statements: Vec<_> = upgrade.split("\n\n").collect();
        for made in 0..=statements.len() {
            let Some(database) = Database::new(Server::MySql).await else { return };
            let mut session = MySql::session(database.url()).await;
            session.run(BEGUN).await.unwrap();
            for (version, finished) in
                (1..number).zip([FIRST, SECOND, THIRD, FOURTH, FIFTH, SIXTH, SEVENTH, EIGHTH])
            {
                session.run(finished).await.unwrap();
                let sql = format!("UPDATE api_keys_schema SET applied_at = {version}");
                session.run(&format!("{sql} WHERE version = {version}")).await.unwrap();
                let next = version + 1;
                let begun = format!("INSERT INTO api_keys_schema (version) VALUES ({next})");
                session.run(&begun).await.unwrap();
            }
            for statement in &statements[..made] {
                session.run(statement).await.unwrap();
            }
            is_finished(&database, &mut session).await;
        }
    }
}

/// Before anything was begun but the bookkeeping: then a table of that name is not ours.
#[tokio::test]
async fn before_anything_was_begun() {
    let Some(database) = Database::new(Server::MySql).await else { return };
    let mut session = MySql::session(database.url()).await;
    session.run(BEGUN).await.unwrap();
    session.run("DELETE FROM api_keys_schema; CREATE TABLE api_keys (id INT)").await.unwrap();
    let error = MySqlStore::connect(database.url()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert!(texts(&error).contains("a table api_keys already"), "{error:?}");
    session.run("DROP TABLE api_keys").await.unwrap();
    is_finished(&database, &mut session).await;
}

/// The lock is the server's, so it must not be held by a connection that lives on.
#[tokio::test]
async fn no_lock_is_left_behind() {
    let Some((store, database)) = super::open().await else { return };
    let tables = ["keys_1", "keys_2", "keys_1"];
    for table in tables {
        store.clone().with_table(table).unwrap().migrate().await.unwrap();
    }
    let mut session = MySql::session(database.url()).await;
    for table in tables {
        let sql = format!(
            "SELECT is_free_lock(concat('tower-api-key ', sha1(concat(database(), '.', '{table}'))))"
        );
        assert_eq!(session.rows(&sql).await, ["1"]);
    }
}
