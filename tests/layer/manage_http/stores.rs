//! Stores that fail, and stores that cannot do everything.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::Router;
use http::header;
use tower_api_key::{
    KeyManager, NewKey, Scopes,
    axum::{ManagementGuard, management_router},
    manage::{KeySet, ManageError, OwnerBounds},
    store::{KeyQuery, StoreErrorKind},
};

use super::send;
use crate::plain_store::Plain;

fn app(is_down: bool) -> Router {
    management_router(keys(is_down), ManagementGuard::insecure_unguarded())
}

fn keys(is_down: bool) -> KeyManager {
    KeyManager::new(Plain { is_down, ..Plain::default() })
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

/// Nothing is made there: no such key could spend its credits.
#[tokio::test]
async fn a_store_without_credits_makes_no_key_with_some() {
    let keys = keys(false);
    let app = management_router(keys.clone(), ManagementGuard::insecure_unguarded());
    let refused = send(&app, "POST", "/", &[], r#"{"name":"x","credits":5}"#).await;
    refused.problem(501, "not_supported");
    let list = send(&app, "GET", "/", &[], "").await.json(200);
    assert_eq!(list["items"], serde_json::json!([]));
}

/// A request that is to be done once is not done at all.
#[tokio::test]
async fn a_store_without_requests_refuses_the_header() {
    let keys = keys(false);
    let app = management_router(keys.clone(), ManagementGuard::insecure_unguarded());
    let created = send(&app, "POST", "/", &[], r#"{"name":"x"}"#).await.json(201);
    let key = format!("/{}", created["id"].as_str().unwrap());
    let once = [("idempotency-key", "a")];
    let refused = send(&app, "POST", &format!("{key}/rotate"), &once, "").await;
    refused.problem(501, "not_supported");
    let old = keys.get(created["id"].as_str().unwrap().parse().unwrap()).await.unwrap();
    assert_eq!(old.details.rotation.to, None);
    // Where repeating it does no harm, it is passed over.
    send(&app, "PATCH", &key, &once, r#"{"name":"y"}"#).await.json(200);
    send(&app, "POST", &format!("{key}/revoke"), &once, "").await.json(200);
}

/// However many keys a page has.
#[tokio::test]
async fn credits_are_asked_for_once_and_only_where_there_are_some() {
    let asked = Arc::new(AtomicUsize::new(0));
    let store = Plain { balances: Some(asked.clone()), ..Plain::default() };
    let app = management_router(KeyManager::new(store), ManagementGuard::insecure_unguarded());
    let plain = send(&app, "POST", "/", &[], r#"{"name":"x"}"#).await.json(201);
    let plain = format!("/{}", plain["id"].as_str().unwrap());
    send(&app, "GET", "/", &[], "").await.json(200);
    send(&app, "GET", &plain, &[], "").await.json(200);
    // For the time of its creation.
    assert_eq!(asked.swap(0, Ordering::Relaxed), 1);
    // What is invalid costs the store nothing.
    send(&app, "POST", "/", &[], r#"{"name":""}"#).await.json(422);
    assert_eq!(asked.load(Ordering::Relaxed), 0);

    for credits in 0..30 {
        let body = serde_json::json!({ "name": "x", "credits": credits }).to_string();
        send(&app, "POST", "/", &[], &body).await.json(201);
    }
    // Each for the time at which it and its balance begin.
    assert_eq!(asked.load(Ordering::Relaxed), 30);
    let list = send(&app, "GET", "/?limit=100", &[], "").await.json(200);
    assert_eq!(asked.load(Ordering::Relaxed), 31);
    let items = list["items"].as_array().unwrap().iter();
    let mut left: Vec<_> = items.filter_map(|key| key["credits"]["remaining"].as_u64()).collect();
    left.sort_unstable();
    assert_eq!(left, (0..30).collect::<Vec<_>>());
}

/// A store that cannot count an owner's keys, or change a set in one, refuses instead of passing
/// the bound over.
#[tokio::test]
async fn a_store_without_bounds_or_sets_writes_nothing() {
    let keys = keys(false);
    let unsupported = |result: Result<(), ManageError>| match result {
        Err(ManageError::Store(error)) => assert_eq!(error.kind(), StoreErrorKind::Unsupported),
        other => panic!("{other:?}"),
    };
    let template = NewKey::named("what owners may have");
    let bounds = OwnerBounds::new("user-1", Scopes::default()).with_template(template);
    let owner = keys.within_bounds(bounds);
    unsupported(owner.create(NewKey::named("one more")).await.map(drop));
    let theirs = NewKey { owner: Some("user-1".into()), ..NewKey::named("theirs") };
    let theirs = keys.create(theirs).await.unwrap().record;
    unsupported(keys.revoke_all(KeySet::of_owner("user-1"), None).await.map(drop));
    let rows = keys.list(&KeyQuery::new(10)).await.unwrap().items;
    assert_eq!(rows, [theirs]);
}
