//! `examples/custom_store.rs`: honest answers, also when the store cannot tell.

use std::{fs, path::PathBuf, process::Command};

use serde_json::json;

use crate::{
    example, paste, printed,
    process::{self, Reply, Server, curl},
};

const KEY: &str = "a-key-from-another-system";

#[test]
fn the_printed_line_works() {
    let server = Server::start(example("custom_store").env("TMPDIR", folder("printed")));
    let line = printed(&server, "/whoami");
    assert_eq!(paste(&line).trim_end(), "You are the first caller, a key of user-1.");
}

#[test]
fn keys_that_another_program_wrote_are_let_in_and_others_refused() {
    let file = KeyFile::new("written");
    file.write(&keys(false));
    let server = file.serve();

    let reply = ask(&server, KEY);
    assert_eq!((reply.status, reply.body.trim_end()), (200, "You are CI, a key of no owner."));

    assert_denied(&ask(&server, "another-key-of-that-system"), 401, "unknown_key");
    assert_denied(&curl([&server.url("/whoami")]), 401, "missing_key");
}

#[test]
fn a_change_of_the_file_counts_at_once() {
    let file = KeyFile::new("changed");
    file.write(&keys(false));
    let server = file.serve();
    assert_eq!(ask(&server, KEY).status, 200);

    file.write(&keys(true));
    assert_denied(&ask(&server, KEY), 401, "disabled_key");
}

#[test]
fn a_backend_that_fails_is_503_and_never_401() {
    let file = KeyFile::new("failing");
    let good = keys(false);
    file.write(&good);
    let server = file.serve();
    assert_eq!(ask(&server, KEY).status, 200);

    fs::remove_file(&file.path).unwrap();
    assert_cannot_tell(&file, &ask(&server, KEY));

    for broken in ["", "[{", r#"[{"name": "no digest"}]"#, &good.replace(&sha256sum(KEY), "ab")] {
        file.write(broken);
        assert_cannot_tell(&file, &ask(&server, KEY));
    }

    file.write(&good);
    assert_eq!(ask(&server, KEY).status, 200, "it recovers by itself");
}

fn ask(server: &Server, key: &str) -> Reply {
    curl(["-H", &format!("X-API-Key: {key}"), &server.url("/whoami")])
}

fn assert_denied(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status, reply.json()["code"].as_str()), (status, Some(code)), "{reply:?}");
}

/// The caller is told to try again, and nothing about the backend.
fn assert_cannot_tell(file: &KeyFile, reply: &Reply) {
    assert_denied(reply, 503, "store_unavailable");
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
    assert!(!reply.body.contains(file.path.to_str().unwrap()), "{reply:?}");
}

struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    fn new(name: &str) -> Self {
        Self { path: folder(name).join("keys.json") }
    }

    fn write(&self, text: &str) {
        fs::write(&self.path, text).unwrap();
    }

    fn serve(&self) -> Server {
        Server::start(example("custom_store").env("KEYS_FILE", &self.path))
    }
}

/// The file's text.
fn keys(disabled: bool) -> String {
    let key = json!({
        "id": "018f8c4e-7b1a-7c3d-9e2f-5a6b7c8d9e0f",
        "sha256": sha256sum(KEY),
        "name": "CI",
        "owner": null,
        "created_at": "2026-01-01T00:00:00.000Z",
        "disabled": disabled,
    });
    json!([key]).to_string()
}

/// What the example's documentation says to do.
fn sha256sum(key: &str) -> String {
    let finished =
        process::run(Command::new("sh").args(["-c", &format!("printf %s {key} | sha256sum")]));
    finished.stdout.split(' ').next().unwrap().to_owned()
}

/// A folder of the test's own.
fn folder(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("custom_store").join(name);
    fs::create_dir_all(&path).unwrap();
    path
}
