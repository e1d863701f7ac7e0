//! `KeyManager` on `MemoryStore`: creating, reading, listing, revoking, deleting and purging.

use std::collections::HashSet;

use tower_api_key::{
    IssuedKey, KeyFormat, KeyId, KeyManager, KeyPatch, NewKey,
    clock::SettableClock,
    key::KeyStatus,
    manage::ManageError,
    store::{KeyQuery, MemoryStore},
};

use crate::support::{NOW, at, clock, send, with_key};

pub(crate) fn manager(clock: &SettableClock) -> KeyManager {
    KeyManager::new(MemoryStore::new().with_clock(clock.clone()))
        .with_format(KeyFormat::new("shop_test").unwrap())
        .with_clock(clock.clone())
}

pub(crate) async fn issue(manager: &KeyManager, name: &str) -> IssuedKey {
    manager.create(NewKey::named(name)).await.unwrap()
}

/// The field that an error names.
pub(crate) fn field<T: std::fmt::Debug>(result: Result<T, ManageError>) -> &'static str {
    match result.unwrap_err() {
        ManageError::Invalid(invalid) => {
            assert!(invalid.to_string().starts_with(invalid.field()));
            assert!(invalid.to_string().ends_with(invalid.message()));
            invalid.field()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_created_key_is_recognised_stored_and_let_in() {
    let manager = manager(&clock());
    let issued = issue(&manager, "CI of the shop").await;
    let key = issued.secret.expose();
    assert!(KeyFormat::new("shop_test").unwrap().recognizes(key));
    assert_eq!(&*issued.record.start, &key[.."shop_test_".len() + 4]);
    assert_eq!(&*issued.record.name, "CI of the shop");
    assert_eq!((issued.record.created_at, issued.record.updated_at), (NOW, NOW));
    assert_eq!(*manager.get(issued.record.id).await.unwrap(), *issued.record);

    let answer = send(&manager.layer(), with_key(key));
    assert_eq!(answer.key().id(), issued.record.id);
    // The layer knows the format: a typo costs no lookup.
    let last = if key.ends_with('x') { 'y' } else { 'x' };
    let typo = format!("{}{last}", &key[..key.len() - 1]);
    assert_eq!(send(&manager.layer(), with_key(&typo)).outcome(), "malformed_key");
    let opaque = "an-opaque-key-of-another-system";
    assert_eq!(send(&manager.layer(), with_key(opaque)).outcome(), "malformed_key");
}

#[tokio::test]
async fn every_key_is_another() {
    let manager = manager(&clock());
    let mut seen = HashSet::new();
    for _ in 0..100 {
        let issued = issue(&manager, "same name").await;
        assert!(seen.insert(issued.secret.expose().to_owned()));
        assert!(seen.insert(issued.record.id.to_string()));
    }
}

#[tokio::test]
async fn what_a_new_key_may_hold() {
    let manager = manager(&clock());
    let refused = async |new: NewKey| field(manager.create(new).await);
    // Characters, and not bytes.
    for name in ["n".into(), "n".repeat(100), "ñ".repeat(100), "🗝".repeat(100)] {
        assert!(manager.create(NewKey::named(name)).await.is_ok());
    }
    for name in [String::new(), "n".repeat(101), "🗝".repeat(101), "a\0b".into()] {
        assert_eq!(refused(NewKey::named(name)).await, "name");
    }
    let owner = |owner: String| NewKey { owner: Some(owner.into()), ..NewKey::named("n") };
    assert!(manager.create(owner("ö".repeat(255))).await.is_ok());
    assert_eq!(refused(owner(String::new())).await, "owner");
    assert_eq!(refused(owner("o".repeat(256))).await, "owner");

    let described = |text: String| NewKey { description: Some(text), ..NewKey::named("n") };
    assert!(manager.create(described("d".repeat(1000))).await.is_ok());
    assert!(manager.create(described(String::new())).await.is_ok());
    assert_eq!(refused(described("d".repeat(1001))).await, "description");

    let tier = |tier: String| NewKey { tier: Some(tier), ..NewKey::named("n") };
    assert!(manager.create(tier("t".repeat(100))).await.is_ok());
    assert_eq!(refused(tier(String::new())).await, "tier");
    assert_eq!(refused(tier("t".repeat(101))).await, "tier");
}

#[tokio::test]
async fn how_much_a_new_key_may_hold() {
    let manager = manager(&clock());
    let scoped = |count: usize| NewKey {
        scopes: (0..count).map(|n| format!("scope:{n}").parse().unwrap()).collect(),
        ..NewKey::named("n")
    };
    assert!(manager.create(scoped(100)).await.is_ok());
    assert_eq!(field(manager.create(scoped(101)).await), "scopes");

    let restricted = |count| NewKey {
        allowed_addresses: vec!["192.0.2.0/24".parse().unwrap(); count],
        ..NewKey::named("n")
    };
    assert!(manager.create(restricted(100)).await.is_ok());
    assert_eq!(field(manager.create(restricted(101)).await), "allowed_addresses");

    // `{"k":"…"}` is eight bytes longer than what is in it.
    let noted = |length: usize| {
        let mut new = NewKey::named("n");
        new.metadata.insert("k".into(), "v".repeat(length - 8).into());
        new
    };
    assert!(manager.create(noted(16 * 1024)).await.is_ok());
    assert_eq!(field(manager.create(noted(16 * 1024 + 1)).await), "metadata");

    let lasting = |start, end| NewKey {
        not_before: Some(start),
        expires_at: Some(end),
        ..NewKey::named("n")
    };
    assert!(manager.create(lasting(at(0), at(1))).await.is_ok());
    assert_eq!(field(manager.create(lasting(at(1), at(1))).await), "expires_at");
}

#[tokio::test]
async fn a_revoked_key_stays_revoked_as_it_was_the_first_time() {
    let clock = clock();
    let manager = manager(&clock);
    let issued = issue(&manager, "lost").await;
    clock.set(at(1000));
    let revoked = manager.revoke(issued.record.id, Some("laptop stolen")).await.unwrap();
    assert_eq!(revoked.details.revoked_at, Some(at(1000)));
    assert_eq!(revoked.updated_at, at(1000));
    assert_eq!(revoked.details.revoked_reason.as_deref(), Some("laptop stolen"));
    assert_eq!(revoked.status(at(1000)), KeyStatus::Revoked);
    let answer = send(&manager.layer(), with_key(issued.secret.expose()));
    assert_eq!(answer.outcome(), "revoked_key");

    clock.set(at(2000));
    let again = manager.revoke(issued.record.id, Some("changed my mind")).await.unwrap();
    assert_eq!(*again, *revoked);
    let enabled = KeyPatch { disabled: Some(false), ..KeyPatch::default() };
    assert_eq!(*manager.update(issued.record.id, enabled).await.unwrap(), *revoked);

    let long = "r".repeat(1001);
    assert_eq!(field(manager.revoke(issued.record.id, Some(&long)).await), "reason");
}

#[tokio::test]
async fn a_deleted_key_is_nowhere_to_be_found() {
    let manager = manager(&clock());
    let (kept, gone) = (issue(&manager, "kept").await, issue(&manager, "gone").await);
    let id = gone.record.id;
    manager.delete(id).await.unwrap();
    assert!(matches!(manager.get(id).await, Err(ManageError::NotFound)));
    assert!(matches!(manager.delete(id).await, Err(ManageError::NotFound)));
    assert!(matches!(manager.revoke(id, None).await, Err(ManageError::NotFound)));
    let patch = KeyPatch { name: Some("back".into()), ..KeyPatch::default() };
    assert!(matches!(manager.update(id, patch).await, Err(ManageError::NotFound)));
    let listed = manager.list(&KeyQuery::new(10)).await.unwrap().items;
    assert_eq!(listed.iter().map(|key| key.id).collect::<Vec<_>>(), [kept.record.id]);
    let answer = send(&manager.layer(), with_key(gone.secret.expose()));
    assert_eq!(answer.outcome(), "unknown_key");
}

#[tokio::test]
async fn nothing_is_found_by_an_id_that_was_never_issued() {
    let manager = manager(&clock());
    let id = KeyId::generate(NOW).unwrap();
    assert!(matches!(manager.get(id).await, Err(ManageError::NotFound)));
    assert!(matches!(manager.revoke(id, None).await, Err(ManageError::NotFound)));
    assert!(matches!(manager.delete(id).await, Err(ManageError::NotFound)));
}

#[tokio::test]
async fn purging_removes_what_was_revoked_or_deleted_long_ago() {
    let clock = clock();
    let manager = manager(&clock);
    let (active, revoked, deleted, recent) = (
        issue(&manager, "active").await,
        issue(&manager, "revoked").await,
        issue(&manager, "deleted").await,
        issue(&manager, "revoked later").await,
    );
    manager.revoke(revoked.record.id, None).await.unwrap();
    manager.delete(deleted.record.id).await.unwrap();
    clock.set(at(1000));
    manager.revoke(recent.record.id, None).await.unwrap();

    assert_eq!(manager.purge(NOW).await.unwrap(), 0, "the moment itself is not before it");
    assert_eq!(manager.purge(at(1000)).await.unwrap(), 2);
    assert_eq!(manager.purge(at(1000)).await.unwrap(), 0);
    assert!(matches!(manager.get(revoked.record.id).await, Err(ManageError::NotFound)));
    assert!(manager.get(active.record.id).await.is_ok());
    assert!(manager.get(recent.record.id).await.is_ok());
    let layer = manager.layer();
    assert_eq!(send(&layer, with_key(revoked.secret.expose())).outcome(), "unknown_key");
    assert_eq!(send(&layer, with_key(recent.secret.expose())).outcome(), "revoked_key");
}

#[tokio::test]
async fn lists_are_pages_by_key_the_youngest_first() {
    let clock = clock();
    let manager = manager(&clock);
    let mut ids = Vec::new();
    for n in 0..7 {
        clock.set(at(n));
        let owner = if n % 2 == 0 { "even" } else { "odd" };
        let new = NewKey { owner: Some(owner.into()), ..NewKey::named(format!("key {n}")) };
        ids.insert(0, manager.create(new).await.unwrap().record.id);
    }
    let mut query = KeyQuery::new(3);
    let mut listed = Vec::new();
    let mut sizes = Vec::new();
    loop {
        let page = manager.list(&query).await.unwrap();
        sizes.push(page.items.len());
        listed.extend(page.items.iter().map(|record| record.id));
        // A key that comes meanwhile is younger, and appears on no later page.
        issue(&manager, "meanwhile").await;
        let Some(next) = page.next else { break };
        query = query.after(next);
    }
    assert_eq!(sizes, [3, 3, 1]);
    assert_eq!(listed, ids);

    let even = manager.list(&KeyQuery::new(10).with_owner("even")).await.unwrap();
    assert_eq!(even.items.len(), 4);
    assert!(even.items.iter().all(|key| key.owner.as_ref().unwrap().as_str() == "even"));
    assert_eq!(even.next, None);
    let exactly = manager.list(&KeyQuery::new(4).with_owner("even")).await.unwrap();
    assert_eq!(exactly.next, None, "a page that is just full is the last");
    let nobody = manager.list(&KeyQuery::new(10).with_owner("nobody")).await.unwrap();
    assert!(nobody.items.is_empty());

    for limit in [1, 1000] {
        assert!(manager.list(&KeyQuery::new(limit)).await.is_ok());
    }
    for limit in [0, 1001] {
        assert_eq!(field(manager.list(&KeyQuery::new(limit)).await), "limit");
    }
}
