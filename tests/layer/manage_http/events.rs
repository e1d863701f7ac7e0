//! The audit log, over HTTP.

use std::time::Duration;

use serde_json::{Value, json};
use tower_api_key::{KeyId, KeyPatch, store::FixedStore};

use super::{ADMIN_KEY, Api, items, path};
use crate::support::NOW;

#[tokio::test]
async fn everything_that_is_done_is_in_the_log_with_who_and_from_where() {
    let api = Api::new();
    let created = api.admin("POST", "", r#"{"name":"x","owner":"user-1"}"#).await.json(201);
    let key = format!("/{}", created["id"].as_str().unwrap());
    for (method, rest, body) in [
        ("PATCH", "", r#"{"name":"y","scopes":["a"]}"#),
        ("PATCH", "", r#"{"disabled":true}"#),
        ("PATCH", "", r#"{"disabled":false}"#),
        ("POST", "/rotate", r#"{"grace_seconds":60}"#),
        ("POST", "/revoke", r#"{"reason":"lost"}"#),
        ("DELETE", "", ""),
    ] {
        api.clock.advance(Duration::from_secs(1));
        let answer = api.admin(method, &format!("{key}{rest}"), body).await;
        assert!(answer.0.status().is_success(), "{answer:?}");
    }
    // The key is gone, and what was done to it is not.
    api.admin("GET", &key, "").await.problem(404, "not_found");
    let log = api.admin("GET", &format!("{key}/events"), "").await.json(200);
    let actions = ["deleted", "revoked", "rotated", "enabled", "disabled", "updated", "created"];
    assert_eq!(items(&log, "action"), actions);
    let admin = FixedStore::new().with_key("the administrator", ADMIN_KEY).unwrap();
    let layer = tower_api_key::ApiKeyLayer::new(admin);
    let admin = crate::support::send(&layer, crate::support::with_key(ADMIN_KEY)).key().id();
    for event in log["items"].as_array().unwrap() {
        assert_eq!(event["key"], created["id"]);
        assert_eq!(event["owner"], "user-1");
        assert_eq!(event["actor"], format!("key {admin} (the administrator)"));
        assert_eq!(event["address"], "192.0.2.7");
    }
    assert_eq!(log["items"][1]["detail"], "lost");
    assert_eq!(log["items"][5]["detail"], "name, scopes");
    assert_eq!(log["items"][6]["at"], "2026-11-23T00:00:00.000Z");
    assert_eq!(log["next_cursor"], Value::Null);
}

#[tokio::test]
async fn the_log_is_read_by_time_and_by_page() {
    let api = Api::new();
    let key = api.issue("user-1", &[]).await.record.id;
    api.issue("user-2", &[]).await;
    for n in 1..6 {
        api.clock.set(crate::support::at(n * 1000));
        let patch = KeyPatch { name: Some(n.to_string()), ..KeyPatch::default() };
        api.keys.update(key, patch).await.unwrap();
    }
    let log = async |query: &str| {
        items(&api.admin("GET", &format!("{}/events?{query}", path(key)), "").await.json(200), "at")
    };
    assert_eq!(log("since=2026-11-23T00:00:04.000Z").await.len(), 2);
    assert_eq!(log("until=2026-11-23T01:00:04%2B01:00").await.len(), 4);
    let one = log("since=2026-11-23T00:00:02Z&until=2026-11-23T00:00:03.000Z").await;
    assert_eq!(one, ["2026-11-23T00:00:02.000Z"]);
    // An empty part of a log that there is, is no unknown key.
    assert_eq!(log("since=2030-01-01T00:00:00.000Z").await.len(), 0);

    let (mut pages, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.admin("GET", &format!("/events?limit=3{cursor}"), "").await.json(200);
        pages.push(items(&page, "id"));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 1]);
    let mut all = pages.concat();
    all.dedup();
    assert_eq!(all.len(), 7);
    let theirs = api.admin("GET", "/events?owner=user-2", "").await.json(200);
    assert_eq!(items(&theirs, "owner"), ["user-2"]);

    for (query, field) in [
        ("since=yesterday", "since"),
        ("until=", "until"),
        ("cursor=7", "cursor"),
        ("limit=101", "limit"),
        ("limit=1&limit=2", "limit"),
    ] {
        let answer = api.admin("GET", &format!("/events?{query}"), "").await;
        assert_eq!(answer.field(400, "invalid_parameter"), field);
    }
    let unknown = KeyId::generate(NOW).unwrap();
    api.admin("GET", &format!("/{unknown}/events"), "").await.problem(404, "not_found");
}

#[tokio::test]
async fn owners_see_what_was_done_and_not_by_which_administrator() {
    let api = Api::new();
    let me = api.issue("user-1", &[]).await;
    let mine = path(me.record.id);
    api.clock.advance(Duration::from_secs(1));
    api.admin("PATCH", &mine, r#"{"name":"renamed"}"#).await.json(200);
    for log in ["/events".to_owned(), format!("{mine}/events")] {
        let log = api.holder(&me, "GET", &log, "").await.json(200);
        assert_eq!(items(&log, "action"), ["updated", "created"]);
        assert_eq!(log["items"][0]["detail"], "name");
        assert!(items(&log, "actor").iter().all(|actor| actor == "null"), "{log}");
        assert_eq!(log["items"][0]["address"], Value::Null);
    }
    let log = api.admin("GET", &format!("{mine}/events"), "").await.json(200);
    assert_eq!(log["items"][0]["address"], json!("192.0.2.7"));
}
