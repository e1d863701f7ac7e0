//! Keys that are revoked by the time of their creation: one write, and every reader sees it.

use std::sync::Arc;

use super::{at, record, stored};
use crate::{
    KeyId, Timestamp,
    key::{EventId, KeyAction, KeyDigest, KeyEvent, KeyRecord, KeyStatus},
    store::{
        ApplyOutcome, Changes, KeyQuery, KeyRepository, KeyUpdate, OwnerBound, StoreErrorKind,
        Watermark, WatermarkRecord, Watermarks,
    },
};

fn owned(number: u64, owner: Option<&str>, created_at: i64) -> KeyRecord {
    let mut record = record(number);
    record.owner = owner.map(Into::into);
    record.created_at = at(created_at);
    record
}

fn of(owner: Option<&str>, before: i64) -> Watermark {
    Watermark { owner: owner.map(Into::into), ..Watermark::new(at(before)) }
}

fn setting(watermark: &Watermark) -> Changes {
    let mut mark = WatermarkRecord::new(watermark.clone(), at(0));
    mark.reason = Some("it \u{1f980} leaked".into());
    Changes::default().with_watermark(Some(mark))
}

fn watermarks(store: &impl KeyRepository) -> &dyn Watermarks {
    store.watermarks().unwrap()
}

async fn is_revoked(store: &impl KeyRepository, record: &KeyRecord) -> bool {
    let found = store.find(&record.digest).await.unwrap().unwrap();
    let many = store.find_many(&[record.digest]).await.pop().unwrap().unwrap().unwrap();
    let got = stored(store, record.id).await;
    let by_id = match store.find_by_id(record.id).await {
        Err(error) if error.kind() == StoreErrorKind::Unsupported => found.clone(),
        by_id => by_id.unwrap().unwrap(),
    };
    let mut query = KeyQuery::new(100);
    query.owner.clone_from(&record.owner);
    let page = store.list(&query).await.unwrap().items;
    let listed = page.into_iter().find(|listed| listed.id == record.id).unwrap();
    query.status = Some((KeyStatus::Revoked, at(5_000)));
    let revoked = store.list(&query).await.unwrap().items;
    let all = [&found, &many, &Arc::new(got), &by_id, &listed].map(|r| r.details.revoked_at);
    assert!(all.iter().all(|revoked_at| *revoked_at == all[0]), "{all:?}");
    assert_eq!(revoked.iter().any(|listed| listed.id == record.id), all[0].is_some());
    assert_eq!(found.revision, record.revision, "the row is as it was");
    all[0].is_some()
}

pub async fn every_reader_finds_covered_keys_revoked(store: impl KeyRepository) {
    let keys = [
        owned(1, Some("anna"), 9),
        owned(2, Some("anna"), 10),
        owned(3, Some("anna "), 9),
        owned(4, Some("Anna"), 9),
        owned(5, None, 9),
        owned(6, Some("*"), 9),
    ];
    store.apply(&Changes::default().with_inserts(keys.to_vec())).await.unwrap();
    let revoked = async || {
        let mut revoked = Vec::new();
        for (number, key) in (1_u8..).zip(&keys) {
            if is_revoked(&store, key).await {
                revoked.push(number);
            }
        }
        revoked
    };
    assert!(revoked().await.is_empty());
    let theirs = of(Some("anna"), 10);
    assert_eq!(store.apply(&setting(&theirs)).await.unwrap(), ApplyOutcome::Done);
    assert_eq!(revoked().await, [1]);
    let starred = of(Some("*"), 10);
    store.apply(&setting(&starred)).await.unwrap();
    assert_eq!(revoked().await, [1, 6]);
    let all = of(None, 10);
    store.apply(&setting(&all)).await.unwrap();
    assert_eq!(revoked().await, [1, 3, 4, 5, 6]);
    // Again, and nothing is there twice.
    assert_eq!(store.apply(&setting(&all)).await.unwrap(), ApplyOutcome::Done);

    let mut mark = watermarks(&store).current().await.unwrap();
    mark.sort_by_key(|mark| mark.watermark.owner.clone());
    let expected = [&all, &starred, &theirs];
    assert_eq!(mark.iter().map(|mark| &mark.watermark).collect::<Vec<_>>(), expected);
    for mark in mark {
        assert_eq!(mark.reason.as_deref(), Some("it \u{1f980} leaked"));
        assert!(mark.revoked_at > at(0), "by the clock of the repository");
    }
}

