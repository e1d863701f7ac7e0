//! SIGINT, SIGTERM and SIGHUP: what was begun is finished.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::json;

use crate::{
    process::{Reply, Server},
    support::{Ask, command_on, connect, directory},
};

/// Sends the head of a request whose handler then waits for the body, and knows that it does: the
/// server asks for the body (`100 Continue`) when the handler starts to read it.
fn begin(server: &Server, key: &str) -> TcpStream {
    let mut stream = connect(server.address());
    let head = format!(
        "POST /webhook/orders HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\
         Content-Type: application/json\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut interim = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

fn finishes_and_exits_on(signal: &str) {
    let directory = directory();
    let database = directory.path().join("keys.db");
    let server = Server::start(&mut command_on(&database));
    let created = server.create(&json!({ "name": "in flight" }));
    let idle = connect(server.address());
    let mut begun = begin(&server, &created.key);

    server.signal(signal);
    server.wait_for_stderr("shutting down");

    begun.write_all(br#"{"order":17}"#).unwrap();
    let mut answer = Vec::new();
    begun.read_to_end(&mut answer).unwrap();
    let reply = Reply::parse(&answer).unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json(), json!({ "status": "received" }));

    let finished = server.wait();
    assert_eq!(finished.status.code(), Some(0), "{finished:?}");
    drop(idle);

    // Closed in good order: everything is in the one file.
    assert!(!directory.path().join("keys.db-wal").exists());
    let server = Server::start(&mut command_on(&database));
    assert_eq!(server.ask_as(&created.key, "GET", "/articles").status, 200);
}

#[test]
fn uses_are_counted_and_kept() {
    let directory = directory();
    let database = directory.path().join("keys.db");
    let server = Server::start(&mut command_on(&database));
    let used = server.create(&json!({ "name": "used" }));
    let idle = server.create(&json!({ "name": "idle" }));
    for _ in 0..3 {
        assert_eq!(server.ask_as(&used.key, "GET", "/articles").status, 200);
    }
    // Refused, and so not a use.
    assert_eq!(
        server.ask("GET", "/articles", &["-b", &format!("api_key={}x", used.key)]).status,
        401
    );
    server.signal("TERM");
    assert_eq!(server.wait().status.code(), Some(0));

    let server = Server::start(&mut command_on(&database));
    let view = |id: &str| server.admin("GET", &format!("/admin/api-keys/{id}")).json();
    let (used, idle) = (view(&used.id), view(&idle.id));
    assert_eq!((&used["use_count"], &idle["use_count"]), (&json!(3), &json!(0)));
    assert!(used["last_used_at"].is_string(), "{used}");
    assert!(idle["last_used_at"].is_null(), "{idle}");
}

#[test]
fn sigterm_finishes_what_was_begun_and_exits_0() {
    finishes_and_exits_on("TERM");
}

/// The terminal is gone.
#[test]
fn sighup_finishes_what_was_begun_and_exits_0() {
    finishes_and_exits_on("HUP");
}

#[test]
fn sigint_finishes_what_was_begun_and_exits_0() {
    finishes_and_exits_on("INT");
}
