//! Acts on sets of keys.

use serde_json::{Value, json};

use crate::{
    process::Reply,
    support::{Ask, Running, assert_problem, shared},
};

fn act(server: &Running, act: &str, body: &Value) -> Reply {
    server.admin_sends("POST", &format!("/admin/api-keys/{act}"), &body.to_string(), &[])
}

#[test]
fn keys_are_revoked_disabled_and_deleted_together() {
    let server = shared();
    for (name, code) in
        [("revoke", "revoked_key"), ("disable", "disabled_key"), ("delete", "unknown_key")]
    {
        let owner = format!("owner of a set to {name}");
        let new = json!({ "name": "one of a set", "owner": owner });
        let keys = [server.create(&new), server.create(&new), server.create(&new)];
        let other = server.create(&json!({ "name": "of another owner", "owner": "another" }));

        let unknown = "01890000-0000-7000-8000-000000000000";
        let by_id = act(&server, name, &json!({ "ids": [keys[0].id, unknown] }));
        assert_eq!(by_id.status, 200, "{by_id:?}");
        let expected = json!({ "changed": 1, "already_ended": [], "unknown": [unknown] });
        assert_eq!(by_id.json(), expected);
        assert_problem(&server.ask_as(&keys[0].key, "GET", "/articles"), 401, code);
        assert_eq!(server.ask_as(&keys[1].key, "GET", "/articles").status, 200);

        let by_owner = act(&server, name, &json!({ "owner": owner, "reason": "they left" }));
        assert_eq!(by_owner.status, 200, "{by_owner:?}");
        assert_eq!(by_owner.json()["changed"], 2, "{by_owner:?}");
        for key in &keys {
            assert_problem(&server.ask_as(&key.key, "GET", "/articles"), 401, code);
        }
        assert_eq!(server.ask_as(&other.key, "GET", "/articles").status, 200);
    }
}

#[test]
fn a_set_is_named() {
    let server = shared();
    let key = server.create(&json!({ "name": "of no set" }));
    for act_on in ["revoke", "disable", "delete"] {
        assert_problem(&act(&server, act_on, &json!({})), 422, "invalid_field");
        let other = act(&server, act_on, &json!({ "owner_id": "user-1" }));
        assert_problem(&other, 422, "invalid_field");
        assert_eq!(other.json()["field"], "owner_id");
    }
    assert_eq!(server.ask_as(&key.key, "GET", "/articles").status, 200);
}
