//! Counting uses.

use tokio::task::JoinSet;

use super::{at, full, record, stored};
use crate::store::{ApplyOutcome, Changes, KeyRepository, KeyUse};

fn used(number: u64, count: u64, millis: i64) -> KeyUse {
    KeyUse::new(record(number).id, count, at(millis))
}

pub async fn uses_add_up(store: impl KeyRepository) {
    let mut one = full(1);
    (one.use_count, one.last_used_at) = (100, None);
    store.insert(&one).await.unwrap();
    store.insert(&record(2)).await.unwrap();
    store.insert(&record(3)).await.unwrap();

    store.record_uses(&[]).await.unwrap();
    store.record_uses(&[used(1, 5, 10), used(2, 1, 20)]).await.unwrap();
    // Twice in one call.
    store.record_uses(&[used(1, 2, 40), used(2, 0, 30), used(1, 3, 30)]).await.unwrap();

    // Nothing else has changed, the revision least of all.
    (one.use_count, one.last_used_at) = (110, Some(at(40)));
    assert_eq!(stored(&store, one.id).await, one);
    let mut two = record(2);
    (two.use_count, two.last_used_at) = (1, Some(at(30)));
    assert_eq!(store.find(&two.digest).await.unwrap().as_deref(), Some(&two));
    assert_eq!(stored(&store, record(3).id).await, record(3));
}

pub async fn the_last_use_never_moves_back(store: impl KeyRepository) {
    store.insert(&record(1)).await.unwrap();
    for (millis, expected) in [(-5, -5), (-9, -5), (50, 50), (50, 50), (-7, 50), (0, 50)] {
        store.record_uses(&[used(1, 1, millis)]).await.unwrap();
        assert_eq!(stored(&store, record(1).id).await.last_used_at, Some(at(expected)));
    }
    assert_eq!(stored(&store, record(1).id).await.use_count, 6);
}

pub async fn unknown_keys_are_passed_over(store: impl KeyRepository) {
    store.insert(&record(2)).await.unwrap();
    store.record_uses(&[used(1, 1, 1), used(2, 2, 2), used(3, 3, 3)]).await.unwrap();
    assert!(store.get(record(1).id).await.unwrap().is_none());
    assert!(store.get(record(3).id).await.unwrap().is_none());
    let known = stored(&store, record(2).id).await;
    assert_eq!((known.use_count, known.last_used_at), (2, Some(at(2))));
}

pub async fn concurrent_uses_all_count(store: impl KeyRepository + Clone) {
    store.insert(&record(1)).await.unwrap();
    store.insert(&record(2)).await.unwrap();
    let mut tasks = JoinSet::new();
    for task in 1..=16 {
        let store = store.clone();
        tasks.spawn(async move {
            // In both orders, so that a store that locks row by row must mind deadlocks.
            let mut uses = [used(1, 1, task), used(2, 10, -task)];
            if task % 2 == 0 {
                uses.reverse();
            }
            store.record_uses(&uses).await.unwrap();
        });
    }
    tasks.join_all().await;
    let (one, two) = (stored(&store, record(1).id).await, stored(&store, record(2).id).await);
    assert_eq!((one.use_count, one.last_used_at), (16, Some(at(16))));
    assert_eq!((two.use_count, two.last_used_at), (160, Some(at(-1))));
}

pub async fn updates_do_not_undo_uses(store: impl KeyRepository) {
    let read = record(1);
    store.insert(&read).await.unwrap();
    store.record_uses(&[used(1, 3, 30)]).await.unwrap();
    let mut renamed = read.clone();
    renamed.name = "renamed".into();
    renamed.revision += 1;
    assert_eq!(store.update(&read, &renamed).await.unwrap(), ApplyOutcome::Done);
    (renamed.use_count, renamed.last_used_at) = (3, Some(at(30)));
    assert_eq!(stored(&store, read.id).await, renamed);
}

fn used_from(number: u64, millis: i64, address: &str) -> KeyUse {
    let mut key_use = used(number, 1, millis);
    key_use.last_used_from = Some(address.parse().unwrap());
    key_use
}

/// Together with the time, but for uses that came from nowhere in particular.
pub async fn the_address_of_the_last_use_moves_only_forward(store: impl KeyRepository) {
    let read = record(1);
    store.insert(&read).await.unwrap();
    let (a, b) = ("192.0.2.7", "2001:db8::7");
    for (uses, time, expected) in [
        (vec![used(1, 1, 5)], 5, None),
        (vec![used_from(1, 4, a)], 5, None),
        (vec![used_from(1, 5, a)], 5, Some(a)),
        (vec![used_from(1, 10, b)], 10, Some(b)),
        (vec![used_from(1, 9, a)], 10, Some(b)),
        (vec![used(1, 1, 20)], 20, Some(b)),
        // Several in one call are as if one came after the other.
        (vec![used_from(1, 25, a), used_from(1, 22, b)], 25, Some(a)),
        (vec![used_from(1, 30, b), used_from(1, 30, a), used(1, 1, 30)], 30, Some(a)),
        (vec![used_from(1, 29, b), used(1, 1, 40)], 40, Some(a)),
        (vec![used(1, 1, 50), used_from(1, 45, b)], 50, Some(a)),
    ] {
        store.record_uses(&uses).await.unwrap();
        let key = stored(&store, read.id).await;
        let address = expected.map(|address| address.parse().unwrap());
        assert_eq!((key.last_used_at, key.details.last_used_from), (Some(at(time)), address));
    }
    // An update does not undo it, and writes none itself.
    let mut renamed = read.clone();
    (renamed.name, renamed.revision) = ("renamed".into(), renamed.revision + 1);
    renamed.details.last_used_from = Some("::1".parse().unwrap());
    assert_eq!(store.update(&read, &renamed).await.unwrap(), ApplyOutcome::Done);
    let key = stored(&store, read.id).await;
    assert_eq!((&*key.name, key.details.last_used_from), ("renamed", Some(a.parse().unwrap())));
}

/// As by a node with many busy keys, which is not to write them one by one.
pub async fn thousands_are_recorded_at_once(store: impl KeyRepository) {
    const COUNT: u64 = 2_500;
    let inserts = (0..COUNT).map(record).collect();
    store.apply(&Changes::default().with_inserts(inserts)).await.unwrap();
    let address = |number| format!("2001:db8:ffff:ffff:ffff:ffff:ffff:{number:x}");
    let uses: Vec<_> = (0..COUNT).map(|number| used_from(number, 7, &address(number))).collect();
    for _ in 0..2 {
        store.record_uses(&uses).await.unwrap();
    }
    for number in [0, 1, COUNT / 2, COUNT - 1] {
        let key = stored(&store, record(number).id).await;
        assert_eq!((key.use_count, key.last_used_at), (2, Some(at(7))));
        assert_eq!(key.details.last_used_from, Some(address(number).parse().unwrap()));
    }
}
