//! The reference server behind proxies: `curl` connects from this machine, which is one of them, or is
//! not.

use serde_json::json;
use tempfile::TempDir;

use crate::{
    process::{Reply, Server},
    support::{Ask, assert_problem, command_on, directory},
};

fn behind(proxies: &str, header: &str, failures_per_minute: &str) -> (Server, TempDir) {
    let directory = directory();
    let mut command = command_on(&directory.path().join("keys.db"));
    command
        .env("TRUSTED_PROXIES", proxies)
        .env("TRUSTED_PROXY_HEADER", header)
        .env("FAILURES_PER_MINUTE", failures_per_minute);
    (Server::start(&mut command), directory)
}

/// A request with a key, and with these lines of headers.
fn articles(server: &Server, key: &str, lines: &[&str]) -> Reply {
    let key = format!("X-API-Key: {key}");
    let mut args = vec!["-H", &key];
    for line in lines {
        args.extend(["-H", *line]);
    }
    server.ask("GET", "/articles", &args)
}

#[test]
fn keys_that_are_bound_to_a_network_are_judged_by_the_clients_address() {
    let (server, _directory) = behind("127.0.0.0/8, ::1, 10.0.0.0/8", "X-Forwarded-For", "0");
    let new = json!({ "name": "bound", "allowed_addresses": ["192.0.2.0/24"] });
    let key = server.create(&new).key;
    for (lines, expected) in [
        (&["X-Forwarded-For: 192.0.2.7"][..], 200),
        (&["X-Forwarded-For: 203.0.113.5, 192.0.2.7, 10.0.0.1"], 200),
        (&["X-Forwarded-For: 203.0.113.5", "X-Forwarded-For: 192.0.2.7"], 200),
        (&["X-Forwarded-For: 192.0.2.7, 203.0.113.5"], 403),
        (&["X-Forwarded-For: 192.0.2.7", "X-Forwarded-For: 203.0.113.5"], 403),
        (&["X-Forwarded-For: 192.0.2.7, unknown"], 403),
        (&["Forwarded: for=192.0.2.7"], 403),
        (&["X-Real-IP: 192.0.2.7"], 403),
        (&[], 403),
    ] {
        let reply = articles(&server, &key, lines);
        assert_eq!(reply.status, expected, "{lines:?}: {reply:?}");
        if expected == 403 {
            assert_problem(&reply, 403, "address_not_allowed");
        }
    }
}

#[test]
fn forwarded_is_read_where_it_is_named() {
    let (server, _directory) = behind("127.0.0.1,::1", "Forwarded", "0");
    let new = json!({ "name": "bound", "allowed_addresses": ["192.0.2.0/24"] });
    let key = server.create(&new).key;
    let client = "Forwarded: for=203.0.113.5, for=\"192.0.2.7:4711\";proto=https";
    assert_eq!(articles(&server, &key, &[client]).status, 200);
    assert_eq!(articles(&server, &key, &["X-Forwarded-For: 192.0.2.7"]).status, 403);
}

#[test]
fn a_client_that_is_no_proxy_chooses_no_address() {
    let (server, _directory) = behind("10.0.0.0/8", "X-Forwarded-For", "4");
    let bound = |networks: &[&str]| {
        server.create(&json!({ "name": "bound", "allowed_addresses": networks })).key
    };
    let spoofed = ["X-Forwarded-For: 192.0.2.7"];
    assert_eq!(articles(&server, &bound(&["192.0.2.0/24"]), &spoofed).status, 403);
    assert_eq!(articles(&server, &bound(&["127.0.0.0/8", "::1"]), &spoofed).status, 200);
    // Nor is it another client for each of its guesses.
    let outcomes: Vec<_> = (0..40)
        .map(|number| {
            let line = format!("X-Forwarded-For: 192.0.2.{number}");
            articles(&server, &format!("a-guess-of-the-tests-{number}"), &[&line]).status
        })
        .collect();
    assert!(outcomes.contains(&429), "{outcomes:?}");
}

#[test]
fn guesses_are_charged_to_the_client_and_not_to_the_proxy() {
    let (server, _directory) = behind("127.0.0.1,::1", "X-Forwarded-For", "4");
    let key = server.create(&json!({ "name": "good" })).key;
    let from = |client: &str, key: &str| {
        articles(&server, key, &[&format!("X-Forwarded-For: {client}")]).status
    };
    let guesses: Vec<_> = (0..40)
        .map(|number| from("203.0.113.5", &format!("{number}-guess-of-the-tests")))
        .collect();
    assert!(guesses.contains(&429), "{guesses:?}");
    assert_eq!(from("203.0.113.6", &key), 200);
    assert_eq!(from("203.0.113.6", "a-guess-of-the-tests"), 401);
    // The administrator comes past the proxy, and has guessed nothing.
    assert_eq!(server.admin("GET", "/admin/api-keys").status, 200);
    // Its key is in memory from now on, so a guesser behind the same address keeps it out no more.
    assert_eq!(from("203.0.113.5", &key), 200);
}
