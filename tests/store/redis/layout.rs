//! What is in Redis, and what is no longer.

use std::net::IpAddr;

use tower_api_key::{
    OwnerId,
    key::KeyRecord,
    store::{ApplyOutcome, Changes, KeyQuery, KeyRepository, KeyUse, RedisStore},
};

use super::{Prefix, indexed, request, run};
use crate::conformance::{assert_duplicate, at, digest, record, record_at, stored};

async fn change(store: &RedisStore, change: impl FnOnce(&mut KeyRecord)) {
    let old = stored(store, record(1).id).await;
    let mut new = old.clone();
    change(&mut new);
    new.revision += 1;
    assert_eq!(store.update(&old, &new).await.unwrap(), ApplyOutcome::Done);
}

/// How many of `owner`'s keys a list has.
async fn listed(store: &RedisStore, owner: &str) -> usize {
    store.list(&KeyQuery::new(10).with_owner(owner)).await.unwrap().items.len()
}

#[tokio::test]
async fn a_key_is_listed_under_its_owner_of_today() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    store.insert(&record(1)).await.unwrap();
    for owner in [Some("anna"), Some("anna\0:"), Some(""), None, Some("bert")] {
        change(&store, |record| record.owner = owner.map(OwnerId::from)).await;
        for other in ["anna", "anna\0:", "", "bert"] {
            let expected = usize::from(owner == Some(other));
            assert_eq!(listed(&store, other).await, expected, "{owner:?}, {other:?}");
        }
        assert_eq!(store.list(&KeyQuery::new(10)).await.unwrap().items.len(), 1);
    }
    // The application's own way to take a deletion back.
    change(&store, |record| record.details.deleted_at = Some(at(5))).await;
    assert_eq!(listed(&store, "bert").await, 0);
    change(&store, |record| record.details.deleted_at = None).await;
    assert_eq!(listed(&store, "bert").await, 1);
    assert_eq!(store.purge(at(i64::MAX), None).await.unwrap(), 0);
}

/// A key that is purged leaves nothing behind, whatever it has been through.
#[tokio::test]
async fn nothing_stays_of_a_purged_key() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    assert_eq!(prefix.keys(), [prefix.key("schema")]);
    store.insert(&indexed(1)).await.unwrap();
    store.insert(&record(2)).await.unwrap();
    let uses = [1, 2].map(|number| KeyUse::new(record(number).id, 1, at(9)));
    store.record_uses(&uses).await.unwrap();
    change(&store, |record| record.digest = digest(3)).await;
    change(&store, |record| record.details.request = Some(request(3))).await;
    change(&store, |record| record.owner = Some("anna".into())).await;
    change(&store, |record| record.details.deleted_at = Some(at(7))).await;
    let second = stored(&store, record(2).id).await;
    let mut revoked = second.clone();
    (revoked.details.revoked_at, revoked.revision) = (Some(at(7)), revoked.revision + 1);
    store.update(&second, &revoked).await.unwrap();
    assert!(prefix.keys().len() > 5, "{:?}", prefix.keys());

    assert_eq!(store.purge(at(8), None).await.unwrap(), 2);
    assert_eq!(prefix.keys(), [prefix.key("schema")]);
    let counts: Vec<u64> = run(
        &mut prefix.connect(),
        &["HMGET", &prefix.key("schema"), "keys", "requests", "legacy", "lines"],
    );
    assert_eq!(counts, [0, 0, 0, 0]);
    // What belonged to the purged key can be had again.
    store.insert(&indexed(1)).await.unwrap();
}

/// What a key no longer is, it is not found by.
#[tokio::test]
async fn a_key_is_found_by_what_it_is_today() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    store.insert(&indexed(1)).await.unwrap();
    let all = prefix.contents();
    let (mut by_request, mut legacy) = (KeyQuery::new(10), KeyQuery::new(10));
    (by_request.request, legacy.legacy) = (Some(request(1)), true);
    for (request, hash, listed) in [
        (None, None, [0, 0]),
        (indexed(1).details.request, None, [1, 0]),
        (None, indexed(1).details.legacy_hash.clone(), [0, 1]),
        (indexed(1).details.request, indexed(1).details.legacy_hash.clone(), [1, 1]),
    ] {
        change(&store, |record| {
            (record.details.request, record.details.legacy_hash) = (request, hash);
        })
        .await;
        for (query, expected) in [&by_request, &legacy].into_iter().zip(listed) {
            assert_eq!(store.list(query).await.unwrap().items.len(), expected, "{query:?}");
        }
    }
    // A deleted key keeps its request.
    change(&store, |record| record.details.deleted_at = Some(at(5))).await;
    assert!(store.list(&by_request).await.unwrap().items.is_empty());
    assert!(store.list(&legacy).await.unwrap().items.is_empty());
    let mut again = record(2);
    again.details.request = Some(request(1));
    assert_duplicate(store.insert(&again).await);
    change(&store, |record| record.details.deleted_at = None).await;

    // Once it is as it was, so is everything else.
    let mut now = prefix.contents();
    now.insert(prefix.key("keys"), all[&prefix.key("keys")].clone());
    assert_eq!(now, all);
}

