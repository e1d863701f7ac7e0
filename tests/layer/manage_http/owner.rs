//! What owners do with their own keys, and cannot do to others'.

use serde_json::{Value, json};
use tower_api_key::KeyId;

use super::{Api, items, path, send};

/// Every operation on a key, with a body that would change something.
const OPERATIONS: [(&str, &str, &str); 7] = [
    ("GET", "", ""),
    ("PATCH", "", r#"{"name":"taken over","disabled":true}"#),
    ("DELETE", "", ""),
    ("POST", "/revoke", r#"{"reason":"malice"}"#),
    ("POST", "/rotate", r#"{"grace_seconds":1}"#),
    ("GET", "/events", ""),
    ("GET", "/usage", ""),
];

#[tokio::test]
async fn another_owners_key_is_not_there_and_stays_as_it_is() {
    let api = Api::new();
    let me = api.issue("user-1", &["*"]).await;
    for other in ["user-2", "USER-1", "user-1 ", "user"] {
        let theirs = api.issue(other, &["a"]).await.record.id;
        let nobodys = api.keys.create(tower_api_key::NewKey::named("x")).await.unwrap().record.id;
        let before = api.everything().await;
        for id in [theirs, nobodys] {
            for (method, rest, body) in OPERATIONS {
                let path = format!("/{id}{rest}");
                let refused = api.holder(&me, method, &path, body).await;
                refused.problem(404, "not_found");
                // And nobody learns whether it exists.
                let path = format!("/01890000-0000-7000-8000-000000000000{rest}");
                let unknown = api.holder(&me, method, &path, body).await;
                assert_eq!(refused.0.body(), unknown.0.body());
                assert_eq!(refused.0.headers(), unknown.0.headers());
            }
        }
        for query in [String::new(), format!("?owner={}", other.replace(' ', "%20"))] {
            let list = api.holder(&me, "GET", &query, "").await.json(200);
            assert!(items(&list, "owner").iter().all(|owner| owner == "user-1"), "{list}");
            let events = api.holder(&me, "GET", &format!("/events{query}"), "").await.json(200);
            assert!(items(&events, "owner").iter().all(|owner| owner == "user-1"), "{events}");
        }
        assert_eq!(api.everything().await, before);
    }
    // The same operations do something to a key of one's own.
    for (method, rest, body) in OPERATIONS {
        let mine = api.issue_plain("user-1", &["a"]).await.record.id;
        let answer = api.holder(&me, method, &format!("/{mine}{rest}"), body).await;
        assert!(answer.0.status().is_success(), "{method} {rest}: {answer:?}");
    }
}

#[tokio::test]
async fn who_the_owner_is_no_request_says() {
    let api = Api::new();
    let me = api.issue("user-1", &["a"]).await;
    let headers = [
        ("x-api-key", me.secret.expose()),
        ("x-owner", "user-2"),
        ("x-forwarded-user", "user-2"),
        ("x-admin-key", super::ADMIN_KEY),
    ];
    let body = r#"{"name":"x"}"#;
    let created = send(&api.app, "POST", "/me/api-keys", &headers, body).await;
    assert_eq!(created.json(201)["owner"], "user-1");
    let refused = send(&api.app, "POST", "/me/api-keys?owner=user-2", &headers, body).await;
    assert_eq!(refused.field(400, "invalid_parameter"), "owner");
}

#[tokio::test]
async fn what_is_the_providers_no_owner_sends() {
    let api = Api::new();
    let me = api.issue("user-1", &["a"]).await;
    let mine = path(me.record.id);
    let before = api.everything().await;
    for (field, value) in [
        ("owner", json!("user-2")),
        ("owner", json!("user-1")),
        ("owner", Value::Null),
        ("tier", json!("gold")),
        ("tier", Value::Null),
        ("limits", json!([])),
        ("limits", json!([{ "name": "a", "requests": 1_000_000, "window_seconds": 1 }])),
        ("limits", Value::Null),
        ("credits", json!(1_000_000)),
        ("credits", json!({ "remaining": 1_000_000 })),
        ("credits", Value::Null),
        ("metadata", json!({ "admin": true })),
        ("id", json!("01890000-0000-7000-8000-000000000000")),
        ("key", json!("key_chosen")),
        ("digest", json!("00")),
        ("request_id", json!("r")),
        ("revision", json!(7)),
        ("use_count", json!(0)),
        ("created_at", json!("2020-01-01T00:00:00.000Z")),
        ("revoked_at", Value::Null),
        ("replaces", Value::Null),
        ("rotation", json!({})),
        ("details", json!({})),
        ("ceiling", json!(["*"])),
        ("actor", json!("root")),
        ("Owner", json!("user-2")),
        ("owner\0", json!("user-2")),
        ("", json!("user-2")),
    ] {
        let body = json!({ "name": "x", field: value }).to_string();
        let shown = field.replace('\0', "\\u{0}");
        for (method, path) in [("POST", ""), ("PATCH", &mine)] {
            let answer = api.holder(&me, method, path, &body).await;
            assert_eq!(answer.field(422, "invalid_field"), shown, "{answer:?}");
        }
        for rest in ["revoke", "rotate"] {
            let answer = api.holder(&me, "POST", &format!("{mine}/{rest}"), &body).await;
            answer.problem(422, "invalid_field");
        }
    }
    assert_eq!(api.everything().await, before);
}

#[tokio::test]
async fn nobody_grants_more_than_the_own_scopes() {
    let api = Api::new();
    let me = api.issue("user-1", &["orders:*", "stock:read"]).await;
    let mine = path(me.record.id);
    for within in [json!([]), json!(["orders:read"]), json!(["orders:*", "stock:read"])] {
        let body = json!({ "name": "x", "scopes": within }).to_string();
        let created = api.holder(&me, "POST", "", &body).await.json(201);
        assert_eq!((&created["scopes"], &created["owner"]), (&within, &json!("user-1")));
    }
    let before = api.everything().await;
    for beyond in [
        json!(["*"]),
        json!(["orders"]),
        json!(["stock:*"]),
        json!(["stock:write"]),
        json!(["orders:read", "admin"]),
    ] {
        let body = json!({ "name": "x", "scopes": beyond }).to_string();
        let created = api.holder(&me, "POST", "", &body).await;
        assert_eq!(created.field(403, "beyond_own_key"), "scopes");
        let changed = api.holder(&me, "PATCH", &mine, &body).await;
        assert_eq!(changed.field(403, "beyond_own_key"), "scopes");
    }
    assert_eq!(api.everything().await, before);
}

/// A key that may do little does not touch one that may do much, not even to stop it.
#[tokio::test]
async fn a_key_of_greater_scopes_is_left_alone() {
    let api = Api::new();
    let small = api.issue("user-1", &["a"]).await;
    let great = api.issue("user-1", &["a", "b"]).await.record.id;
    let before = api.everything().await;
    let great = path(great);
    for body in [
        r#"{"name":"known"}"#,
        r#"{"disabled":true}"#,
        r#"{"allowed_addresses":["192.0.2.0/24"]}"#,
        r#"{"expires_at":"2030-01-01T00:00:00Z"}"#,
        r#"{"scopes":["a"]}"#,
    ] {
        let refused = api.holder(&small, "PATCH", &great, body).await;
        assert_eq!(refused.field(403, "beyond_own_key"), "scopes", "{body}");
    }
    for (method, rest) in [("POST", "/rotate"), ("POST", "/revoke"), ("DELETE", "")] {
        let refused = api.holder(&small, method, &format!("{great}{rest}"), "").await;
        assert_eq!(refused.field(403, "beyond_own_key"), "scopes");
    }
    // A form that sends every field and changes none.
    let form = r#"{"name":"of a test","disabled":false,"allowed_addresses":[],"expires_at":null}"#;
    api.holder(&small, "PATCH", &great, form).await.json(200);
    assert_eq!(api.everything().await, before);

    let another = path(api.issue_plain("user-1", &["a"]).await.record.id);
    api.holder(&small, "PATCH", &another, r#"{"disabled":true}"#).await.json(200);
    api.holder(&small, "POST", &format!("{another}/revoke"), "").await.json(200);
    assert_eq!(api.holder(&small, "DELETE", &another, "").await.status(), 204);
}

#[tokio::test]
async fn owners_manage_their_own_keys() {
    let api = Api::new();
    let me = api.issue("user-1", &["a"]).await;
    let body = json!({
        "name": "mine", "description": "d", "scopes": ["a"], "allowed_addresses": ["10.0.0.0/8"],
        "not_before": "2020-01-01T00:00:00.000Z", "expires_at": "2030-01-01T00:00:00.000Z",
    });
    let created = api.holder(&me, "POST", "", &body.to_string()).await.json(201);
    for (field, value) in body.as_object().unwrap() {
        assert_eq!(created[field], *value, "{field}");
    }
    let mine = format!("/{}", created["id"].as_str().unwrap());
    let change = json!({
        "name": "changed", "description": null, "scopes": [], "allowed_addresses": [],
        "not_before": null, "expires_at": null, "disabled": true,
    });
    let changed = api.holder(&me, "PATCH", &mine, &change.to_string()).await.json(200);
    for (field, value) in change.as_object().unwrap() {
        assert_eq!(changed[field], *value, "{field}");
    }
    // Owners' names for their requests are their own.
    let key = [("x-api-key", me.secret.expose()), ("idempotency-key", "1")];
    let other = api.issue("user-2", &[]).await;
    let other = [("x-api-key", other.secret.expose()), ("idempotency-key", "1")];
    for (headers, status) in [(key, 201), (key, 409), (other, 201), (other, 409)] {
        let body = r#"{"name":"once"}"#;
        let answer = send(&api.app, "POST", "/me/api-keys", &headers, body).await;
        assert_eq!(answer.status(), status, "{answer:?}");
    }
    // A key that ends itself is gone at once.
    api.holder(&me, "DELETE", &path(me.record.id), "").await;
    api.holder(&me, "GET", "", "").await.problem(401, "unknown_key");
}

/// Every route that is not there for owners, by every method, whosever key it names.
#[tokio::test]
async fn routes_of_administrators_are_paths_that_nobody_has() {
    let api = Api::new();
    let me = api.issue("user-1", &["a"]).await;
    let reading = api.issue_plain("user-1", &["a"]).await;
    let theirs = api.issue("user-2", &["a"]).await.record.id;
    let unknown = KeyId::from_bytes([9; 16]);
    for (route, taken) in [("credits", "POST")] {
        for id in
            [me.record.id, theirs, unknown].map(|id| id.to_string()).iter().chain([&"x".into()])
        {
            let route = format!("/{id}/{route}");
            for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"] {
                for (key, body) in [(&me, ""), (&me, r#"{"add":1}"#), (&reading, "")] {
                    let answer = api.holder(key, method, &route, body).await;
                    let nowhere = api.holder(key, method, "/a/b/c", body).await;
                    assert_eq!(answer.status(), 404, "{method} {route}");
                    assert_eq!(answer.0.headers(), nowhere.0.headers(), "{method} {route}");
                    assert_eq!(answer.0.body(), nowhere.0.body(), "{method} {route}");
                }
                if method != taken {
                    let answer = api.admin(method, &route, "").await;
                    assert_eq!(answer.status(), 405, "{method} {route}");
                    assert_eq!(answer.header(http::header::ALLOW), taken);
                }
            }
        }
    }
}
