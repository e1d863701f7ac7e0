//! Acts on many keys at once: which keys they reach, and what stops them.

use tower_api_key::{
    KeyId, NewKey, Timestamp,
    key::{KeyAction, KeyStatus},
    manage::{KeySet, ManageError, OwnerBounds},
};

use crate::{
    managed::{Managed, scopes, why},
    support::NOW,
};

async fn issue(managed: &Managed, owner: Option<&str>, granted: &[&str]) -> KeyId {
    let owner = owner.map(Into::into);
    let new = NewKey { owner, scopes: scopes(granted), ..NewKey::named("one of many") };
    managed.manager.create(new).await.unwrap().record.id
}

fn unknown() -> KeyId {
    KeyId::generate(NOW).unwrap()
}

fn later(seconds: i64) -> Timestamp {
    Timestamp::from_unix_millis(NOW.as_unix_millis() + 1000 * seconds)
}

/// Ids of one millisecond come in any order.
fn sorted<const N: usize>(mut ids: [KeyId; N]) -> [KeyId; N] {
    ids.sort_unstable();
    ids
}

async fn everything(managed: &Managed) -> String {
    format!("{:?} {:?}", managed.rows().await, managed.log().await)
}

#[tokio::test]
async fn all_keys_of_an_owner_are_revoked() {
    let managed = Managed::new();
    let first = issue(&managed, Some("user-1"), &[]).await;
    let second = issue(&managed, Some("user-1"), &[]).await;
    let others = [issue(&managed, Some("user-2"), &[]).await, issue(&managed, None, &[]).await];
    managed.manager.revoke(first, Some("lost")).await.unwrap();
    managed.heard();

    let set = KeySet::of_owner("user-1");
    let report = managed.manager.revoke_all(set.clone(), Some("left")).await.unwrap();
    assert_eq!(
        (&*report.changed, &*report.already_ended, &*report.unknown),
        (&[second][..], &[first][..], &[][..])
    );
    assert_eq!(managed.row(first).await.details.revoked_reason.as_deref(), Some("lost"));
    assert_eq!(managed.row(second).await.details.revoked_reason.as_deref(), Some("left"));
    for other in others {
        assert_eq!(managed.status(other).await, KeyStatus::Active);
    }
    // Each key has its event, in the hook and in the log.
    let heard = managed.heard();
    assert_eq!(heard.len(), 1);
    assert_eq!((heard[0].action, heard[0].key), (KeyAction::Revoked, Some(second)));
    assert_eq!(heard[0].detail.as_deref(), Some("left"));
    assert!(managed.log().await.contains(&heard[0]));

    let again = managed.manager.revoke_all(set, None).await.unwrap();
    assert_eq!((again.changed.len(), again.already_ended.len()), (0, 2));
    assert_eq!(managed.heard(), []);
}

#[tokio::test]
async fn sets_intersect_and_the_time_is_exclusive() {
    let managed = Managed::new();
    let old = issue(&managed, Some("user-1"), &[]).await;
    let old_of_another = issue(&managed, Some("user-2"), &[]).await;
    managed.set(later(10));
    let young = issue(&managed, Some("user-1"), &[]).await;
    let manager = &managed.manager;

    let none = manager.disable_all(KeySet::default().issued_before(NOW), None).await.unwrap();
    assert_eq!(none.changed, []);
    let set = KeySet::of_ids([old, young]).issued_before(later(10));
    assert_eq!(manager.disable_all(set, None).await.unwrap().changed, [old]);
    assert_eq!(managed.status(old).await, KeyStatus::Disabled);
    let set = KeySet::of_owner("user-1").issued_before(later(10));
    assert_eq!(manager.delete_all(set, None).await.unwrap().changed, [old]);
    assert!(managed.row(old).await.is_deleted());
    let all = manager.revoke_all(KeySet::default().issued_before(later(10)), None).await.unwrap();
    assert_eq!(all.changed, [old_of_another]);
    assert_eq!(managed.status(young).await, KeyStatus::Active);
}

