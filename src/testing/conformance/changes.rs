//! Several changes at once: all or nothing.

use tokio::task::JoinSet;

use super::{assert_duplicate, at, digest, full, record, stored};
use crate::{
    KeyId,
    key::{KeyDigest, KeyRecord, LegacyHash},
    store::{ApplyOutcome, Changes, KeyQuery, KeyRepository, KeyUpdate, StoreErrorKind},
};

fn inserts(inserts: impl IntoIterator<Item = KeyRecord>) -> Changes {
    let mut changes = Changes::default();
    changes.inserts.extend(inserts);
    changes
}

/// `record` as the next revision.
fn next(record: &KeyRecord) -> KeyUpdate {
    let mut new = record.clone();
    new.revision += 1;
    KeyUpdate::new(record, new)
}

fn requested(number: u64, request: u64) -> KeyRecord {
    let mut record = record(number);
    record.details.request = Some(digest(request));
    record
}

async fn assert_empty(store: &impl KeyRepository) {
    assert_eq!(store.list(&KeyQuery::new(1)).await.unwrap().items.len(), 0);
}

pub async fn no_changes_are_done(store: impl KeyRepository) {
    assert_eq!(store.apply(&Changes::default()).await.unwrap(), ApplyOutcome::Done);
    assert_empty(&store).await;
}

/// As many as fit one statement of a database, more, and fewer.
pub async fn many_keys_are_added_at_once(store: impl KeyRepository) {
    for (first, count) in [(1_000, 1), (2_000, 50), (3_000, 123)] {
        let records: Vec<_> = (first..first + count).map(full).collect();
        assert_eq!(store.apply(&inserts(records.clone())).await.unwrap(), ApplyOutcome::Done);
        for record in &records {
            assert_eq!(&stored(&store, record.id).await, record);
        }
    }
}

/// Wherever it is among the others, and whatever it is that is there already.
pub async fn a_duplicate_undoes_everything(store: impl KeyRepository) {
    store.insert(&requested(1, 1)).await.unwrap();
    let (same_id, mut same_digest) = (record(1), record(500));
    same_digest.digest = digest(1);
    let mut other_digest = same_id.clone();
    other_digest.digest = digest(501);
    for duplicate in [other_digest, same_digest, requested(500, 1)] {
        for place in [0, 1, 60, 120] {
            let mut records: Vec<_> = (100..220).map(record).collect();
            records.insert(place, duplicate.clone());
            let mut changes = inserts(records);
            changes.updates.push(next(&requested(1, 1)));
            assert_duplicate(store.apply(&changes).await);
            assert!(store.get(record(100).id).await.unwrap().is_none());
            assert!(store.find(&digest(219)).await.unwrap().is_none());
            assert_eq!(stored(&store, record(1).id).await, requested(1, 1));
        }
    }
    assert_eq!(store.list(&KeyQuery::new(10)).await.unwrap().items.len(), 1);
}

pub async fn duplicates_among_the_changes_undo_everything(store: impl KeyRepository) {
    let (mut same_id, mut same_digest) = (record(1), record(3));
    same_id.digest = digest(3);
    same_digest.digest = digest(1);
    for duplicate in [same_id, same_digest, requested(3, 1)] {
        assert_duplicate(store.apply(&inserts([requested(1, 1), record(2), duplicate])).await);
        assert_empty(&store).await;
    }
}

pub async fn a_stale_update_undoes_everything(store: impl KeyRepository) {
    store.apply(&inserts([record(1), record(2)])).await.unwrap();
    let unknown = next(&record(3));
    let mut stale = next(&record(2));
    (stale.expected, stale.record.revision) = (5, 6);
    for last in [unknown, stale] {
        let mut renamed = next(&record(1));
        renamed.record.name = "renamed".into();
        let mut changes = inserts([record(10), record(11)]);
        changes.updates.extend([renamed, last]);
        assert_eq!(store.apply(&changes).await.unwrap(), ApplyOutcome::Stale);
        assert!(store.get(record(10).id).await.unwrap().is_none());
        assert!(store.find(&digest(11)).await.unwrap().is_none());
        assert_eq!(stored(&store, record(1).id).await, record(1));
        assert_eq!(stored(&store, record(2).id).await, record(2));
    }
}

/// Every bit counts, deleted keys keep theirs, and none is not one.
pub async fn requests_are_unique(store: impl KeyRepository) {
    let text = *b"A request that happens to be txt";
    let mut first = record(1);
    first.details.request = Some(KeyDigest::from_bytes(text));
    first.details.deleted_at = Some(at(1));
    store.insert(&first).await.unwrap();
    for (number, position) in (2..).zip(0..32) {
        let mut other = record(number);
        other.details.request = first.details.request;
        assert_duplicate(store.insert(&other).await);
        assert!(store.get(other.id).await.unwrap().is_none());
        let mut bytes = text;
        bytes[position] ^= 0x20;
        other.details.request = Some(KeyDigest::from_bytes(bytes));
        store.insert(&other).await.unwrap();
        assert_eq!(stored(&store, other.id).await, other);
    }
    for number in [100, 101] {
        store.insert(&record(number)).await.unwrap();
    }
    let mut taken = next(&record(100));
    taken.record.details.request = first.details.request;
    let changes = Changes::default().with_updates(vec![taken]);
    assert_duplicate(store.apply(&changes).await);
    assert_eq!(stored(&store, record(100).id).await, record(100));
}

