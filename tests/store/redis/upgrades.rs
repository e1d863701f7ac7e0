//! Stores that an older version of this crate wrote.

use std::collections::BTreeMap;

use tokio::task::JoinSet;
use tower_api_key::{
    key::{KeyRecord, Needs, Rotation},
    limit::Limits,
    store::{ApplyOutcome, Changes, KeyQuery, KeyRepository, KeyStore, RedisStore, StoreErrorKind},
};

use super::{Prefix, indexed, run, texts};
use crate::conformance::{at, digest, record, stored};

const VERSION_1: &str = include_str!("version_1.json");
const VERSION_2: &str = include_str!("version_2.json");

/// Puts there what an older version of this crate wrote.
fn restore(prefix: &Prefix, contents: &str) {
    let contents: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_str(contents).unwrap();
    let mut other = prefix.connect();
    for (part, rows) in &contents {
        for (name, value) in rows {
            let _: u64 = if ["ids", "owners", "ended", "legacy"].contains(&part.as_str()) {
                run(&mut other, &["ZADD", &prefix.key(part), value, name])
            } else {
                run(&mut other, &["HSET", &prefix.key(part), name, value])
            };
        }
    }
}

/// Brings what is there up to date, by several nodes at once. Returns a store, and what was in
/// `schema` then.
async fn upgrade(prefix: &Prefix, version: &str) -> (RedisStore, BTreeMap<String, String>) {
    let store = prefix.store();
    for error in
        [store.find(&digest(2)).await.unwrap_err(), store.insert(&record(6)).await.unwrap_err()]
    {
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        assert!(texts(&error).contains(&format!("version {version}; ")), "{error:?}");
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
    let schema = prefix.contents().remove(&prefix.key("schema")).unwrap();
    (store, schema)
}

fn sizes<const N: usize>(sizes: [(&str, &str); N]) -> BTreeMap<String, String> {
    sizes.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// `indexed` without what there was not when version 2 was the latest.
fn old_indexed(number: u64) -> KeyRecord {
    let mut record = indexed(number);
    (record.details.limits, record.details.credits) = (Limits::default(), None);
    record.details.last_used_from = None;
    (record.details.created_by, record.details.disabled_by_owner) = (None, false);
    record.details.unknown_needs = Needs::NONE;
    record
}

/// `full` without what there was not when version 1 was the latest, as in both.
fn old_full(number: u64) -> KeyRecord {
    let mut record = old_indexed(number);
    record.details.rotation = Rotation::default();
    (record.details.request, record.details.legacy_hash) = (None, None);
    record
}

/// `full(1)`, `record(2)`, `full(3)` and `record(4)`, the third deleted at 7, the fourth anna's,
/// revoked at 5 and used.
#[tokio::test]
async fn a_store_of_version_1_is_brought_up_to_date() {
    let Some(prefix) = Prefix::new() else { return };
    restore(&prefix, VERSION_1);
    let before = prefix.contents();
    let (store, schema) = upgrade(&prefix, "1").await;

    // Nothing but the schema is another. An older program uses no other version than its own.
    let mut after = prefix.contents();
    after.insert(prefix.key("schema"), before[&prefix.key("schema")].clone());
    assert_eq!(after, before);
    let expected = sizes([
        ("acts", "0"),
        ("balances", "0"),
        ("keys", "4"),
        ("legacy", "0"),
        ("lines", "0"),
        ("requests", "0"),
        ("usage", "0"),
        ("usage_hours", "0"),
        ("version", "5"),
        ("watermarks", "0"),
    ]);
    assert_eq!(schema, expected);

    let mut deleted = old_full(3);
    deleted.details.deleted_at = Some(at(7));
    let mut revoked = record(4);
    (revoked.owner, revoked.details.revoked_at) = (Some("anna".into()), Some(at(5)));
    (revoked.revision, revoked.use_count, revoked.last_used_at) = (1, 3, Some(at(9)));
    for record in [old_full(1), record(2), deleted, revoked] {
        assert_eq!(stored(&store, record.id).await, record);
    }
    assert_eq!(store.find(&digest(1)).await.unwrap().as_deref(), Some(&old_full(1)));
    assert!(store.find(&digest(5)).await.unwrap().is_none());
    let mut legacy = KeyQuery::new(10);
    legacy.legacy = true;
    for (query, count) in
        [(KeyQuery::new(10), 3), (KeyQuery::new(10).with_owner("anna"), 1), (legacy.clone(), 0)]
    {
        assert_eq!(store.list(&query).await.unwrap().items.len(), count, "{query:?}");
    }

    // An old key can be all that a new one can.
    let mut new = indexed(1);
    new.revision += 1;
    assert_eq!(store.update(&indexed(1), &new).await.unwrap(), ApplyOutcome::Done);
    new.details.last_used_from = None;
    assert_eq!(stored(&store, new.id).await, new);
    assert_eq!(store.list(&legacy).await.unwrap().items.len(), 1);
    assert_eq!(store.purge(at(i64::MAX), None).await.unwrap(), 3);
    assert_eq!(store.list(&KeyQuery::new(10)).await.unwrap().items.len(), 1);
}

/// `indexed(1)`, `record(2)`, which `record(3)` replaces, `full(4)`, deleted at 7, and `record(5)`,
/// anna's, revoked at 5 and used.
#[tokio::test]
async fn a_store_of_version_2_is_brought_up_to_date() {
    let Some(prefix) = Prefix::new() else { return };
    restore(&prefix, VERSION_2);
    let before = prefix.contents();
    let (store, schema) = upgrade(&prefix, "2").await;

    // Keys that replaced others are found by their lineage now; all else is as it was.
    let mut after = prefix.contents();
    after.insert(prefix.key("schema"), before[&prefix.key("schema")].clone());
    let lineages = after.remove(&prefix.key("lines")).unwrap();
    assert_eq!(after, before);
    let in_lineage =
        |lineage: u64, number: u64| format!("{}:{}", record(lineage).id, record(number).id);
    assert_eq!(
        lineages,
        [in_lineage(2, 3), in_lineage(7, 1)].map(|name| (name, "0".to_owned())).into()
    );
    let expected = sizes([
        ("acts", "0"),
        ("balances", "0"),
        ("keys", "5"),
        ("legacy", "1"),
        ("lines", "2"),
        ("requests", "1"),
        ("usage", "0"),
        ("usage_hours", "0"),
        ("version", "5"),
        ("watermarks", "0"),
    ]);
    assert_eq!(schema, expected);

    let (mut second, mut third) = (record(2), record(3));
    second.details.rotation.to = Some(third.id);
    second.details.rotation.retires_at = Some(at(9));
    third.details.rotation.lineage = Some(second.id);
    third.details.rotation.from = Some(second.id);
    let mut deleted = old_full(4);
    deleted.details.deleted_at = Some(at(7));
    let mut revoked = record(5);
    (revoked.owner, revoked.details.revoked_at) = (Some("anna".into()), Some(at(5)));
    (revoked.revision, revoked.use_count, revoked.last_used_at) = (1, 3, Some(at(9)));
    for record in [old_indexed(1), second, third, deleted, revoked] {
        assert_eq!(stored(&store, record.id).await, record);
    }
}

/// As many keys of version 2 as take several steps, of which every third replaced another one.
async fn old_store(prefix: &Prefix, total: u64) -> RedisStore {
    let store = prefix.open().await;
    let inserts = (0..total).map(|number| {
        let mut record = record(number);
        record.details.rotation.lineage = (number % 3 == 0).then(|| super::lineage(number));
        record.details.revoked_at = (number % 3 == 0).then(|| at(1));
        record
    });
    let changes = Changes::default().with_inserts(inserts.collect());
    assert_eq!(store.apply(&changes).await.unwrap(), ApplyOutcome::Done);
    let mut other = prefix.connect();
    let schema = prefix.key("schema");
    let _: u64 = run(&mut other, &["DEL", &prefix.key("lines")]);
    let _: u64 = run(&mut other, &["HSET", &schema, "version", "2"]);
    let new = ["balances", "lines", "usage", "usage_hours"];
    let _: u64 = run(&mut other, &[&["HDEL", &schema][..], &new].concat());
    store
}

/// Redis does not stand still while it goes through all keys.
#[tokio::test]
async fn many_keys_are_brought_up_to_date_in_steps() {
    let Some(prefix) = Prefix::new() else { return };
    let total = 3_000;
    let store = old_store(&prefix, total).await;
    // The node that begins leaves after the first step.
    prefix.one_step_of_migration();
    let mut other = prefix.connect();
    let schema = prefix.key("schema");
    let is_unlined = |other: &mut _| run::<bool>(other, &["HEXISTS", &schema, "unlined"]);
    assert!(is_unlined(&mut other));
    let done: u64 = run(&mut other, &["HGET", &schema, "lines"]);
    assert!(0 < done && done < total / 3, "{done}");

    // Keys are found, changed and added meanwhile. None is purged, since its lineage may have
    // others.
    for number in [0, 1_500, 2_997] {
        let old = stored(&store, record(number).id).await;
        let mut changed = old.clone();
        changed.revision += 1;
        changed.details.rotation.lineage = Some(record(1).id);
        assert_eq!(store.update(&old, &changed).await.unwrap(), ApplyOutcome::Done);
    }
    store.insert(&indexed(total)).await.unwrap();
    let error = store.purge(at(2), None).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert!(texts(&error).contains("`migrate` goes on"), "{error:?}");

    store.migrate().await.unwrap();
    assert!(!is_unlined(&mut other));
    let index = prefix.contents().remove(&prefix.key("lines")).unwrap();
    let size: usize = run(&mut other, &["HGET", &schema, "lines"]);
    assert_eq!((index.len(), size), (1_001, 1_001));
    for number in 0..=total {
        let record = stored(&store, record(number).id).await;
        let name = format!("{}:{}", record.lineage(), record.id);
        assert_eq!(index.contains_key(&name), record.lineage() != record.id, "{name}");
    }
    assert_eq!(store.purge(at(2), None).await.unwrap(), 1_001);
    assert!(!prefix.keys().contains(&prefix.key("lines")), "{:?}", prefix.keys());
}

/// Version 3 knew lineages, and a migration to it that was given up goes on with the next.
#[tokio::test]
async fn an_upgrade_goes_on_where_the_last_one_was_given_up() {
    let Some(prefix) = Prefix::new() else { return };
    let store = old_store(&prefix, 3_000).await;
    prefix.one_step_of_migration();
    let mut other = prefix.connect();
    let schema = prefix.key("schema");
    let _: u64 = run(&mut other, &["HDEL", &schema, "acts"]);
    let _: u64 = run(&mut other, &["HSET", &schema, "version", "3"]);
    store.migrate().await.unwrap();
    let schema = prefix.contents().remove(&schema).unwrap();
    assert_eq!((&*schema["version"], &*schema["lines"], &*schema["acts"]), ("5", "1000", "0"));
    assert!(!schema.contains_key("unlined"));
}

/// All that version 4 had is as it was.
#[tokio::test]
async fn version_4_only_lacks_watermarks() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    store.insert(&record(1)).await.unwrap();
    let mut other = prefix.connect();
    let schema = prefix.key("schema");
    let _: u64 = run(&mut other, &["HSET", &schema, "acts", "0"]);
    let before = prefix.contents();
    let _: u64 = run(&mut other, &["HDEL", &schema, "watermarks"]);
    let _: u64 = run(&mut other, &["HSET", &schema, "version", "4"]);
    assert_eq!(store.find(&digest(1)).await.unwrap_err().kind(), StoreErrorKind::Corrupt);
    store.migrate().await.unwrap();
    assert_eq!(prefix.contents(), before);
    assert!(store.find(&digest(1)).await.unwrap().is_some());
}

/// A row that nobody can read does not keep the others from being brought up to date.
#[tokio::test]
async fn a_broken_key_does_not_stop_an_upgrade() {
    let Some(prefix) = Prefix::new() else { return };
    restore(&prefix, VERSION_2);
    let row = r#"{"lineage":"nobody"#;
    let keys = prefix.key("keys");
    let _: u64 = run(&mut prefix.connect(), &["HSET", &keys, &record(1).id.to_string(), row]);
    let (store, schema) = upgrade(&prefix, "2").await;
    assert_eq!(schema["lines"], "1");
    assert_eq!(store.get(record(1).id).await.unwrap_err().kind(), StoreErrorKind::Corrupt);
    stored(&store, record(3).id).await;
}

/// What is to be new must not be somebody else's.
#[tokio::test]
async fn keys_of_another_program_stop_an_upgrade() {
    let new = ["balances", "lines", "usage", "usage_hours", "usage_lines", "acts", "act_times"];
    for (version, older) in [(VERSION_1, &["requests", "legacy"][..]), (VERSION_2, &[])] {
        let Some(prefix) = Prefix::new() else { return };
        restore(&prefix, version);
        let mut other = prefix.connect();
        for part in [older, &new].concat() {
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
}
