//! Tables of our own, beside those of others.

use sqlx::SqliteConnection;
use tokio::task::JoinSet;
use tower_api_key::{
    ConfigError,
    key::EventQuery,
    store::{
        AuditLog, BalanceStore, KeyRepository, KeyStore, SqliteStore, StoreErrorKind, UsageLog,
    },
    usage::UsageQuery,
};

use super::{File, number, run, schema, texts};
use crate::{
    conformance::{at, digest, full, record, stored},
    first_version::{hex_of, of_first_version},
};

/// What an application has in the same file: its tables, its migrations, its version number.
const APPLICATION: &str = "
    CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT);
    INSERT INTO users VALUES (1, 'anna');
    CREATE INDEX users_name ON users (name);
    CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, checksum BLOB NOT NULL);
    INSERT INTO _sqlx_migrations VALUES (20260101, x'00ff');
    PRAGMA user_version = 42;
    PRAGMA application_id = 7;
";

async fn state_of_application(connection: &mut SqliteConnection) -> (Vec<String>, [i64; 4]) {
    let mut schema = schema(connection).await;
    schema.retain(|entry| !entry.contains("api_keys"));
    let numbers = [
        number(connection, "SELECT count(*) FROM users WHERE name = 'anna'").await,
        number(connection, "SELECT sum(version) FROM _sqlx_migrations").await,
        number(connection, "PRAGMA user_version").await,
        number(connection, "PRAGMA application_id").await,
    ];
    (schema, numbers)
}

#[tokio::test]
async fn the_applications_own_tables_are_left_alone() {
    let file = File::new();
    let mut connection = file.connect().await;
    run(&mut connection, APPLICATION).await;
    let before = state_of_application(&mut connection).await;

    let store = file.open().await;
    store.insert(&record(1)).await.unwrap();
    store.close().await;

    assert_eq!(state_of_application(&mut connection).await, before);
    assert_eq!(before.1, [1, 20_260_101, 42, 7]);
}

#[tokio::test]
async fn a_second_migration_changes_nothing() {
    let file = File::new();
    let store = file.open().await;
    store.insert(&full(1)).await.unwrap();
    let mut connection = file.connect().await;
    let (before, applied) = (
        schema(&mut connection).await,
        number(&mut connection, "SELECT sum(applied_at) FROM api_keys_schema").await,
    );

    store.migrate().await.unwrap();
    SqliteStore::from_pool(file.pool().await).migrate().await.unwrap();

    assert_eq!(schema(&mut connection).await, before);
    assert_eq!(number(&mut connection, "SELECT count(*) FROM api_keys_schema").await, 8);
    let sum = "SELECT sum(applied_at) FROM api_keys_schema";
    assert_eq!(number(&mut connection, sum).await, applied);
    assert_eq!(store.find(&digest(1)).await.unwrap().as_deref(), Some(&full(1)));
}

/// As several processes do that start together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_can_open_one_new_file_at_once() {
    for _ in 0..5 {
        let file = File::new();
        let mut opened = JoinSet::new();
        for number in 0..8 {
            let path = file.path.clone();
            opened.spawn(async move {
                let store = SqliteStore::open(path).await.unwrap();
                store.insert(&record(number)).await.unwrap();
                store
            });
        }
        for store in opened.join_all().await {
            for number in 0..8 {
                assert!(store.find(&digest(number)).await.unwrap().is_some());
            }
            store.close().await;
        }
        let mut connection = file.connect().await;
        assert_eq!(number(&mut connection, "SELECT count(*) FROM api_keys_schema").await, 8);
    }
}

#[tokio::test]
async fn the_keys_of_an_older_schema_are_kept() {
    let file = File::new();
    let mut connection = file.connect().await;
    run(&mut connection, include_str!("../../../src/store/sqlite/1_keys.sql")).await;
    let bookkeeping = "
        CREATE TABLE api_keys_schema
            (version INTEGER NOT NULL PRIMARY KEY, applied_at INTEGER NOT NULL) STRICT;
        INSERT INTO api_keys_schema VALUES (1, 1)";
    run(&mut connection, bookkeeping).await;
    let (values, first) = of_first_version(1);
    let mut second = record(2);
    (second.name, second.created_at, second.updated_at) = ("partner".into(), at(0), at(0));
    for record in [&first, &second] {
        let (id, digest) = hex_of(record);
        let row = format!(
            "INSERT INTO api_keys (id, digest, name, created_at, updated_at)
             VALUES (x'{id}', x'{digest}', 'partner', 0, 0)"
        );
        run(&mut connection, &row).await;
    }
    let id = hex_of(&first).0;
    run(&mut connection, &format!("UPDATE api_keys SET {values} WHERE id = x'{id}'")).await;

    let store = file.open().await;
    assert_eq!(stored(&store, first.id).await, first);
    assert_eq!(stored(&store, second.id).await, second);
    store.insert(&full(3)).await.unwrap();
    assert_eq!(stored(&store, full(3).id).await, full(3));
    assert_eq!(number(&mut connection, "SELECT max(version) FROM api_keys_schema").await, 8);
}

