//! `PATCH /admin/api-keys/{id}`

use serde_json::{Value, json};

use crate::support::{Ask, assert_problem, shared};

#[test]
fn fields_change_and_others_stay() {
    let server = shared();
    let created = server.create(&json!({
        "name": "before", "owner": "user-1", "scopes": ["a"], "tier": "basic",
        "metadata": { "a": 1 },
    }));
    let before = server.admin("GET", &format!("/admin/api-keys/{}", created.id)).json();
    for (field, value) in [
        ("name", json!("after")),
        ("description", json!("now described")),
        ("scopes", json!(["b", "c"])),
        ("tier", json!("gold")),
        ("metadata", json!({ "b": 2 })),
        ("allowed_addresses", json!(["127.0.0.0/8"])),
        ("not_before", json!("2001-01-01T00:00:00.000Z")),
        ("expires_at", json!("2999-01-01T00:00:00.000Z")),
        ("disabled", json!(true)),
        ("disabled", json!(false)),
    ] {
        let mut expected = server.admin("GET", &format!("/admin/api-keys/{}", created.id)).json();
        let changed = server.change(&created, &json!({ field: value }));
        expected[field] = value;
        expected["status"] =
            if expected["disabled"] == true { "disabled" } else { "active" }.into();
        expected["disabled_by"] =
            if expected["disabled"] == true { json!("administrator") } else { json!(null) };
        expected["updated_at"] = changed["updated_at"].clone();
        assert_eq!(changed, expected, "{field}");
    }
    let after = server.admin("GET", &format!("/admin/api-keys/{}", created.id)).json();
    for unchanged in ["id", "start", "owner", "created_at"] {
        assert_eq!(after[unchanged], before[unchanged], "{unchanged}");
    }
    assert_eq!(server.ask_as(&created.key, "GET", "/articles").status, 200);
}

#[test]
fn changes_count_at_once() {
    let server = shared();
    let created = server.create(&json!({ "name": "switch" }));
    let articles = || server.ask_as(&created.key, "GET", "/articles");
    let inventory = || server.ask_as(&created.key, "POST", "/webhook/inventory").status;

    server.change(&created, &json!({ "disabled": true }));
    assert_problem(&articles(), 401, "disabled_key");
    server.change(&created, &json!({ "disabled": false }));
    assert_eq!(articles().status, 200);

    assert_eq!(inventory(), 403);
    server.change(&created, &json!({ "scopes": ["inventory:write"] }));
    assert_eq!(inventory(), 200);
}

#[test]
fn null_takes_away_what_a_key_may_lack() {
    let server = shared();
    let created = server.create(&json!({
        "name": "full", "description": "d", "tier": "t",
        "not_before": "2001-01-01T00:00:00.000Z", "expires_at": "2999-01-01T00:00:00.000Z",
    }));
    for field in ["description", "tier", "not_before", "expires_at"] {
        let changed = server.change(&created, &json!({ field: null }));
        assert_eq!(changed[field], Value::Null, "{changed}");
    }
    // A key without a name, or without the limits of its use by mistake, is not to be had.
    for field in ["name", "scopes", "allowed_addresses", "metadata", "disabled"] {
        let path = format!("/admin/api-keys/{}", created.id);
        let body = json!({ field: null }).to_string();
        let reply = server.admin_sends("PATCH", &path, &body, &[]);
        assert_problem(&reply, 422, "invalid_field");
        assert_eq!(reply.json()["field"], field);
    }
}

#[test]
fn an_empty_change_changes_nothing() {
    let server = shared();
    let created = server.create(&json!({ "name": "same" }));
    let before = server.admin("GET", &format!("/admin/api-keys/{}", created.id)).json();
    assert_eq!(server.change(&created, &json!({})), before);
}

#[test]
fn owner_id_and_unknown_fields_cannot_be_changed() {
    let server = shared();
    let created = server.create(&json!({ "name": "kept", "owner": "user-1" }));
    let path = format!("/admin/api-keys/{}", created.id);
    for field in ["owner", "id", "key", "status", "revoked_at", "use_count", "colour"] {
        let body = json!({ "name": "x", field: "user-2" }).to_string();
        let reply = server.admin_sends("PATCH", &path, &body, &[]);
        assert_problem(&reply, 422, "invalid_field");
        assert_eq!(reply.json()["field"], field);
    }
    // A change that was refused changed nothing, not even the good part.
    let view = server.admin("GET", &path).json();
    assert_eq!((&view["name"], &view["owner"]), (&json!("kept"), &json!("user-1")));
}

#[test]
fn the_end_must_be_after_the_beginning_also_across_changes() {
    let server = shared();
    let created =
        server.create(&json!({ "name": "times", "not_before": "2020-01-01T00:00:00.000Z" }));
    let path = format!("/admin/api-keys/{}", created.id);
    let body = r#"{"expires_at":"2019-01-01T00:00:00.000Z"}"#;
    let reply = server.admin_sends("PATCH", &path, body, &[]);
    assert_problem(&reply, 422, "invalid_field");
    assert_eq!(reply.json()["field"], "expires_at");
}

#[test]
fn a_revoked_key_stays_revoked() {
    let server = shared();
    let created = server.create(&json!({ "name": "gone" }));
    server.admin("POST", &format!("/admin/api-keys/{}/revoke", created.id));
    let changed = server.change(&created, &json!({ "disabled": false }));
    assert_eq!(changed["status"], "revoked");
}

#[test]
fn if_match_is_honoured_when_sent() {
    let server = shared();
    let created = server.create(&json!({ "name": "revision 0" }));
    let path = format!("/admin/api-keys/{}", created.id);
    let change = |name: &str, if_match: &[&str]| {
        let body = json!({ "name": name }).to_string();
        let headers: Vec<_> = if_match.iter().map(|tag| format!("If-Match: {tag}")).collect();
        let args: Vec<_> = headers.iter().flat_map(|header| ["-H", header]).collect();
        server.admin_sends("PATCH", &path, &body, &args)
    };

    // Everything that matches, each time making a new revision.
    let first = server.admin("GET", &path).header("etag").unwrap().to_owned();
    let mut tag = first.clone();
    for (number, if_match) in
        [&["now"][..], &["\"7\", now"], &["\"7\"", "now"], &["*"], &[]].into_iter().enumerate()
    {
        let name = format!("revision {}", number + 1);
        let if_match: Vec<_> = if_match.iter().map(|value| value.replace("now", &tag)).collect();
        let reply = change(&name, &if_match.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(reply.status, 200, "{if_match:?}: {reply:?}");
        assert_ne!(reply.header("etag"), Some(&*tag));
        tag = reply.header("etag").unwrap().to_owned();
        assert_eq!(reply.json()["name"], name);
    }
    let two = format!("\"0\", {first}");
    let (weak, bare) = (format!("W/{tag}"), tag.trim_matches('"'));
    for stale in [&[first.as_str()][..], &[&weak], &[bare], &["\"\""], &[";"], &[&two]] {
        assert_problem(&change("refused", stale), 412, "revision_mismatch");
    }
    assert_eq!(server.admin("GET", &path).json()["name"], "revision 5");

    let unknown = "/admin/api-keys/01890000-0000-7000-8000-000000000000";
    for if_match in ["If-Match: *", "If-Match: \"0\""] {
        let reply = server.admin_sends("PATCH", unknown, "{}", &["-H", if_match]);
        assert_problem(&reply, 404, "not_found");
    }
}