#[tokio::test]
async fn unknown_and_ended_ids_are_reported_and_stop_nothing() {
    let managed = Managed::new();
    let deleted = issue(&managed, None, &[]).await;
    let revoked = issue(&managed, None, &[]).await;
    let off = issue(&managed, None, &[]).await;
    let live = issue(&managed, None, &[]).await;
    managed.manager.delete(deleted).await.unwrap();
    managed.manager.revoke(revoked, None).await.unwrap();
    managed.manager.disable(off).await.unwrap();
    let nobodys = unknown();
    let set = || KeySet::of_ids([live, nobodys, revoked, off, deleted, live, nobodys]);

    let report = managed.manager.disable_all(set(), None).await.unwrap();
    assert_eq!(report.changed, [live]);
    assert_eq!(
        (report.already_ended, report.unknown),
        (sorted([deleted, revoked]).to_vec(), vec![nobodys])
    );
    let report = managed.manager.revoke_all(set(), None).await.unwrap();
    assert_eq!((report.changed, report.unknown), (sorted([off, live]).to_vec(), vec![nobodys]));
    // What was revoked can still be deleted.
    let report = managed.manager.delete_all(set(), None).await.unwrap();
    assert_eq!(
        (report.changed, report.already_ended),
        (sorted([revoked, off, live]).to_vec(), vec![deleted])
    );
}

#[tokio::test]
async fn sets_that_say_nothing_are_refused() {
    let managed = Managed::new();
    issue(&managed, None, &[]).await;
    let before = everything(&managed).await;
    for (set, field) in [
        (KeySet::default(), "set"),
        (KeySet::of_ids([]), "ids"),
        (KeySet::default().issued_before(later(1)), "issued_before"),
        (KeySet::of_owner("user-1").issued_before(later(1)), "issued_before"),
    ] {
        for manager in [managed.manager.clone(), managed.manager.for_owner("user-1")] {
            assert_eq!(
                why(manager.revoke_all(set.clone(), None).await),
                format!("invalid {field}")
            );
            assert_eq!(
                why(manager.disable_all(set.clone(), None).await),
                format!("invalid {field}")
            );
            assert_eq!(
                why(manager.delete_all(set.clone(), None).await),
                format!("invalid {field}")
            );
        }
    }
    let long = "r".repeat(1001);
    let refused = managed.manager.revoke_all(KeySet::of_owner("x"), Some(&long)).await;
    assert_eq!(why(refused), "invalid reason");
    assert_eq!(everything(&managed).await, before);
}

/// An id of another owner's key stops everything, also in an administrator's set.
#[tokio::test]
async fn owners_reach_their_own_keys_alone() {
    let managed = Managed::new();
    let mine = issue(&managed, Some("user-1"), &["a"]).await;
    let theirs = issue(&managed, Some("user-2"), &["a"]).await;
    let nobodys = issue(&managed, None, &["a"]).await;
    let before = everything(&managed).await;
    let me = managed.manager.for_owner("user-1");
    for ids in [[mine, theirs], [mine, nobodys]] {
        assert_eq!(why(me.revoke_all(KeySet::of_ids(ids), None).await), "not found");
        let mut set = KeySet::of_owner("user-1");
        set.ids = Some(ids.to_vec());
        assert_eq!(why(me.delete_all(set.clone(), None).await), "not found");
        assert_eq!(why(managed.manager.revoke_all(set, None).await), "invalid ids");
    }
    assert_eq!(why(me.revoke_all(KeySet::of_owner("user-2"), None).await), "not found");
    // With a key that is beyond what the holder has, nothing happens either.
    let strong = issue(&managed, Some("user-1"), &["*"]).await;
    let reader = me.within_scopes(scopes(&["a"]));
    let all = KeySet::default().issued_before(NOW);
    assert_eq!(me.revoke_all(all, None).await.unwrap().changed, []);
    for set in [KeySet::of_owner("user-1"), KeySet::of_ids([mine, strong])] {
        assert_eq!(why(reader.revoke_all(set.clone(), None).await), "beyond ceiling");
        assert_eq!(why(reader.disable_all(set.clone(), None).await), "beyond ceiling");
        assert_eq!(why(reader.delete_all(set, None).await), "beyond ceiling");
    }
    assert_eq!(managed.rows().await.len(), 4);
    assert!(before.len() < everything(&managed).await.len());
    assert_eq!(managed.row(mine).await.updated_at, NOW);

    assert_eq!(reader.revoke_all(KeySet::of_ids([mine]), None).await.unwrap().changed, [mine]);
    let report = me.delete_all(KeySet::of_owner("user-1"), None).await.unwrap();
    assert_eq!(report.changed, sorted([mine, strong]));
    assert_eq!(managed.rows().await.len(), 2);
}

