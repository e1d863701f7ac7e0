//! Handles of owners: whatever is done with another owner's key, it is not found, and nothing
//! changes.

use tower_api_key::{
    KeyManager, KeyPatch, NewKey, OwnerId,
    key::{EventQuery, KeyDigest, KeyEvent, KeyRecord},
    manage::{ImportKey, RotationGrace},
    store::KeyQuery,
};

use crate::{
    managed::{Managed, scopes, why},
    support::at,
};

fn owned(owner: &str) -> NewKey {
    NewKey { owner: Some(owner.into()), ..NewKey::named(owner) }
}

/// Everything that a store has: records in full, and events.
async fn everything(managed: &Managed) -> (Vec<KeyRecord>, Vec<KeyEvent>) {
    let rows = managed.rows().await.iter().map(|row| KeyRecord::clone(row)).collect();
    (rows, managed.log().await)
}

/// Every operation on a key that this handle may not see.
async fn nothing_is_done(managed: &Managed, handle: &KeyManager, theirs: &KeyRecord) {
    let before = everything(managed).await;
    let id = theirs.id;
    managed.heard();
    let patch = KeyPatch {
        name: Some("mine now".into()),
        scopes: Some(scopes(&["*"])),
        ..KeyPatch::default()
    };
    let (expecting, stale) = (handle.if_revision(theirs.revision), handle.if_revision(99));
    let refusals = [
        why(handle.get(id).await),
        why(handle.update(id, patch.clone()).await),
        why(expecting.update(id, patch).await),
        why(stale.update(id, KeyPatch::default()).await),
        why(stale.delete(id).await),
        why(handle.enable(id).await),
        why(handle.disable(id).await),
        why(handle.revoke(id, Some("because I can")).await),
        why(handle.rotate(id, RotationGrace::NONE).await),
        why(handle.rotate(id, RotationGrace::FromFirstUse(std::time::Duration::ZERO)).await),
        why(handle.delete(id).await),
    ];
    assert!(refusals.iter().all(|refusal| refusal == "not found"), "{refusals:?}");

    let mut query = KeyQuery::new(10);
    query.owner = theirs.owner.clone();
    let listed = handle.list(&query).await.unwrap().items;
    assert!(listed.iter().all(|record| record.id != id));
    let listed = handle.list(&KeyQuery::new(1000)).await.unwrap().items;
    assert!(listed.iter().all(|record| record.id != id));
    let mut query = EventQuery::new(10);
    query.key = Some(id);
    assert!(handle.events(&query).await.unwrap().items.is_empty());
    (query.key, query.owner) = (None, theirs.owner.clone());
    let told = handle.events(&query).await.unwrap().items;
    assert!(told.iter().all(|event| event.key != Some(id)));
    let told = handle.events(&EventQuery::new(1000)).await.unwrap().items;
    assert!(told.iter().all(|event| event.owner != theirs.owner));

    if let Some(owner) = &theirs.owner {
        assert_eq!(why(handle.create(owned(owner.as_str())).await), "invalid owner");
        let mine = ImportKey::from_digest(KeyDigest::from_bytes([1; 32]), NewKey::named("mine"));
        let digest = KeyDigest::from_bytes([2; 32]);
        let theirs = ImportKey::from_digest(digest, owned(owner.as_str()));
        assert_eq!(why(handle.import(&[mine, theirs]).await), "invalid owner");
    }
    assert_eq!(everything(managed).await, before);
    assert_eq!(managed.heard(), []);
}

#[tokio::test]
async fn another_owners_key_is_not_found() {
    let managed = Managed::new();
    let theirs = managed.manager.create(owned("user-2")).await.unwrap();
    let nobodys = managed.issue().await;
    managed.manager.for_owner("user-1").create(NewKey::named("mine")).await.unwrap();
    managed.manager.disable(theirs.record.id).await.unwrap();
    for record in [theirs.record, nobodys.record] {
        let record = managed.row(record.id).await;
        for owner in ["user-1", "user-20", "user-", "USER-2", ""] {
            nothing_is_done(&managed, &managed.manager.for_owner(owner), &record).await;
        }
    }
}

