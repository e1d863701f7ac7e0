//! How a store begins, and beside what.

use std::collections::BTreeMap;

use tokio::task::JoinSet;
use tower_api_key::{
    ConfigError, KeyRecord, Rotation,
    store::{KeyRepository, KeyStore, ListQuery, RedisStore, StoreErrorKind, Update},
};

use super::{Prefix, indexed, run, texts};
use crate::conformance::{at, digest, full, record, stored};

#[tokio::test]
async fn several_nodes_may_begin_at_once() {
    let Some(prefix) = Prefix::new() else { return };
    let mut nodes = JoinSet::new();
    for number in 0..8 {
        let store = prefix.store();
        nodes.spawn(async move {
            store.migrate().await.unwrap();
            store.insert(&record(number)).await.unwrap();
            store.migrate().await.unwrap();
        });
    }
    nodes.join_all().await;
    let store = prefix.open().await;
    for number in 0..8 {
        assert_eq!(stored(&store, record(number).id).await, record(number));
    }
    let count: u64 = run(&mut prefix.connect(), &["HGET", &prefix.key("schema"), "keys"]);
    assert_eq!(count, 8);
}

#[tokio::test]
async fn a_newer_schema_is_left_alone() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    store.insert(&record(1)).await.unwrap();
    let _: u64 = run(&mut prefix.connect(), &["HSET", &prefix.key("schema"), "version", "3"]);
    let starting = prefix.store().migrate().await.unwrap_err();
    // A node that runs while another one upgrades.
    let running = store.insert(&record(2)).await.unwrap_err();
    for error in [starting, running, store.find(&digest(1)).await.unwrap_err()] {
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        assert!(texts(&error).contains("version 3"), "{error:?}");
        assert!(texts(&error).contains("knows version 2"), "{error:?}");
    }
}

/// Puts there what an older version of this crate wrote.
fn restore(prefix: &Prefix, contents: &str) {
    let contents: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_str(contents).unwrap();
    let mut other = prefix.connect();
    for (part, rows) in &contents {
        for (name, value) in rows {
            let _: u64 = if ["ids", "owners", "ended"].contains(&part.as_str()) {
                run(&mut other, &["ZADD", &prefix.key(part), value, name])
            } else {
                run(&mut other, &["HSET", &prefix.key(part), name, value])
            };
        }
    }
}

