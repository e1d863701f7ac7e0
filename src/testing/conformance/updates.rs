//! Compare-and-swap on the revision.

use tokio::task::JoinSet;

use super::{assert_duplicate, at, digest, full, record, record_at, stored};
use crate::{
    key::KeyRecord,
    store::{ApplyOutcome, KeyRepository},
};

pub async fn updates_write_every_field_but_the_fixed_ones(store: impl KeyRepository) {
    let mut old = record(1);
    old.last_used_at = Some(at(7));
    old.use_count = 7;
    old.details.last_used_from = Some("192.0.2.7".parse().unwrap());
    store.insert(&old).await.unwrap();

    let mut new = full(1);
    new.digest = digest(2);
    new.details.deleted_at = Some(at(9));
    assert_eq!(store.update(&old, &new).await.unwrap(), ApplyOutcome::Done);

    let (created_at, last_used_at, use_count) = (old.created_at, old.last_used_at, old.use_count);
    assert_ne!(new.created_at, created_at);
    (new.created_at, new.last_used_at, new.use_count) = (created_at, last_used_at, use_count);
    new.details.last_used_from = old.details.last_used_from;
    assert_eq!(stored(&store, old.id).await, new);
}

pub async fn updates_can_take_fields_away(store: impl KeyRepository) {
    let full = full(1);
    store.insert(&full).await.unwrap();
    let mut bare = record(1);
    bare.revision = full.revision + 1;
    assert_eq!(store.update(&full, &bare).await.unwrap(), ApplyOutcome::Done);

    bare.created_at = full.created_at;
    (bare.last_used_at, bare.use_count) = (full.last_used_at, full.use_count);
    bare.details.last_used_from = full.details.last_used_from;
    assert_eq!(store.find(&bare.digest).await.unwrap().as_deref(), Some(&bare));
}

pub async fn stale_updates_write_nothing(store: impl KeyRepository) {
    let old = record_at(1, 5);
    store.insert(&old).await.unwrap();
    store.insert(&record(2)).await.unwrap();
    for expected in [0, 4, 6] {
        let (read, mut new) = (record_at(1, expected), full(1));
        new.revision = expected + 1;
        assert_eq!(store.update(&read, &new).await.unwrap(), ApplyOutcome::Stale);
        // Whatever else would be wrong with it.
        new.digest = digest(2);
        assert_eq!(store.update(&read, &new).await.unwrap(), ApplyOutcome::Stale);
    }
    assert_eq!(stored(&store, old.id).await, old);
    assert_eq!(store.find(&digest(1)).await.unwrap().as_deref(), Some(&old));
    assert_eq!(store.find(&digest(2)).await.unwrap().as_deref(), Some(&record(2)));
}

pub async fn updates_of_unknown_keys_write_nothing(store: impl KeyRepository) {
    store.insert(&record(1)).await.unwrap();
    assert_eq!(store.update(&record(2), &record_at(2, 1)).await.unwrap(), ApplyOutcome::Stale);
    assert!(store.get(record(2).id).await.unwrap().is_none());
    assert!(store.find(&digest(2)).await.unwrap().is_none());
    assert_eq!(stored(&store, record(1).id).await, record(1));
}

pub async fn one_of_many_concurrent_updates_is_done(store: impl KeyRepository + Clone) {
    store.insert(&record(1)).await.unwrap();
    for revision in 0..4 {
        let mut updates = JoinSet::new();
        for number in 0..24 {
            let store = store.clone();
            let (old, mut new) = (record_at(1, revision), record_at(1, revision + 1));
            new.name = format!("update {number} of revision {revision}").into();
            updates.spawn(async move { (store.update(&old, &new).await.unwrap(), new) });
        }
        let outcomes = updates.join_all().await;
        let done: Vec<&KeyRecord> = outcomes
            .iter()
            .filter_map(|(update, new)| (*update == ApplyOutcome::Done).then_some(new))
            .collect();
        assert_eq!(done.len(), 1, "revision {revision}");
        assert_eq!(&stored(&store, record(1).id).await, done[0]);
    }
}

/// How a key is stored anew under another pepper.
pub async fn a_new_digest_replaces_the_old_one(store: impl KeyRepository) {
    store.insert(&record(1)).await.unwrap();
    let mut renewed = record(1);
    renewed.digest = digest(2);
    renewed.revision += 1;
    assert_eq!(store.update(&record(1), &renewed).await.unwrap(), ApplyOutcome::Done);

    assert!(store.find(&digest(1)).await.unwrap().is_none());
    assert_eq!(store.find(&digest(2)).await.unwrap().as_deref(), Some(&renewed));
    // No key has the old digest any more.
    let mut other = record(3);
    (other.digest, other.revision) = (digest(1), renewed.revision + 1);
    store.insert(&other).await.unwrap();
    assert_eq!(store.find(&digest(1)).await.unwrap().as_deref(), Some(&other));
}

pub async fn a_taken_digest_is_refused(store: impl KeyRepository) {
    let mut deleted = record(3);
    deleted.details.deleted_at = Some(at(1));
    for record in [record(1), record(2), deleted] {
        store.insert(&record).await.unwrap();
    }
    for taken in [2, 3] {
        let mut new = full(1);
        new.digest = digest(taken);
        assert_duplicate(store.update(&record(1), &new).await);
    }
    assert_eq!(store.find(&digest(1)).await.unwrap().as_deref(), Some(&record(1)));
    assert_eq!(store.find(&digest(2)).await.unwrap().as_deref(), Some(&record(2)));
}

pub async fn the_mark_of_an_owner_is_kept_with_each_revision(store: impl KeyRepository) {
    for (number, disabled) in [(1, false), (2, true)] {
        let mut record = record_at(number, 7);
        record.disabled = disabled;
        store.insert(&record).await.unwrap();
        for mark in [true, true, false, true, false, false] {
            let old = record.clone();
            record.revision += 2;
            record.details.disabled_by_owner = mark;
            record.details.created_by = mark.then_some(record.id);
            assert_eq!(store.update(&old, &record).await.unwrap(), ApplyOutcome::Done);
            assert_eq!(stored(&store, record.id).await.details, record.details);
        }
    }
}
