//! Creating, showing, revoking and deleting keys.

use serde_json::{Value, json};

use crate::{
    process::Reply,
    support::{Ask, assert_problem, shared},
};

/// Every field of a key's view, in its order.
const VIEW: [&str; 26] = [
    "id",
    "name",
    "start",
    "description",
    "owner",
    "scopes",
    "status",
    "disabled",
    "disabled_by",
    "tier",
    "limits",
    "credits",
    "metadata",
    "allowed_addresses",
    "created_at",
    "created_by",
    "updated_at",
    "not_before",
    "expires_at",
    "last_used_at",
    "use_count",
    "revoked_at",
    "revoked_reason",
    "replaces",
    "rotated_to",
    "retires_at",
];

fn fields(view: &Value) -> Vec<&str> {
    let mut fields: Vec<_> = view.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    fields
}

fn sorted<const N: usize>(mut names: [&str; N]) -> [&str; N] {
    names.sort_unstable();
    names
}

#[track_caller]
fn assert_ok(reply: &Reply, status: u16) {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply:?}");
}

#[test]
fn a_name_is_enough_for_a_key() {
    let server = shared();
    let reply = server.admin_sends("POST", "/admin/api-keys", r#"{"name":"x"}"#, &[]);
    assert_ok(&reply, 201);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let tag = reply.header("etag").unwrap().to_owned();
    let mut created = reply.json();
    let location = format!("/admin/api-keys/{}", created["id"].as_str().unwrap());
    assert_eq!(reply.header("location"), Some(&*location));

    // The key is a key, is shown by its start, and is nowhere in what is shown later.
    let key = created.as_object_mut().unwrap().remove("key").unwrap();
    let key = key.as_str().unwrap();
    assert_eq!(created["start"], key[.."key_".len() + 4]);
    let shown = server.admin("GET", &location);
    assert_ok(&shown, 200);
    assert_eq!(shown.header("etag"), Some(&*tag));
    assert_eq!(shown.json(), created);
    assert!(!shown.body.contains(&key["key_".len()..]), "{shown:?}");
    assert_eq!(server.ask_as(key, "GET", "/articles").status, 200);

    assert_eq!(fields(&created), sorted(VIEW));
    for (field, value) in [
        ("name", json!("x")),
        ("scopes", json!([])),
        ("status", json!("active")),
        ("disabled", json!(false)),
        ("limits", json!([])),
        ("metadata", json!({})),
        ("allowed_addresses", json!([])),
        ("use_count", json!(0)),
    ] {
        assert_eq!(created[field], value, "{field}");
    }
    for absent in [
        "description",
        "owner",
        "tier",
        "credits",
        "not_before",
        "expires_at",
        "last_used_at",
        "revoked_at",
        "revoked_reason",
        "replaces",
        "rotated_to",
        "retires_at",
    ] {
        assert_eq!(created[absent], Value::Null, "{absent}");
    }
    let created_at = created["created_at"].as_str().unwrap();
    assert!(created_at.starts_with("20") && created_at.ends_with('Z'), "{created_at}");
}

#[test]
fn a_key_has_what_it_was_given() {
    let server = shared();
    let new = json!({
        "name": "Büro 3 ☎",
        "description": "The shop's CI",
        "owner": "admin-test-given",
        "scopes": ["stock:*", "orders:read", "orders:read"],
        "expires_at": "2999-12-31T23:59:59.5+01:00",
        "not_before": "2001-02-03T04:05:06.000Z",
        "tier": "gold",
        "allowed_addresses": ["10.0.0.0/8", "2001:db8::1"],
        "metadata": { "team": ["a", 1, null], "nested": { "deep": true } },
    });
    let created = server.create(&new);
    let view = server.admin("GET", &format!("/admin/api-keys/{}", created.id)).json();
    for (field, value) in [
        ("name", new["name"].clone()),
        ("description", new["description"].clone()),
        ("owner", new["owner"].clone()),
        ("scopes", json!(["orders:read", "stock:*"])),
        ("expires_at", json!("2999-12-31T22:59:59.500Z")),
        ("not_before", json!("2001-02-03T04:05:06.000Z")),
        ("tier", new["tier"].clone()),
        ("allowed_addresses", json!(["10.0.0.0/8", "2001:db8::1/128"])),
        ("metadata", new["metadata"].clone()),
    ] {
        assert_eq!(view[field], value, "{field}");
    }
}

#[test]
fn null_is_as_good_as_leaving_out_at_creation() {
    let server = shared();
    let new = json!({
        "name": "nulls", "description": null, "owner": null, "scopes": null, "expires_at": null,
        "not_before": null, "tier": null, "limits": null, "credits": null, "allowed_addresses": null, "metadata": null,
    });
    let created = server.create(&new);
    assert_eq!(server.ask_as(&created.key, "GET", "/articles").status, 200);
}

#[test]
fn two_keys_of_the_same_name_are_two_keys() {
    let server = shared();
    let new = json!({ "name": "same" });
    let (a, b) = (server.create(&new), server.create(&new));
    assert!(a.id != b.id && a.key != b.key);
}

#[test]
fn revoking_keeps_the_key_and_its_first_reason() {
    let server = shared();
    let created = server.create(&json!({ "name": "revoked" }));
    let path = format!("/admin/api-keys/{}", created.id);
    let revoke = format!("{path}/revoke");

    let before = server.admin("GET", &path).header("etag").unwrap().to_owned();
    let reply = server.admin_sends("POST", &revoke, r#"{"reason":"laptop stolen"}"#, &[]);
    assert_ok(&reply, 200);
    assert_ne!(reply.header("etag"), Some(&*before));
    let revoked = reply.json();
    assert_eq!(revoked["status"], "revoked");
    assert_eq!(revoked["revoked_reason"], "laptop stolen");
    assert!(revoked["revoked_at"].is_string(), "{revoked}");
    assert_problem(&server.ask_as(&created.key, "GET", "/articles"), 401, "revoked_key");

    let again = server.admin_sends("POST", &revoke, r#"{"reason":"another"}"#, &[]);
    assert_ok(&again, 200);
    assert_eq!(again.json(), revoked);
    assert_eq!(server.admin("GET", &path).json(), revoked);
}

#[test]
fn a_reason_is_not_required() {
    let server = shared();
    for body in ["", "{}", r#"{"reason":null}"#] {
        let created = server.create(&json!({ "name": "no reason" }));
        let path = format!("/admin/api-keys/{}/revoke", created.id);
        let reply = server.admin_sends("POST", &path, body, &[]);
        assert_ok(&reply, 200);
        assert_eq!(reply.json()["status"], "revoked");
        assert_eq!(reply.json()["revoked_reason"], Value::Null);
    }
}

#[test]
fn a_deleted_key_is_gone() {
    let server = shared();
    let created = server.create(&json!({ "name": "deleted", "owner": "admin-test-deleted" }));
    let path = format!("/admin/api-keys/{}", created.id);

    let reply = server.admin("DELETE", &path);
    assert_ok(&reply, 204);
    assert_eq!(reply.body, "");

    assert_problem(&server.ask_as(&created.key, "GET", "/articles"), 401, "unknown_key");
    assert_problem(&server.admin("GET", &path), 404, "not_found");
    assert_problem(&server.admin("DELETE", &path), 404, "not_found");
    let list = server.admin("GET", "/admin/api-keys?owner=admin-test-deleted").json();
    assert_eq!(list["items"], json!([]));
}

#[test]
fn unknown_ids_are_404() {
    let server = shared();
    for id in ["01890000-0000-7000-8000-000000000000", "nonsense", "%00", "%ff", "1"] {
        let path = format!("/admin/api-keys/{id}");
        for (method, path, body) in [
            ("GET", &path, ""),
            ("DELETE", &path, ""),
            ("PATCH", &path, "{}"),
            ("POST", &format!("{path}/revoke"), ""),
            ("POST", &format!("{path}/credits"), r#"{"add":1}"#),
            ("GET", &format!("{path}/usage"), ""),
        ] {
            assert_problem(&server.admin_sends(method, path, body, &[]), 404, "not_found");
        }
    }
}

#[test]
fn changes_are_logged_by_id() {
    let server = shared();
    let created = server.create(&json!({ "name": "logged" }));
    let path = format!("/admin/api-keys/{}", created.id);
    server.change(&created, &json!({ "name": "renamed" }));
    server.admin("POST", &format!("{path}/revoke"));
    server.admin("DELETE", &path);
    for what in ["key created", "key updated", "key revoked", "key deleted"] {
        server.server.wait_for_stderr(&format!("{what} key={}", created.id));
    }
}
