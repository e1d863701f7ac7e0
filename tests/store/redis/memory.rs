//! A server whose memory is full.

use serde_json::Value;
use tower_api_key::{
    KeyManager, RejectionKind,
    credits::Balance,
    key::KeyRecord,
    store::{
        ApplyOutcome, BalanceStore, BalanceUpdate, Changes, KeyQuery, KeyRepository, KeyStore,
        KeyUpdate, KeyUse, RedisStore, StoreErrorKind, UsageLog,
    },
    usage::UsageQuery,
};

use super::{counted, run, server::OwnServer, texts};
use crate::{
    conformance::{at, digest, full, record, stored},
    support::ask,
};

/// A key that takes some memory.
fn large(number: u64) -> KeyRecord {
    let mut record = full(number);
    record.details.metadata.insert("filler".to_owned(), Value::from("x".repeat(64 * 1024)));
    (record.details.revoked_at, record.details.deleted_at) = (None, None);
    record
}

#[tokio::test]
async fn a_full_server_refuses_new_keys_and_loses_none() {
    let Some(server) = OwnServer::start(&["--maxmemory-policy", "noeviction"]) else { return };
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let issued = KeyManager::new(store.clone()).create(tower_api_key::NewKey::named("shop")).await;
    let issued = issued.unwrap();
    let layer = KeyManager::new(store.clone()).layer();
    let used: u64 = server.info(&["INFO", "memory"], "used_memory").parse().unwrap();
    let limit = (used + 2_000_000).to_string();
    let mut other = server.connect();
    let _: () = run(&mut other, &["CONFIG", "SET", "maxmemory", &limit]);

    let mut written = 0;
    let error = loop {
        match store.insert(&large(written)).await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(written > 0);
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(texts(&error).contains("OOM"), "{error:?}");
    // Nothing of it was written, and what was acknowledged is all there.
    assert!(store.get(record(written).id).await.unwrap().is_none());
    assert!(store.find(&digest(written)).await.unwrap().is_none());
    let page = store.list(&KeyQuery::new(10_000)).await.unwrap();
    assert_eq!(page.items.len() as u64, written + 1);
    for number in 0..written {
        assert_eq!(store.find(&digest(number)).await.unwrap().as_deref(), Some(&large(number)));
    }

    // What is too much for one may be enough for less, so now not a byte is left.
    let _: () = run(&mut other, &["CONFIG", "SET", "maxmemory", "1"]);
    let key_use = KeyUse::new(record(0).id, 1, at(i64::MAX));
    let error = store.record_uses(&[key_use]).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert_eq!(stored(&store, record(0).id).await, large(0));

    // Nor is a part of a batch written: a key is not replaced by one that there is no room for.
    let mut replaced = large(0);
    replaced.details.rotation.to = Some(record(written).id);
    replaced.revision += 1;
    let update = KeyUpdate::new(&large(0), replaced);
    let inserts = vec![record(written)];
    let batch = Changes::default().with_inserts(inserts).with_updates(vec![update]);
    let error = store.apply(&batch).await.unwrap_err();
    assert!(texts(&error).contains("OOM"), "{error:?}");
    assert_eq!(stored(&store, record(0).id).await, large(0));
    assert!(store.get(record(written).id).await.unwrap().is_none());
    let rotated = batch.with_inserts(Vec::new());
    assert_eq!(store.apply(&rotated).await.unwrap(), ApplyOutcome::Done);
    assert_eq!(store.purge(at(i64::MIN), None).await.unwrap(), 0);

    // A key that must stop working does so all the same, and room can be made.
    let id = issued.record.id;
    assert_eq!(ask(&layer, issued.secret.expose()).await.unwrap(), id);
    KeyManager::new(store.clone()).revoke(id, Some("stolen")).await.unwrap();
    let refused = ask(&layer, issued.secret.expose()).await.unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::Revoked);
    let mut deleted = large(0);
    deleted.details.deleted_at = Some(at(5));
    deleted.revision += 2;
    let replaced = stored(&store, deleted.id).await;
    assert_eq!(store.update(&replaced, &deleted).await.unwrap(), ApplyOutcome::Done);
    assert_eq!(store.purge(at(6), None).await.unwrap(), 1);

    let _: () = run(&mut other, &["CONFIG", "SET", "maxmemory", "0"]);
    store.insert(&large(written)).await.unwrap();
    assert_eq!(stored(&store, record(written).id).await, large(written));
}

