//! A server that seals its keys.

use std::{path::Path, process::Command};

use serde_json::json;
use tower_api_key::{IssuerSecrets, KeyFormat, KeyHasher};

use crate::{
    process::{Server, run},
    support::{ADMIN_KEY, Ask, assert_problem, command_on, directory, unknown_key},
};

const SECRET: &str = "an issuer secret of the server, 32 bytes or more";
const OTHER: &str = "another one that has 32 bytes or more, too";

fn on(database: &Path, variables: &[(&str, &str)]) -> Command {
    let mut command = command_on(database);
    command.envs(variables.iter().copied());
    command
}

/// A key of the right shape that the server has not issued.
fn forged() -> String {
    let secrets = IssuerSecrets::new(b"a secret that no server has, of 32 bytes").unwrap();
    let format = KeyFormat::new("key").unwrap();
    let format = format.sealed(secrets, &KeyHasher::sha256()).unwrap();
    format.generate().unwrap().expose().to_owned()
}

fn status(server: &Server, key: &str) -> u16 {
    server.ask_as(key, "GET", "/articles").status
}

/// From no seal to one, to another one, and to sealed keys alone; nothing tells the secret.
#[test]
fn the_whole_way() {
    let directory = directory();
    let database = directory.path().join("keys.db");
    let start = |variables| Server::start(&mut on(&database, variables));
    let server = start(&[]);
    let unsealed = server.create(&json!({ "name": "before" }));
    drop(server);

    // The first step issues as before.
    let server = start(&[("KEY_SEAL_NEXT", SECRET)]);
    assert_eq!(server.create(&json!({ "name": "next" })).key.len(), "key_".len() + 49);
    drop(server);

    let server = start(&[("KEY_SEAL", SECRET)]);
    let sealed = server.create(&json!({ "name": "sealed" }));
    assert_eq!(sealed.key.len(), "key_".len() + 55);
    for key in [&unsealed.key, &sealed.key] {
        assert_eq!(status(&server, key), 200);
    }
    assert_problem(&server.ask_as(&forged(), "GET", "/articles"), 401, "malformed_key");
    assert_problem(&server.ask_as(&unknown_key(), "GET", "/articles"), 401, "unknown_key");
    let rotated = server.admin("POST", &format!("/admin/api-keys/{}/rotate", unsealed.id)).json();
    let rotated = rotated["key"].as_str().unwrap().to_owned();
    assert_eq!(rotated.len(), sealed.key.len());
    server.signal("TERM");
    let finished = server.wait();
    for text in [&finished.stdout, &finished.stderr] {
        assert!(!text.contains(SECRET) && !text.contains(&sealed.key), "{text}");
    }

    let retired = [("KEY_SEAL", OTHER), ("KEY_SEAL_RETIRED", SECRET), ("KEY_SEALED_ONLY", "true")];
    let server = start(&retired);
    for key in [&sealed.key, &rotated, &server.create(&json!({ "name": "new" })).key] {
        assert_eq!(status(&server, key), 200);
    }
    for bad in [unsealed.key, unknown_key(), forged()] {
        assert_problem(&server.ask_as(&bad, "GET", "/articles"), 401, "malformed_key");
    }
    drop(server);

    let server = start(&[("KEY_SEAL", OTHER)]);
    assert_problem(&server.ask_as(&sealed.key, "GET", "/articles"), 401, "malformed_key");
}

#[test]
fn variables_that_cannot_be_used() {
    let directory = directory();
    let database = directory.path().join("keys.db");
    for (variables, expected) in [
        (
            &[("KEY_SEAL", "short")][..],
            "the environment variable KEY_SEAL must hold an issuer secret of at least 32 bytes",
        ),
        (&[("KEY_SEAL", "")], "the environment variable KEY_SEAL must hold"),
        (&[("KEY_SEAL_NEXT", "short")], "KEY_SEAL_NEXT: an issuer secret must have at least 32"),
        (&[("KEY_SEAL_RETIRED", SECRET)], "KEY_SEAL_RETIRED is set, but KEY_SEAL is not"),
        (
            &[("KEY_SEAL", SECRET), ("KEY_SEAL_RETIRED", "short")],
            "KEY_SEAL_RETIRED: an issuer secret must have at least 32",
        ),
        (&[("KEY_SEALED_ONLY", "true")], "KEY_SEALED_ONLY is true, but KEY_SEAL is not set"),
        (&[("KEY_SEALED_ONLY", "yes")], "KEY_SEALED_ONLY is neither true nor false"),
        (
            &[("KEY_SEAL_NEXT", SECRET), ("KEY_SEALED_ONLY", "true")],
            "KEY_SEALED_ONLY: the format issues keys without a seal",
        ),
    ] {
        let finished = run(&mut on(&database, variables));
        assert_eq!(finished.status.code(), Some(2), "{finished:?}");
        assert!(finished.stderr.contains(expected), "{expected}: {finished:?}");
        assert!(!finished.stderr.contains(SECRET) && !finished.stderr.contains(ADMIN_KEY));
        assert!(!database.exists());
    }
}