/// `full(1)`, `record(2)`, `full(3)` and `record(4)`, the third deleted at 7, the fourth anna's,
/// revoked at 5 and used.
#[tokio::test]
async fn a_store_of_version_1_is_brought_up_to_date() {
    let Some(prefix) = Prefix::new() else { return };
    restore(&prefix, include_str!("version_1.json"));
    let before = prefix.contents();
    let store = prefix.store();
    for error in
        [store.find(&digest(2)).await.unwrap_err(), store.insert(&record(5)).await.unwrap_err()]
    {
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        assert!(texts(&error).contains("version 1; "), "{error:?}");
        assert!(texts(&error).contains("`migrate`"), "{error:?}");
    }
    let mut nodes = JoinSet::new();
    for _ in 0..4 {
        let store = store.clone();
        nodes.spawn(async move { store.migrate().await });
    }
    for migrated in nodes.join_all().await {
        migrated.unwrap();
    }

    // Nothing but the schema is another. A program of version 1 uses no other version than its own.
    let mut after = prefix.contents();
    let schema = after.insert(prefix.key("schema"), before[&prefix.key("schema")].clone());
    assert_eq!(after, before);
    let expected = [("keys", "4"), ("legacy", "0"), ("requests", "0"), ("version", "2")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(schema.unwrap(), expected.into());

    let mut deleted = old_full(3);
    deleted.details.deleted_at = Some(at(7));
    let mut revoked = record(4);
    (revoked.owner, revoked.revoked_at) = (Some("anna".into()), Some(at(5)));
    (revoked.revision, revoked.use_count, revoked.last_used_at) = (1, 3, Some(at(9)));
    for record in [old_full(1), record(2), deleted, revoked] {
        assert_eq!(stored(&store, record.id).await, record);
    }
    assert_eq!(store.find(&digest(1)).await.unwrap().as_deref(), Some(&old_full(1)));
    assert!(store.find(&digest(5)).await.unwrap().is_none());
    let mut legacy = ListQuery::new(10);
    legacy.legacy = true;
    for (query, count) in
        [(ListQuery::new(10), 3), (ListQuery::new(10).with_owner("anna"), 1), (legacy.clone(), 0)]
    {
        assert_eq!(store.list(&query).await.unwrap().items.len(), count, "{query:?}");
    }

    // An old key can be all that a new one can.
    let mut new = indexed(1);
    new.revision += 1;
    assert_eq!(store.update(&new, indexed(1).revision).await.unwrap(), Update::Done);
    assert_eq!(stored(&store, new.id).await, new);
    assert_eq!(store.list(&legacy).await.unwrap().items.len(), 1);
    assert_eq!(store.purge(at(i64::MAX), None).await.unwrap(), 3);
    assert_eq!(store.list(&ListQuery::new(10)).await.unwrap().items.len(), 1);
}

/// As it was when version 1 was the latest.
fn old_full(number: u64) -> KeyRecord {
    let mut record = full(number);
    record.details.rotation = Rotation::default();
    (record.details.request, record.details.legacy_hash) = (None, None);
    record
}

/// What is to be new must not be somebody else's.
#[tokio::test]
async fn keys_of_another_program_stop_an_upgrade() {
    let Some(prefix) = Prefix::new() else { return };
    restore(&prefix, include_str!("version_1.json"));
    let mut other = prefix.connect();
    for part in ["requests", "legacy"] {
        let _: () = run(&mut other, &["SET", &prefix.key(part), "theirs"]);
        let before = prefix.contents();
        let error = prefix.store().migrate().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        assert!(texts(&error).contains("another program"), "{error:?}");
        assert_eq!(prefix.contents(), before);
        let _: u64 = run(&mut other, &["DEL", &prefix.key(part)]);
    }
    prefix.open().await;
}

#[tokio::test]
async fn a_store_without_a_schema_is_not_used() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.store();
    let error = store.insert(&record(1)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert!(texts(&error).contains("never migrated"), "{error:?}");
    assert_eq!(prefix.keys(), [""; 0]);
}

/// Whatever it is, it is not overwritten.
#[tokio::test]
async fn keys_of_another_program_are_left_alone() {
    let Some(prefix) = Prefix::new() else { return };
    let mut other = prefix.connect();
    let _: () = run(&mut other, &["SET", &prefix.key("owners"), "theirs"]);
    let error = prefix.store().migrate().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert!(texts(&error).contains("another program"), "{error:?}");

    let _: () = run(&mut other, &["RENAME", &prefix.key("owners"), &prefix.key("schema")]);
    let error = prefix.store().migrate().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error:?}");
    let theirs: String = run(&mut other, &["GET", &prefix.key("schema")]);
    assert_eq!(theirs, "theirs");
    assert_eq!(prefix.keys(), [prefix.key("schema")]);
}

#[tokio::test]
async fn prefixes_are_apart() {
    let (Some(one), Some(two)) = (Prefix::new(), Prefix::new()) else { return };
    let (first, second) = (one.open().await, two.open().await);
    first.insert(&record(1)).await.unwrap();
    assert!(second.find(&digest(1)).await.unwrap().is_none());
    second.insert(&full(1)).await.unwrap();
    assert_eq!(stored(&first, record(1).id).await, record(1));
}

#[test]
fn bad_settings_are_refused() {
    let store = || RedisStore::new("redis://127.0.0.1:6379").unwrap();
    let long = "x".repeat(65);
    for bad in ["", "a b", "a{b}", "a}b", "ä", "a\n", "a*", &long] {
        assert_eq!(store().with_prefix(bad).unwrap_err(), ConfigError::RedisPrefix, "{bad:?}");
    }
    for good in ["a", "0", "shop:keys", "shop/keys.v2-b_c", &long[..64]] {
        assert_eq!(
            format!("{:?}", store().with_prefix(good).unwrap()),
            format!("RedisStore({good})")
        );
    }
    for bad in ["", "localhost", "postgres://localhost", "redis://:secret@host:port"] {
        let error = RedisStore::new(bad).unwrap_err();
        assert_eq!(error, ConfigError::RedisUrl, "{bad:?}");
        assert!(!error.to_string().contains("secret"));
    }
}
