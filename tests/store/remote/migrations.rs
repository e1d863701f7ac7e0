//! Tables of our own, beside those of others.

use tokio::task::JoinSet;
use tower_api_key::{
    ConfigError,
    key::EventQuery,
    store::{KeyRepository, KeyStore, StoreErrorKind},
    usage::UsageQuery,
};

use super::{Remote, Session, open, schema, session};
use crate::{
    conformance::{at, digest, full, record, stored},
    first_version::{hex_of, of_first_version},
    servers::Database,
    support::texts,
};

/// What an application has in the same database: its tables, and its migrations.
const APPLICATION: &str = "
    CREATE TABLE users (id BIGINT PRIMARY KEY, name VARCHAR(40));
    INSERT INTO users VALUES (1, 'anna');
    CREATE INDEX users_name ON users (name);
    CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description VARCHAR(40) NOT NULL);
    INSERT INTO _sqlx_migrations VALUES (20260101, 'users');
";

async fn state_of_application<R: Remote>(session: &mut R::Session) -> Vec<String> {
    let mut state = schema::<R>(session).await;
    state.retain(|entry| !entry.contains("api_keys"));
    state.extend(session.rows("SELECT name FROM users").await);
    state.extend(session.rows("SELECT version FROM _sqlx_migrations").await);
    state
}

pub(crate) async fn the_applications_own_tables_are_left_alone<R: Remote>(database: &Database) {
    let mut session = session::<R>(database).await;
    session.run(APPLICATION).await.unwrap();
    let before = state_of_application::<R>(&mut session).await;

    let store = open::<R>(database).await;
    store.insert(&record(1)).await.unwrap();
    R::close(&store).await;

    assert_eq!(state_of_application::<R>(&mut session).await, before);
    assert!(before.ends_with(&["anna".to_owned(), "20260101".to_owned()]), "{before:?}");
}

pub(crate) async fn a_second_migration_changes_nothing<R: Remote>(database: &Database) {
    let store = open::<R>(database).await;
    store.insert(&full(1)).await.unwrap();
    let mut session = session::<R>(database).await;
    let applied = "SELECT applied_at FROM api_keys_schema ORDER BY version";
    let before = (schema::<R>(&mut session).await, session.rows(applied).await);
    assert_eq!(before.1.len(), 9);

    R::migrate(&store).await.unwrap();
    R::migrate(&R::from_pool(database.url()).await).await.unwrap();
    open::<R>(database).await;

    assert_eq!((schema::<R>(&mut session).await, session.rows(applied).await), before);
    assert_eq!(store.find(&digest(1)).await.unwrap().as_deref(), Some(&full(1)));
}

pub(crate) async fn many_nodes_can_start_at_once<R: Remote>(database: &Database) {
    for round in 0..4 {
        let table = format!("keys_{round}");
        let mut nodes = JoinSet::new();
        for number in 0..8 {
            let (url, table) = (database.url().to_owned(), table.clone());
            nodes.spawn(async move {
                let store = R::with_table(R::from_pool(&url).await, &table).unwrap();
                R::migrate(&store).await.unwrap();
                store.insert(&record(number)).await.unwrap();
                store
            });
        }
        for store in nodes.join_all().await {
            for number in 0..8 {
                assert!(store.find(&digest(number)).await.unwrap().is_some());
            }
            R::close(&store).await;
        }
        let versions = format!("SELECT version FROM {table}_schema ORDER BY version");
        assert_eq!(
            session::<R>(database).await.rows(&versions).await,
            ["1", "2", "3", "4", "5", "6", "7", "8", "9"]
        );
    }
}