/// As of a client that tries again before it was answered.
pub async fn one_of_many_with_the_same_request_is_done(store: impl KeyRepository + Clone) {
    for round in 0..3 {
        let mut applied = JoinSet::new();
        for number in 0..16 {
            let store = store.clone();
            let record = requested(100 * round + number, 1_000 + round);
            applied.spawn(async move { store.apply(&inserts([record])).await });
        }
        let results = applied.join_all().await;
        let done = results.iter().filter(|result| matches!(result, Ok(ApplyOutcome::Done)));
        assert_eq!(done.count(), 1);
        for refusal in results.into_iter().filter_map(Result::err) {
            assert_eq!(refusal.kind(), StoreErrorKind::Duplicate, "{refusal:?}");
        }
    }
    assert_eq!(store.list(&KeyQuery::new(100)).await.unwrap().items.len(), 3);
}

/// As when two rotate the same key: one of them makes a new one.
pub async fn one_of_many_concurrent_changes_is_done(store: impl KeyRepository + Clone) {
    store.insert(&record(1)).await.unwrap();
    for round in 0..3 {
        let old = stored(&store, record(1).id).await;
        let mut applied = JoinSet::new();
        for number in 0..16 {
            let new = record(100 * (round + 1) + number);
            let mut update = next(&old);
            update.record.details.rotation.to = Some(new.id);
            let changes = inserts([new.clone()]).with_updates(vec![update]);
            let store = store.clone();
            applied.spawn(async move { (store.apply(&changes).await.unwrap(), new.id) });
        }
        let results = applied.join_all().await;
        let done: Vec<KeyId> = results
            .iter()
            .filter_map(|(update, id)| (*update == ApplyOutcome::Done).then_some(*id))
            .collect();
        assert_eq!(done.len(), 1);
        let old = stored(&store, old.id).await;
        assert_eq!((old.details.rotation.to, old.revision), (Some(done[0]), round + 1));
        let listed = store.list(&KeyQuery::new(100)).await.unwrap().items;
        assert_eq!(listed.len() as u64, round + 2);
        assert_eq!(listed[0].id, done[0]);
    }
}

pub async fn rotations_read_back_equal(store: impl KeyRepository) {
    let bytes = |byte| KeyId::from_bytes([byte; 16]);
    let times = [i64::MIN, -1, 0, 1_795_000_000_123, i64::MAX];
    for (number, time) in (1_u64..).zip(times) {
        let mut record = full(number);
        let details = &mut *record.details;
        let rotation = &mut details.rotation;
        rotation.lineage = Some(bytes(0));
        rotation.from = Some(bytes(0xff));
        rotation.to = Some(bytes(0x80));
        rotation.rotated_at = Some(at(time));
        rotation.retires_at = Some(at(time));
        rotation.grace_after_use = Some(time.max(0).cast_unsigned());
        rotation.is_awaited = true;
        details.request = Some(KeyDigest::from_bytes([u8::try_from(number).unwrap() - 1; 32]));
        details.legacy_hash = Some(LegacyHash::new("$argon2id$v=19$m=16,t=2,p=1$'\\\"$%_🦀 "));
        store.insert(&record).await.unwrap();
        assert_eq!(stored(&store, record.id).await, record);
        assert_eq!(store.find(&record.digest).await.unwrap().as_deref(), Some(&record));

        let mut bare = record.clone();
        bare.details = super::record(number).details;
        bare.details.last_used_from = record.details.last_used_from;
        let update = next(&bare).record;
        assert_eq!(store.update(&record, &update).await.unwrap(), ApplyOutcome::Done);
        assert_eq!(stored(&store, record.id).await, update);
    }
    // Each of them alone.
    let changes: [fn(&mut KeyRecord); 6] = [
        |record| record.details.rotation.lineage = Some(record.id),
        |record| record.details.rotation.from = Some(record.id),
        |record| record.details.rotation.to = Some(record.id),
        |record| record.details.rotation.grace_after_use = Some(1),
        |record| record.details.rotation.is_awaited = true,
        |record| record.details.legacy_hash = Some(LegacyHash::new("")),
    ];
    for (number, change) in (100..).zip(changes) {
        let mut record = record(number);
        store.insert(&record).await.unwrap();
        change(&mut record);
        let update = next(&record).record;
        assert_eq!(store.update(&record, &update).await.unwrap(), ApplyOutcome::Done);
        assert_eq!(stored(&store, record.id).await, update);
    }
}
