//! A key that is changed elsewhere after a precondition was checked and before the write.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use http::header;
use tower_api_key::{
    KeyId, KeyManager, KeyPatch, NewKey, OwnerId, Timestamp,
    axum::{ManagementGuard, management_router},
    key::{KeyDigest, KeyRecord},
    manage::{ManageError, RotationGrace},
    store::{
        ApplyOutcome, Changes, KeyPage, KeyQuery, KeyRepository, KeyStore, KeyUse, MemoryStore,
        StoreError,
    },
};

use super::send;

/// Where another node renames the key right before the next write.
#[derive(Clone, Default)]
struct Raced {
    inner: MemoryStore,
    is_armed: Arc<AtomicBool>,
}

#[async_trait]
impl KeyStore for Raced {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.inner.find(digest).await
    }
}

#[async_trait]
impl KeyRepository for Raced {
    async fn apply(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
        if self.is_armed.swap(false, Ordering::Relaxed) {
            let other = KeyManager::new(self.inner.clone());
            let name = Some("renamed elsewhere".to_owned());
            let patch = KeyPatch { name, ..KeyPatch::default() };
            other.update(changes.updates[0].record.id, patch).await.unwrap();
        }
        self.inner.apply(changes).await
    }

    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.inner.get(id).await
    }

    async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        self.inner.list(query).await
    }

    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        self.inner.record_uses(uses).await
    }

    async fn purge(&self, before: Timestamp, owner: Option<&OwnerId>) -> Result<u64, StoreError> {
        self.inner.purge(before, owner).await
    }
}

impl Raced {
    /// The keys, when nothing was done but to rename the only one.
    async fn assert_only_renamed(&self, what: &str) {
        assert!(!self.is_armed.load(Ordering::Relaxed), "{what} wrote nothing");
        let keys = self.inner.list(&KeyQuery::new(10)).await.unwrap().items;
        assert_eq!(keys.len(), 1, "{what}");
        let key = &keys[0];
        assert_eq!((&*key.name, key.disabled), ("renamed elsewhere", false));
        assert!(key.details.revoked_at.is_none() && key.details.rotation.to.is_none(), "{what}");
    }
}

#[tokio::test]
async fn if_match_holds_at_the_write() {
    for (method, below, body, done) in [
        ("DELETE", "", "", 204),
        ("POST", "/revoke", r#"{"reason":"mine"}"#, 200),
        ("POST", "/rotate", "", 201),
        ("PATCH", "", r#"{"name":"mine"}"#, 200),
        ("PATCH", "", r#"{"disabled":true}"#, 200),
    ] {
        let store = Raced::default();
        let keys = KeyManager::new(store.clone());
        let app = management_router(keys.clone(), ManagementGuard::insecure_unguarded());
        let id = keys.create(NewKey::named("seen")).await.unwrap().record.id;
        let seen = send(&app, "GET", &format!("/{id}"), &[], "").await;
        let seen = [("if-match", seen.header(header::ETAG))];
        let path = format!("/{id}{below}");

        store.is_armed.store(true, Ordering::Relaxed);
        send(&app, method, &path, &seen, body).await.problem(412, "revision_mismatch");
        store.assert_only_renamed(&format!("{method} {below} {body}")).await;

        // Without a precondition, or with one that holds for whatever there is, it is done.
        store.is_armed.store(true, Ordering::Relaxed);
        let whatever = [("if-match", "*")];
        assert_eq!(send(&app, method, &path, &whatever, body).await.status(), done);
    }
}

#[tokio::test]
async fn a_handle_for_a_revision_holds_at_the_write() {
    for number in 0..6 {
        let store = Raced::default();
        let keys = KeyManager::new(store.clone());
        let seen = keys.create(NewKey::named("seen")).await.unwrap().record;
        let (held, id) = (keys.if_revision(seen.revision), seen.id);
        let change = async || match number {
            0 => held.delete(id).await,
            1 => held.revoke(id, None).await.map(drop),
            2 => held.rotate(id, RotationGrace::NONE).await.map(drop),
            3 => held.disable(id).await.map(drop),
            4 => {
                let patch = KeyPatch { disabled: Some(true), ..KeyPatch::default() };
                held.update(id, patch).await.map(drop)
            }
            _ => {
                let patch =
                    KeyPatch { credits: Some(None), name: Some("x".into()), ..KeyPatch::default() };
                held.update(id, patch).await.map(drop)
            }
        };
        store.is_armed.store(true, Ordering::Relaxed);
        let refused = change().await;
        assert!(matches!(refused, Err(ManageError::RevisionMismatch)), "{number}: {refused:?}");
        store.assert_only_renamed(&number.to_string()).await;
        // It has not become another revision meanwhile.
        assert!(matches!(change().await, Err(ManageError::RevisionMismatch)));
        // One that an owner no longer sees stays unseen.
        let other = held.for_owner("another");
        assert!(matches!(other.delete(id).await, Err(ManageError::NotFound)));
    }
}
