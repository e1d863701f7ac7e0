//! Query parameters that a route does not know are refused and named, by all who may be told.

use serde_json::json;

use crate::support::{Ask, Running, assert_problem, shared};

const ID: &str = "01890000-0000-7000-8000-000000000000";

#[track_caller]
fn assert_refused(server: &Running, header: &str, method: &str, path: &str, field: &str) {
    let reply = server.ask(method, path, &["-H", header]);
    assert_problem(&reply, 400, "invalid_parameter");
    assert_eq!(reply.json()["field"], field, "{method} {path}");
}

#[test]
fn business_routes_know_the_key_and_nothing_else() {
    let server = shared();
    let new = json!({ "name": "queries", "owner": "user-1", "scopes": ["inventory:write"] });
    let key = server.create(&new).key;
    let header = format!("X-API-Key: {key}");
    for (method, path) in [
        ("GET", "/articles"),
        ("POST", "/webhook/orders"),
        ("POST", "/webhook/inventory"),
        ("GET", "/data/export"),
        ("GET", "/external/products"),
        ("GET", "/me/key"),
        ("POST", "/me/key/revoke"),
    ] {
        for (query, field) in
            [("owner=user-2", "owner"), ("page=2", "page"), ("API_KEY=x", "API_KEY"), ("=", "")]
        {
            assert_refused(&server, &header, method, &format!("{path}?{query}"), field);
            let beside = format!("{path}?api_key={key}&{query}");
            assert_refused(&server, "X-None: 1", method, &beside, field);
            // A stranger is told nothing of it.
            let stranger = server.ask(method, &format!("{path}?{query}"), &[]);
            assert_problem(&stranger, 401, "missing_key");
        }
        // A key in the wrong place comes back in no answer.
        let misplaced = server.ask(method, &format!("{path}?{key}"), &["-H", &header]);
        assert_problem(&misplaced, 400, "invalid_parameter");
        assert!(!misplaced.body.contains(&key), "{misplaced:?}");
        if path != "/me/key/revoke" {
            for query in ["?", "?&", &format!("?api_key={key}")] {
                let header = if query.contains('=') { "X-None: 1" } else { &header };
                let reply = server.ask(method, &format!("{path}{query}"), &["-H", header]);
                assert_eq!(reply.status, 200, "{reply:?}");
            }
        }
    }
}

#[test]
fn management_routes_know_their_own() {
    let server = shared();
    let admin = format!("X-Admin-Key: {}", crate::support::ADMIN_KEY);
    for (method, path) in [
        ("GET", "/admin/api-keys?owner_id=user-1"),
        ("GET", "/admin/api-keys?page=2"),
        ("POST", "/admin/api-keys?owner=user-1"),
        ("GET", &format!("/admin/api-keys/{ID}?fields=name")),
        ("PATCH", &format!("/admin/api-keys/{ID}?disabled=true")),
        ("DELETE", &format!("/admin/api-keys/{ID}?force=1")),
        ("POST", &format!("/admin/api-keys/{ID}/revoke?reason=x")),
        ("POST", &format!("/admin/api-keys/{ID}/rotate?grace_seconds=60")),
        ("POST", &format!("/admin/api-keys/{ID}/credits?add=1")),
        ("GET", &format!("/admin/api-keys/{ID}/usage?owner=user-1")),
        ("POST", "/admin/api-keys/revoke?owner=user-1"),
        ("POST", "/admin/api-keys/disable?ids=x"),
        ("POST", "/admin/api-keys/delete?owner=user-1"),
        // The key of these routes has a header of its own.
        ("GET", "/admin/api-keys?api_key=x"),
    ] {
        let field = path.split(['?', '=']).nth(1).unwrap();
        let field =
            if field.chars().count() > 12 { format!("{}…", &field[..12]) } else { field.into() };
        assert_refused(&server, &admin, method, path, &field);
        assert_problem(&server.ask(method, path, &[]), 401, "missing_key");
    }
}

#[test]
fn what_is_open_passes_queries_over() {
    let server = shared();
    for path in ["/health", "/openapi.json", "/docs/"] {
        let reply = server.ask("GET", &format!("{path}?cache=no&cache=no"), &[]);
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}
