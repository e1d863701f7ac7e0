//! `KeyManager::update`: what it changes, what it refuses, and that nothing is lost.

use std::time::Duration;

use futures_util::future::join_all;
use tower_api_key::{KeyPatch, Scopes, manage::ManageError};

use crate::{
    manager::{field, issue, manager},
    support::{at, clock, send, with_key},
};

#[tokio::test]
async fn what_is_named_changes_and_the_rest_stays() {
    let clock = clock();
    let manager = manager(&clock);
    let issued = issue(&manager, "before").await;
    let id = issued.record.id;
    clock.set(at(1));
    let patch = KeyPatch {
        name: Some("after".into()),
        description: Some(Some("described".into())),
        scopes: Some(Scopes::parse(["orders:read"]).unwrap()),
        tier: Some(Some("gold".into())),
        expires_at: Some(Some(at(1000))),
        ..KeyPatch::default()
    };
    let changed = manager.update(id, patch).await.unwrap();
    assert_eq!(&*changed.name, "after");
    assert_eq!(changed.details.description.as_deref(), Some("described"));
    assert_eq!(changed.details.tier.as_deref(), Some("gold"));
    assert_eq!(changed.expires_at, Some(at(1000)));
    assert_eq!(changed.updated_at, at(1));
    assert_eq!(changed.revision, issued.record.revision + 1);
    assert_eq!(changed.created_at, issued.record.created_at);
    assert_eq!(changed.digest, issued.record.digest);
    assert_eq!(*manager.get(id).await.unwrap(), *changed);

    clock.set(at(2));
    let patch = KeyPatch { description: Some(None), tier: Some(None), ..KeyPatch::default() };
    let cleared = manager.update(id, patch).await.unwrap();
    assert_eq!((&cleared.details.description, &cleared.details.tier), (&None, &None));
    assert_eq!(&*cleared.name, "after");
    assert_eq!(cleared.scopes, changed.scopes);
}

#[tokio::test]
async fn a_change_is_seen_by_the_next_request() {
    let clock = clock();
    let manager = manager(&clock);
    let issued = issue(&manager, "key").await;
    let layer = manager.layer();
    let outcome = || send(&layer, with_key(issued.secret.expose())).outcome();
    for (patch, expected) in [
        (KeyPatch { disabled: Some(true), ..KeyPatch::default() }, "disabled_key"),
        (KeyPatch { disabled: Some(false), ..KeyPatch::default() }, "admitted"),
        (KeyPatch { expires_at: Some(Some(at(5))), ..KeyPatch::default() }, "admitted"),
    ] {
        manager.update(issued.record.id, patch).await.unwrap();
        assert_eq!(outcome(), expected);
    }
    clock.advance(Duration::from_millis(5));
    assert_eq!(outcome(), "expired_key");
    let unending = KeyPatch { expires_at: Some(None), ..KeyPatch::default() };
    manager.update(issued.record.id, unending).await.unwrap();
    assert_eq!(outcome(), "admitted");
}

#[tokio::test]
async fn a_change_that_changes_nothing_is_none() {
    let clock = clock();
    let manager = manager(&clock);
    let issued = issue(&manager, "same").await;
    clock.set(at(1));
    let patch = KeyPatch { name: Some("same".into()), ..KeyPatch::default() };
    assert_eq!(*manager.update(issued.record.id, patch).await.unwrap(), *issued.record);
}

#[tokio::test]
async fn bad_values_name_their_field_and_change_nothing() {
    let manager = manager(&clock());
    let issued = issue(&manager, "key").await;
    let id = issued.record.id;
    let dated = KeyPatch { not_before: Some(Some(at(10))), ..KeyPatch::default() };
    let before = manager.update(id, dated).await.unwrap();
    for (patch, expected) in [
        (KeyPatch { name: Some(String::new()), ..KeyPatch::default() }, "name"),
        (KeyPatch { name: Some("n".repeat(101)), ..KeyPatch::default() }, "name"),
        (KeyPatch { tier: Some(Some(String::new())), ..KeyPatch::default() }, "tier"),
        (
            KeyPatch { description: Some(Some("d".repeat(1001))), ..KeyPatch::default() },
            "description",
        ),
        // Bad only together with what the key has already.
        (KeyPatch { expires_at: Some(Some(at(10))), ..KeyPatch::default() }, "expires_at"),
        (
            KeyPatch {
                allowed_addresses: Some(vec!["::/0".parse().unwrap(); 101]),
                ..KeyPatch::default()
            },
            "allowed_addresses",
        ),
    ] {
        assert_eq!(field(manager.update(id, patch).await), expected);
    }
    assert_eq!(*manager.get(id).await.unwrap(), *before);
}

#[tokio::test]
async fn a_change_to_another_revision_is_refused() {
    let manager = manager(&clock());
    let issued = issue(&manager, "key").await;
    let id = issued.record.id;
    let read = issued.record.revision;
    let rename = |name: &str| KeyPatch { name: Some(name.into()), ..KeyPatch::default() };
    let first = manager.if_revision(read).update(id, rename("first")).await.unwrap();
    let second = manager.if_revision(read).update(id, rename("second")).await;
    assert!(matches!(second, Err(ManageError::RevisionMismatch)), "{second:?}");
    assert_eq!(&*manager.get(id).await.unwrap().name, "first");
    assert!(manager.if_revision(first.revision).update(id, rename("third")).await.is_ok());
}

/// Changes of one key from many tasks, each of another field.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_at_once_are_all_kept() {
    let manager = manager(&clock());
    let issued = issue(&manager, "key").await;
    let id = issued.record.id;
    for _ in 0..50 {
        let reset = KeyPatch {
            name: Some("key".into()),
            description: Some(None),
            tier: Some(None),
            disabled: Some(false),
            ..KeyPatch::default()
        };
        let before = manager.update(id, reset).await.unwrap();
        let patches = [
            KeyPatch { name: Some("renamed".into()), ..KeyPatch::default() },
            KeyPatch { description: Some(Some("described".into())), ..KeyPatch::default() },
            KeyPatch { tier: Some(Some("gold".into())), ..KeyPatch::default() },
            KeyPatch { disabled: Some(true), ..KeyPatch::default() },
        ];
        let tasks = patches.map(|patch| {
            let manager = manager.clone();
            tokio::spawn(async move { manager.update(id, patch).await })
        });
        for result in join_all(tasks).await {
            result.unwrap().unwrap();
        }
        let after = manager.get(id).await.unwrap();
        assert_eq!(&*after.name, "renamed");
        assert_eq!(after.details.description.as_deref(), Some("described"));
        assert_eq!(after.details.tier.as_deref(), Some("gold"));
        assert!(after.disabled);
        assert_eq!(after.revision, before.revision + 4);
    }
}

/// Each patch is good by itself. Whichever comes second is judged by what it makes of the first.
#[tokio::test]
async fn two_patches_that_contradict_each_other_are_not_both_taken() {
    let manager = manager(&clock());
    let id = issue(&manager, "key").await.record.id;
    let starts = KeyPatch { not_before: Some(Some(at(200))), ..KeyPatch::default() };
    let ends = KeyPatch { expires_at: Some(Some(at(100))), ..KeyPatch::default() };
    let (first, second) = tokio::join!(manager.update(id, starts), manager.update(id, ends));
    assert!(first.is_ok());
    assert_eq!(field(second), "expires_at");
}