/// Whatever is written meanwhile, and with the row of a key that was revoked or deleted by itself.
pub async fn rows_are_written_afterwards(store: impl KeyRepository) {
    let mut ended = [owned(4, None, 1), owned(5, None, 1)];
    ended[0].details.revoked_at = Some(at(2));
    ended[1].details.deleted_at = Some(at(2));
    let keys = [owned(1, None, 1), owned(2, Some("anna"), 1), owned(3, None, 100)];
    let inserts = keys.iter().chain(&ended).cloned().collect();
    store.apply(&Changes::default().with_inserts(inserts)).await.unwrap();
    let all = of(None, 100);
    store.apply(&setting(&all)).await.unwrap();
    assert_eq!(stored(&store, ended[0].id).await.details.revoked_at, Some(at(2)));
    assert_eq!(stored(&store, ended[1].id).await.details.revoked_at, None);

    let marks = watermarks(&store);
    let row = |record: &KeyRecord| (record.id, record.revision);
    let both = [row(&keys[0]), row(&keys[1])];
    assert_eq!(marks.unwritten(&all, None, 10).await.unwrap(), both);
    assert_eq!(marks.unwritten(&all, None, 1).await.unwrap(), both[..1]);
    assert_eq!(marks.unwritten(&all, Some(keys[0].id), 10).await.unwrap(), both[1..]);
    assert_eq!(marks.unwritten(&all, Some(KeyId::from_bytes([0xff; 16])), 10).await.unwrap(), []);
    let theirs = of(Some("anna"), 100);
    assert_eq!(marks.unwritten(&theirs, None, 10).await.unwrap(), both[1..]);
    assert!(!marks.remove(&all).await.unwrap(), "rows of both are missing");

    for key in &keys[..2] {
        let old = stored(&store, key.id).await;
        let mut new = old.clone();
        new.revision += 1;
        let update = KeyUpdate::new(&old, new);
        let changes = Changes::default().with_updates(vec![update]);
        assert_eq!(store.apply(&changes).await.unwrap(), ApplyOutcome::Done);
    }
    assert_eq!(marks.unwritten(&all, None, 10).await.unwrap(), []);
    // Keys that were being added may still come.
    assert!(!marks.remove(&all).await.unwrap(), "it was written less than a minute ago");
    assert!(!marks.remove(&of(None, 99)).await.unwrap(), "there is none");
    assert_eq!(marks.current().await.unwrap().len(), 1);
    let revoked = async |key: &KeyRecord| stored(&store, key.id).await.details.revoked_at.is_some();
    assert!(revoked(&keys[0]).await && revoked(&keys[1]).await && !revoked(&keys[2]).await);
}

/// Of a store that has the watermarks of this and of another: `age` makes them old.
pub async fn old_ones_are_removed(store: &impl KeyRepository, age: impl AsyncFnOnce()) {
    let key = owned(1, Some("anna"), 1);
    store.apply(&Changes::default().with_inserts(vec![key.clone()])).await.unwrap();
    let (theirs, others) = (of(Some("anna"), 100), of(Some("bert"), 100));
    store.apply(&setting(&theirs)).await.unwrap();
    store.apply(&setting(&others)).await.unwrap();
    let marks = watermarks(store);
    assert!(!marks.remove(&others).await.unwrap());
    age().await;
    assert!(marks.remove(&others).await.unwrap());
    assert!(!marks.remove(&others).await.unwrap(), "there is none");
    assert!(!marks.remove(&theirs).await.unwrap(), "a row is missing");
    let old = stored(store, key.id).await;
    let mut new = old.clone();
    new.revision += 1;
    store.update(&old, &new).await.unwrap();
    assert!(marks.remove(&theirs).await.unwrap());
    assert_eq!(marks.current().await.unwrap(), []);
    assert!(stored(store, key.id).await.details.revoked_at.is_some());
}

