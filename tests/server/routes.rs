//! The routes and who may use them.

use serde_json::json;

use crate::support::{ADMIN_KEY, Ask, assert_problem, shared};

const WITH_KEY: [(&str, &str); 7] = [
    ("GET", "/articles"),
    ("POST", "/webhook/orders"),
    ("GET", "/data/export"),
    ("POST", "/webhook/inventory"),
    ("GET", "/external/products"),
    ("GET", "/me/key"),
    ("POST", "/me/key/revoke"),
];

const WITH_ADMIN_KEY: [(&str, &str); 16] = [
    ("POST", "/admin/api-keys"),
    ("GET", "/admin/api-keys"),
    ("GET", "/admin/api-keys/01890000-0000-7000-8000-000000000000"),
    ("PATCH", "/admin/api-keys/01890000-0000-7000-8000-000000000000"),
    ("DELETE", "/admin/api-keys/01890000-0000-7000-8000-000000000000"),
    ("POST", "/admin/api-keys/01890000-0000-7000-8000-000000000000/revoke"),
    ("POST", "/admin/api-keys/01890000-0000-7000-8000-000000000000/rotate"),
    ("GET", "/admin/api-keys/01890000-0000-7000-8000-000000000000/events"),
    ("GET", "/admin/api-keys/events"),
    ("POST", "/admin/api-keys/01890000-0000-7000-8000-000000000000/credits"),
    ("GET", "/admin/api-keys/01890000-0000-7000-8000-000000000000/usage"),
    ("GET", "/admin/api-keys/usage"),
    ("GET", "/admin/api-keys/usage/top"),
    ("POST", "/admin/api-keys/revoke"),
    ("POST", "/admin/api-keys/disable"),
    ("POST", "/admin/api-keys/delete"),
];

#[test]
fn health_needs_nothing() {
    let reply = shared().ask("GET", "/health", &[]);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json(), json!({ "status": "ok" }));
}

#[test]
fn everything_else_needs_a_key() {
    let server = shared();
    for (method, path) in WITH_KEY.into_iter().chain(WITH_ADMIN_KEY) {
        assert_problem(&server.ask(method, path, &[]), 401, "missing_key");
    }
}

#[test]
fn the_two_kinds_of_key_do_not_open_each_others_doors() {
    let server = shared();
    let key = server.create(&json!({ "name": "no administrator", "scopes": ["*"] })).key;
    for (method, path) in WITH_ADMIN_KEY {
        assert_problem(&server.ask_as(&key, method, path), 401, "missing_key");
        let as_admin = server.ask(method, path, &["-H", &format!("X-Admin-Key: {key}")]);
        assert_problem(&as_admin, 401, "unknown_key");
        let as_admin = server.ask(method, path, &["-H", "X-Admin-Key: short"]);
        assert_problem(&as_admin, 401, "malformed_key");
    }
    for (method, path) in WITH_KEY {
        assert_problem(&server.ask_as(ADMIN_KEY, method, path), 401, "malformed_key");
        let as_admin = server.admin(method, path);
        assert_problem(&as_admin, 401, "missing_key");
    }
}

#[test]
fn any_valid_key_opens_the_business_routes() {
    let server = shared();
    let key = server.create(&json!({ "name": "plain", "owner": "user-1" })).key;

    let articles = server.ask_as(&key, "GET", "/articles").json();
    let count = articles["articles"].as_array().unwrap().len();
    assert!(count > 0 && articles["count"] == count, "{articles}");

    let export = server.ask_as(&key, "GET", "/data/export");
    assert_eq!(export.status, 200, "{export:?}");
    assert_eq!(export.json(), json!({ "owner": "user-1", "data": [] }));

    let received = server.ask_as(&key, "POST", "/webhook/orders");
    assert_eq!(received.status, 200, "{received:?}");
    assert_eq!(received.json(), json!({ "status": "received" }));
}

#[test]
fn answers_to_keys_are_not_for_shared_caches() {
    let server = shared();
    let key = server.create(&json!({ "name": "caches" })).key;
    let reply = server.ask_as(&key, "GET", "/articles");
    assert_eq!(reply.header("cache-control"), Some("private"), "{reply:?}");
    assert_eq!(reply.header("vary"), Some("x-api-key, authorization, cookie"), "{reply:?}");
}

#[test]
fn webhooks_take_any_json_or_nothing() {
    let server = shared();
    let key = server.create(&json!({ "name": "hook", "scopes": ["inventory:write"] })).key;
    let key = format!("X-API-Key: {key}");
    for path in ["/webhook/orders", "/webhook/inventory"] {
        let send = |content_type: &str, body: &str| {
            let content_type = format!("Content-Type: {content_type}");
            server.ask("POST", path, &["-H", &key, "-H", &content_type, "-d", body])
        };
        for body in ["", "{}", r#"{"order":17}"#, "[1]", "null", "\"text\""] {
            let reply = send("application/json", body);
            assert_eq!(reply.status, 200, "{body:?}: {reply:?}");
            assert_eq!(reply.json(), json!({ "status": "received" }));
        }
        for body in ["{", "order=17", "{} {}"] {
            assert_problem(&send("application/json", body), 400, "malformed_json");
        }
        assert_problem(&send("text/plain", "{}"), 415, "unsupported_media_type");
    }
}

