//! `examples/streams.rs`: a stream of events ends, and says why, when its key is revoked. A WebSocket ends, too,
//! whatever its client does.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::Duration,
};

use crate::{example, key_in, paste, printed, process::Server};

/// For a test that fails, so that it ends.
const FAR_TOO_LONG: Duration = Duration::from_mins(1);

#[test]
fn a_stream_ends_with_its_key() {
    let server = Server::start(&mut example("streams"));
    let (events, revoke) = (printed(&server, "/events"), printed(&server, "/revoke"));
    let mut shell = Command::new("sh");
    // It ends by itself: the limit is for a stream that does not.
    shell.args(["-c", &format!("exec {} -sS --max-time 60", events.trim())]).env("NO_PROXY", "*");
    let mut curl = shell.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(curl.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "data: tick"));
    assert_eq!(paste(&revoke).trim_end(), "Its streams end now.");
    let rest: Vec<_> = lines.filter(|line| line != "data: tick" && !line.is_empty()).collect();
    assert_eq!(rest, ["event: end", "data: revoked_key"]);
    assert!(curl.wait().unwrap().success());
    assert!(paste(&events).contains("revoked_key"), "its next request is refused");
}

/// A WebSocket that is open.
fn open(server: &Server, key: &str) -> TcpStream {
    let mut socket = TcpStream::connect(server.address()).unwrap();
    let head = format!(
        "GET /socket HTTP/1.1\r\nhost: {}\r\nx-api-key: {key}\r\nconnection: upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        server.address(),
    );
    socket.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    socket
}

/// A binary message of 60,000 bytes, masked with zeros.
fn message() -> Vec<u8> {
    let mut frame = vec![0x82, 0xfe];
    frame.extend(60_000_u16.to_be_bytes());
    frame.resize(frame.len() + 4 + 60_000, 0);
    frame
}

/// Its echoes fill all that there is between the two, and the server waits for the client to read.
#[test]
fn a_socket_whose_client_does_not_read_ends_with_its_key() {
    let server = Server::start(&mut example("streams"));
    let revoke = printed(&server, "/revoke");
    let mut socket = open(&server, key_in(&revoke));
    socket.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let message = message();
    let blocked = loop {
        if let Err(error) = socket.write_all(&message) {
            break error.kind();
        }
    };
    assert!([ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&blocked), "{blocked}");
    assert_eq!(paste(&revoke).trim_end(), "Its streams end now.");
    // The server has closed its half with much of this unread, which is an error here.
    socket.set_write_timeout(Some(FAR_TOO_LONG)).unwrap();
    let closed = loop {
        if let Err(error) = socket.write_all(&message) {
            break error.kind();
        }
    };
    assert!([ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&closed), "{closed}");
}

/// One that sends without a pause does not outlive it either, and is told why.
#[test]
fn a_socket_whose_client_goes_on_sending_ends_with_its_key() {
    let server = Server::start(&mut example("streams"));
    let revoke = printed(&server, "/revoke");
    let mut socket = open(&server, key_in(&revoke));
    let mut sending = socket.try_clone().unwrap();
    // An empty message, masked with zeros.
    let sender =
        std::thread::spawn(move || while sending.write_all(&[0x82, 0x80, 0, 0, 0, 0]).is_ok() {});
    assert_eq!(paste(&revoke).trim_end(), "Its streams end now.");
    socket.set_read_timeout(Some(FAR_TOO_LONG)).unwrap();
    let mut seen = Vec::new();
    if let Err(error) = socket.read_to_end(&mut seen) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    sender.join().unwrap();
}
