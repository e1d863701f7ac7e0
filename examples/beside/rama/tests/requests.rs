//! Requests to the running program, over both versions of HTTP.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../../../../tests/support/process.rs"]
mod process;

use std::process::Command;

use process::{Server, curl};

fn start() -> Server {
    Server::start(Command::new(env!("CARGO_BIN_EXE_with-rama")).env("ADDR", "127.0.0.1:0"))
}

fn key(server: &Server, name: &str) -> String {
    server.wait_for_stdout(|line| {
        let key = line.ends_with(name).then(|| line.split_once("X-API-Key: "))??.1;
        Some(key.split_once('\'')?.0.to_owned())
    })
}

#[test]
fn requests_are_judged_over_both_versions() {
    let server = start();
    let (good, without) = (key(&server, "the first caller"), key(&server, "without scopes"));
    let elsewhere = key(&server, "of another network");
    let url = server.url("/whoami");
    let hello = "You are the first caller.\n";
    for (header, status, told) in [
        (format!("X-API-Key: {good}"), 200, hello),
        (format!("Authorization: Bearer {good}"), 200, hello),
        ("X-Other: 1".to_owned(), 401, "missing_key"),
        ("X-API-Key: key_typo".to_owned(), 401, "malformed_key"),
        (format!("X-API-Key: {without}"), 403, "insufficient_scope"),
        (format!("X-API-Key: {elsewhere}"), 403, "address_not_allowed"),
    ] {
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let reply = curl([version, "-H", &header, &url]);
            assert_eq!(reply.status, status, "{version} {header}: {reply:?}");
            let is_problem = reply.header("content-type") == Some("application/problem+json");
            let text =
                if is_problem { reply.json()["code"].to_string() } else { reply.body.clone() };
            assert_eq!(text.trim_matches('"'), told, "{version} {header}: {reply:?}");
            // Every challenge arrives.
            let asked = reply.header_all("www-authenticate").count();
            assert_eq!(asked, if status == 401 { 2 } else { asked }, "{reply:?}");
            let private = if status == 200 { "private" } else { "no-store" };
            assert_eq!(reply.header("cache-control"), Some(private), "{reply:?}");
        }
    }
}

/// Rama keeps extensions of a connection apart from those of its requests.
#[test]
fn no_request_has_the_identity_of_another_on_its_connection() {
    let server = start();
    let (key, url) = (key(&server, "the first caller"), server.url("/whoami"));
    let header = format!("X-API-Key: {key}");
    let quiet =
        ["-q", "-sS", "--noproxy", "*", "-o", "/dev/null", "-w", "%{num_connects} %{http_code}\n"];
    let mut command = Command::new("curl");
    command.args(quiet).args(["-H", &header, &url, "--next"]).args(quiet).arg(&url);
    let output = command.output().unwrap();
    // The second request has no key, and needs no connection of its own.
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "1 200\n0 401\n");
}
