//! Finding keys by digest and by id.

use super::{at, digest, full, record, stored};
use crate::{
    key::KeyDigest,
    store::{ApplyOutcome, KeyRepository, Lookup},
};

pub async fn an_empty_store_finds_nothing(store: impl KeyRepository) {
    assert!(!matches!(store.find_now(&digest(1)), Some(Lookup::Found(_))));
    assert!(store.find(&digest(1)).await.unwrap().is_none());
    assert!(store.get(record(1).id).await.unwrap().is_none());
}

/// No collation, no padding, no prefix: every bit counts.
pub async fn digests_match_exactly(store: impl KeyRepository) {
    let bytes = *b"A digest that happens to be text";
    let mut record = record(1);
    record.digest = KeyDigest::from_bytes(bytes);
    store.insert(&record).await.unwrap();

    for position in 0..32 {
        for bit in 0..8 {
            let mut other = bytes;
            other[position] ^= 1 << bit;
            let other = KeyDigest::from_bytes(other);
            assert!(store.find(&other).await.unwrap().is_none(), "byte {position}, bit {bit}");
        }
    }
    assert_eq!(store.find(&record.digest).await.unwrap().as_deref(), Some(&record));
    if let Some(now) = store.find_now(&record.digest) {
        assert!(matches!(now, Lookup::Found(found) if *found == record));
    }
}

pub async fn deleted_keys_are_got_but_not_found(store: impl KeyRepository) {
    let live = full(1);
    store.insert(&live).await.unwrap();
    let mut deleted = live.clone();
    deleted.details.deleted_at = Some(at(5_000));
    deleted.revision += 1;
    assert_eq!(store.update(&live, &deleted).await.unwrap(), ApplyOutcome::Done);

    assert!(store.find(&live.digest).await.unwrap().is_none());
    assert!(!matches!(store.find_now(&live.digest), Some(Lookup::Found(_))));
    assert_eq!(stored(&store, live.id).await, deleted);
}

/// The layer says why they are refused; a store that hid them would make them "unknown".
pub async fn unusable_keys_are_found(store: impl KeyRepository) {
    let (mut revoked, mut disabled) = (record(1), record(2));
    let (mut expired, mut early) = (record(3), record(4));
    revoked.details.revoked_at = Some(at(1));
    disabled.disabled = true;
    expired.expires_at = Some(at(1));
    early.details.not_before = Some(at(i64::MAX));
    for record in [revoked, disabled, expired, early] {
        store.insert(&record).await.unwrap();
        assert_eq!(store.find(&record.digest).await.unwrap().as_deref(), Some(&record));
    }
}

pub async fn clones_share_the_keys(store: impl KeyRepository + Clone) {
    let clone = store.clone();
    store.insert(&record(1)).await.unwrap();
    assert_eq!(clone.find(&digest(1)).await.unwrap().as_deref(), Some(&record(1)));

    let mut revoked = record(1);
    revoked.details.revoked_at = Some(at(2_000));
    revoked.revision += 1;
    assert_eq!(clone.update(&record(1), &revoked).await.unwrap(), ApplyOutcome::Done);
    drop(clone);
    assert_eq!(store.find(&digest(1)).await.unwrap().as_deref(), Some(&revoked));
}
