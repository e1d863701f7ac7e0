//! The query: what a route does not know is refused and named, whatever the route.

use axum::Router;
use serde_json::{Value, json};
use tower_api_key::{
    KeySource, Rejection, RejectionKind,
    axum::{ManagementCaller, ManagementGuard, management_router},
};

use super::{ADMIN_KEY, Api, admin_layer, path, send};
use crate::support::OTHER_KEY;

/// Every route with the parameters that it knows; `{id}` is a key's.
const ROUTES: [(&str, &str, &[&str]); 16] = [
    (
        "GET",
        "",
        &[
            "owner",
            "status",
            "scope",
            "prefix",
            "expires_before",
            "expires_after",
            "last_used_before",
            "last_used_after",
            "cursor",
            "limit",
        ],
    ),
    ("POST", "", &[]),
    ("GET", "/events", &["owner", "since", "until", "cursor", "limit"]),
    ("GET", "/usage", &["owner", "since", "until", "by"]),
    ("GET", "/usage/top", &["owner", "since", "until", "limit"]),
    ("GET", "/{id}", &[]),
    ("PATCH", "/{id}", &[]),
    ("DELETE", "/{id}", &[]),
    ("POST", "/revoke", &[]),
    ("POST", "/disable", &[]),
    ("POST", "/delete", &[]),
    ("POST", "/{id}/revoke", &[]),
    ("POST", "/{id}/rotate", &[]),
    ("POST", "/{id}/credits", &[]),
    ("GET", "/{id}/events", &["since", "until", "cursor", "limit"]),
    ("GET", "/{id}/usage", &["since", "until", "by"]),
];

const NAMES: [&str; 18] = [
    "expires_before",
    "expires_after",
    "last_used_before",
    "last_used_after",
    "owner",
    "status",
    "scope",
    "prefix",
    "cursor",
    "limit",
    "since",
    "until",
    "by",
    "owner_id",
    "page",
    "Owner",
    "api_key",
    "reason",
];

/// A good value, so that nothing else can be wrong.
fn value(name: &str) -> &'static str {
    match name {
        "status" => "active",
        "scope" => "a",
        "cursor" => "01890000-0000-7000-8000-000000000000",
        "limit" => "5",
        "since" | "expires_before" | "expires_after" | "last_used_before" | "last_used_after" => {
            "2026-11-20T00:00:00Z"
        }
        "until" => "2026-11-21T00:00:00Z",
        "by" => "hour",
        _ => "user-1",
    }
}

