//! Stores that fail, and stores that cannot do everything.

use std::sync::Arc;

use axum::Router;
use http::header;
use tower_api_key::{
    Guard, KeyDigest, KeyId, KeyManager, KeyRecord, OwnerId, Timestamp, async_trait,
    management_router,
    store::{
        Changes, KeyRepository, KeyStore, KeyUse, ListQuery, MemoryStore, Page, StoreError, Update,
    },
};

use super::send;

/// Keeps no audit log, and may be down.
struct Plain {
    inner: MemoryStore,
    is_down: bool,
}

impl Plain {
    fn up(&self) -> Result<&MemoryStore, StoreError> {
        let down = || StoreError::unavailable("postgres://user:hunter2@db.internal refused");
        if self.is_down { Err(down()) } else { Ok(&self.inner) }
    }
}

#[async_trait]
impl KeyStore for Plain {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.up()?.find(digest).await
    }
}

#[async_trait]
impl KeyRepository for Plain {
    async fn apply(&self, changes: &Changes) -> Result<Update, StoreError> {
        self.up()?.apply(changes).await
    }

    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.up()?.get(id).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.up()?.list(query).await
    }

    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        self.up()?.record_uses(uses).await
    }

    async fn purge(&self, before: Timestamp, owner: Option<&OwnerId>) -> Result<u64, StoreError> {
        self.up()?.purge(before, owner).await
    }
}

fn app(is_down: bool) -> Router {
    management_router(keys(is_down), Guard::insecure_unguarded())
}

fn keys(is_down: bool) -> KeyManager {
    KeyManager::new(Plain { inner: MemoryStore::new(), is_down })
}

#[tokio::test]
async fn a_store_that_is_down_is_503_and_says_no_more() {
    const ID: &str = "/01890000-0000-7000-8000-000000000000";
    for (method, path, body) in [
        ("GET", "/", ""),
        ("POST", "/", r#"{"name":"x"}"#),
        ("GET", ID, ""),
        ("PATCH", ID, "{}"),
        ("DELETE", ID, ""),
        ("POST", &format!("{ID}/revoke"), ""),
        ("POST", &format!("{ID}/rotate"), ""),
        ("POST", &format!("{ID}/credits"), r#"{"add":1}"#),
        ("GET", &format!("{ID}/usage"), ""),
    ] {
        for headers in [&[][..], &[("if-match", "\"0\"")]] {
            let answer = send(&app(true), method, path, headers, body).await;
            answer.problem(503, "store_unavailable");
            assert_eq!(answer.header(header::RETRY_AFTER), "1");
            let text = String::from_utf8_lossy(answer.0.body());
            assert!(!text.contains("hunter2") && !text.contains("db.internal"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_store_without_an_audit_log_says_so() {
    let app = app(false);
    let created = send(&app, "POST", "/", &[], r#"{"name":"x"}"#).await.json(201);
    let events = format!("/{}/events", created["id"].as_str().unwrap());
    for path in ["/events", &events] {
        send(&app, "GET", path, &[], "").await.problem(501, "not_supported");
    }
}

#[tokio::test]
async fn a_store_without_usage_says_so() {
    let app = app(false);
    let created = send(&app, "POST", "/", &[], r#"{"name":"x"}"#).await.json(201);
    let usage = format!("/{}/usage", created["id"].as_str().unwrap());
    for path in ["/usage", "/usage/top", &usage] {
        send(&app, "GET", path, &[], "").await.problem(501, "not_supported");
    }
}

/// Nobody could have it again. Where it is known before, nothing is made.
#[tokio::test]
async fn a_new_key_is_shown_also_when_its_credits_cannot_be_read() {
    let keys = keys(false);
    let app = management_router(keys.clone(), Guard::insecure_unguarded());
    let created = send(&app, "POST", "/", &[], r#"{"name":"x","credits":5}"#).await.json(201);
    assert!(created["key"].is_string(), "{created}");
    assert_eq!(created["credits"]["remaining"], 5);

    let key = format!("/{}", created["id"].as_str().unwrap());
    for (method, path) in [("GET", "/"), ("GET", &key), ("POST", &format!("{key}/rotate"))] {
        send(&app, method, path, &[], "").await.problem(501, "not_supported");
    }
    let old = keys.get(created["id"].as_str().unwrap().parse().unwrap()).await.unwrap();
    assert_eq!(old.details.rotation.to, None);
}
