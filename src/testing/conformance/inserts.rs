//! Adding keys.

use serde_json::{Map, Value};
use tokio::task::JoinSet;

use super::{assert_duplicate, digest, full, record, stored};
use crate::{
    key::KeyDigest,
    store::{KeyQuery, KeyRepository, StoreErrorKind},
};

pub async fn written_records_read_back_equal(store: impl KeyRepository) {
    let mut large = record(3);
    large.details.metadata = (0..100)
        .map(|number| (format!("field {number}"), Value::from("🦀".repeat(500))))
        .collect::<Map<_, _>>();
    let mut extreme = record(4);
    extreme.digest = KeyDigest::from_bytes([0; 32]);
    extreme.name = "".into();
    extreme.details.description = Some("".into());
    extreme.owner = Some("".into());

    for record in [record(1), full(2), large, extreme] {
        store.insert(&record).await.unwrap();
        assert_eq!(stored(&store, record.id).await, record);
        assert_eq!(store.find(&record.digest).await.unwrap().as_deref(), Some(&record));
        let page = store.list(&KeyQuery::new(1)).await.unwrap();
        assert_eq!(*page.items[0], record);
    }
}

pub async fn ids_are_unique(store: impl KeyRepository) {
    store.insert(&full(1)).await.unwrap();
    let mut second = record(1);
    second.digest = digest(2);
    assert_duplicate(store.insert(&second).await);
    assert_eq!(stored(&store, second.id).await, full(1));
    assert!(store.find(&second.digest).await.unwrap().is_none());
}

pub async fn digests_are_unique(store: impl KeyRepository) {
    store.insert(&full(1)).await.unwrap();
    let mut second = record(2);
    second.digest = digest(1);
    assert_duplicate(store.insert(&second).await);
    assert!(store.get(second.id).await.unwrap().is_none());
    assert_eq!(store.find(&digest(1)).await.unwrap().as_deref(), Some(&full(1)));
}

pub async fn a_deleted_key_keeps_its_id_and_digest(store: impl KeyRepository) {
    let mut deleted = record(1);
    deleted.details.deleted_at = Some(deleted.created_at);
    store.insert(&deleted).await.unwrap();

    let mut same_id = record(1);
    same_id.digest = digest(2);
    assert_duplicate(store.insert(&same_id).await);
    let mut same_digest = record(2);
    same_digest.digest = digest(1);
    assert_duplicate(store.insert(&same_digest).await);

    assert_eq!(stored(&store, deleted.id).await, deleted);
    assert!(store.get(same_digest.id).await.unwrap().is_none());
    assert!(store.find(&digest(1)).await.unwrap().is_none());
}

pub async fn one_of_many_concurrent_inserts_is_done(store: impl KeyRepository + Clone) {
    let mut inserts = JoinSet::new();
    for number in 0..16 {
        let store = store.clone();
        let mut record = record(number);
        record.digest = digest(99);
        inserts.spawn(async move { store.insert(&record).await.map(|()| record) });
    }
    let (done, refused): (Vec<_>, Vec<_>) =
        inserts.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!((done.len(), refused.len()), (1, 15));
    for refusal in refused {
        assert_eq!(refusal.unwrap_err().kind(), StoreErrorKind::Duplicate);
    }
    let page = store.list(&KeyQuery::new(100)).await.unwrap();
    assert_eq!(page.items.len(), 1);
    assert_eq!(&*page.items[0], done[0].as_ref().unwrap());
}
