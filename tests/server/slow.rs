//! Clients that take their time. The server has other things to do than to wait for them.
//!
//! It gives them a second here. How long that is on a busy machine does not matter: the tests wait
//! until it is over, and everything slow never ends by itself.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::json;

use crate::{
    process::{Reply, Server},
    support::{Ask, assert_problem, command_on, connect, directory},
};

/// A server that is not patient, and its directory.
fn impatient() -> (Server, tempfile::TempDir) {
    let directory = directory();
    let mut command = command_on(&directory.path().join("keys.db"));
    (Server::start(command.env("CLIENT_TIMEOUT", "1")), directory)
}

/// Everything until the server closes the connection, which it must.
fn rest(mut stream: &TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "not cut off: {error}"),
    }
    answer
}

#[test]
fn who_sends_half_a_head_is_cut_off() {
    let (server, _directory) = impatient();
    let halves: [&[u8]; 5] = [
        b"",
        // What every POST begins with, and HTTP/2 as well.
        b"P",
        b"PRI * HTTP/2.0\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nX-Half: ",
        b"GET /health HTTP/1.1\r\nHost: x\r\n",
    ];
    let streams = halves.map(|half| {
        let mut stream = connect(server.address());
        stream.write_all(half).unwrap();
        stream
    });
    assert_eq!(server.ask("GET", "/health", &[]).status, 200, "others are served meanwhile");
    for (stream, half) in streams.iter().zip(halves) {
        let answer = rest(stream);
        let status = Reply::parse(&answer).map(|reply| reply.status);
        assert!(matches!(status, None | Some(408)), "{}: {status:?}", half.escape_ascii());
    }
}

#[test]
fn so_it_is_with_the_second_request_of_a_connection() {
    let (server, _directory) = impatient();
    let mut stream = connect(server.address());
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\n").unwrap();
    let answer = String::from_utf8(rest(&stream)).unwrap();
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
}

#[test]
fn a_byte_now_and_then_does_not_help() {
    let (server, _directory) = impatient();
    let mut stream = connect(server.address());
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Drop: ").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    // A head may have far more bytes than this, which are sent within half a minute.
    let is_cut_off = (0..600).any(|_| {
        let is_gone = stream.write_all(b"x").is_err();
        let is_closed = match stream.read(&mut [0; 1024]) {
            Ok(count) => count == 0,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        is_gone || is_closed
    });
    assert!(is_cut_off);
}

#[test]
fn who_sends_half_a_body_is_told_and_cut_off() {
    let (server, _directory) = impatient();
    let key = server.create(&json!({ "name": "slow" })).key;
    let mut stream = connect(server.address());
    let head = format!(
        "POST /webhook/orders HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\
         Content-Type: application/json\r\nContent-Length: 12\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(b"{\"order").unwrap();
    assert_problem(&Reply::parse(&rest(&stream)).unwrap(), 408, "slow_body");
}
