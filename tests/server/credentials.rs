//! How keys are sent, and why they are refused.

use serde_json::{Value, json};
use tower_api_key::{KeyFormat, KeyHasher, KeyManager, NewKey, manage::ImportKey, store};

use crate::{
    process::Reply,
    support::{Ask, Running, assert_problem, shared, unknown_key},
};

fn articles(server: &Running, args: &[&str]) -> Reply {
    server.ask("GET", "/articles", args)
}

fn escaped(character: char) -> String {
    format!("%{:02x}", u32::from(character))
}

#[test]
fn a_key_is_taken_from_each_of_four_places() {
    let server = shared();
    let key = server.create(&json!({ "name": "places" })).key;
    let encoded = key.chars().map(escaped).collect::<Vec<_>>().concat();
    for reply in [
        articles(&server, &["-H", &format!("X-API-Key: {key}")]),
        articles(&server, &["-H", &format!("x-api-key: {key}")]),
        articles(&server, &["-H", &format!("Authorization: Bearer {key}")]),
        articles(&server, &["-H", &format!("Authorization: bEARER  {key}")]),
        articles(&server, &["-b", &format!("theme=dark; api_key={key}; lang=en")]),
        server.ask("GET", &format!("/articles?api_key={key}"), &[]),
        server.ask("GET", &format!("/articles?&api_key={encoded}"), &[]),
        server.ask("GET", &format!("/articles?api_key={key}"), &["--http2-prior-knowledge"]),
    ] {
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}

#[test]
fn two_credentials_are_refused_even_if_they_are_the_same() {
    let server = shared();
    let key = server.create(&json!({ "name": "twice" })).key;
    let header = format!("X-API-Key: {key}");
    let bearer = format!("Authorization: Bearer {key}");
    let cookie = format!("api_key={key}");
    let query = format!("/articles?api_key={key}");
    for reply in [
        articles(&server, &["-H", &header, "-H", &header]),
        articles(&server, &["-H", &bearer, "-H", &bearer]),
        articles(&server, &["-b", &format!("{cookie}; {cookie}")]),
        server.ask("GET", &format!("{query}&api_key={key}"), &[]),
        articles(&server, &["-H", &header, "-H", &bearer]),
        articles(&server, &["-H", &header, "-b", &cookie]),
        server.ask("GET", &query, &["-H", &bearer]),
        server.ask("GET", &query, &["-b", &cookie]),
    ] {
        assert_problem(&reply, 400, "ambiguous_key");
    }
}

#[test]
fn a_401_says_how_to_authenticate() {
    let server = shared();
    let challenges = |reply: &Reply| -> Vec<String> {
        reply.header_all("www-authenticate").map(ToOwned::to_owned).collect()
    };
    let families = [
        r#"ApiKey realm="api", in="header", name="x-api-key""#,
        r#"Bearer realm="api""#,
        r#"ApiKey realm="api", in="query", name="api_key""#,
        r#"ApiKey realm="api", in="cookie", name="api_key""#,
    ];
    assert_eq!(challenges(&articles(&server, &[])), families);
    let with_error = families.map(|family| format!(r#"{family}, error="invalid_token""#));
    let unknown = server.ask_as(&unknown_key(), "GET", "/articles");
    assert_eq!(challenges(&unknown), with_error);
    assert_eq!(
        challenges(&server.ask("GET", "/admin/api-keys", &[])),
        [r#"ApiKey realm="admin", in="header", name="x-admin-key""#]
    );
}

/// A key that had ended where it comes from: no key that is created or changed here has an end in
/// the past.
fn import_expired(server: &Running) -> String {
    let key = KeyFormat::new("key").unwrap().generate().unwrap();
    let new = NewKey {
        expires_at: Some("2001-01-01T00:00:00Z".parse().unwrap()),
        ..NewKey::named("expired")
    };
    let import = ImportKey::from_digest(KeyHasher::default().digest(key.expose()), new);
    let url = format!("sqlite://{}", server.database().display());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let manager = KeyManager::new(store::connect(&url).await.unwrap());
        manager.import(&[import]).await.unwrap();
    });
    key.expose().to_owned()
}

#[test]
fn every_reason_has_its_code() {
    let server = shared();
    let code = |new: Value, change: Option<Value>| {
        let created = server.create(&new);
        change.map(|change| server.change(&created, &change));
        server.ask_as(&created.key, "GET", "/articles")
    };
    let new = || json!({ "name": "reasons" });
    for (reply, expected) in [
        (articles(&server, &[]), "missing_key"),
        (server.ask_as("too-short", "GET", "/articles"), "malformed_key"),
        (server.ask_as(&unknown_key(), "GET", "/articles"), "unknown_key"),
        (code(new(), Some(json!({ "disabled": true }))), "disabled_key"),
        (server.ask_as(&import_expired(&server), "GET", "/articles"), "expired_key"),
        (
            code(json!({ "name": "r", "not_before": "2999-01-01T00:00:00+01:00" }), None),
            "not_yet_valid_key",
        ),
    ] {
        assert_problem(&reply, 401, expected);
    }

    let revoked = server.create(&new());
    server.admin("POST", &format!("/admin/api-keys/{}/revoke", revoked.id));
    assert_problem(&server.ask_as(&revoked.key, "GET", "/articles"), 401, "revoked_key");

    let deleted = server.create(&new());
    server.admin("DELETE", &format!("/admin/api-keys/{}", deleted.id));
    assert_problem(&server.ask_as(&deleted.key, "GET", "/articles"), 401, "unknown_key");
}

#[test]
fn a_typo_is_noticed_without_a_lookup() {
    let server = shared();
    let key = server.create(&json!({ "name": "typo" })).key;
    let last = if key.ends_with('x') { "y" } else { "x" };
    let typo = format!("{}{last}", &key[..key.len() - 1]);
    for bad in [typo, key[..key.len() - 1].to_owned(), format!("{key}a"), key.to_uppercase()] {
        assert_problem(&server.ask_as(&bad, "GET", "/articles"), 401, "malformed_key");
    }
}

#[test]
fn keys_may_be_bound_to_addresses() {
    let server = shared();
    let from = |networks: Value| {
        let new = json!({ "name": "network", "allowed_addresses": networks });
        server.ask_as(&server.create(&new).key, "GET", "/articles")
    };
    for good in [json!([]), json!(["127.0.0.1"]), json!(["10.0.0.0/8", "127.0.0.0/8"])] {
        assert_eq!(from(good.clone()).status, 200, "{good}");
    }
    for bad in [json!(["127.0.0.2"]), json!(["10.0.0.0/8", "::1/128"])] {
        assert_problem(&from(bad), 403, "address_not_allowed");
    }
    // Nobody talks themselves into a network.
    let new = json!({ "name": "network", "allowed_addresses": ["10.0.0.0/8"] });
    let key = format!("X-API-Key: {}", server.create(&new).key);
    let reply = articles(&server, &["-H", &key, "-H", "X-Forwarded-For: 10.0.0.1"]);
    assert_problem(&reply, 403, "address_not_allowed");
}

/// There is no gRPC here: not even a request that looks like it in every way is denied with 200,
/// which a proxy in front would take for yes.
#[test]
fn no_header_turns_a_denial_into_a_success() {
    let server = shared();
    let grpc = ["-H", "Content-Type: application/grpc", "-H", "TE: trailers"];
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for path in ["/articles", "/me/key/revoke", "/admin/api-keys", "/nowhere/else"] {
            for method in ["GET", "POST", "PUT"] {
                let reply = server.ask(method, path, &[&[version][..], &grpc].concat());
                let expected = if path == "/nowhere/else" { 404 } else { 401 };
                assert_eq!(reply.status, expected, "{version} {method} {path}: {reply:?}");
                assert_eq!(reply.header("grpc-status"), None);
                assert_eq!(reply.header("content-type"), Some("application/problem+json"));
            }
        }
    }
}

/// A page of another site cannot give up the key that a browser keeps in a cookie.
#[test]
fn another_site_cannot_revoke_a_key_in_a_cookie() {
    let server = shared();
    let key = server.create(&json!({ "name": "in a cookie" })).key;
    let cookie = format!("api_key={key}");
    let revoke = |headers: &[&str]| {
        let args: Vec<_> = headers.iter().flat_map(|header| ["-H", *header]).collect();
        server.ask("POST", "/me/key/revoke", &[&["-b", &*cookie][..], &args].concat())
    };
    for headers in [
        &["Sec-Fetch-Site: cross-site", "Origin: https://evil.example"][..],
        &["Sec-Fetch-Site: same-site"],
        &["Origin: https://evil.example"],
        &["Origin: null"],
    ] {
        assert_problem(&revoke(headers), 403, "cross_site_request");
    }
    // What changes nothing is asked for by links, too.
    let show = server.ask("GET", "/me/key", &["-b", &cookie, "-H", "Sec-Fetch-Site: cross-site"]);
    assert_eq!(show.json()["status"], "active", "{show:?}");
    let own = format!("Origin: {}", server.server.url(""));
    assert_eq!(revoke(&[own.trim_end_matches('/')]).json()["status"], "revoked");
}