#[test]
fn the_inventory_needs_its_scope() {
    let server = shared();
    let status = |scopes: &[&str]| {
        let key = server.create(&json!({ "name": "scopes", "scopes": scopes })).key;
        server.ask_as(&key, "POST", "/webhook/inventory")
    };
    for enough in ["inventory:write", "inventory:*", "*"] {
        assert_eq!(status(&[enough]).status, 200, "{enough}");
    }
    for wrong in [&[][..], &["inventory:read"], &["inventory"], &["inventory:write:x"]] {
        let reply = status(wrong);
        assert_problem(&reply, 403, "insufficient_scope");
        assert_eq!(reply.json()["missing_scopes"], json!(["inventory:write"]));
        let challenges: Vec<_> = reply.header_all("www-authenticate").collect();
        let expected = r#"error="insufficient_scope", scope="inventory:write""#;
        assert!(challenges.iter().any(|challenge| challenge.contains(expected)), "{challenges:?}");
    }
}

#[test]
fn products_need_an_active_owner() {
    let server = shared();
    let products = |owner: Option<&str>| {
        let key = server.create(&json!({ "name": "owner", "owner": owner })).key;
        server.ask_as(&key, "GET", "/external/products")
    };
    for active in ["user-1", "user-2"] {
        let reply = products(Some(active));
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.json(), json!({ "user_id": active, "products": [] }));
    }
    for other in [Some("user-3"), Some("user-4"), Some("USER-1"), None] {
        assert_problem(&products(other), 401, "inactive_owner");
    }
}

#[test]
fn holders_see_and_revoke_their_own_key() {
    let server = shared();
    let created = server.create(&json!({ "name": "mine", "owner": "user-2" }));

    let shown = server.ask_as(&created.key, "GET", "/me/key");
    assert_eq!(shown.status, 200, "{shown:?}");
    assert_eq!(shown.json()["id"], created.id);
    assert_eq!(shown.json()["status"], "active");
    assert!(!shown.body.contains(&created.key), "{shown:?}");

    let body = r#"{"reason":"pushed to a public repository"}"#;
    let key = format!("X-API-Key: {}", created.key);
    let json = "Content-Type: application/json";
    let revoked = server.ask("POST", "/me/key/revoke", &["-H", &key, "-H", json, "-d", body]);
    assert_eq!(revoked.status, 200, "{revoked:?}");
    assert_eq!(revoked.json()["status"], "revoked");
    assert_eq!(revoked.json()["revoked_reason"], "pushed to a public repository");

    assert_problem(&server.ask_as(&created.key, "GET", "/me/key"), 401, "revoked_key");
}

#[test]
fn unknown_paths_are_404_with_or_without_a_key() {
    let server = shared();
    let key = server.create(&json!({ "name": "lost" })).key;
    for path in ["/nope", "/articles/", "/admin", "/admin/api-keys/", "/me", "/health/x"] {
        assert_problem(&server.ask("GET", path, &[]), 404, "not_found");
        assert_problem(&server.ask_as(&key, "GET", path), 404, "not_found");
    }
}

#[test]
fn the_root_leads_to_the_documentation() {
    let reply = shared().ask("GET", "/", &[]);
    assert_eq!((reply.status, reply.header("location")), (307, Some("/docs")));
}

#[test]
fn wrong_methods_are_405_and_name_the_right_ones() {
    let server = shared();
    let key = server.create(&json!({ "name": "methods" })).key;
    let by_key = |method, path| server.ask_as(&key, method, path);
    let by_admin = |method, path| server.admin(method, path);
    for (reply, allow) in [
        (server.ask("DELETE", "/health", &[]), "GET,HEAD"),
        (by_key("POST", "/articles"), "GET,HEAD"),
        (by_key("GET", "/webhook/orders"), "POST"),
        (by_key("GET", "/webhook/inventory"), "POST"),
        (by_key("DELETE", "/me/key"), "GET,HEAD"),
        (by_key("GET", "/me/key/revoke"), "POST"),
        (by_admin("PUT", "/admin/api-keys"), "GET,HEAD,POST"),
        (by_admin("POST", "/admin/api-keys/x"), "GET,HEAD,PATCH,DELETE"),
        (by_admin("GET", "/admin/api-keys/x/revoke"), "POST"),
        (by_admin("GET", "/admin/api-keys/x/rotate"), "POST"),
        (by_admin("POST", "/admin/api-keys/x/events"), "GET,HEAD"),
        (by_admin("POST", "/admin/api-keys/events"), "GET,HEAD"),
    ] {
        assert_problem(&reply, 405, "method_not_allowed");
        assert_eq!(reply.header("allow"), Some(allow), "{reply:?}");
    }
    assert_problem(&server.ask("POST", "/articles", &[]), 401, "missing_key");
}

/// Those of the business routes end at the CORS layer outside, see [`browser`](crate::browser).
#[test]
fn preflights_of_management_routes_are_none_of_a_browsers_business() {
    let server = shared();
    let origin = ["-H", "Origin: https://app.example"];
    let preflight = [&origin[..], &["-H", "Access-Control-Request-Method: GET"]].concat();
    for path in ["/admin/api-keys", "/admin/api-keys/x/revoke"] {
        // To the guard it is a stranger like any other.
        let preflight = server.ask("OPTIONS", path, &preflight);
        assert_problem(&preflight, 401, "missing_key");
        assert_eq!(preflight.header("allow"), None);
        assert_problem(&server.ask("OPTIONS", path, &origin), 401, "missing_key");
        assert_problem(&server.ask("OPTIONS", path, &[]), 401, "missing_key");
    }
}
