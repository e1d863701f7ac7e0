//! How many connections there are, and clients that hold theirs without using it. Whoever comes
//! then is served: that is what the tests wait for, however long it takes.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    databases::Empty,
    h2::Raw,
    process::{Reply, Server, curl, example},
    servers::Server as Kind,
    support::{ADMIN_KEY, Ask, command, command_on, connect, directory},
};

/// A server that has this many places, and waits a second for clients.
fn narrow(places: &str) -> (Server, TempDir) {
    let directory = directory();
    let mut command = command_on(&directory.path().join("keys.db"));
    command.env("MAX_CONNECTIONS", places).env("CLIENT_TIMEOUT", "1");
    (Server::start(&mut command), directory)
}

#[track_caller]
fn assert_reachable(server: &Server) {
    assert_eq!(server.ask("GET", "/health", &[]).status, 200);
}

/// The same program where only this many files may be open.
fn with_files(files: u32, from: &Command) -> Command {
    let server = example("server");
    let mut command = Command::new("sh");
    command.args([
        "-c",
        &format!("ulimit -n {files} && exec \"$0\""),
        &server.display().to_string(),
    ]);
    for (name, value) in from.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// Each of them is asked something once, so it is a client like others, and then only answers
/// pings.
#[test]
fn three_hundred_idle_connections_leave_room_among_256_files() {
    let directory = directory();
    leave_room_among_256_files(&command_on(&directory.path().join("keys.db")));
}

/// Here files are open as well for the pool, for the bus and its listener, and for Redis.
#[test]
fn they_leave_room_beside_the_servers_of_a_database_and_of_redis() {
    let Some(redis) = Kind::Redis.url() else { return };
    let Some(database) = Empty::new(Kind::Postgres) else { return };
    let mut command = command();
    command.env("ADDR", "127.0.0.1:0").env("ADMIN_API_KEY", ADMIN_KEY);
    command.env("DATABASE_URL", database.url()).env("REDIS_URL", redis);
    leave_room_among_256_files(&command);
}

fn leave_room_among_256_files(command: &Command) {
    let server = Server::start(&mut with_files(256, command));
    let mut all: Vec<_> = (0..300)
        .map(|_| {
            let mut idle = Raw::open(server.address());
            let asked = idle.ask("GET", "/health", &[], true);
            assert_eq!(idle.answer(asked).as_deref(), Some(r#"{"status":"ok"}"#));
            idle
        })
        .collect();
    assert_reachable(&server);
    let limits = json!([{ "name": "minute", "requests": 1000, "window_seconds": 60 }]);
    let created = server.create(&json!({ "name": "reachable", "limits": limits }));
    assert_eq!(server.ask_as(&created.key, "GET", "/articles").status, 200);
    // As many keys at once as the pool has connections for, and more.
    let keys: Vec<_> = (0..40).map(|_| server.create(&json!({ "name": "many" })).key).collect();
    std::thread::scope(|scope| {
        for key in &keys {
            scope.spawn(|| assert_eq!(server.ask_as(key, "GET", "/articles").status, 200));
        }
    });

    // The oldest had to leave, and the youngest are there.
    let mut youngest = all.pop().unwrap();
    let asked = youngest.ask("GET", "/health", &[], true);
    assert!(youngest.answer(asked).is_some());
    all.swap_remove(0).wait_for_end();
    let log = server.stderr();
    assert!(log.contains("all 192 connections are taken"), "{log}");
    assert!(!log.contains("open files"), "{log}");
}

#[test]
fn silent_connections_make_way_as_well() {
    let (server, _directory) = narrow("3");
    let silent: [TcpStream; 9] = std::array::from_fn(|_| connect(server.address()));
    assert_reachable(&server);
    drop(silent);
}

/// Of clients whose requests are being answered, none has to make way.
#[test]
fn busy_connections_stay_and_the_next_gets_in_when_one_is_done() {
    let (server, _directory) = narrow("3");
    let key = server.create(&json!({ "name": "busy" })).key;
    // Its handler waits for the body, and has asked for it.
    let begin = || {
        let mut stream = connect(server.address());
        let head = format!(
            "POST /webhook/orders HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\
             Content-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut interim = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
        stream.read_exact(&mut interim).unwrap();
        stream
    };
    let mut busy = [begin(), begin(), begin()];
    let mut next = connect(server.address());
    next.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    for stream in &mut busy {
        stream.write_all(b"{}").unwrap();
        let mut first = [0; b"HTTP/1.1 200".len()];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
    }
    next.read_to_end(&mut answer).unwrap();
    assert_eq!(Reply::parse(&answer).unwrap().status, 200);
}

/// Many times what fits between two sockets, of which nothing is read.
#[test]
fn who_does_not_read_over_http_1_is_cut_off() {
    let (server, _directory) = narrow("1");
    let mut greedy = connect(server.address());
    let request = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    greedy.write_all(&request).unwrap();
    assert_reachable(&server);
    drop(greedy);
}

/// Here the client says that it takes nothing, and the network is free.
#[test]
fn who_does_not_read_over_http_2_is_cut_off() {
    let (server, _directory) = narrow("1");
    for path in ["/health", "/docs/swagger-ui-bundle.js"] {
        for window in [0, 1] {
            let mut greedy = Raw::with_window(server.address(), window);
            greedy.ask("GET", path, &[], true);
            assert_reachable(&server);
            drop(greedy);
        }
    }
}

#[test]
fn half_a_body_is_not_waited_for_on_any_route_or_version() {
    let (server, _directory) = narrow("8");
    let key = server.create(&json!({ "name": "slow" })).key;
    let new = "/admin/api-keys";
    for (path, name, value) in [
        ("/webhook/orders", "x-api-key", &*key),
        (new, "x-admin-key", ADMIN_KEY),
        ("/me/key/revoke", "x-api-key", &*key),
    ] {
        let mut slow = Raw::open(server.address());
        let json = ("content-type", "application/json");
        let asked = slow.ask("POST", path, &[(name, value), json], false);
        slow.body(asked, br#"{"name":"#);
        let answer = slow.answer(asked).unwrap();
        assert!(answer.contains(r#""code":"slow_body""#), "{path}: {answer}");

        let mut slow = connect(server.address());
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\n{name}: {value}\r\n\
             Content-Type: application/json\r\nContent-Length: 12\r\n\r\n{{\"name"
        );
        slow.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _ = slow.read_to_end(&mut answer);
        assert_eq!(Reply::parse(&answer).unwrap().status, 408, "{path}");
    }
    assert_eq!(server.ask_as(&key, "GET", "/articles").status, 200);
}

/// A client that is busy sending reads why it is refused, and no broken connection.
#[test]
fn denied_uploads_are_read_as_denials() {
    let directory = directory();
    let mut command = command_on(&directory.path().join("keys.db"));
    let server = Server::start(&mut command);
    let file = directory.path().join("upload");
    let key = server.create(&json!({ "name": "without scopes" })).key;
    let (good, bad) = (format!("X-API-Key: {key}"), "X-API-Key: wrong".to_owned());
    for size in [0, 1, 16 * 1024, 300 * 1024, 1000 * 1024] {
        std::fs::write(&file, vec![b'x'; size]).unwrap();
        let upload = format!("@{}", file.display());
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            // Half of all clients ask whether to send, and the others do not.
            for expect in ["Expect:", "Expect: 100-continue"] {
                for framing in ["X-Framing: length", "Transfer-Encoding: chunked"] {
                    if version == "--http2-prior-knowledge" && framing.starts_with('T') {
                        continue;
                    }
                    for (method, path, header, status) in [
                        ("POST", "/webhook/orders", &bad, 401),
                        ("PUT", "/articles", &bad, 401),
                        ("POST", "/webhook/inventory", &good, 403),
                        ("POST", "/admin/api-keys", &good, 401),
                        ("POST", "/nowhere", &good, 404),
                        ("PUT", "/articles", &good, 405),
                    ] {
                        let url = server.url(path);
                        let args = [
                            "-X",
                            method,
                            version,
                            "-H",
                            expect,
                            "-H",
                            framing,
                            "-H",
                            header,
                            "--data-binary",
                            &upload,
                            &url,
                        ];
                        let reply = curl(args);
                        assert_eq!(reply.status, status, "{args:?} {size}: {reply:?}");
                        reply.json();
                    }
                }
            }
        }
    }
}

/// Half an upload with a key that has nothing left: the answer comes and the connection closes, while
/// the client still owes what it never sends. How long that takes is measured in
/// [`serving`](crate::serving).
#[test]
fn an_upload_with_a_key_that_is_used_up_is_cut_off() {
    let directory = directory();
    let server = Server::start(&mut command_on(&directory.path().join("keys.db")));
    let key = server.create(&json!({ "name": "used up", "credits": 0 })).key;
    let half = "x".repeat(150 * 1024);
    let mut stream = connect(server.address());
    let request = format!(
        "POST /webhook/orders HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\
         Content-Type: application/json\r\nContent-Length: 300000\r\n\r\n{half}"
    );
    // It may close before it has taken all of this.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let first = answer.get(..b"HTTP/1.1 429".len());
    assert!(first.is_none() || first == Some(b"HTTP/1.1 429"), "{answer:?}");

    // So little that nothing is lost when it closes.
    let mut stream = connect(server.address());
    let request = request.trim_end_matches('x').to_owned() + "x";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let reply = Reply::parse(&answer).unwrap();
    assert_eq!(reply.status, 429, "{reply:?}");
}

/// A connection goes on after a refusal.
#[test]
fn a_refused_upload_ends_no_connection() {
    let directory = directory();
    let server = Server::start(&mut command_on(&directory.path().join("keys.db")));
    let mut stream = connect(server.address());
    for _ in 0..3 {
        let body = "x".repeat(300 * 1024);
        let request = format!(
            "POST /webhook/orders HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut first = [0; b"HTTP/1.1 401".len()];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 401");
        // To the end of its body.
        let mut rest = Vec::new();
        while !rest.ends_with(b"}") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            rest.push(byte[0]);
        }
    }
}
