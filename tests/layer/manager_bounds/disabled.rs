//! Who switched a key off.

use tower_api_key::{KeyPatch, NewKey, manage::RotationGrace};

use super::{plain, with};
use crate::managed::{Managed, why};

fn switching(disabled: bool) -> KeyPatch {
    KeyPatch { disabled: Some(disabled), ..KeyPatch::default() }
}

#[tokio::test]
async fn an_owner_switches_on_what_an_owner_switched_off() {
    let managed = Managed::new();
    let own = managed.manager.create(plain(&["a"])).await.unwrap().record;
    let other = managed.manager.create(plain(&["a"])).await.unwrap().record;
    let (owner, admin) = (with(&managed, &own), &managed.manager);
    let marked = async || managed.row(other.id).await.details.disabled_by_owner;
    for by_patch in [false, true] {
        let off = async |keys: &tower_api_key::KeyManager| {
            if by_patch {
                keys.update(other.id, switching(true)).await.map(drop)
            } else {
                keys.disable(other.id).await.map(drop)
            }
        };
        let on = async |keys: &tower_api_key::KeyManager| {
            if by_patch {
                keys.update(other.id, switching(false)).await.map(drop)
            } else {
                keys.enable(other.id).await.map(drop)
            }
        };
        off(&owner).await.unwrap();
        assert!(marked().await);
        on(&owner).await.unwrap();
        assert!(!marked().await);
        for disabled in [
            // An administrator, and the application's own hand.
            vec![admin.clone()],
            vec![admin.for_owner("user-1")],
            // Whose word stands above that of the owner, whoever was first.
            vec![owner.clone(), admin.clone()],
            vec![admin.clone(), owner.clone()],
        ] {
            for keys in disabled {
                off(&keys).await.unwrap();
            }
            assert!(!marked().await);
            assert_eq!(why(on(&owner).await), "beyond disabled");
            assert!(managed.row(other.id).await.disabled);
            on(admin).await.unwrap();
        }
        // And an administrator switches on what an owner switched off.
        off(&owner).await.unwrap();
        on(admin).await.unwrap();
    }
}

/// As all rows were before there was the mark.
#[tokio::test]
async fn an_unknown_hand_is_an_administrators() {
    use tower_api_key::store::KeyRepository as _;

    let managed = Managed::new();
    let own = managed.manager.create(plain(&["a"])).await.unwrap().record;
    let other = managed.manager.create(plain(&["a"])).await.unwrap().record;
    let mut row = tower_api_key::key::KeyRecord::clone(&other);
    (row.disabled, row.revision) = (true, row.revision + 1);
    managed.store.update(&other, &row).await.unwrap();
    assert_eq!(why(with(&managed, &own).enable(other.id).await), "beyond disabled");
}

#[tokio::test]
async fn a_successor_is_switched_off_by_whom_its_predecessor_was() {
    let managed = Managed::new();
    let own = managed.manager.create(plain(&["a"])).await.unwrap().record;
    let owner = with(&managed, &own);
    for (by_owner, disabler) in [(true, &owner), (false, &managed.manager)] {
        for rotator in [&owner, &managed.manager] {
            let made = owner.create(NewKey::named("made")).await.unwrap().record;
            disabler.disable(made.id).await.unwrap();
            let new = rotator.rotate(made.id, RotationGrace::NONE).await.unwrap().record;
            assert_eq!((new.disabled, new.details.disabled_by_owner), (true, by_owner));
            assert_eq!(new.details.created_by, Some(own.id));
            let enabled = owner.enable(new.id).await;
            if by_owner {
                assert!(!enabled.unwrap().disabled);
            } else {
                assert_eq!(why(enabled), "beyond disabled");
            }
        }
    }
}

/// Switching on is as good as making: only what is within the own key.
#[tokio::test]
async fn a_key_beyond_the_own_is_not_switched_on() {
    let managed = Managed::new();
    let own = managed.manager.create(super::sold(&managed)).await.unwrap().record;
    let free = managed.manager.create(plain(&["orders:read"])).await.unwrap().record;
    let owner = with(&managed, &own);
    owner.disable(free.id).await.unwrap();
    assert_eq!(why(owner.enable(free.id).await), "beyond not_before");
    assert!(managed.row(free.id).await.disabled);
}
