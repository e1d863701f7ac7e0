//! `/verify`, for programs.

use std::net::SocketAddr;

use crate::{
    guide,
    process::{Reply, Server},
    started::{Place, code, send},
};

/// A place whose file has this table.
fn place(table: &str) -> Place {
    let place = Place::on_sqlite();
    place.configure(&format!("{}\n[verify]\n{table}\n", guide::block("toml")));
    place
}

fn verify(sidecar: &Server, headers: &[&str], question: &str) -> Reply {
    let to: SocketAddr = ([127, 0, 0, 1], sidecar.address().port()).into();
    let length = format!("Content-Length: {}", question.len());
    let first = ["POST /verify HTTP/1.1", "Host: localhost", "Connection: close"];
    let head = [&first[..], &["Content-Type: application/json", &length], headers].concat();
    let reply = send(to, format!("{}\r\n\r\n{question}", head.join("\r\n")).as_bytes());
    Reply::parse(&reply).unwrap_or_else(|| panic!("{reply:?}"))
}

fn question(key: &str) -> String {
    format!(r#"{{"key":"{key}","address":"192.0.2.7","scopes":["orders:read"]}}"#)
}

#[test]
fn programs_with_a_key_ask_and_others_do_not() {
    let place = place("peers = [\"127.0.0.1\"]");
    let program = place.key(&["--scope", "keys:verify"]);
    let client = place.key(&["--scope", "orders:read", "--owner", "user-1"]);
    let sidecar = place.start();
    let with = |key: &str| format!("X-API-Key: {key}");

    let answer = verify(&sidecar, &[&with(&program)], &question(&client));
    assert_eq!(answer.status, 200, "{answer:?}");
    let said = answer.json();
    assert_eq!((&said["valid"], &said["owner"]), (&true.into(), &"user-1".into()), "{said}");
    for (key, code) in [(program.as_str(), "insufficient_scope"), ("no-key", "malformed_key")] {
        let said = verify(&sidecar, &[&with(&program)], &question(key)).json();
        assert_eq!((&said["valid"], &said["code"]), (&false.into(), &code.into()), "{said}");
    }

    let denied = verify(&sidecar, &[], &question(&client));
    assert_eq!((denied.status, &*code(&denied)), (401, "missing_key"));
    let denied = verify(&sidecar, &[&with(&client)], &question(&client));
    assert_eq!((denied.status, &*code(&denied)), (403, "insufficient_scope"));
}

#[test]
fn only_the_named_peers_ask() {
    let place = place("peers = [\"10.9.8.0/24\"]");
    let program = place.key(&["--scope", "keys:verify"]);
    let sidecar = place.start();
    let denied = verify(&sidecar, &[&format!("X-API-Key: {program}")], &question(&program));
    assert_eq!((denied.status, &*code(&denied)), (403, "address_not_allowed"), "{denied:?}");
    assert_eq!(denied.header("cache-control"), Some("no-store"));
}

#[test]
fn programs_of_this_machine_may_need_no_key() {
    let place = place("peers = [\"127.0.0.0/8\", \"::1\"]\nkey = false");
    let client = place.key(&["--scope", "orders:read"]);
    let sidecar = place.start();
    let answer = verify(&sidecar, &[], &question(&client));
    assert_eq!((answer.status, &answer.json()["valid"]), (200, &true.into()), "{answer:?}");
    for header in ["X-Forwarded-For: 192.0.2.7", "Origin: http://api.example", "Via: a"] {
        assert_eq!(verify(&sidecar, &[header], &question(&client)).status, 403, "{header}");
    }
}

/// What is counted through it and what is counted for the proxy is one sum.
#[test]
fn what_is_spent_counts_with_the_proxys_requests() {
    let place = place("peers = [\"127.0.0.1\"]\nkey = false");
    let limit = ["--scope", "orders:read", "--limit", "two=2/1h"];
    let client = place.key(&limit);
    let sidecar = place.start();
    let spends = question(&client).replace('}', r#","spend":true}"#);
    assert_eq!(verify(&sidecar, &[], &spends).json()["valid"], true);
    let header = format!("X-API-Key: {client}");
    let asked = |status| {
        let reply = crate::started::check(sidecar.address(), "/orders/7", &[&header]);
        assert_eq!(reply.header("x-api-key-status"), Some(status), "{reply:?}");
    };
    asked("200");
    asked("429");
    let said = verify(&sidecar, &[], &spends).json();
    assert_eq!((&said["valid"], &said["code"]), (&false.into(), &"rate_limited".into()), "{said}");
    assert!(said["retry_after"].as_u64().is_some_and(|seconds| seconds > 0), "{said}");
    // Looking does not count, and does not look at limits.
    assert_eq!(verify(&sidecar, &[], &question(&client)).json()["valid"], true);
}

#[test]
fn without_the_table_there_is_no_such_path() {
    let place = Place::on_sqlite();
    let sidecar = place.start();
    assert_eq!(verify(&sidecar, &[], &question("key")).status, 404);
}
