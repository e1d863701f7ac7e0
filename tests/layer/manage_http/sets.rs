//! `POST /revoke`, `/disable` and `/delete`.

use axum::Router;
use serde_json::{Value, json};
use tower_api_key::{
    KeyId, KeyManager, NewKey,
    axum::{ManagementGuard, management_router},
    store::MemoryStore,
};

use super::{Answer, Api, path, send};

fn ids(report: &Value, field: &str) -> Vec<KeyId> {
    let ids = report[field].as_array().unwrap().iter();
    ids.map(|id| id.as_str().unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn administrators_act_on_sets() {
    for (route, status) in [("/revoke", "revoked"), ("/disable", "disabled"), ("/delete", "gone")] {
        let api = Api::new();
        let first = api.issue("user-1", &["a"]).await.record.id;
        let second = api.issue("user-1", &["a"]).await.record.id;
        let other = api.issue("user-2", &["a"]).await.record.id;
        let unknown = KeyId::generate(first_second(&api)).unwrap();
        let set = json!({ "ids": [first, unknown], "reason": "found in a repository" });
        let report = api.admin("POST", route, &set.to_string()).await.json(200);
        assert_eq!(report["changed"], 1);
        assert_eq!(
            (ids(&report, "already_ended"), ids(&report, "unknown")),
            (vec![], vec![unknown])
        );
        let report = api.admin("POST", route, r#"{"owner":"user-1"}"#).await.json(200);
        assert_eq!(report["changed"], 1);
        let ended = if route == "/revoke" { vec![first] } else { vec![] };
        assert_eq!(ids(&report, "already_ended"), ended);
        for id in [first, second] {
            let answer = api.admin("GET", &path(id), "").await;
            if status == "gone" {
                answer.problem(404, "not_found");
            } else {
                assert_eq!(answer.json(200)["status"], status);
            }
        }
        assert_eq!(api.admin("GET", &path(other), "").await.json(200)["status"], "active");
    }
}

fn first_second(api: &Api) -> tower_api_key::Timestamp {
    tower_api_key::clock::Clock::now(&api.clock)
}

#[tokio::test]
async fn bad_sets_change_nothing() {
    let api = Api::new();
    let mine = api.issue("user-1", &["a"]).await;
    let theirs = api.issue("user-2", &["a"]).await.record.id;
    let before = api.everything().await;
    let both = json!({ "ids": [mine.record.id, theirs] }).to_string();
    let mixed = json!({ "owner": "user-1", "ids": [theirs] }).to_string();
    for route in ["/revoke", "/disable", "/delete"] {
        for (body, field) in [
            ("{}", "set"),
            (r#"{"reason":"x"}"#, "set"),
            (r#"{"owner":null}"#, "owner"),
            (r#"{"ids":null}"#, "ids"),
            (r#"{"ids":[]}"#, "ids"),
            (r#"{"ids":["x"]}"#, "ids[0]"),
            (r#"{"issued_before":null}"#, "issued_before"),
            (r#"{"issued_before":"2999-01-01T00:00:00Z"}"#, "issued_before"),
            (r#"{"owner":"user-1","everything":true}"#, "everything"),
            (&mixed, "ids"),
        ] {
            let answer = api.admin("POST", route, body).await;
            assert_eq!(answer.field(422, "invalid_field"), field, "{body}");
        }
        api.admin("POST", route, "").await.problem(400, "malformed_json");
        api.admin("GET", route, "").await.problem(405, "method_not_allowed");
        api.holder(&mine, "POST", route, &both).await.problem(404, "not_found");
        api.holder(&mine, "POST", route, r#"{"owner":"user-2"}"#).await.problem(404, "not_found");
        api.holder(&mine, "POST", route, "{}").await.problem(422, "invalid_field");
    }
    assert_eq!(api.everything().await, before);
}

/// A number of keys that one body has room for, and more than a page.
#[tokio::test]
async fn a_body_names_a_thousand_keys() {
    let keys = KeyManager::new(MemoryStore::new());
    let app: Router = management_router(keys.clone(), ManagementGuard::insecure_unguarded());
    let mut all = Vec::new();
    for _ in 0..1000 {
        all.push(keys.create(NewKey::named("x")).await.unwrap().record.id);
    }
    let body = json!({ "ids": all }).to_string();
    let answer: Answer = send(&app, "POST", "/revoke", &[], &body).await;
    assert_eq!(answer.json(200)["changed"], 1000);
    let again = send(&app, "POST", "/revoke", &[], &body).await.json(200);
    assert_eq!((&again["changed"], ids(&again, "already_ended").len()), (&json!(0), 1000));
}

/// Owners act on sets as they do on single keys: with the scope for it, and on no greater key.
#[tokio::test]
async fn owners_act_on_sets_of_their_own() {
    for (route, status) in [("/revoke", "revoked"), ("/disable", "disabled"), ("/delete", "gone")] {
        let api = Api::new();
        let me = api.issue("user-1", &["a"]).await;
        let looking = api.issue_plain("user-1", &["a", "keys:read"]).await;
        let great = api.issue_plain("user-1", &["*"]).await.record.id;
        let small = api.issue_plain("user-1", &["a"]).await.record.id;
        let theirs = api.issue_plain("user-2", &["a"]).await.record.id;
        let before = api.everything().await;
        let smaller = json!({ "ids": [small] }).to_string();
        let with_great = json!({ "ids": [small, great] }).to_string();
        for body in [&*smaller, r#"{"owner":"user-1"}"#, "not even JSON"] {
            let refused = api.holder(&looking, "POST", route, body).await;
            let problem = refused.problem(403, "insufficient_scope");
            assert_eq!(problem["missing_scopes"], json!(["keys:write"]));
        }
        for body in [&*with_great, r#"{"owner":"user-1"}"#] {
            let refused = api.holder(&me, "POST", route, body).await;
            assert_eq!(refused.field(403, "beyond_own_key"), "scopes", "{body}");
        }
        let with_theirs = json!({ "ids": [small, theirs] }).to_string();
        api.holder(&me, "POST", route, &with_theirs).await.problem(404, "not_found");
        assert_eq!(api.everything().await, before);

        let report = api.holder(&me, "POST", route, &smaller).await.json(200);
        assert_eq!(report["changed"], 1);
        let shown = api.admin("GET", &path(small), "").await;
        if status == "gone" {
            shown.problem(404, "not_found");
        } else {
            assert_eq!(shown.json(200)["status"], status);
        }
        // Everything of the owner's, once no greater key is among them; and nobody else's.
        api.admin("DELETE", &path(great), "").await;
        let report = api.holder(&me, "POST", route, r#"{"owner":"user-1"}"#).await.json(200);
        assert_eq!(report["changed"], 2, "{report}");
        for id in [great, theirs] {
            let is_theirs = id == theirs;
            assert_eq!(api.admin("GET", &path(id), "").await.status() == 200, is_theirs);
        }
        assert_eq!(api.admin("GET", &path(theirs), "").await.json(200)["status"], "active");
    }
}