/// Also when several nodes of the new version start at once, while there are keys.
pub(crate) async fn the_keys_of_an_older_schema_are_kept<R: Remote>(database: &Database) {
    let mut session = session::<R>(database).await;
    session.run(R::FIRST_VERSION).await.unwrap();
    let bookkeeping = "
        CREATE TABLE api_keys_schema (version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT);
        INSERT INTO api_keys_schema VALUES (1, 1)";
    session.run(bookkeeping).await.unwrap();
    let (values, first) = of_first_version(1);
    let mut second = record(2);
    (second.name, second.created_at, second.updated_at) = ("partner".into(), at(0), at(0));
    for record in [&first, &second] {
        let (id, digest) = hex_of(record);
        let row = R::FOREIGN_ROW.replace("{id}", &id).replace("{digest}", &digest);
        session.run(&row).await.unwrap();
    }
    let id = R::id(&hex_of(&first).0);
    session.run(&format!("UPDATE api_keys SET {values} WHERE id = {id}")).await.unwrap();

    let mut nodes = JoinSet::new();
    for _ in 0..4 {
        let url = database.url().to_owned();
        nodes.spawn(async move { R::connect(&url).await.unwrap() });
    }
    for store in nodes.join_all().await {
        assert_eq!(stored(&store, first.id).await, first);
        assert_eq!(stored(&store, second.id).await, second);
    }
    let versions = "SELECT version FROM api_keys_schema ORDER BY version";
    assert_eq!(session.rows(versions).await, ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);

    // What an older node writes, meanwhile, is a key as well.
    let mut third = second.clone();
    (third.id, third.digest) = (record(3).id, digest(3));
    let (id, hex) = hex_of(&third);
    let row = R::FOREIGN_ROW.replace("{id}", &id).replace("{digest}", &hex);
    session.run(&row).await.unwrap();
    let store = open::<R>(database).await;
    assert_eq!(stored(&store, third.id).await, third);
    store.insert(&full(4)).await.unwrap();
    assert_eq!(stored(&store, full(4).id).await, full(4));
}

