//! What administrators do, over HTTP.

use std::{collections::HashSet, time::Duration};

use axum::Router;
use http::header;
use serde_json::{Value, json};
use tower_api_key::{
    KeyPatch, NewKey, Scopes,
    axum::{ManagementGuard, management_router},
    clock::Clock,
    store::{KeyQuery, KeyRepository, KeyUse},
};

use super::{ADMIN_KEY, Api, admin_layer, items, path, send};
use crate::support::{send as through, with_key};

#[tokio::test]
async fn the_location_is_right_wherever_the_router_is() {
    let api = Api::new();
    let router = || management_router(api.keys.clone(), ManagementGuard::keys(admin_layer()));
    let headers = [("x-admin-key", ADMIN_KEY)];
    for (app, at) in [
        (Router::new().nest("/keys", router()), "/keys"),
        (Router::new().nest("/a", Router::new().nest("/b", router())), "/a/b"),
        (Router::new().nest("/tenants/{id}/keys", router()), "/tenants/t%20%2F1/keys"),
        (router(), ""),
    ] {
        let root = if at.is_empty() { "/" } else { at };
        let created = send(&app, "POST", root, &headers, r#"{"name":"x"}"#).await;
        let location = format!("{at}/{}", created.json(201)["id"].as_str().unwrap());
        assert_eq!(created.header(header::LOCATION), location);
        assert_eq!(send(&app, "GET", &location, &headers, "").await.status(), 200);

        let rotate = format!("{location}/rotate");
        let rotated = send(&app, "POST", &rotate, &headers, "").await;
        let location = format!("{at}/{}", rotated.json(201)["id"].as_str().unwrap());
        assert_eq!(rotated.header(header::LOCATION), location);
        let queried = send(&app, "POST", &format!("{root}?&"), &headers, r#"{"name":"x"}"#).await;
        assert!(!queried.header(header::LOCATION).contains('?'));
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let api = Api::new();
    for path in ["/x/", "/x/y/z", "/x/rotate/", "/x/enable"] {
        api.admin("GET", path, "").await.problem(404, "not_found");
    }
    for (path, allow) in [
        ("", "GET,HEAD,POST"),
        ("/events", "GET,HEAD"),
        ("/x", "GET,HEAD,PATCH,DELETE"),
        ("/x/revoke", "POST"),
        ("/x/rotate", "POST"),
        ("/x/events", "GET,HEAD"),
        ("/x/credits", "POST"),
        ("/x/usage", "GET,HEAD"),
        ("/usage", "GET,HEAD"),
        ("/usage/top", "GET,HEAD"),
    ] {
        let answer = api.admin("PUT", path, "").await;
        answer.problem(405, "method_not_allowed");
        assert_eq!(answer.header(header::ALLOW), allow);
    }
}

#[tokio::test]
async fn of_two_administrators_who_change_a_key_one_is_told() {
    let api = Api::new();
    let key = path(api.issue_plain("user-1", &["a"]).await.record.id);
    let seen = api.admin("GET", &key, "").await.header(header::ETAG).to_owned();
    let tag = [("if-match", &*seen)];

    let first = api.admin_with("PATCH", &key, &tag, r#"{"description":"one"}"#).await;
    assert_eq!(first.json(200)["description"], "one");
    let second = api.admin_with("PATCH", &key, &tag, r#"{"scopes":["b"]}"#).await;
    second.problem(412, "revision_mismatch");
    let view = api.admin("GET", &key, "").await.json(200);
    assert_eq!((&view["description"], &view["scopes"]), (&json!("one"), &json!(["a"])));

    // With what is there now, it goes on, and nothing of the first is lost.
    let tag = [("if-match", first.header(header::ETAG))];
    let again = api.admin_with("PATCH", &key, &tag, r#"{"scopes":["b"]}"#).await.json(200);
    assert_eq!((&again["description"], &again["scopes"]), (&json!("one"), &json!(["b"])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_changes_at_once_from_one_revision_one_is_made() {
    let api = Api::new();
    let issued = api.issue_plain("user-1", &[]).await.record;
    let key = format!("/admin/api-keys/{}", issued.id);
    let changes = (0..32).map(|n| {
        let (app, key) = (api.app.clone(), key.clone());
        let tag = format!("\"{}\"", issued.revision);
        tokio::spawn(async move {
            let headers = [("x-admin-key", ADMIN_KEY), ("if-match", tag.as_str())];
            let body = json!({ "name": format!("change {n}") }).to_string();
            send(&app, "PATCH", &key, &headers, &body).await
        })
    });
    let mut made = Vec::new();
    for change in changes.collect::<Vec<_>>() {
        let answer = change.await.unwrap();
        if answer.status() == 200 {
            made.push(answer.json(200)["name"].clone());
        } else {
            answer.problem(412, "revision_mismatch");
        }
    }
    assert_eq!(made.len(), 1);
    let view = send(&api.app, "GET", &key, &[("x-admin-key", ADMIN_KEY)], "").await;
    assert_eq!(view.header(header::ETAG), format!("\"{}\"", issued.revision + 1));
    assert_eq!(view.json(200)["name"], made[0]);
}

#[tokio::test]
async fn a_stale_if_match_stops_every_change() {
    let api = Api::new();
    let key = path(api.issue_plain("user-1", &[]).await.record.id);
    api.admin("PATCH", &key, r#"{"name":"newer"}"#).await.json(200);
    let before = api.everything().await;
    let (revoke, rotate) = (format!("{key}/revoke"), format!("{key}/rotate"));
    let all = [
        ("PATCH", &key, r#"{"name":"x"}"#),
        ("DELETE", &key, ""),
        ("POST", &revoke, ""),
        ("POST", &rotate, ""),
    ];
    for (method, path, body) in all {
        let answer = api.admin_with(method, path, &[("if-match", "\"0\"")], body).await;
        answer.problem(412, "revision_mismatch");
    }
    assert_eq!(api.everything().await, before);
    for (method, path, body) in [all[0], all[2]] {
        assert_eq!(api.admin_with(method, path, &[("if-match", "*")], body).await.status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_creations_with_one_idempotency_key_one_makes_a_key() {
    let api = Api::new();
    let creations = (0..64).map(|n| {
        let app = api.app.clone();
        tokio::spawn(async move {
            let headers = [("x-admin-key", ADMIN_KEY), ("idempotency-key", "request-1")];
            // Counted from when it is sent.
            let end = format!("{}-01-01T00:00:00Z", 2100 + n);
            let body = json!({ "name": "one", "expires_at": end }).to_string();
            send(&app, "POST", "/admin/api-keys", &headers, &body).await
        })
    });
    let (mut created, mut named) = (Vec::new(), HashSet::new());
    for creation in creations.collect::<Vec<_>>() {
        let answer = creation.await.unwrap();
        if answer.status() == 201 {
            created.push(answer.json(201)["id"].as_str().unwrap().to_owned());
        } else {
            let problem = answer.problem(409, "already_created");
            assert!(problem["detail"].as_str().unwrap().contains("rotate"), "{problem}");
            named.insert(problem["key"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(created.len(), 1);
    assert_eq!(named, created.iter().cloned().collect());
    assert_eq!(items(&api.admin("GET", "", "").await.json(200), "id"), created);
}

#[tokio::test]
async fn an_idempotency_key_outlives_the_key() {
    let api = Api::new();
    let create = async |id: &str| {
        api.admin_with("POST", "", &[("idempotency-key", id)], r#"{"name":"x"}"#).await
    };
    let created = create("r").await.json(201);
    create("s").await.json(201);
    let id = created["id"].as_str().unwrap();
    // For something else: another key, or another act on this one.
    let headers = [("idempotency-key", "r")];
    for (path, body) in [(String::new(), r#"{"name":"another"}"#), (format!("/{id}/rotate"), "")] {
        let other = api.admin_with("POST", &path, &headers, body).await;
        other.problem(409, "request_id_reused");
    }
    api.admin("DELETE", &format!("/{id}"), "").await;
    assert_eq!(create("r").await.problem(409, "already_created")["key"], Value::Null);
    let later = "2100-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(api.keys.purge(later).await.unwrap(), 1);
    assert_eq!(create("r").await.problem(409, "already_created")["key"], Value::Null);

    let before = api.everything().await;
    for bad in ["", "two words", &"x".repeat(256), "é"] {
        assert_eq!(create(bad).await.field(400, "invalid_parameter"), "Idempotency-Key");
    }
    let twice = [("idempotency-key", "t"), ("idempotency-key", "u")];
    let answer = api.admin_with("POST", "", &twice, r#"{"name":"x"}"#).await;
    assert_eq!(answer.field(400, "invalid_parameter"), "Idempotency-Key");
    assert_eq!(api.everything().await, before);
}

#[tokio::test]
async fn a_rotated_key_lives_on_through_its_grace() {
    let api = Api::new();
    let old = api.issue_plain("user-1", &["a"]).await;
    let rotate = format!("{}/rotate", path(old.record.id));
    let rotated = api.admin("POST", &rotate, r#"{"grace_seconds":60}"#).await;
    assert_eq!(rotated.header(header::ETAG), format!("\"{}\"", old.record.revision));
    let new = rotated.json(201);
    assert_eq!(new["replaces"], json!(old.record.id));
    assert_eq!((&new["owner"], &new["scopes"]), (&json!("user-1"), &json!(["a"])));
    let view = api.admin("GET", &path(old.record.id), "").await.json(200);
    assert_eq!(view["rotated_to"], new["id"]);
    assert_eq!(view["retires_at"], "2026-11-23T00:01:00.000Z");
    assert_eq!(view["status"], "active");

    let layer = api.keys.layer();
    let outcome = |key: &str| through(&layer, with_key(key)).outcome();
    assert_eq!(outcome(old.secret.expose()), "admitted");
    assert_eq!(outcome(new["key"].as_str().unwrap()), "admitted");
    api.clock.advance(Duration::from_mins(1));
    assert_eq!(outcome(old.secret.expose()), "expired_key");
    let view = api.admin("GET", &path(old.record.id), "").await.json(200);
    assert_eq!(view["status"], "expired");

    let again = api.admin("POST", &rotate, "").await.problem(409, "already_rotated");
    assert_eq!(again["rotated_to"], new["id"]);
}

#[tokio::test]
async fn graces_of_every_kind() {
    let api = Api::new();
    for (body, status, retires_at) in [
        ("", "expired", json!("2026-11-23T00:00:00.000Z")),
        ("{}", "expired", json!("2026-11-23T00:00:00.000Z")),
        (r#"{"grace_from":"now","grace_seconds":1}"#, "active", json!("2026-11-23T00:00:01.000Z")),
        (r#"{"grace_from":"first_use","grace_seconds":0}"#, "active", Value::Null),
        (r#"{"grace_seconds":4294967295}"#, "active", json!("2162-12-30T06:28:15.000Z")),
    ] {
        let old = path(api.issue_plain("user-1", &[]).await.record.id);
        api.admin("POST", &format!("{old}/rotate"), body).await.json(201);
        let view = api.admin("GET", &old, "").await.json(200);
        assert_eq!((&view["status"], &view["retires_at"]), (&json!(status), &retires_at), "{body}");
    }
    let key = path(api.issue_plain("user-1", &[]).await.record.id);
    let before = api.everything().await;
    for (body, field) in [
        (r#"{"grace_seconds":-1}"#, "grace_seconds"),
        (r#"{"grace_seconds":4294967296}"#, "grace_seconds"),
        (r#"{"grace_seconds":1.5}"#, "grace_seconds"),
        (r#"{"grace_from":"later"}"#, "grace_from"),
        (r#"{"scopes":["*"]}"#, "scopes"),
    ] {
        let answer = api.admin("POST", &format!("{key}/rotate"), body).await;
        assert_eq!(answer.field(422, "invalid_field"), field);
    }
    assert_eq!(api.everything().await, before);
    api.admin("POST", &format!("{key}/revoke"), "").await;
    api.admin("POST", &format!("{key}/rotate"), "").await.problem(409, "key_ended");
}

#[tokio::test]
async fn lists_are_filtered() {
    let api = Api::new();
    let mine = api.issue_plain("user-1", &["a", "b"]).await.record.id.to_string();
    let theirs = api.issue_plain("user-2", &["b"]).await.record;
    let patch =
        KeyPatch { name: Some("billing".into()), disabled: Some(true), ..KeyPatch::default() };
    api.keys.update(theirs.id, patch).await.unwrap();
    let theirs_id = theirs.id.to_string();
    let both = HashSet::from([mine.clone(), theirs_id.clone()]);
    let none = HashSet::new();
    let (only_mine, only_theirs) = (HashSet::from([mine]), HashSet::from([theirs_id]));
    for (query, expected) in [
        ("", &both),
        ("owner=user-1", &only_mine),
        ("status=active", &only_mine),
        ("status=disabled", &only_theirs),
        ("status=expired", &none),
        ("scope=a", &only_mine),
        ("scope=b", &both),
        ("scope=b&owner=user-2", &only_theirs),
        ("prefix=bill", &only_theirs),
        ("prefix=Bill", &none),
        ("prefix=key_", &both),
        ("&&", &both),
    ] {
        let list = api.admin("GET", &format!("?{query}"), "").await.json(200);
        assert_eq!(items(&list, "id").into_iter().collect::<HashSet<_>>(), *expected, "{query}");
    }
    for (query, field) in [
        ("status=Active", "status"),
        ("status=", "status"),
        ("scope=", "scope"),
        ("scope=a*", "scope"),
        ("prefix=%00", "prefix"),
        ("cursor=1", "cursor"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("owner=a&owner=b", "owner"),
        ("unknown=1", "unknown"),
    ] {
        let answer = api.admin("GET", &format!("?{query}"), "").await;
        assert_eq!(answer.field(400, "invalid_parameter"), field, "{query}");
    }
}

/// `before` is less than the moment, `after` is the moment or later: of an end no end is neither, and
/// what was never used was last used before.
#[tokio::test]
async fn lists_are_filtered_by_end_and_last_use() {
    let api = Api::new();
    let minute = |minutes| api.clock.now().saturating_add(Duration::from_mins(minutes));
    let mut names = std::collections::HashMap::new();
    for (name, end, used) in
        [("soon", Some(10), Some(30)), ("late", Some(20), Some(40)), ("never", None, None)]
    {
        let new = NewKey { expires_at: end.map(minute), ..NewKey::named(name) };
        let id = api.keys.create(new).await.unwrap().record.id;
        if let Some(used) = used {
            api.store.record_uses(&[KeyUse::new(id, 1, minute(used))]).await.unwrap();
        }
        names.insert(id.to_string(), name);
    }
    for (filter, minutes, expected) in [
        ("expires_before", 10, &[][..]),
        ("expires_before", 11, &["soon"]),
        ("expires_before", 21, &["late", "soon"]),
        ("expires_after", 10, &["late", "soon"]),
        ("expires_after", 11, &["late"]),
        ("expires_after", 21, &[]),
        ("last_used_before", 30, &["never"]),
        ("last_used_before", 31, &["never", "soon"]),
        ("last_used_before", 41, &["late", "never", "soon"]),
        ("last_used_after", 30, &["late", "soon"]),
        ("last_used_after", 31, &["late"]),
        ("last_used_after", 41, &[]),
    ] {
        let query = format!("?{filter}={}", minute(minutes));
        let list = api.admin("GET", &query, "").await.json(200);
        let mut listed: Vec<_> = items(&list, "id").iter().map(|id| names[id]).collect();
        listed.sort_unstable();
        assert_eq!(listed, expected, "{filter} {minutes}");
    }
    // Together they are a range.
    for (filter, first, last) in [("expires", 10, 11), ("last_used", 30, 31)] {
        let (first, last) = (minute(first), minute(last));
        let query = format!("?{filter}_after={first}&{filter}_before={last}");
        let list = api.admin("GET", &query, "").await.json(200);
        assert_eq!(items(&list, "name"), ["soon"], "{filter}");
    }
}

/// An administrator may well be one who grants not everything.
#[tokio::test]
async fn a_handle_with_a_ceiling_stays_below_it() {
    let api = Api::new();
    let keys = api.keys.within_scopes(Scopes::parse(["orders:*"]).unwrap());
    let app: Router = management_router(keys, ManagementGuard::keys(admin_layer()));
    let headers = [("x-admin-key", ADMIN_KEY)];
    let create = async |scopes: Value| {
        let body = json!({ "name": "x", "scopes": scopes }).to_string();
        send(&app, "POST", "/", &headers, &body).await
    };
    create(json!(["orders:read", "orders:*"])).await.json(201);
    for beyond in [json!(["*"]), json!(["orders:read", "stock:read"])] {
        create(beyond).await.problem(403, "scope_ceiling");
    }
    assert_eq!(api.keys.list(&KeyQuery::new(10)).await.unwrap().items.len(), 1);
}
