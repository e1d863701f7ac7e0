//! `GET /metrics`.

use std::collections::BTreeMap;

use serde_json::json;

use crate::{
    process::Server,
    support::{ADMIN_KEY, Ask, assert_problem, command_on, directory, unknown_key},
};

/// The samples, by name and labels as they are written.
fn samples(text: &str) -> BTreeMap<&str, f64> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name, value.parse().unwrap()))
        .collect()
}

#[test]
fn metrics_are_of_the_requests_until_now() {
    let directory = directory();
    let server = Server::start(&mut command_on(&directory.path().join("keys.db")));
    let created = server.create(&json!({ "name": "watched", "owner": "user-1", "tier": "gold" }));
    for _ in 0..5 {
        assert_eq!(server.ask_as(&created.key, "GET", "/articles").status, 200);
    }
    let unknown = unknown_key();
    for key in [&unknown, "malformed"] {
        assert_eq!(server.ask_as(key, "GET", "/articles").status, 401);
    }
    let reply = server.ask("GET", "/metrics?collect=all", &[]);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let samples = samples(&reply.body);
    let outcome =
        |outcome| samples[&*format!("tower_api_key_requests_total{{outcome=\"{outcome}\"}}")];
    // The administrator's request is one, too.
    assert_eq!((outcome("accepted"), outcome("denied")), (6.0, 2.0), "{samples:#?}");
    for (name, expected) in [
        ("denied_total{code=\"unknown_key\"}", 1.0),
        ("denied_total{code=\"malformed_key\"}", 1.0),
        ("cache_hits_total{cache=\"keys\"}", 4.0),
        ("cache_entries{cache=\"keys\"}", 2.0),
        ("lookup_duration_seconds_count{result=\"found\"}", 1.0),
        ("lookup_duration_seconds_bucket{result=\"found\",le=\"+Inf\"}", 1.0),
    ] {
        assert_eq!(
            samples.get(&*format!("tower_api_key_{name}")),
            Some(&expected),
            "{name}: {samples:#?}"
        );
    }
    // Each has its meaning and its kind, and nothing tells of a key.
    for name in samples.keys() {
        let name = name.split('{').next().unwrap();
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let base = base.filter(|base| base.ends_with("_seconds")).unwrap_or(name);
        for about in ["HELP", "TYPE"] {
            assert!(reply.body.contains(&format!("# {about} {base} ")), "{about} {name}");
        }
    }
    for secret in [&*created.key, &*created.id, &*unknown, "user-1", "gold", "watched", ADMIN_KEY] {
        assert!(!reply.body.contains(secret), "{secret} in {}", reply.body);
    }
}

/// On more than this machine it needs the administrator's key, and no other opens it.
#[test]
fn metrics_need_the_administrators_key_where_others_can_ask() {
    const STRONG: &str = "9f2c7ad1e0b84365a7cc1e2f90d3b46875eab01c2d3f4e5a6b7c8d9e0f1a2b3c";
    let directory = directory();
    let mut command = command_on(&directory.path().join("keys.db"));
    command.env("ADDR", "0.0.0.0:0").env("ADMIN_API_KEY", STRONG);
    let server = Server::start(&mut command);
    let as_admin =
        |key: &str| server.ask("GET", "/metrics", &["-H", &format!("X-Admin-Key: {key}")]);
    assert_problem(&server.ask("GET", "/metrics", &[]), 401, "missing_key");
    assert_problem(&as_admin(ADMIN_KEY), 401, "unknown_key");
    let new = r#"{"name":"no administrator","scopes":["*"]}"#;
    let args = [
        "-H",
        &format!("X-Admin-Key: {STRONG}"),
        "-H",
        "Content-Type: application/json",
        "-d",
        new,
    ];
    let created = server.ask("POST", "/admin/api-keys", &args).json();
    let key = created["key"].as_str().unwrap();
    assert_problem(&server.ask_as(key, "GET", "/metrics"), 401, "missing_key");
    let reply = as_admin(STRONG);
    assert!(
        reply.status == 200 && reply.body.contains("tower_api_key_requests_total"),
        "{reply:?}"
    );
    assert!(!reply.body.contains(STRONG));
    // The document says so.
    let document = server.ask("GET", "/openapi.json", &[]).json();
    let security = &document["paths"]["/metrics"]["get"]["security"];
    assert_eq!(*security, json!([{ "header.x-admin-key": [] }]));
}