/// Or a key would come back, or leave for an owner whose keys are not meant.
pub async fn a_covered_key_stays_revoked(store: impl KeyRepository) {
    let (old, other) = (owned(1, Some("anna"), 1), owned(2, Some("anna"), 100));
    let inserts = vec![old.clone(), other.clone()];
    store.apply(&Changes::default().with_inserts(inserts)).await.unwrap();
    store.apply(&setting(&of(Some("anna"), 100))).await.unwrap();
    let moved = |old: &KeyRecord| {
        let mut new = old.clone();
        (new.owner, new.revision) = (Some("bert".into()), old.revision + 1);
        KeyUpdate::new(old, new)
    };
    let apply =
        async |update| store.apply(&Changes::default().with_updates(vec![update])).await.unwrap();
    assert_eq!(apply(moved(&old)).await, ApplyOutcome::Stale);
    assert!(is_revoked(&store, &old).await);
    assert_eq!(apply(moved(&other)).await, ApplyOutcome::Done);
    // As it is read, it may change in other ways.
    assert_eq!(apply(moved(&stored(&store, old.id).await)).await, ApplyOutcome::Done);
    let moved = stored(&store, old.id).await;
    assert!(moved.details.revoked_at.is_some() && moved.owner == Some("bert".into()));
}

/// As with all changes: the watermark shares the fate of what it comes with.
pub async fn a_time_to_come_undoes_everything(store: impl KeyRepository) {
    let key = owned(1, None, 1);
    store.apply(&Changes::default().with_inserts(vec![key.clone()])).await.unwrap();
    let event = KeyEvent::new(EventId::from_bytes([7; 16]), at(1), KeyAction::Revoked);
    let late = Timestamp::from_unix_millis(i64::MAX / 1_000_000);
    let too_early =
        setting(&Watermark::new(late)).with_inserts(vec![record(2)]).with_audit(vec![event]);
    assert_eq!(store.apply(&too_early).await.unwrap(), ApplyOutcome::Stale);
    assert!(store.get(record(2).id).await.unwrap().is_none());
    let stale = KeyUpdate::new(&record(3), record(3));
    let stale = setting(&of(None, 100)).with_updates(vec![stale]);
    assert_eq!(store.apply(&stale).await.unwrap(), ApplyOutcome::Stale);
    assert_eq!(watermarks(&store).current().await.unwrap(), []);
    assert!(!is_revoked(&store, &key).await);
}

/// A key that a watermark covers is not live, and leaves its place to another.
pub async fn covered_keys_are_not_counted(store: impl KeyRepository) {
    let now = at(5_000);
    let bound = OwnerBound { owner: "anna".into(), max_keys: 1, now };
    let creating = |key: KeyRecord| {
        Changes::default().with_inserts(vec![key]).with_owner_bound(Some(bound.clone()))
    };
    let create = async |number, created_at| {
        store.apply(&creating(owned(number, Some("anna"), created_at))).await.unwrap()
    };
    assert_eq!(create(1, 10).await, ApplyOutcome::Done);
    assert_eq!(create(2, 20).await, ApplyOutcome::TooManyKeys);
    store.apply(&setting(&of(Some("anna"), 20))).await.unwrap();
    assert_eq!(create(2, 20).await, ApplyOutcome::Done);
    assert_eq!(create(3, 20).await, ApplyOutcome::TooManyKeys);
    let unknown = KeyDigest::from_bytes([0xee; 32]);
    assert!(store.find(&unknown).await.unwrap().is_none());
}

/// Of rows by the thousand, in pages.
pub async fn thousands_of_rows_are_found(store: impl KeyRepository) {
    let numbers = 1..=2_500_u64;
    let keys: Vec<KeyRecord> = numbers.clone().map(|number| owned(number, Some("a"), 1)).collect();
    let others: Vec<KeyRecord> = (3_000..3_500).map(|number| owned(number, None, 1)).collect();
    for keys in keys.chunks(500).chain([&others[..]]) {
        store.apply(&Changes::default().with_inserts(keys.to_vec())).await.unwrap();
    }
    let theirs = of(Some("a"), 2);
    store.apply(&setting(&theirs)).await.unwrap();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = watermarks(&store).unwritten(&theirs, after, 1_000).await.unwrap();
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        found.extend(page.into_iter().map(|(id, _)| id));
    }
    assert_eq!(found, keys.iter().map(|key| key.id).collect::<Vec<_>>());
}