#[tokio::test]
async fn what_a_route_does_not_know_is_refused_and_named() {
    let api = Api::new();
    let key = api.issue("user-1", &["a"]).await;
    let before = api.everything().await;
    for (method, route, known) in ROUTES {
        let route = route.replace("{id}", &key.record.id.to_string());
        let body = if route.ends_with("/credits") { r#"{"add":1}"# } else { r#"{"name":"x"}"# };
        let body = if route.ends_with("/revoke") || route.ends_with("/rotate") { "" } else { body };
        for name in NAMES {
            let target = format!("{route}?{name}={}", value(name));
            let answer = api.admin(method, &target, body).await;
            if known.contains(&name) {
                assert_eq!(answer.status(), 200, "{method} {target}: {answer:?}");
                let twice = format!("{target}&{name}={}", value(name));
                let answer = api.admin(method, &twice, body).await;
                assert_eq!(answer.field(400, "invalid_parameter"), name, "{method} {twice}");
            } else {
                let shown = answer.field(400, "invalid_parameter");
                let begins = shown.strip_suffix('…').is_some_and(|shown| name.starts_with(shown));
                assert!(shown == name || begins, "{method} {target}: {shown}");
                let detail = answer.problem(400, "invalid_parameter")["detail"].to_string();
                assert!(known.iter().all(|known| detail.contains(known)), "{detail}");
            }
        }
    }
    assert_eq!(api.everything().await, before, "a refused request changed something");
}

#[tokio::test]
async fn strangers_and_owners_learn_nothing_by_it() {
    let api = Api::new();
    let key = api.issue("user-1", &["a"]).await;
    let theirs = api.issue("user-2", &["a"]).await.record.id;
    let custom = ManagementGuard::custom(|_| {
        Err::<ManagementCaller, _>(Rejection::new(RejectionKind::Missing))
    });
    let custom: Router = management_router(api.keys.clone(), custom);
    for (method, route, _) in ROUTES {
        let route = route.replace("{id}", &theirs.to_string());
        let target = format!("{route}?x=1&x=2");
        let stranger = [("x-admin-key", OTHER_KEY)];
        let at = format!("/admin/api-keys{target}");
        send(&api.app, method, &at, &[], "").await.problem(401, "missing_key");
        send(&api.app, method, &at, &stranger, "").await.problem(401, "unknown_key");
        let at = if route.is_empty() { format!("/{target}") } else { target.clone() };
        send(&custom, method, &at, &[], "").await.problem(401, "missing_key");
    }
    // This route does not exist for owners, whatever they send.
    let credits = format!("{}/credits?x=1", path(theirs));
    api.holder(&key, "POST", &credits, r#"{"add":1}"#).await.problem(404, "not_found");
    // And what is not there at all has no parameters to be wrong.
    api.admin("GET", "/a/b/c?x=1", "").await.problem(404, "not_found");
    api.admin("PUT", "?x=1", "").await.problem(405, "method_not_allowed");
}

#[tokio::test]
async fn no_answer_repeats_a_key_or_moves_a_cursor() {
    let api = Api::new();
    let key = api.issue("user-1", &["a"]).await;
    let secret = key.secret.expose();
    for (query, field) in [
        (secret.to_owned(), format!("{}…", &secret[..12])),
        (format!("{secret}={secret}"), format!("{}…", &secret[..12])),
        // The shortest key that there can be.
        ("sixteen-bytes-xx=1".to_owned(), "sixteen-byte…".to_owned()),
        ("twelve-bytes=1".to_owned(), "twelve-bytes".to_owned()),
        ("%1b%5b2J=1".to_owned(), "\\u{1b}[2J".to_owned()),
        ("%E2%80%AE=1".to_owned(), "\\u{202e}".to_owned()),
        ("%ff=1".to_owned(), "\u{fffd}".to_owned()),
        ("=1".to_owned(), String::new()),
        (format!("x={secret}"), "x".to_owned()),
    ] {
        let answer = api.admin("GET", &format!("?{query}"), "").await;
        assert_eq!(answer.field(400, "invalid_parameter"), field, "{query}");
        let body = String::from_utf8_lossy(answer.0.body()).into_owned();
        assert!(!body.contains(secret) && !body.contains("sixteen-bytes-xx"), "{body}");
    }
    let many = (0..5_000).map(|n| format!("p{n}=1&")).collect::<Vec<_>>().concat();
    assert_eq!(
        api.admin("GET", &format!("?{many}"), "").await.field(400, "invalid_parameter"),
        "p0"
    );
}

/// The guard's own parameters are not the routes'.
#[tokio::test]
async fn what_is_read_outside_may_be_sent() {
    let api = Api::new();
    let query = || KeySource::query("admin_key").unwrap();
    for layer in
        [admin_layer().with_source(query()), admin_layer().with_source(query()).hide_credentials()]
    {
        let guard = ManagementGuard::keys(layer).with_query_parameters(["lang"]);
        let app: Router = management_router(api.keys.clone(), guard);
        let ask = async |query: &str| send(&app, "GET", &format!("/?{query}"), &[], "").await;
        assert_eq!(ask(&format!("admin_key={ADMIN_KEY}")).await.status(), 200);
        assert_eq!(
            ask(&format!("lang=a&limit=1&admin_key={ADMIN_KEY}&lang=b")).await.status(),
            200
        );
        let refused = ask(&format!("admin_key={ADMIN_KEY}&language=a")).await;
        assert_eq!(refused.field(400, "invalid_parameter"), "language");
    }
}

/// A key that is sent as the name or the value of a field, at any depth, comes back in no answer.
#[tokio::test]
async fn no_answer_repeats_a_key_in_a_body() {
    let api = Api::new();
    let key = api.issue("user-1", &["a"]).await;
    let secret = key.secret.expose();
    let cut = format!("{}…", &secret[..12]);
    let id = path(key.record.id);
    let refused = async |method: &str, route: &str, body: &Value, field: &str| {
        let answer = api.admin(method, route, &body.to_string()).await;
        assert_eq!(answer.field(422, "invalid_field"), field, "{method} {route} {body}");
        let sent = String::from_utf8_lossy(answer.0.body()).into_owned();
        assert!(!sent.contains(secret) && !sent.contains(&secret[..13]), "{sent}");
        sent
    };
    for (method, route) in [
        ("POST", ""),
        ("PATCH", &*id),
        ("POST", "/revoke"),
        ("POST", "/disable"),
        ("POST", "/delete"),
        ("POST", &format!("{id}/revoke")),
        ("POST", &format!("{id}/rotate")),
        ("POST", &format!("{id}/credits")),
    ] {
        let sent = refused(method, route, &json!({ secret: 1 }), &cut).await;
        // It says which it was, and what is known.
        assert!(sent.contains(&format!("unknown field `{cut}`, expected ")), "{sent}");
    }
    // In serde's own words, a name could end early.
    let tricky = format!("sixteen-bytes, expected {secret}");
    refused("POST", "", &json!({ tricky: 1 }), "sixteen-byte…").await;
    refused("POST", "", &json!({ "twelve-bytes": 1 }), "twelve-bytes").await;
    refused("POST", "", &json!({ "\u{1b}[2J": 1 }), "\\u{1b}[2J").await;
    for (field, value, wrong) in [
        ("credits", json!({ secret: 1 }), format!("credits.{cut}")),
        ("credits", json!({ "refill": { secret: 1 } }), format!("credits.refill.{cut}")),
        ("limits", json!([{ secret: 1 }]), format!("limits[0].{cut}")),
        // As a value.
        ("scopes", json!(secret), "scopes".to_owned()),
        ("credits", json!(secret), "credits".to_owned()),
        ("limits", json!([secret]), "limits[0]".to_owned()),
        (
            "limits",
            json!([{ "name": "a", "requests": secret, "window_seconds": 1 }]),
            "limits[0].requests".to_owned(),
        ),
        ("metadata", json!(secret), "metadata".to_owned()),
        ("expires_at", json!(secret), "expires_at".to_owned()),
        ("allowed_addresses", json!([secret]), "allowed_addresses[0]".to_owned()),
    ] {
        refused("POST", "", &json!({ "name": "x", field: value }), &wrong).await;
        refused("PATCH", &id, &json!({ field: value }), &wrong).await;
    }
}
