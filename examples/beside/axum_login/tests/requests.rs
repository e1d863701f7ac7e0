//! Keys and sessions, alone and together, against the running program.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../../../../tests/support/process.rs"]
mod process;

use std::{fs, path::Path, process::Command};

use process::{Reply, Server, curl};

const PASSWORD: &str = "a password of the tests";

fn start() -> Server {
    let mut command = Command::new(env!("CARGO_BIN_EXE_with-axum-login"));
    Server::start(command.env("ADDR", "127.0.0.1:0").env("PASSWORD", PASSWORD))
}

fn ask(server: &Server, method: &str, path: &str, headers: &[&str]) -> Reply {
    let headers = headers.iter().flat_map(|header| ["-H", header]);
    curl(["-X", method].into_iter().chain(headers).chain([&*server.url(path)]))
}

fn key(server: &Server) -> String {
    server.wait_for_stdout(|line| {
        let key = line.split_once("X-API-Key: ")?.1.split_once('\'')?.0;
        Some(format!("X-API-Key: {key}"))
    })
}

fn log_in(server: &Server, password: &str, headers: &[&str]) -> Reply {
    let (form, url) = (format!("password={password}"), server.url("/login"));
    let mut args = vec!["-d", "name=ada", "--data-urlencode", &form, &url];
    args.extend(headers.iter().flat_map(|header| ["-H", header]));
    curl(args)
}

/// The header that a browser sends from now on.
fn session(server: &Server) -> String {
    let reply = log_in(server, PASSWORD, &[]);
    assert_eq!(reply.status, 204, "{reply:?}");
    let cookie = reply.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    format!("Cookie: {}", cookie.split(';').next().unwrap())
}

/// The status, and the body or the reason.
fn outcome(reply: &Reply) -> (u16, String) {
    let is_problem = reply.header("content-type") == Some("application/problem+json");
    let text =
        if is_problem { reply.json()["code"].as_str().unwrap().into() } else { reply.body.clone() };
    (reply.status, text)
}

#[test]
fn the_printed_lines_work() {
    let server = start();
    server.wait_for_stdout(|line| line.contains("-b cookies").then_some(()));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cookies");
    fs::create_dir_all(&folder).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", &server.stdout()]).current_dir(folder);
    let finished = process::run(shell.env("PASSWORD", PASSWORD).env("NO_PROXY", "*"));
    assert_eq!(finished.stdout, "The program of the night.\nThe person ada.", "{finished:?}");
}

#[test]
fn each_request_is_judged_by_one_of_the_two() {
    let (server, other) = (start(), start());
    let (key, unknown) = (key(&server), key(&other));
    let (cookie, foreign) = (session(&server), session(&other));
    let program = (200, "The program of the night.\n");
    let person = (200, "The person ada.\n");
    let page = "Accept: text/html";
    for (headers, expected) in [
        (vec![&*key], program),
        (vec![&*cookie], person),
        (vec![], (401, "")),
        // Also of a browser: no page to log in with.
        (vec![page], (401, "")),
        (vec![&*foreign], (401, "")),
        (vec!["Cookie: id=made-up"], (401, "")),
        (vec!["X-API-Key: none-of-ours", &*cookie], person),
        // A session mends no bad key.
        (vec![&*unknown], (401, "unknown_key")),
        (vec![&*unknown, &*cookie], (401, "unknown_key")),
        (vec![&*cookie, "X-API-Key: acme_x"], (401, "malformed_key")),
        // The half for sessions does not see a request with a key: one identity.
        (vec![&*key, &*cookie], program),
        (vec![&*key, &*foreign], program),
    ] {
        let reply = ask(&server, "GET", "/whoami", &headers);
        assert_eq!(outcome(&reply), (expected.0, expected.1.to_owned()), "{headers:?}: {reply:?}");
        let asks = reply.header_all("www-authenticate").count();
        assert_eq!(asks > 0, reply.status == 401, "{reply:?}");
        assert_eq!(reply.header("location"), None, "{reply:?}");
        let is_of_key = headers.iter().any(|header| header.contains("acme_"));
        assert!(!is_of_key || reply.header("set-cookie").is_none(), "{reply:?}");
    }
}

#[test]
fn a_session_begins_with_the_password_and_ends_with_the_logout() {
    let server = start();
    let reply = log_in(&server, "another", &[]);
    assert_eq!((reply.status, reply.header("set-cookie")), (403, None), "{reply:?}");
    let cookie = session(&server);
    assert_eq!(ask(&server, "POST", "/logout", &[&*cookie]).status, 204);
    assert_eq!(ask(&server, "GET", "/whoami", &[&*cookie]).status, 401);
}

/// Of another site's page, should a browser send the cookie all the same.
#[test]
fn another_site_does_not_act_with_a_session() {
    let server = start();
    let (key, cookie) = (key(&server), session(&server));
    let cross = "Sec-Fetch-Site: cross-site";
    for (credential, site, expected) in [
        (&cookie, "Sec-Fetch-Site: same-origin", 200),
        (&cookie, cross, 403),
        (&cookie, "Origin: https://other.example", 403),
        // No browser adds a key by itself.
        (&key, cross, 200),
    ] {
        let reply = ask(&server, "POST", "/whoami", &[credential, site]);
        assert_eq!(reply.status, expected, "{credential} {site}: {reply:?}");
    }
    assert_eq!(log_in(&server, PASSWORD, &[cross]).status, 403);
    assert_eq!(ask(&server, "POST", "/logout", &[&*cookie, cross]).status, 403);
}