/// What the second version had besides: rotations and the audit log.
#[tokio::test]
async fn the_keys_and_events_of_the_second_schema_are_kept() {
    let file = File::new();
    let mut connection = file.connect().await;
    let (values, mut old) = of_first_version(1);
    old.details.rotation.lineage = Some(old.id);
    old.details.rotation.retires_at = Some(at(9));
    let (id, digest) = hex_of(&old);
    let rows = format!(
        "CREATE TABLE api_keys_schema
            (version INTEGER NOT NULL PRIMARY KEY, applied_at INTEGER NOT NULL) STRICT;
        INSERT INTO api_keys_schema VALUES (1, 1), (2, 2);
        INSERT INTO api_keys (id, digest, name, created_at, updated_at, lineage, retires_at)
            VALUES (x'{id}', x'{digest}', 'partner', 0, 0, x'{id}', 9);
        UPDATE api_keys SET {values};
        INSERT INTO api_keys_events (id, at, action, key_id)
            VALUES (x'{id}', 1, 'created', x'{id}')"
    );
    let first = include_str!("../../../src/store/sqlite/1_keys.sql");
    for sql in [first, include_str!("../../../src/store/sqlite/2_management.sql"), &rows] {
        run(&mut connection, sql).await;
    }

    let store = file.open().await;
    assert_eq!(stored(&store, old.id).await, old);
    let events = store.events(&EventQuery::new(10)).await.unwrap().items;
    assert_eq!(events.iter().map(|event| event.key).collect::<Vec<_>>(), [Some(old.id)]);
    assert_eq!(store.balances(&[old.id]).await.unwrap().items, []);
    let ever = UsageQuery::new(at(i64::MIN), at(i64::MAX));
    assert_eq!(store.usage(&ever).await.unwrap(), []);
    assert_eq!(number(&mut connection, "SELECT max(version) FROM api_keys_schema").await, 8);
}

#[tokio::test]
async fn somebody_elses_table_beside_it_is_refused() {
    for table in ["api_keys_events", "api_keys_credits", "api_keys_usage"] {
        let file = File::new();
        let mut connection = file.connect().await;
        run(&mut connection, &format!("CREATE TABLE {table} (name TEXT)")).await;
        let before = schema(&mut connection).await;
        let error = SqliteStore::open(&file.path).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        assert!(texts(&error).contains(&format!("a table {table} already")), "{error:?}");
        assert_eq!(schema(&mut connection).await, before);
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let file = File::new();
    file.open().await.close().await;
    let mut connection = file.connect().await;
    run(&mut connection, "INSERT INTO api_keys_schema VALUES (1000, 0)").await;
    let before = schema(&mut connection).await;

    let error = SqliteStore::open(&file.path).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert!(texts(&error).contains("the table api_keys has schema version 1000"), "{error:?}");
    assert_eq!(schema(&mut connection).await, before);
}

#[tokio::test]
async fn somebody_elses_table_of_that_name_is_refused() {
    for theirs in [
        "CREATE TABLE api_keys (id INTEGER PRIMARY KEY, secret TEXT)",
        "CREATE TABLE API_KEYS (id INTEGER PRIMARY KEY, secret TEXT)",
        "CREATE TABLE users (id INTEGER); CREATE VIEW api_keys AS SELECT id FROM users",
    ] {
        let file = File::new();
        let mut connection = file.connect().await;
        run(&mut connection, theirs).await;
        let before = schema(&mut connection).await;

        let error = SqliteStore::open(&file.path).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        assert!(texts(&error).contains("a table api_keys already"), "{error:?}");
        assert_eq!(schema(&mut connection).await, before);

        // There is room for both.
        let store = SqliteStore::from_pool(file.pool().await).with_table("partner_keys").unwrap();
        store.migrate().await.unwrap();
        store.insert(&full(1)).await.unwrap();
        assert_eq!(store.find(&digest(1)).await.unwrap().as_deref(), Some(&full(1)));
    }
}

/// A table `api_keys_schema` that is not ours says nothing about versions.
#[tokio::test]
async fn somebody_elses_bookkeeping_is_refused() {
    let file = File::new();
    let mut connection = file.connect().await;
    run(&mut connection, "CREATE TABLE api_keys_schema (name TEXT)").await;
    let before = schema(&mut connection).await;
    let error = SqliteStore::open(&file.path).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert_eq!(schema(&mut connection).await, before);
}

#[tokio::test]
async fn stores_with_different_tables_are_separate() {
    let file = File::new();
    let pool = file.pool().await;
    let longest = "a".repeat(48);
    // A keyword, capitals, the longest.
    let names = ["api_keys", "order", "_Keys2", &longest];
    for (number, name) in (1..).zip(names) {
        let store = SqliteStore::from_pool(pool.clone()).with_table(name).unwrap();
        store.migrate().await.unwrap();
        store.migrate().await.unwrap();
        store.insert(&record(number)).await.unwrap();
        for other in 1..=7 {
            let found = store.find(&digest(other)).await.unwrap();
            assert_eq!(found.is_some(), other == number, "key {other} in table {name}");
        }
    }
}

#[tokio::test]
async fn bad_table_names_are_refused() {
    let store = SqliteStore::in_memory().await.unwrap();
    let long = "a".repeat(49);
    for name in ["", "1keys", "api-keys", "api keys", "main.keys", "keys\"; --", "schlüssel", &long]
    {
        let refused = store.clone().with_table(name);
        assert_eq!(refused.unwrap_err(), ConfigError::TableName, "{name:?}");
    }
}

#[tokio::test]
async fn a_store_that_was_not_migrated_says_so() {
    let file = File::new();
    let store = SqliteStore::from_pool(file.pool().await);
    let error = store.find(&digest(1)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert!(texts(&error).contains("no such table: api_keys"), "{error:?}");
    store.migrate().await.unwrap();
    assert!(store.find(&digest(1)).await.unwrap().is_none());
}
