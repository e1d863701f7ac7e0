//! Web pages of other origins, in a real browser: it sends its own preflights, and decides what a
//! page may read.

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    chromium::{browse, page},
    process::Server,
    support::{ADMIN_KEY, Ask, command_on, directory},
};

const PAGE: &str = r#"<!doctype html><title>A page</title><script type="module">
const given = GIVEN;
const results = {};
const attempt = async (name, url, options, headers = []) => {
    try {
        const response = await fetch(url, options);
        const body = await response.text();
        const told = headers.map((name) => response.headers.get(name) !== null);
        results[name] = [response.status, body.length > 0, ...told];
    } catch (error) {
        results[name] = error.name;
    }
};
const key = { "X-API-Key": given.key };
const json = { ...key, "Content-Type": "application/json", "Idempotency-Key": "1", "If-Match": "*" };
for (const [name, server] of Object.entries(given.servers)) {
    await attempt(`${name}: with a key`, server + "/articles", { headers: key }, ["RateLimit", "RateLimit-Policy"]);
    await attempt(`${name}: bearer`, server + "/me/key", { headers: { Authorization: `Bearer ${given.key}` } }, ["ETag"]);
    await attempt(`${name}: post`, server + "/webhook/orders", { method: "POST", headers: json, body: "{}" });
    await attempt(`${name}: denied`, server + "/articles", { headers: { "X-API-Key": "wrong" } }, ["WWW-Authenticate"]);
    await attempt(`${name}: with cookies`, server + "/articles", { headers: key, credentials: "include" });
    const admin = { "X-Admin-Key": given.admin };
    await attempt(`${name}: management`, server + "/admin/api-keys", { headers: admin });
    await attempt(`${name}: management, no preflight`, server + "/admin/api-keys", {});
}
await fetch("/results", { method: "POST", body: JSON.stringify(results) });
</script>"#;

/// A server for pages of these origins; `None` for the default.
fn server_for(origins: Option<&str>, directory: &tempfile::TempDir) -> Server {
    // One database for all, so that they have the same key.
    let mut command = command_on(&directory.path().join("keys.db"));
    if let Some(origins) = origins {
        command.env("CORS_ORIGINS", origins);
    }
    Server::start(&mut command)
}

#[test]
fn pages_of_other_origins_use_keys_and_manage_none() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here: SocketAddr = listener.local_addr().unwrap();
    let origin = format!("http://{here}");
    let directory = directory();
    let servers = [
        ("any", None, true),
        ("listed", Some(format!("https://shop.example, {origin}")), true),
        ("another", Some("https://shop.example".to_owned()), false),
        ("same host", Some("http://127.0.0.1:1".to_owned()), false),
        ("none", Some(String::new()), false),
    ];
    let running = servers.map(|(name, origins, lets_in)| {
        (name, server_for(origins.as_deref(), &directory), lets_in)
    });
    let limits = json!([{ "name": "minute", "requests": 1000, "window_seconds": 60 }]);
    let key = running[0].1.create(&json!({ "name": "of a page", "limits": limits })).key;
    let urls: serde_json::Map<_, _> = running
        .iter()
        .map(|(name, server, _)| ((*name).to_owned(), server.url("").into()))
        .collect();
    let given = json!({ "key": key, "admin": ADMIN_KEY, "servers": urls });

    let told = page(listener, PAGE.replace("GIVEN", &given.to_string()));
    let Some(_browser) = browse(&origin) else { return };
    let results = told.recv_timeout(Duration::from_mins(2)).expect("the page says nothing");
    for (name, _, lets_in) in &running {
        let result = |what: &str| results[format!("{name}: {what}")].clone();
        let refused = json!("TypeError");
        let expected = |good: Value| if *lets_in { good } else { refused.clone() };
        assert_eq!(result("with a key"), expected(json!([200, true, true, true])), "{results:#}");
        assert_eq!(result("bearer"), expected(json!([200, true, true])), "{results:#}");
        assert_eq!(result("post"), expected(json!([200, true])), "{results:#}");
        // A page reads why its key is refused.
        assert_eq!(result("denied"), expected(json!([401, true, true])), "{results:#}");
        // No browser adds what it knows of the user.
        assert_eq!(result("with cookies"), refused, "{results:#}");
        assert_eq!(result("management"), refused, "{results:#}");
        assert_eq!(result("management, no preflight"), refused, "{results:#}");
    }
}

/// What browsers are told, said exactly.
#[test]
fn preflights_are_answered_outside_the_key_layer() {
    let directory = directory();
    let server = server_for(None, &directory);
    let preflight = |path: &str| {
        let args = [
            "-H",
            "Origin: https://shop.example",
            "-H",
            "Access-Control-Request-Method: POST",
            "-H",
            "Access-Control-Request-Headers: x-api-key,content-type",
        ];
        server.ask("OPTIONS", path, &args)
    };
    for path in ["/articles", "/webhook/orders", "/webhook/inventory", "/me/key"] {
        let reply = preflight(path);
        assert_eq!((reply.status, &*reply.body), (200, ""), "{reply:?}");
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
        assert_eq!(reply.header("access-control-allow-credentials"), None);
        let headers = reply.header("access-control-allow-headers");
        assert_eq!(headers, Some("x-api-key,authorization,content-type,idempotency-key,if-match"));
        let methods = reply.header("access-control-allow-methods");
        assert_eq!(methods, Some("GET,HEAD,POST"));
    }
    let denied = server.ask("GET", "/articles", &["-H", "Origin: https://shop.example"]);
    assert_eq!((denied.status, denied.header("access-control-allow-origin")), (401, Some("*")));
    let exposed = denied.header("access-control-expose-headers");
    assert_eq!(exposed, Some("ratelimit,ratelimit-policy,retry-after,www-authenticate,etag"));
    for path in ["/admin/api-keys", "/admin/api-keys/x/revoke", "/health", "/openapi.json"] {
        let reply = preflight(path);
        assert_ne!(reply.status, 200, "{path}: {reply:?}");
        assert_eq!(reply.header("access-control-allow-origin"), None, "{path}: {reply:?}");
    }
}