/// And who it is that asks does not matter.
#[tokio::test]
async fn a_handle_of_a_handle_sees_what_both_see() {
    let managed = Managed::new();
    let one = managed.manager.create(owned("user-1")).await.unwrap().record;
    let two = managed.manager.create(owned("user-2")).await.unwrap().record;
    let handle = managed.manager.for_owner("user-1").for_owner("user-2").acting_as("user-2");
    for record in [&one, &two] {
        nothing_is_done(&managed, &handle, record).await;
    }
    assert_eq!(why(handle.create(NewKey::named("whose?")).await), "invalid owner");
    managed.manager.revoke(one.id, None).await.unwrap();
    managed.set(at(10));
    assert_eq!(handle.purge(at(10)).await.unwrap(), 0);
    assert!(handle.list(&KeyQuery::new(10)).await.unwrap().items.is_empty());
    assert!(handle.events(&EventQuery::new(10)).await.unwrap().items.is_empty());

    let same = managed.manager.for_owner("user-2").for_owner("user-2");
    assert_eq!(*same.get(two.id).await.unwrap(), *two);
    assert_eq!(same.create(NewKey::named("n")).await.unwrap().record.owner, two.owner);
}

#[tokio::test]
async fn ones_own_keys_are_all_there_is() {
    let managed = Managed::new();
    managed.manager.create(owned("user-2")).await.unwrap();
    let mine = managed.manager.for_owner("user-1");
    let key = mine.create(NewKey::named("not said whose")).await.unwrap().record;
    assert_eq!(key.owner, Some(OwnerId::from("user-1")));
    let said = mine.create(owned("user-1")).await.unwrap().record;
    assert_eq!(said.owner, key.owner);
    let imported = ImportKey::from_digest(KeyDigest::from_bytes([1; 32]), NewKey::named("n"));
    let imported = mine.import(&[imported]).await.unwrap().imported[0];
    assert_eq!(mine.get(imported).await.unwrap().owner, key.owner);
    let new = mine.rotate(key.id, RotationGrace::NONE).await.unwrap().record;
    assert_eq!(new.owner, key.owner);

    let query = KeyQuery::new(10).with_owner("user-1");
    for query in [KeyQuery::new(10), query] {
        let mut listed: Vec<_> =
            mine.list(&query).await.unwrap().items.iter().map(|record| record.id).collect();
        listed.sort();
        let mut expected = vec![key.id, said.id, imported, new.id];
        expected.sort();
        assert_eq!(listed, expected);
    }
    let events = mine.events(&EventQuery::new(10)).await.unwrap().items;
    assert_eq!(events.len(), 4);
    assert!(events.iter().all(|event| event.owner == key.owner));
    mine.delete(key.id).await.unwrap();
    assert_eq!(why(mine.get(key.id).await), "not found");
}

#[tokio::test]
async fn only_ones_own_keys_are_purged() {
    let managed = Managed::new();
    let mine = managed.manager.for_owner("user-1");
    let gone = mine.create(NewKey::named("n")).await.unwrap().record.id;
    let theirs = managed.manager.create(owned("user-2")).await.unwrap().record.id;
    let nobodys = managed.issue().await.record.id;
    for id in [gone, theirs, nobodys] {
        managed.manager.revoke(id, None).await.unwrap();
    }
    managed.set(at(10));
    managed.heard();
    assert_eq!(mine.purge(at(10)).await.unwrap(), 1);
    assert!(managed.manager.get(theirs).await.is_ok());
    assert!(managed.manager.get(nobodys).await.is_ok());
    assert_eq!(why(managed.manager.get(gone).await), "not found");
    let heard = managed.heard();
    assert_eq!(heard.len(), 1);
    assert_eq!((heard[0].owner.clone(), heard[0].key), (Some("user-1".into()), None));
    assert_eq!(managed.manager.purge(at(10)).await.unwrap(), 2);
}

/// Some databases take a NUL for an error of their own.
#[tokio::test]
async fn an_owner_that_no_key_may_have_has_none() {
    let managed = Managed::new();
    let strange = managed.manager.for_owner("a\0b");
    assert_eq!(why(strange.create(NewKey::named("n")).await), "invalid owner");
    managed.issue().await;
    assert!(strange.list(&KeyQuery::new(1)).await.unwrap().items.is_empty());
    assert!(strange.events(&EventQuery::new(1)).await.unwrap().items.is_empty());
    for query in [KeyQuery::new(1).with_owner("a\0b"), KeyQuery::new(1).with_prefix("a\0b")] {
        assert!(managed.manager.list(&query).await.unwrap().items.is_empty());
    }
    assert_eq!(strange.purge(at(0)).await.unwrap(), 0);
}
