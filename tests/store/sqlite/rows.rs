//! Rows that this crate did not write.

use tower_api_key::store::{
    KeyQuery, KeyRepository, KeyStore, KeyUse, SqliteStore, StoreErrorKind,
};

use super::{File, run, texts};
use crate::conformance::{at, digest, full, record};

#[tokio::test]
async fn a_row_that_does_not_read_as_a_key_is_an_error() {
    let file = File::new();
    let store = file.open().await;
    let mut connection = file.connect().await;
    for (number, (column, value)) in (1..).zip([
        ("metadata", "'{'"),
        ("metadata", "'[1]'"),
        ("scopes", "'[\"not a scope\"]'"),
        ("scopes", "'null'"),
        ("allowed_addresses", "'[\"10.0.0.0/33\"]'"),
        ("use_count", "-1"),
        ("revision", "-1"),
        ("limits", "'[{\"name\":\"minute\",\"requests\":0,\"window_seconds\":60}]'"),
        ("credits", "-1"),
        ("last_used_from", "'10.0.0.0/8'"),
    ]) {
        store.insert(&record(number)).await.unwrap();
        let sql = format!("UPDATE api_keys SET {column} = {value} WHERE name = 'key {number}'");
        run(&mut connection, &sql).await;
        // Never a key with less, or more, than was written.
        let error = store.find(&digest(number)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{column} = {value}");
        assert!(texts(&error).contains(column), "{error:?}");
        assert_eq!(store.get(record(number).id).await.unwrap_err().kind(), StoreErrorKind::Corrupt);
    }
    let listed = store.list(&KeyQuery::new(100)).await;
    assert_eq!(listed.unwrap_err().kind(), StoreErrorKind::Corrupt);

    // The others are not affected.
    store.insert(&full(99)).await.unwrap();
    assert_eq!(store.find(&digest(99)).await.unwrap().as_deref(), Some(&full(99)));
    let digests: Vec<_> = (1..=10).chain([99, 100]).map(digest).collect();
    let mut answers = store.find_many(&digests).await;
    assert!(answers.pop().unwrap().unwrap().is_none());
    assert_eq!(answers.pop().unwrap().unwrap().as_deref(), Some(&full(99)));
    for answer in answers {
        assert_eq!(answer.unwrap_err().kind(), StoreErrorKind::Corrupt);
    }
}

/// It raises the revision and does not know of the mark.
#[tokio::test]
async fn what_an_older_program_disables_no_owner_has_disabled() {
    let file = File::new();
    let store = file.open().await;
    let mut key = record(1);
    (key.disabled, key.details.disabled_by_owner) = (true, true);
    key.details.created_by = Some(record(2).id);
    store.insert(&key).await.unwrap();
    for disabled in ["FALSE", "TRUE"] {
        let sql = format!("UPDATE api_keys SET disabled = {disabled}, revision = revision + 1");
        run(&mut file.connect().await, &sql).await;
        let read = store.get(key.id).await.unwrap().unwrap();
        assert!(!read.details.disabled_by_owner);
        assert_eq!(read.details.created_by, key.details.created_by);
    }
}

/// The table itself refuses digests in hex, which nothing would ever find.
#[tokio::test]
async fn digests_in_hex_are_refused_when_written() {
    let file = File::new();
    let _store = file.open().await;
    let mut connection = file.connect().await;
    for digest in ["'48e4389f'", "x'48e4389f'"] {
        let sql = format!(
            "INSERT INTO api_keys (id, digest, name, created_at, updated_at)
             VALUES (randomblob(16), {digest}, 'partner', 0, 0)"
        );
        assert!(sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.is_err());
    }
}

#[tokio::test]
async fn counts_stop_at_the_greatest() {
    let store = SqliteStore::in_memory().await.unwrap();
    let mut record = record(1);
    record.use_count = i64::MAX as u64 - 5;
    store.insert(&record).await.unwrap();
    for count in [3, 9, u64::MAX] {
        let key_use = KeyUse::new(record.id, count, at(1));
        store.record_uses(&[key_use, key_use]).await.unwrap();
    }
    assert_eq!(store.get(record.id).await.unwrap().unwrap().use_count, i64::MAX as u64);
}

/// "A key with this id, digest or request exists" would be a lie.
#[tokio::test]
async fn another_unique_index_makes_no_duplicate() {
    let file = File::new();
    let store = file.open().await;
    let mut connection = file.connect().await;
    store.insert(&record(1)).await.unwrap();
    for index in ["name", "name, tier", "upper(name)"] {
        let sql = format!("CREATE UNIQUE INDEX api_keys_names ON api_keys ({index})");
        run(&mut connection, "UPDATE api_keys SET tier = 'gold'").await;
        run(&mut connection, &sql).await;
        let mut taken = record(2);
        (taken.name, taken.details.tier) = (record(1).name, Some("gold".into()));
        let error = store.insert(&taken).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{index}: {error:?}");
        assert!(store.get(taken.id).await.unwrap().is_none());
        run(&mut connection, "DROP INDEX api_keys_names").await;
    }
    assert_eq!(store.insert(&record(1)).await.unwrap_err().kind(), StoreErrorKind::Duplicate);
}