/// What a cache on this node or another remembers is forgotten, key by key.
/// A key that may do little does not end those that may do more, and what an owner disables is
/// marked as an owner's.
#[tokio::test]
async fn bounds_hold_for_every_key_of_a_set() {
    let managed = Managed::new();
    let weak = issue(&managed, Some("user-1"), &["orders:read"]).await;
    let strong = issue(&managed, Some("user-1"), &["*"]).await;
    let own = managed.row(weak).await;
    let bounds = OwnerBounds::new("user-1", scopes(&["*"])).bounded_by(&own);
    let owner = managed.manager.within_bounds(bounds);
    let before = everything(&managed).await;
    let set = KeySet::of_owner("user-1");
    for refused in [
        owner.revoke_all(set.clone(), None).await,
        owner.disable_all(set.clone(), None).await,
        owner.delete_all(set, None).await,
        owner.revoke_all(KeySet::of_ids([strong]), None).await,
    ] {
        assert!(matches!(refused, Err(ManageError::BeyondOwnKey { field: "scopes" })));
    }
    assert_eq!(everything(&managed).await, before);

    owner.disable_all(KeySet::of_ids([weak]), None).await.unwrap();
    assert!(managed.row(weak).await.details.disabled_by_owner);
    managed.manager.disable_all(KeySet::of_ids([weak]), None).await.unwrap();
    assert!(!managed.row(weak).await.details.disabled_by_owner, "the administrator's overrides");
}

#[cfg(feature = "cache")]
#[tokio::test]
async fn caches_forget_every_key_of_a_set() {
    use tower_api_key::{
        KeyManager,
        key::KeyStatus,
        store::{CachedStore, KeyStore, LocalInvalidations, Lookup, MemoryStore},
    };

    let (store, bus) = (MemoryStore::new(), LocalInvalidations::new());
    let node = || CachedStore::builder(store.clone()).with_invalidations(bus.clone()).build();
    let (here, elsewhere) = (node(), node());
    let manager = KeyManager::new(here.clone()).with_invalidations(bus.clone());
    let mut keys = Vec::new();
    for _ in 0..300 {
        let new = NewKey { owner: Some("user-1".into()), ..NewKey::named("x") };
        keys.push(manager.create(new).await.unwrap().record);
    }
    for key in &keys {
        for node in [&here, &elsewhere] {
            node.find(&key.digest).await.unwrap().unwrap();
            assert!(matches!(node.find_now(&key.digest), Some(Lookup::Found(_))));
        }
    }
    let report = manager.revoke_all(KeySet::of_owner("user-1"), None).await.unwrap();
    assert_eq!(report.changed.len(), 300);
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    for key in &keys {
        for node in [&here, &elsewhere] {
            let found = node.find(&key.digest).await.unwrap().unwrap();
            assert_eq!(found.status(NOW), KeyStatus::Revoked);
        }
    }
}
