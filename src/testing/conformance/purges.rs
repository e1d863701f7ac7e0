//! Removing rows for good.

use super::{at, digest, record, stored};
use crate::{
    key::KeyRecord,
    store::{KeyQuery, KeyRepository},
};

fn ended(number: u64, revoked: Option<i64>, deleted: Option<i64>) -> KeyRecord {
    let mut record = record(number);
    (record.details.revoked_at, record.details.deleted_at) = (revoked.map(at), deleted.map(at));
    record
}

pub async fn old_revoked_and_deleted_keys_are_removed(store: impl KeyRepository) {
    let old = [
        ended(1, Some(99), None),
        ended(2, None, Some(99)),
        ended(3, Some(99), Some(150)),
        ended(4, Some(-5), Some(-4)),
    ];
    let young =
        [ended(5, Some(100), None), ended(6, None, Some(100)), ended(7, Some(101), Some(200))];
    for record in old.iter().chain(&young) {
        store.insert(record).await.unwrap();
    }

    assert_eq!(store.purge(at(-5), None).await.unwrap(), 0);
    assert_eq!(store.purge(at(100), None).await.unwrap(), 4);
    assert_eq!(store.purge(at(100), None).await.unwrap(), 0);
    for record in &old {
        assert!(store.get(record.id).await.unwrap().is_none(), "{}", record.name);
        assert!(store.find(&record.digest).await.unwrap().is_none(), "{}", record.name);
    }
    for record in &young {
        assert_eq!(&stored(&store, record.id).await, record);
    }
    assert_eq!(store.find(&digest(5)).await.unwrap().as_deref(), Some(&young[0]));
}

/// However old, disabled or expired they are.
pub async fn live_keys_stay(store: impl KeyRepository) {
    let mut record = record(1);
    record.disabled = true;
    record.expires_at = Some(at(0));
    store.insert(&record).await.unwrap();
    assert_eq!(store.purge(at(i64::MAX), None).await.unwrap(), 0);
    assert_eq!(stored(&store, record.id).await, record);
    assert_eq!(store.list(&KeyQuery::new(10)).await.unwrap().items.len(), 1);
}

pub async fn a_purged_digest_is_free_again(store: impl KeyRepository) {
    store.insert(&ended(1, Some(1), Some(1))).await.unwrap();
    assert_eq!(store.purge(at(2), None).await.unwrap(), 1);
    store.insert(&record(1)).await.unwrap();
    assert_eq!(store.find(&digest(1)).await.unwrap().as_deref(), Some(&record(1)));
}

/// Old ones of theirs, and no other owner's, whatever the owners look like to a sloppy collation.
pub async fn an_owners_keys_are_removed_alone(store: impl KeyRepository) {
    let owners = [None, Some("anna"), Some("Anna"), Some("anna "), Some("änna"), Some("")];
    let of = |owner: Option<&str>, number| {
        let mut record = ended(number, Some(1), None);
        record.owner = owner.map(Into::into);
        record
    };
    for (number, owner) in (1..).zip(owners) {
        store.insert(&of(owner, number)).await.unwrap();
        let mut young = of(owner, number + 100);
        young.details.revoked_at = Some(at(50));
        store.insert(&young).await.unwrap();
    }
    assert_eq!(store.purge(at(50), Some(&"nobody".into())).await.unwrap(), 0);
    for (number, owner) in (1..).zip(owners).skip(1) {
        assert_eq!(store.purge(at(50), Some(&owner.unwrap().into())).await.unwrap(), 1);
        assert!(store.get(record(number).id).await.unwrap().is_none(), "{owner:?}");
    }
    assert_eq!(store.list(&KeyQuery::new(100)).await.unwrap().items.len(), 7);
    assert_eq!(store.purge(at(50), None).await.unwrap(), 1);
    assert_eq!(store.list(&KeyQuery::new(100)).await.unwrap().items.len(), 6);
}
