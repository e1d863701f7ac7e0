//! Several changes at once.

use std::sync::{Arc, mpsc};

use tower_api_key::{
    key::KeyRecord,
    store::{
        ApplyOutcome, Changes, KeyRepository, KeyStore, KeyUpdate, Plan, RedisStore,
        SelectedChanges, Selection, StoreErrorKind,
    },
};

use super::{Prefix, indexed, request, run};
use crate::conformance::{at, digest, record, stored};

/// A key as it is to be, one revision on.
fn update(old: &KeyRecord, change: impl FnOnce(&mut KeyRecord)) -> KeyUpdate {
    let mut new = old.clone();
    new.revision += 1;
    change(&mut new);
    KeyUpdate::new(old, new)
}

fn revoke(number: u64) -> KeyUpdate {
    update(&record(number), |record| record.details.revoked_at = Some(at(5)))
}

/// The keys 1 to 4; the first is in every index.
async fn store_with_keys(prefix: &Prefix) -> RedisStore {
    let store = prefix.open().await;
    let inserts = vec![indexed(1), record(2), record(3), record(4)];
    let changes = Changes::default().with_inserts(inserts);
    assert_eq!(store.apply(&changes).await.unwrap(), ApplyOutcome::Done);
    store
}

/// What is wrong is the last of it, and nothing before it was written.
#[tokio::test]
async fn a_refused_batch_leaves_no_trace() {
    let Some(prefix) = Prefix::new() else { return };
    let store = store_with_keys(&prefix).await;
    let before = prefix.contents();
    let insert = |change: fn(&mut KeyRecord)| {
        let mut last = record(19);
        change(&mut last);
        Changes::default().with_inserts(vec![indexed(10), record(11), last])
    };
    let updates = |last: KeyUpdate| {
        let updates = vec![revoke(2), update(&indexed(1), |record| record.owner = None), last];
        Changes::default().with_inserts(vec![indexed(10), record(11)]).with_updates(updates)
    };
    let duplicates = [
        insert(|last| last.id = record(1).id),
        insert(|last| last.digest = digest(2)),
        insert(|last| last.details.request = Some(request(1))),
        insert(|last| last.id = record(11).id),
        insert(|last| last.digest = digest(11)),
        insert(|last| last.details.request = Some(request(10))),
        updates(update(&record(3), |last| last.digest = digest(4))),
        updates(update(&record(3), |last| last.digest = digest(11))),
        updates(update(&record(3), |last| last.details.request = Some(request(1)))),
        updates(update(&record(3), |last| last.details.request = Some(request(10)))),
        updates(revoke(2)),
    ];
    for (place, changes) in duplicates.iter().enumerate() {
        let error = store.apply(changes).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Duplicate, "{place}");
        assert_eq!(prefix.contents(), before, "{place}");
    }
    let stale = [
        update(&revoke(3).record, |record| record.details.revoked_at = Some(at(6))),
        revoke(9),
        update(&record(9), |last| last.digest = digest(4)),
    ];
    for (place, last) in stale.into_iter().enumerate() {
        assert_eq!(store.apply(&updates(last)).await.unwrap(), ApplyOutcome::Stale, "{place}");
        assert_eq!(prefix.contents(), before, "{place}");
    }

    assert_eq!(store.apply(&Changes::default()).await.unwrap(), ApplyOutcome::Done);
    assert_eq!(prefix.contents(), before);
    assert_eq!(store.apply(&updates(revoke(3))).await.unwrap(), ApplyOutcome::Done);
    assert_eq!(stored(&store, record(10).id).await, indexed(10));
    assert_eq!(stored(&store, record(1).id).await.owner, None);
    assert_eq!(stored(&store, record(3).id).await, revoke(3).record);
}

/// What Redis would refuse in the middle of the batch.
#[tokio::test]
async fn broken_data_is_found_before_the_first_write() {
    let changes = Changes::default().with_inserts(vec![indexed(10)]).with_updates(vec![revoke(2)]);
    // What is used by the hour is in no change.
    for part in super::PARTS.into_iter().filter(|part| !part.starts_with("usage")) {
        let Some(prefix) = Prefix::new() else { return };
        let store = store_with_keys(&prefix).await;
        let _: () = run(&mut prefix.connect(), &["SET", &prefix.key(part), "theirs"]);
        let before = prefix.contents();
        let error = store.apply(&changes).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{part}: {error:?}");
        assert_eq!(prefix.contents(), before, "{part}");
    }

    let Some(prefix) = Prefix::new() else { return };
    let store = store_with_keys(&prefix).await;
    let mut other = prefix.connect();
    let (keys, id) = (prefix.key("keys"), record(2).id.to_string());
    let good: String = run(&mut other, &["HGET", &keys, &id]);
    let revision = "\"revision\":\"0\"";
    for bad in [
        "{".to_owned(),
        good.replace(revision, "\"revision\":\"0\",\"owner\":[]"),
        good.replace(revision, "\"revision\":\"0\",\"request\":{}"),
        good.replace(revision, "\"revision\":\"0\",\"deleted_at\":\"today\""),
        good.replace(revision, "\"revision\":0"),
    ] {
        assert_ne!(bad, good);
        let _: u64 = run(&mut other, &["HSET", &keys, &id, &bad]);
        let before = prefix.contents();
        let error = store.apply(&changes).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{bad}: {error:?}");
        assert_eq!(prefix.contents(), before, "{bad}");
    }
    let _: u64 = run(&mut other, &["HSET", &keys, &id, &good]);
    assert_eq!(store.apply(&changes).await.unwrap(), ApplyOutcome::Done);
}

