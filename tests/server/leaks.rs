//! A key is in the answer to its creation and nowhere else: not in logs at their most talkative,
//! not in other answers, not in the database.

use std::{fs, process::Command};

use serde_json::json;
use tower_api_key::KeyHasher;

use crate::{
    process::{Reply, Server, curl, run},
    support::{ADMIN_KEY, Ask, command_on, directory, unknown_key},
};

/// Whether a key is in these bytes, whole or with its last 30 characters. The start of a key may
/// be shown.
fn holds(bytes: &[u8], key: &str) -> bool {
    let end = &key[key.len().saturating_sub(30)..];
    String::from_utf8_lossy(bytes).contains(end)
}

#[test]
fn keys_are_nowhere_but_in_the_answer_to_their_creation() {
    let directory = directory();
    let database = directory.path().join("keys.db");
    let server =
        Server::start(command_on(&database).env("RUST_LOG", "trace,h2=trace,h2::server=trace"));

    let revoked = server.create(&json!({ "name": "revoked", "owner": "user-1" }));
    let given_up = server.create(&json!({ "name": "given up", "scopes": ["inventory:write"] }));
    let live = server.create(&json!({ "name": "a name to look for" }));
    let wrong_admin_key = "a-wrong-administrators-key";
    let wrong = [
        unknown_key(),
        "key_this-one-has-no-good-checksum-at-all".to_owned(),
        format!("{}{}", live.key, "and-something-more-behind-the-whole-key"),
    ];

    let mut answers = Vec::new();
    let keys = [&revoked.key, &given_up.key, &live.key].into_iter().chain(&wrong);
    for key in keys {
        answers.extend(present(&server, key));
    }
    answers.push(server.ask(
        "GET",
        "/admin/api-keys",
        &["-H", &format!("X-Admin-Key: {wrong_admin_key}")],
    ));
    answers.push(server.ask_as(ADMIN_KEY, "GET", "/articles"));
    answers.extend(manage(&server, &revoked.id));
    answers.push(server.ask_as(&given_up.key, "POST", "/webhook/inventory"));
    answers.push(server.ask_as(&given_up.key, "POST", "/me/key/revoke"));
    answers.extend([&revoked.key, &given_up.key].map(|key| server.ask_as(key, "GET", "/articles")));
    answers.push(server.admin("DELETE", &format!("/admin/api-keys/{}", given_up.id)));
    answers.push(server.ask_as(&given_up.key, "GET", "/articles"));
    let answers = format!("{answers:?}");

    let mut secrets = vec![&*revoked.key, &given_up.key, &live.key, wrong_admin_key, ADMIN_KEY];
    secrets.extend(wrong.iter().map(String::as_str));
    let files = || {
        ["keys.db", "keys.db-wal", "keys.db-shm"]
            .map(|name| (name, fs::read(directory.path().join(name)).unwrap_or_default()))
    };
    let assert_absent = |place: &str, bytes: &[u8]| {
        for (index, secret) in secrets.iter().enumerate() {
            assert!(!holds(bytes, secret), "secret {index} is in {place}");
        }
    };

    assert_absent("answers", answers.as_bytes());
    let open = files();
    for (name, bytes) in &open {
        assert_absent(name, bytes);
    }
    // The search finds what is there.
    assert!(open.iter().any(|(_, bytes)| holds(bytes, "a name to look for")));

    server.signal("TERM");
    let finished = server.wait();
    assert!(finished.stderr.contains("TRACE") && finished.stderr.contains("request denied"));
    assert!(finished.stderr.contains(&live.id), "{}", finished.stderr);
    for (place, text) in [("stdout", &finished.stdout), ("stderr", &finished.stderr)] {
        assert_absent(place, text.as_bytes());
        for secret in &secrets {
            let digest = KeyHasher::sha256().digest(secret).to_hex();
            assert!(!text.contains(&digest), "a digest is in {place}");
        }
    }
    for (name, bytes) in files() {
        assert_absent(name, &bytes);
    }
}

/// Presents a key in all places, over both protocols, alone and in requests that are refused.
fn present(server: &Server, key: &str) -> Vec<Reply> {
    let header = format!("X-API-Key: {key}");
    let bearer = format!("Authorization: Bearer {key}");
    let cookie = format!("api_key={key}");
    let query = format!("/articles?api_key={key}");
    let mut answers = Vec::new();
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        answers.extend([
            server.ask("GET", "/articles", &[version, "-H", &header]),
            server.ask("GET", "/articles", &[version, "-H", &bearer]),
            server.ask("GET", "/articles", &[version, "-b", &cookie]),
            server.ask("GET", &query, &[version]),
            server.ask("GET", &query, &[version, "-H", &header]),
            server.ask("GET", &format!("{query}&api_key={key}"), &[version]),
            server.ask("POST", "/webhook/inventory", &[version, "-H", &header]),
            server.ask("GET", "/external/products", &[version, "-H", &header]),
            server.ask("GET", "/me/key", &[version, "-H", &header]),
            server.ask("GET", &format!("/nowhere?api_key={key}"), &[version]),
            server.ask("DELETE", &query, &[version]),
            server.ask(
                "GET",
                "/articles",
                &[version, "-H", &bearer, "-H", "Content-Type: application/grpc"],
            ),
        ]);
    }
    // A path that is no path: HTTP/2 libraries like to quote it in their logs. There is no answer.
    let url = server.url(&format!("{query}&<"));
    assert_eq!(curl(["--http1.1", &url]).status, 400);
    let mut h2 = Command::new("curl");
    h2.args(["-q", "-sS", "--noproxy", "*", "--http2-prior-knowledge", &url]);
    assert!(!run(&mut h2).status.success());
    answers
}

fn manage(server: &Server, id: &str) -> Vec<Reply> {
    let path = format!("/admin/api-keys/{id}");
    let mut answers = vec![
        server.admin("GET", "/admin/api-keys"),
        server.admin("GET", &path),
        server.admin_sends("PATCH", &path, r#"{"description":"changed"}"#, &[]),
        server.admin_sends("PATCH", &path, r#"{"name":7}"#, &[]),
        server.admin_sends("PATCH", &path, "{", &[]),
        server.admin_sends("POST", &format!("{path}/revoke"), r#"{"reason":"leak test"}"#, &[]),
    ];
    answers.push(server.admin("GET", "/admin/api-keys?owner=user-1"));
    answers
}