/// What the second version had besides: rotations and the audit log.
pub(crate) async fn the_keys_and_events_of_the_second_schema_are_kept<R: Remote>(
    database: &Database,
) {
    let mut session = session::<R>(database).await;
    let bookkeeping = "
        CREATE TABLE api_keys_schema (version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT);
        INSERT INTO api_keys_schema VALUES (1, 1), (2, 2)";
    for sql in [R::FIRST_VERSION, R::SECOND_VERSION, bookkeeping] {
        session.run(sql).await.unwrap();
    }
    let (values, mut old) = of_first_version(1);
    old.details.rotation.lineage = Some(old.id);
    old.details.rotation.retires_at = Some(at(9));
    let (id, digest) = hex_of(&old);
    let row = R::FOREIGN_ROW.replace("{id}", &id).replace("{digest}", &digest);
    let id = R::id(&id);
    let update =
        format!("UPDATE api_keys SET {values}, lineage = {id}, retires_at = 9 WHERE id = {id}");
    let event = format!(
        "INSERT INTO api_keys_events (id, at, action, key_id) VALUES ({id}, 1, 'created', {id})"
    );
    for sql in [row, update, event] {
        session.run(&sql).await.unwrap();
    }

    let mut nodes = JoinSet::new();
    for _ in 0..4 {
        let url = database.url().to_owned();
        nodes.spawn(async move { R::connect(&url).await.unwrap() });
    }
    for store in nodes.join_all().await {
        assert_eq!(stored(&store, old.id).await, old);
        let events = store.audit_log().unwrap().events(&EventQuery::new(10)).await.unwrap().items;
        assert_eq!(events.iter().map(|event| event.key).collect::<Vec<_>>(), [Some(old.id)]);
        assert_eq!(store.balance_store().unwrap().balances(&[old.id]).await.unwrap().items, []);
        let ever = UsageQuery::new(at(i64::MIN), at(i64::MAX));
        assert_eq!(store.usage_log().unwrap().usage(&ever).await.unwrap(), []);
    }
    let versions = "SELECT version FROM api_keys_schema WHERE applied_at > 0 ORDER BY version";
    assert_eq!(session.rows(versions).await, ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
}

pub(crate) async fn a_newer_schema_is_refused<R: Remote>(database: &Database) {
    R::close(&open::<R>(database).await).await;
    let mut session = session::<R>(database).await;
    session.run("INSERT INTO api_keys_schema VALUES (1000, 0)").await.unwrap();
    let before = schema::<R>(&mut session).await;

    let error = R::connect(database.url()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert!(texts(&error).contains("the table api_keys has schema version 1000"), "{error:?}");
    assert_eq!(schema::<R>(&mut session).await, before);
}

pub(crate) async fn somebody_elses_table_of_that_name_is_refused<R: Remote>(database: &Database) {
    let mut session = session::<R>(database).await;
    for (table, theirs) in [
        ("keys_1", "CREATE TABLE keys_1 (id BIGINT PRIMARY KEY, secret VARCHAR(40))"),
        ("keys_2", "CREATE TABLE users (id BIGINT); CREATE VIEW keys_2 AS SELECT id FROM users"),
    ] {
        session.run(theirs).await.unwrap();
        let before = schema::<R>(&mut session).await;

        let store = R::with_table(R::from_pool(database.url()).await, table).unwrap();
        let error = R::migrate(&store).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        assert!(texts(&error).contains(&format!("a table {table} already")), "{error:?}");
        assert_eq!(schema::<R>(&mut session).await, before);
    }
    // There is room for others.
    open::<R>(database).await.insert(&full(1)).await.unwrap();
}

/// A table `api_keys_schema` that is not ours says nothing about versions.
pub(crate) async fn somebody_elses_bookkeeping_is_refused<R: Remote>(database: &Database) {
    let mut session = session::<R>(database).await;
    session.run("CREATE TABLE api_keys_schema (name VARCHAR(40))").await.unwrap();
    let before = schema::<R>(&mut session).await;
    let error = R::connect(database.url()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert_eq!(schema::<R>(&mut session).await, before);
}

/// Nothing is made beside it, and an upgrade changes nothing either.
pub(crate) async fn somebody_elses_table_beside_it_is_refused<R: Remote>(database: &Database) {
    let mut session = session::<R>(database).await;
    for table in ["api_keys_events", "api_keys_credits", "api_keys_usage"] {
        let theirs = format!("CREATE TABLE {table} (id BIGINT PRIMARY KEY, name VARCHAR(40))");
        session.run(&theirs).await.unwrap();
        let before = schema::<R>(&mut session).await;
        let error = R::connect(database.url()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        assert!(texts(&error).contains(&format!("a table {table} already")), "{error:?}");
        assert_eq!(schema::<R>(&mut session).await, before);
        session.run(&format!("DROP TABLE {table}")).await.unwrap();
    }
    open::<R>(database).await.insert(&record(1)).await.unwrap();
}

pub(crate) async fn stores_with_different_tables_are_separate<R: Remote>(database: &Database) {
    let store = R::from_pool(database.url()).await;
    let longest = "a".repeat(48);
    // A keyword, capitals, the longest.
    let names = ["api_keys", "order", "_Keys2", &longest];
    for (number, name) in (1..).zip(names) {
        let store = R::with_table(store.clone(), name).unwrap();
        R::migrate(&store).await.unwrap();
        R::migrate(&store).await.unwrap();
        store.insert(&record(number)).await.unwrap();
        for other in 1..=7 {
            let found = store.find(&digest(other)).await.unwrap();
            assert_eq!(found.is_some(), other == number, "key {other} in table {name}");
        }
        let again = store.insert(&record(number)).await.unwrap_err();
        assert_eq!(again.kind(), StoreErrorKind::Duplicate, "{name}: {again:?}");
    }
}

pub(crate) async fn bad_table_names_are_refused<R: Remote>(database: &Database) {
    let store = R::from_pool(database.url()).await;
    let long = "a".repeat(49);
    for name in [
        "",
        "1keys",
        "api-keys",
        "api keys",
        "public.keys",
        "keys\"; --",
        "keys`; --",
        "ключ",
        &long,
    ] {
        let refused = R::with_table(store.clone(), name);
        assert_eq!(refused.unwrap_err(), ConfigError::TableName, "{name:?}");
    }
}

pub(crate) async fn a_store_that_was_not_migrated_says_so<R: Remote>(database: &Database) {
    let store = R::from_pool(database.url()).await;
    let error = store.find(&digest(1)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert!(texts(&error).contains(R::NO_TABLE), "{error:?}");
    R::migrate(&store).await.unwrap();
    assert!(store.find(&digest(1)).await.unwrap().is_none());
}
