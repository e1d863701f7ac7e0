//! Handles with a ceiling: no key is granted more than it.

use tower_api_key::{
    KeyPatch, NewKey,
    key::KeyDigest,
    manage::{ImportKey, RotationGrace},
};

use crate::managed::{Managed, scopes, why};

fn with_scopes(texts: &[&str]) -> NewKey {
    NewKey { scopes: scopes(texts), ..NewKey::named("n") }
}

fn granting(texts: &[&str]) -> KeyPatch {
    KeyPatch { scopes: Some(scopes(texts)), ..KeyPatch::default() }
}

#[tokio::test]
async fn what_may_be_granted_under_a_ceiling() {
    let managed = Managed::new();
    let grantable = async |ceiling: &[&str], wanted: &[&str]| {
        let handle = managed.manager.within_scopes(scopes(ceiling));
        let result = handle.create(with_scopes(wanted)).await;
        result.map_err(|error| assert_eq!(why(Err::<(), _>(error)), "beyond ceiling")).is_ok()
    };
    // Nothing may always be granted.
    for ceiling in [&[][..], &["a"], &["a:*"], &["*"]] {
        assert!(grantable(ceiling, &[]).await);
    }
    for wanted in [&["a"][..], &["a:*"], &["*"], &["a:b", "c"]] {
        assert!(!grantable(&[], wanted).await, "nothing allows nothing");
        assert!(grantable(&["*"], wanted).await, "everything allows everything");
    }
    for (wanted, expected) in [
        (&["a:b"][..], true),
        (&["a:b:c"], true),
        (&["a:b", "d"], true),
        // A wildcard is within itself and within those above it, and is never less than itself.
        (&["a:*"], true),
        (&["a:b:*"], true),
        (&["*"], false),
        (&["d:*"], false),
        // A wildcard covers what is below it.
        (&["a"], false),
        (&["ab:c"], false),
        (&["a:b", "e"], false),
        (&["D"], false),
    ] {
        assert_eq!(grantable(&["a:*", "d"], wanted).await, expected, "{wanted:?}");
    }
}

#[tokio::test]
async fn no_way_leads_beyond_it() {
    let managed = Managed::new();
    let high = managed.manager.create(with_scopes(&["orders:write"])).await.unwrap().record;
    let low = managed.manager.create(with_scopes(&["orders:read"])).await.unwrap().record;
    let handle = managed.manager.within_scopes(scopes(&["orders:read", "stock:*"]));
    let before = managed.rows().await;
    managed.heard();

    let refused = "beyond ceiling";
    assert_eq!(why(handle.create(with_scopes(&["orders:write"])).await), refused);
    assert_eq!(why(handle.update(low.id, granting(&["orders:*"])).await), refused);
    // Less than it has is still more than may be granted here.
    assert_eq!(
        why(handle.update(high.id, granting(&["orders:write", "stock:read"])).await),
        refused
    );
    // A new secret for what its holder could not have been granted here.
    assert_eq!(why(handle.rotate(high.id, RotationGrace::NONE).await), refused);
    let digest = |byte| KeyDigest::from_bytes([byte; 32]);
    let imports = [
        ImportKey::from_digest(digest(1), with_scopes(&["orders:read"])),
        ImportKey::from_digest(digest(2), with_scopes(&["*"])),
    ];
    assert_eq!(why(handle.import(&imports).await), refused);
    assert_eq!(managed.rows().await, before);
    assert_eq!(managed.heard(), []);

    // And below it everything goes on.
    handle.update(low.id, granting(&["stock:read", "stock:items:*"])).await.unwrap();
    handle.rotate(low.id, RotationGrace::NONE).await.unwrap();
    handle.import(&imports[..1]).await.unwrap();
    handle.update(high.id, granting(&[])).await.unwrap();
}

#[tokio::test]
async fn what_a_key_has_already_may_stay() {
    let managed = Managed::new();
    let high = managed.manager.create(with_scopes(&["orders:write"])).await.unwrap().record;
    let handle = managed.manager.within_scopes(scopes(&["orders:read"]));
    let rename = KeyPatch { name: Some("renamed".into()), ..KeyPatch::default() };
    let renamed = handle.update(high.id, rename).await.unwrap();
    assert_eq!((&*renamed.name, &renamed.scopes), ("renamed", &high.scopes));
    // A form sends every field, changed or not.
    let same = KeyPatch { name: Some("form".into()), ..granting(&["orders:write"]) };
    assert_eq!(&*handle.update(high.id, same).await.unwrap().name, "form");
    handle.disable(high.id).await.unwrap();
    handle.enable(high.id).await.unwrap();
    handle.revoke(high.id, None).await.unwrap();
    handle.delete(high.id).await.unwrap();
}

#[tokio::test]
async fn a_ceiling_under_a_ceiling_lifts_nothing() {
    let managed = Managed::new();
    let granted = async |ceilings: &[&[&str]], wanted: &str| {
        let mut handle = managed.manager.clone();
        for ceiling in ceilings {
            handle = handle.within_scopes(scopes(ceiling));
        }
        // In whatever order, and whoever else is said to act.
        let handle = handle.for_owner("user-1").acting_as("somebody");
        handle.create(with_scopes(&[wanted])).await.is_ok()
    };
    for ceilings in [[&["a:*"][..], &["*"]], [&["*"], &["a:*"]], [&["a:*"], &["a:*", "b"]]] {
        assert!(granted(&ceilings, "a:read").await);
        assert!(!granted(&ceilings, "b").await);
        assert!(!granted(&ceilings, "*").await);
    }
    // Neither lies within the other: what is left is what both have.
    for ceilings in [[&["a:*"][..], &["a:read", "b:read"]], [&["a:read", "b:read"], &["a:*"]]] {
        assert!(granted(&ceilings, "a:read").await);
        assert!(!granted(&ceilings, "a:write").await);
        assert!(!granted(&ceilings, "b:read").await);
    }
    assert!(!granted(&[&["a"], &["b"]], "a").await);
    assert!(!granted(&[&["a"], &["b"]], "b").await);
}
