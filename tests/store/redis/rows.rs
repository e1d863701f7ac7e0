//! Rows that this crate did not write.

use serde_json::{Map, Value, json};
use tower_api_key::store::{KeyQuery, KeyRepository, KeyStore, StoreErrorKind};

use super::{Prefix, indexed, run, texts};
use crate::conformance::{at, digest, full, record};

type Row = Map<String, Value>;

/// What every method says about `full(1)`, when its row is this text.
async fn assert_corrupt(prefix: &Prefix, row: &str, what: &str) {
    let store = prefix.open().await;
    let id = full(1).id;
    let _: u64 = run(&mut prefix.connect(), &["HSET", &prefix.key("keys"), &id.to_string(), row]);
    let hex = digest(1).to_hex();
    let mut answers = store.find_many(&[digest(1), digest(2), digest(3)]).await;
    assert!(answers.pop().unwrap().unwrap().is_none());
    assert_eq!(answers.pop().unwrap().unwrap().as_deref(), Some(&record(2)), "{what}");
    for error in [
        answers.pop().unwrap().unwrap_err(),
        store.find(&digest(1)).await.unwrap_err(),
        store.get(id).await.unwrap_err(),
        store.list(&KeyQuery::new(10)).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{what}: {error:?}");
        assert!(!texts(&error).contains(&hex), "{what}: {error:?}");
    }
}

#[tokio::test]
async fn rows_that_are_not_keys_are_corrupt() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    store.insert(&indexed(1)).await.unwrap();
    store.insert(&record(2)).await.unwrap();
    let text: String =
        run(&mut prefix.connect(), &["HGET", &prefix.key("keys"), &full(1).id.to_string()]);
    let good: Row = serde_json::from_str(&text).unwrap();

    for (field, value) in &good {
        // Of another type, and for those that every key has, not there.
        let wrong = if value.is_array() { json!([{}]) } else { json!([]) };
        let mut row = good.clone();
        row.insert(field.clone(), wrong);
        assert_corrupt(&prefix, &Value::from(row).to_string(), field).await;
    }
    for field in ["id", "digest", "name", "start", "scopes", "metadata", "created_at", "revision"] {
        let mut row = good.clone();
        row.remove(field);
        assert_corrupt(&prefix, &Value::from(row).to_string(), field).await;
    }
    for (field, value) in [
        ("id", json!("one")),
        ("digest", json!("a5a5")),
        // Of another key.
        ("digest", json!(digest(2).to_hex())),
        ("scopes", json!(["not a scope"])),
        ("allowed_addresses", json!(["10.0.0.0/99"])),
        ("updated_at", json!("yesterday")),
        ("created_at", json!(1e30)),
        ("revision", json!("-1")),
        ("credits", json!(1)),
        ("credits", json!("-1")),
        ("limits", json!(null)),
        ("limits", json!([{"name": "a", "requests": 0, "window_seconds": 60}])),
    ] {
        let mut row = good.clone();
        row.insert(field.to_owned(), value.clone());
        let store = prefix.open().await;
        let text = Value::from(row).to_string();
        let id = full(1).id.to_string();
        let _: u64 = run(&mut prefix.connect(), &["HSET", &prefix.key("keys"), &id, &text]);
        let error = store.find(&digest(1)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{field}: {value}");
    }
    for text in ["", "{", "[]", "null", "7", "\u{7f}"] {
        assert_corrupt(&prefix, text, text).await;
        let error = store.update(&full(1), &full(1)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{text:?}");
        let error = store.purge(at(i64::MAX), None).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{text:?}");
    }
    let _: u64 =
        run(&mut prefix.connect(), &["HSET", &prefix.key("keys"), &full(1).id.to_string(), &text]);
    assert_eq!(store.find(&digest(1)).await.unwrap().as_deref(), Some(&indexed(1)));
}

#[tokio::test]
async fn counts_that_are_not_numbers_are_corrupt() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    store.insert(&full(1)).await.unwrap();
    let id = full(1).id.to_string();
    for (part, bad) in [
        ("uses", "many"),
        ("last_used", "many"),
        ("last_used", "1 "),
        ("last_used", "1 somewhere"),
        ("last_used", "1 192.0.2.7 "),
        ("last_used", "many 192.0.2.7"),
    ] {
        let _: u64 = run(&mut prefix.connect(), &["HSET", &prefix.key(part), &id, bad]);
        let error = store.find(&digest(1)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{part}: {bad}");
        let _: u64 = run(&mut prefix.connect(), &["HSET", &prefix.key(part), &id, "1"]);
        store.find(&digest(1)).await.unwrap().unwrap();
    }
}
