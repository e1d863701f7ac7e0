//! Peers and clients that mean harm.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
};

use crate::{
    guide,
    process::{Reply, Server},
    started::{Place, ask, check, code, send},
    web_server::TIMEOUT,
};

#[test]
fn a_peer_that_is_not_configured_learns_nothing() {
    let place = Place::on_sqlite();
    let key = place.key(&["--scope", "orders:read"]);
    place.configure(&guide::block("toml").replace("\"127.0.0.1\"", "\"192.0.2.0/24\""));
    let sidecar = place.start();
    let good = format!("X-API-Key: {key}");
    for headers in [&[&*good][..], &[], &[&good, "X-Forwarded-For: 192.0.2.1"]] {
        let reply = check(sidecar.address(), "/orders/7", headers);
        assert_eq!((reply.status, &*code(&reply)), (403, "forward_auth_refused"), "{reply:?}");
        assert_eq!(reply.header("x-api-key-id"), Some(""), "{reply:?}");
    }
}

#[test]
fn other_paths_and_methods_are_problems() {
    let place = Place::on_sqlite();
    let sidecar = place.start();
    let to = sidecar.address();
    for path in ["/", "/auth/", "/auth/x", "//auth", "/AUTH", "/admin/api-keys", "/health/x"] {
        let reply = ask(to, &format!("GET {path} HTTP/1.1"), &[]);
        assert_eq!((reply.status, &*code(&reply)), (404, "not_found"), "{path}");
    }
    for path in ["/health", "/ready", "/metrics"] {
        let reply = ask(to, &format!("POST {path} HTTP/1.1"), &["Content-Length: 0"]);
        assert_eq!((reply.status, &*code(&reply)), (405, "method_not_allowed"), "{path}");
        assert_eq!(reply.header("allow"), Some("GET,HEAD"), "{path}");
        assert_eq!(ask(to, &format!("GET {path}?x=y HTTP/1.1"), &[]).status, 200, "{path}");
    }
    // Nothing is rendered as gRPC, with which a denial would be 200.
    let grpc = ["Content-Type: application/grpc", "TE: trailers", "Content-Length: 0"];
    for (path, status) in [("/auth", 403), ("/x", 404), ("/metrics", 405)] {
        let reply = ask(to, &format!("POST {path} HTTP/1.1"), &grpc);
        assert_eq!(reply.status, status, "{path}: {reply:?}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{path}");
    }
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let place = Place::on_sqlite();
    let key = place.key(&["--scope", "orders:read"]);
    let sidecar = place.start();
    let to = sidecar.address();
    let long = format!("GET /auth HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "a".repeat(2 << 20));
    let many: Vec<_> = (0..2_000).map(|number| format!("X-{number}: 1")).collect();
    let many = format!("GET /auth HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n", many.join("\r\n"));
    for text in [long, many] {
        let reply = Reply::parse(&send(to, text.as_bytes()));
        // Where the rest is still on its way, the connection may be reset.
        assert!(reply.is_none_or(|reply| matches!(reply.status, 400 | 431)));
    }
    assert_eq!(check(to, "/orders/7", &[&format!("X-API-Key: {key}")]).status, 200);
}

#[test]
fn a_connection_that_sends_nothing_is_cut_off() {
    let place = Place::on_sqlite();
    place.add("client_timeout = \"1s\"");
    let sidecar = place.start();
    let halves: [&[u8]; 4] = [b"", b"P", b"PRI * HTTP/2.0\r\n", b"GET /auth HTTP/1.1\r\nX-Half: "];
    let streams = halves.map(|half| {
        let mut stream = TcpStream::connect(sidecar.address()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(half).unwrap();
        stream
    });
    assert_eq!(ask(sidecar.address(), "GET /health HTTP/1.1", &[]).status, 200);
    for (mut stream, half) in streams.iter().zip(halves) {
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{}", half.escape_ascii());
        }
    }
}

/// The log has no key, however much it is asked to say.
#[test]
fn no_key_is_in_the_log() {
    let place = Place::on_sqlite();
    let key = place.key(&["--scope", "orders:read"]);
    let sidecar = Server::start(
        place
            .serve()
            .env("RUST_LOG", "trace")
            .env("ADMIN_API_KEY", "an-administrators-key-0123456789"),
    );
    let to = sidecar.address();
    let good = format!("X-API-Key: {key}");
    assert_eq!(check(to, "/orders/7", &[&good]).status, 200);
    check(to, &format!("/orders/7?api_key={key}"), &[&good]);
    check(to, "/admin", &[&format!("Authorization: Bearer {key}")]);
    ask(to, "GET /metrics HTTP/1.1", &["X-Admin-Key: an-administrators-key-0123456789"]);
    sidecar.signal("TERM");
    let finished = sidecar.wait();
    assert!(finished.stderr.contains("TRACE"), "{finished:?}");
    assert!(!finished.stderr.contains(&key), "{}", finished.stderr);
    assert!(!finished.stderr.contains("an-administrators-key"), "{}", finished.stderr);
}

#[test]
fn a_span_of_a_decision_is_in_the_log_where_it_is_asked_for() {
    let place = Place::on_sqlite();
    let key = format!("X-API-Key: {}", place.key(&["--scope", "orders:read"]));
    for (asked_for, is_there) in
        [("info,tower_api_key::decision=trace", true), ("trace", true), ("info", false)]
    {
        let sidecar = Server::start(place.serve().env("RUST_LOG", asked_for));
        assert_eq!(check(sidecar.address(), "/orders/7", &[&key]).status, 200);
        sidecar.signal("TERM");
        let log = sidecar.wait().stderr;
        let mut spans = log.lines().filter(|line| line.contains("time.busy"));
        let told = spans.next().is_some_and(|line| line.contains("outcome=\"accepted\""));
        assert_eq!(told, is_there, "{asked_for}: {log}");
        assert_eq!(spans.next(), None, "{asked_for}: another span");
    }
}