/// More than Lua's stack holds, and than one command takes from it.
#[tokio::test]
async fn large_batches_are_one_change() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    let total = 3_000;
    let inserts: Vec<_> = (0..total).map(indexed).collect();
    let mut changes = Changes::default().with_inserts(inserts);
    assert_eq!(store.apply(&changes).await.unwrap(), ApplyOutcome::Done);
    assert_eq!(store.find(&digest(total - 1)).await.unwrap().unwrap().id, record(total - 1).id);

    changes.updates = changes
        .inserts
        .drain(..)
        .zip(total..)
        .map(|(record, number)| update(&record, |record| record.digest = digest(number)))
        .collect();
    assert_eq!(store.apply(&changes).await.unwrap(), ApplyOutcome::Done);
    assert_eq!(store.apply(&changes).await.unwrap(), ApplyOutcome::Stale);
    assert!(store.find(&digest(total - 1)).await.unwrap().is_none());
    assert_eq!(store.find(&digest(total)).await.unwrap().unwrap().id, record(0).id);
}

/// A change of all keys of an owner keeps no other owner waiting; a change of all keys does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_have_locks_of_their_own() {
    let of = |owner: Option<&str>| Selection::Issued { owner: owner.map(Into::into), before: None };
    for (held, others) in [
        (
            Some("anna"),
            [(Some("bob"), true), (Some("ann"), true), (Some("anna"), false), (None, true)],
        ),
        (None, [(Some("bob"), false), (Some("*"), false), (Some("anna"), false), (None, false)]),
    ] {
        let Some(prefix) = Prefix::new() else { return };
        let store = prefix.open().await;
        let (planning, begun) = mpsc::channel();
        let (go_on, goes_on) = mpsc::channel();
        let goes_on = std::sync::Mutex::new(goes_on);
        let plan: Plan = Arc::new(move |_| {
            planning.send(()).unwrap();
            goes_on.lock().unwrap().recv().unwrap();
            None
        });
        let holder = store.clone();
        let selection = of(held);
        let holding = tokio::spawn(async move { holder.apply_to(&selection, &plan).await });
        tokio::task::block_in_place(|| begun.recv().unwrap());
        for (number, (owner, is_free)) in (1..).zip(others) {
            let mut new = record(number);
            new.owner = owner.map(Into::into);
            let changes = Changes::default().with_inserts(vec![new]);
            let plan: Plan = Arc::new(move |_| Some(changes.clone()));
            let applied = store.apply_to(&of(owner), &plan).await.map_err(|error| error.kind());
            let expected =
                if is_free { Ok(ApplyOutcome::Done) } else { Err(StoreErrorKind::Timeout) };
            assert_eq!(applied, expected, "{owner:?} while {held:?} is locked");
        }
        go_on.send(()).unwrap();
        assert_eq!(holding.await.unwrap().unwrap(), ApplyOutcome::Done);
        let schema: Vec<String> = run(&mut prefix.connect(), &["HKEYS", &prefix.key("schema")]);
        assert!(!schema.iter().any(|field| field.starts_with("lock")), "{schema:?}");
    }
}

/// A lock that has ended is gone with the next purge; one that is held stays.
#[tokio::test]
async fn a_purge_removes_locks_that_were_not_given_back() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    let mut redis = prefix.connect();
    let schema = prefix.key("schema");
    for (owner, ends) in [("aa", "1"), ("bb", "9999999999999")] {
        let field = format!("lock:{owner}");
        let _: u64 = run(&mut redis, &["HSET", &schema, &field, &format!("{ends} other")]);
    }
    store.purge(at(0), None).await.unwrap();
    let fields: Vec<String> = run(&mut redis, &["HKEYS", &schema]);
    let locks: Vec<_> = fields.iter().filter(|field| field.starts_with("lock")).collect();
    assert_eq!(locks, ["lock:bb"]);
}
