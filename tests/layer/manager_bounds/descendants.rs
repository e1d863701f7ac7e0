//! Keys that were made with a key that leaked.

use tower_api_key::{KeyId, NewKey, manage::RotationGrace};

use super::{plain, with};
use crate::managed::{Managed, why};

async fn is_revoked(managed: &Managed, id: KeyId) -> bool {
    managed.row(id).await.details.revoked_at.is_some()
}

#[tokio::test]
async fn they_are_revoked_with_it() {
    let managed = Managed::new();
    let admin = &managed.manager;
    let leaked = admin.create(plain(&["a"])).await.unwrap().record;
    let elder = admin.create(plain(&["a"])).await.unwrap().record;
    let spared = with(&managed, &elder).create(NewKey::named("spared")).await.unwrap().record;
    let child = with(&managed, &leaked).create(NewKey::named("child")).await.unwrap().record;
    let grandchild =
        with(&managed, &child).create(NewKey::named("grandchild")).await.unwrap().record;
    // The trail is not lost with a key in between.
    with(&managed, &leaked).delete(child.id).await.unwrap();
    // The holder of a key knows the secret of what it replaced with it.
    let taken =
        with(&managed, &leaked).rotate(spared.id, RotationGrace::NONE).await.unwrap().record;
    let kept = with(&managed, &leaked).create(NewKey::named("kept")).await.unwrap().record;
    let kept = with(&managed, &kept).rotate(kept.id, RotationGrace::NONE).await.unwrap().record;
    // An administrator replaced the key itself, and this one did not leak.
    let replaced = admin.rotate(leaked.id, RotationGrace::NONE).await.unwrap().record;

    let mut revoked: Vec<KeyId> = admin
        .revoke_with_descendants(leaked.id, Some("found in a log"))
        .await
        .unwrap()
        .iter()
        .map(|record| record.id)
        .collect();
    assert_eq!(revoked[0], leaked.id);
    revoked.sort();
    let first = kept.details.rotation.from.unwrap();
    let mut expected = vec![leaked.id, grandchild.id, taken.id, first, kept.id];
    expected.sort();
    assert_eq!(revoked, expected);
    for id in expected {
        assert!(is_revoked(&managed, id).await);
        assert_eq!(managed.row(id).await.details.revoked_reason.as_deref(), Some("found in a log"));
    }
    for spared in [elder.id, spared.id, replaced.id] {
        assert!(!is_revoked(&managed, spared).await);
    }
    let again = admin.revoke_with_descendants(leaked.id, None).await.unwrap();
    assert!(again.is_empty());
}

/// A key that leaked is often deleted first, and then somebody asks what it has made.
#[tokio::test]
async fn a_deleted_key_still_has_its_descendants() {
    let managed = Managed::new();
    let admin = &managed.manager;
    let leaked = admin.create(plain(&["a"])).await.unwrap().record;
    let child = with(&managed, &leaked).create(NewKey::named("child")).await.unwrap().record;
    let grandchild =
        with(&managed, &child).create(NewKey::named("grandchild")).await.unwrap().record;
    let spared = admin.create(plain(&["a"])).await.unwrap().record;
    admin.delete(leaked.id).await.unwrap();
    let before = managed.row(leaked.id).await;
    // Another owner has no such key.
    let other = admin.for_owner("user-2").revoke_with_descendants(leaked.id, None).await;
    assert_eq!(why(other), "not found");
    let revoked = admin.revoke_with_descendants(leaked.id, Some("leaked")).await.unwrap();
    let mut revoked: Vec<_> = revoked.iter().map(|record| record.id).collect();
    revoked.sort();
    let mut expected = [child.id, grandchild.id];
    expected.sort();
    assert_eq!(revoked, expected);
    assert!(!is_revoked(&managed, spared.id).await);
    assert_eq!(managed.row(leaked.id).await, before);
    assert!(admin.revoke_with_descendants(leaked.id, None).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_key_without_any_is_revoked_alone() {
    let managed = Managed::new();
    for new in [NewKey::named("nobody's"), plain(&["a"])] {
        let key = managed.manager.create(new).await.unwrap().record;
        let revoked = managed.manager.revoke_with_descendants(key.id, None).await.unwrap();
        assert_eq!(revoked.len(), 1);
        assert!(is_revoked(&managed, key.id).await);
    }
}