/// More than is looked at in one step, among others' keys that end in the same moment.
#[tokio::test]
async fn purges_for_one_owner_leave_others_alone() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    let owners = [None, Some("anna"), Some(""), Some("bert")];
    let total = 1_000;
    let inserts = (0..total).map(|number| {
        let mut record = record(number);
        record.owner = owners[usize::try_from(number).unwrap() % 4].map(OwnerId::from);
        record.details.revoked_at = (number >= 8).then(|| at(i64::try_from(number / 300).unwrap()));
        record
    });
    let changes = Changes::default().with_inserts(inserts.collect());
    assert_eq!(store.apply(&changes).await.unwrap(), ApplyOutcome::Done);
    assert_eq!(store.purge(at(3), Some(&"nobody".into())).await.unwrap(), 0);
    assert_eq!(store.purge(at(0), Some(&"anna".into())).await.unwrap(), 0);
    // 0..900 ended before 3, without the first eight.
    assert_eq!(store.purge(at(3), Some(&"anna".into())).await.unwrap(), 223);
    assert_eq!(store.purge(at(3), Some(&"anna".into())).await.unwrap(), 0);
    let annas = KeyQuery::new(1_000).with_owner("anna");
    assert_eq!(store.list(&annas).await.unwrap().items.len(), 250 - 223);
    assert_eq!(store.purge(at(3), Some(&"".into())).await.unwrap(), 223);
    let all = store.list(&KeyQuery::new(10_000)).await.unwrap();
    assert_eq!(all.items.len(), 1_000 - 2 * 223);
    assert_eq!(store.purge(at(4), None).await.unwrap(), 2 * 223 + 100);
    assert_eq!(store.list(&KeyQuery::new(10_000)).await.unwrap().items.len(), 8);
}

/// More than Redis is asked for at once.
#[tokio::test]
async fn long_lists_and_purges_go_in_steps() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    let total = 600;
    for number in 0..total {
        let mut record = record(number);
        record.owner = Some("anna".into());
        record.details.revoked_at = Some(at(1));
        store.insert(&record).await.unwrap();
    }
    for query in [KeyQuery::new(550), KeyQuery::new(550).with_owner("anna")] {
        let page = store.list(&query).await.unwrap();
        let ids: Vec<_> = page.items.iter().map(|record| record.id).collect();
        let expected: Vec<_> = (50..total).rev().map(|number| record(number).id).collect();
        assert_eq!(ids, expected);
        let rest = store.list(&query.after(page.next.unwrap())).await.unwrap();
        assert_eq!((rest.items.len(), rest.next), (50, None));
    }
    // A whole number of steps, and what is left of one.
    let uses = (0..total)
        .map(|number| KeyUse::new(record(number).id, number, at(i64::try_from(number).unwrap())));
    store.record_uses(&uses.collect::<Vec<_>>()).await.unwrap();
    assert_eq!(stored(&store, record(599).id).await.use_count, 599);
    assert_eq!(store.purge(at(2), None).await.unwrap(), total);
    assert_eq!(prefix.keys(), [prefix.key("schema")]);
}

/// The address moves with the time, and is where the use says it.
#[tokio::test]
async fn the_address_of_the_last_use_is_kept_with_its_time() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let (one, two) = (address("192.0.2.7"), address("::ffff:192.0.2.7"));
    let mut unused = record(2);
    unused.details.last_used_from = Some(one);
    store.insert(&record(1)).await.unwrap();
    store.insert(&unused).await.unwrap();
    assert_eq!(stored(&store, unused.id).await, unused);
    for (millis, from, expected) in [
        (5, None, (5, None)),
        (3, Some(one), (5, None)),
        (5, Some(one), (5, Some(one))),
        (-9, Some(two), (5, Some(one))),
        (7, Some(two), (7, Some(two))),
        (9, None, (9, Some(two))),
    ] {
        let uses = [1, 2].map(|number| {
            let mut used = KeyUse::new(record(number).id, 1, at(millis));
            used.last_used_from = from;
            used
        });
        store.record_uses(&uses).await.unwrap();
        let read = stored(&store, record(1).id).await;
        assert_eq!(
            (read.last_used_at, read.details.last_used_from),
            (Some(at(expected.0)), expected.1)
        );
    }
    assert_eq!(stored(&store, unused.id).await.details.last_used_from, Some(two));
    // An update leaves both alone.
    change(&store, |record| {
        (record.last_used_at, record.details.last_used_from) = (Some(at(50)), Some(one));
    })
    .await;
    let read = stored(&store, record(1).id).await;
    assert_eq!((read.last_used_at, read.details.last_used_from), (Some(at(9)), Some(two)));
}

/// Redis counts no further than 2⁶³ - 1, and stays there.
#[tokio::test]
async fn counts_do_not_overflow() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    let mut record = record(1);
    record.use_count = u64::MAX;
    store.insert(&record).await.unwrap();
    let most = i64::MAX.unsigned_abs();
    assert_eq!(stored(&store, record.id).await.use_count, most);
    for count in [0, 1, u64::MAX] {
        let key_use = KeyUse::new(record.id, count, at(1));
        store.record_uses(&[key_use]).await.unwrap();
        let stored = stored(&store, record.id).await;
        assert_eq!((stored.use_count, stored.last_used_at), (most, Some(at(1))));
    }
}

/// Numbers that a double cannot tell apart.
#[tokio::test]
async fn revisions_are_exact() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    let of = |revision| record_at(1, revision);
    store.insert(&of(u64::MAX - 1)).await.unwrap();
    let last = of(u64::MAX);
    for stale in [u64::MAX - 3, u64::MAX - 2, u64::MAX, 0] {
        assert_eq!(store.update(&of(stale), &last).await.unwrap(), ApplyOutcome::Stale);
    }
    assert_eq!(store.update(&of(u64::MAX - 1), &last).await.unwrap(), ApplyOutcome::Done);
    assert_eq!(stored(&store, last.id).await.revision, u64::MAX);
}