/// Whoever has bought credits can spend them. What takes more memory waits.
#[tokio::test]
async fn a_full_server_gives_out_credits_and_forgets_usage() {
    let Some(server) = OwnServer::start(&["--maxmemory-policy", "noeviction"]) else { return };
    let store = RedisStore::connect(&server.url()).await.unwrap();
    store.insert(&record(1)).await.unwrap();
    let balance = |remaining, revision| {
        let mut balance = Balance::new(remaining, None, at(0));
        balance.revision = revision;
        balance
    };
    let write = |number: u64, balance: Balance, expected| {
        let balances =
            vec![BalanceUpdate { lineage: record(number).id, balance, expected, due: None }];
        Changes::default().with_balances(balances)
    };
    assert_eq!(store.apply(&write(1, balance(9, 0), None)).await.unwrap(), ApplyOutcome::Done);
    store.record_usage(&[counted(1, 0, 1), counted(1, 1, 1)]).await.unwrap();
    let mut other = server.connect();
    let _: () = run(&mut other, &["CONFIG", "SET", "maxmemory", "1"]);

    for revision in 1..=9 {
        let taken = write(1, balance(9 - revision, revision), Some(revision - 1));
        assert_eq!(store.apply(&taken).await.unwrap(), ApplyOutcome::Done);
    }
    assert_eq!(
        store.balances(&[record(1).id]).await.unwrap().items,
        [(record(1).id, balance(0, 9))]
    );
    // A key is revoked and its balance set to nothing in one.
    let mut revoked = record(1);
    (revoked.details.revoked_at, revoked.revision) = (Some(at(5)), revoked.revision + 1);
    let mut both = write(1, balance(0, 10), Some(9));
    both.updates = vec![KeyUpdate::new(&record(1), revoked.clone())];
    assert_eq!(store.apply(&both).await.unwrap(), ApplyOutcome::Done);

    // A new balance is refused, and with it all that is to be done with it.
    let mut refused = write(2, balance(5, 0), None);
    refused.balances.push(write(1, balance(9, 11), Some(10)).balances.remove(0));
    let mut again = revoked.clone();
    again.revision = 2;
    refused.updates = vec![KeyUpdate::new(&revoked, again)];
    let usage = [counted(2, 0, 1), counted(1, 0, 1)];
    for error in
        [store.apply(&refused).await.unwrap_err(), store.record_usage(&usage).await.unwrap_err()]
    {
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(texts(&error).contains("OOM"), "{error:?}");
    }
    assert_eq!(stored(&store, record(1).id).await.revision, 1);
    let lineages = [record(1).id, record(2).id];
    assert_eq!(store.balances(&lineages).await.unwrap().items, [(record(1).id, balance(0, 10))]);

    // Room can be made.
    let all = UsageQuery::new(at(i64::MIN), at(i64::MAX));
    assert_eq!(store.usage(&all).await.unwrap().len(), 2);
    assert_eq!(store.forget_usage(at(1)).await.unwrap(), 1);
    assert_eq!(store.usage(&all).await.unwrap().len(), 1);
    assert_eq!(store.purge(at(6), None).await.unwrap(), 1);
    assert_eq!(store.balances(&lineages).await.unwrap().items, []);
    let _: () = run(&mut other, &["CONFIG", "SET", "maxmemory", "0"]);
    store.record_usage(&usage).await.unwrap();
    assert_eq!(store.usage(&all).await.unwrap().len(), 2);
}

/// A program that is brought up to date must be able to revoke keys of a store that is full.
#[tokio::test]
async fn a_full_server_is_brought_up_to_date() {
    let Some(server) = OwnServer::start(&["--maxmemory-policy", "noeviction"]) else { return };
    let store = RedisStore::connect(&server.url()).await.unwrap();
    // More than the upgrade looks at in one step.
    let in_lineage = |number| {
        let mut record = record(number);
        record.details.rotation.lineage = Some(crate::conformance::record(1).id);
        record
    };
    let inserts = std::iter::once(record(1)).chain((2..1_000).map(in_lineage)).collect();
    store.apply(&Changes::default().with_inserts(inserts)).await.unwrap();
    let mut other = server.connect();
    let schema = "{api_keys}:schema";
    let _: u64 = run(&mut other, &["HSET", schema, "version", "1"]);
    let new = ["requests", "legacy", "balances", "lines", "usage", "usage_hours"];
    let _: u64 = run(&mut other, &[&["HDEL", schema][..], &new].concat());
    let _: u64 = run(&mut other, &["DEL", "{api_keys}:lines"]);
    let _: () = run(&mut other, &["CONFIG", "SET", "maxmemory", "1"]);
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let mut revoked = record(1);
    (revoked.details.revoked_at, revoked.revision) = (Some(at(5)), revoked.revision + 1);
    assert_eq!(store.update(&record(1), &revoked).await.unwrap(), ApplyOutcome::Done);
    assert_eq!(stored(&store, record(1).id).await, revoked);
    let lineages: u64 = run(&mut other, &["ZCARD", "{api_keys}:lines"]);
    assert_eq!(lineages, 998);
}

/// Under a policy that takes anything, a key is found or not judged, never unknown.
#[tokio::test]
async fn evicted_keys_are_not_unknown() {
    let Some(server) = OwnServer::start(&["--maxmemory-policy", "allkeys-random"]) else { return };
    let store = RedisStore::connect(&server.url()).await.unwrap();
    store.insert(&full(1)).await.unwrap();
    let mut other = server.connect();
    // Far below what a server needs for itself: everything is evicted, one key after the other.
    let _: () = run(&mut other, &["CONFIG", "SET", "maxmemory", "1"]);
    loop {
        match store.find(&digest(1)).await {
            Ok(found) => assert_eq!(found.as_deref(), Some(&full(1))),
            Err(error) => {
                assert!(
                    matches!(error.kind(), StoreErrorKind::Corrupt | StoreErrorKind::Unavailable),
                    "{error:?}"
                );
                let left: u64 = run(&mut other, &["DBSIZE"]);
                if left == 0 {
                    break;
                }
            }
        }
    }
}
