//! How a store begins, and beside what.

use tokio::task::JoinSet;
use tower_api_key::{
    ConfigError,
    store::{KeyRepository, KeyStore, RedisStore, StoreErrorKind},
};

use super::{Prefix, run, texts};
use crate::conformance::{digest, full, record, stored};

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
    let _: u64 = run(&mut prefix.connect(), &["HSET", &prefix.key("schema"), "version", "6"]);
    let starting = prefix.store().migrate().await.unwrap_err();
    // A node that runs while another one upgrades.
    let running = store.insert(&record(2)).await.unwrap_err();
    for error in [starting, running, store.find(&digest(1)).await.unwrap_err()] {
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        assert!(texts(&error).contains("version 6"), "{error:?}");
        assert!(texts(&error).contains("knows version 5"), "{error:?}");
    }
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
