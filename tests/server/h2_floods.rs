//! HTTP/2 frames that cost a client next to nothing: the server's memory stays bounded, it closes such
//! connections, and other clients are served meanwhile.

use std::{fs, io, process::Command};

use tempfile::TempDir;

use crate::{
    h2::{CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, Raw, SETTINGS, head},
    process::Server,
    support::{Ask, command_on, directory, unknown_key},
};

/// What the server may keep of a flood, in KiB. In a debug build each request that is under way takes
/// some 50.
const MOST: u64 = 48 * 1024;

/// A frame of the largest size that a peer must take.
const FRAME: usize = 16 * 1024;

struct Flooded {
    server: Server,
    key: String,
    /// Of the process before the flood, in KiB.
    memory: u64,
    _directory: TempDir,
}

impl Flooded {
    fn new() -> Self {
        let directory = directory();
        let mut command: Command = command_on(&directory.path().join("keys.db"));
        let server = Server::start(command.env("CLIENT_TIMEOUT", "2"));
        let key = server.create(&serde_json::json!({ "name": "known" })).key;
        let this = Self { server, key, memory: 0, _directory: directory };
        // What is made once is made now.
        for _ in 0..20 {
            this.serves_a_known_key();
        }
        let memory = this.resident();
        Self { memory, ..this }
    }

    #[track_caller]
    fn serves_a_known_key(&self) {
        let header = format!("X-API-Key: {}", self.key);
        let reply = self.server.ask("GET", "/articles", &["-H", &header]);
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    /// The memory of the process, in KiB.
    fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.server.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim_end_matches("kB").trim().parse().unwrap()
    }

    /// Floods over a few connections, one after the other.
    fn by(&self, flood: impl Fn(&mut Raw) -> io::Result<()>) {
        for _ in 0..4 {
            let mut raw = Raw::open(self.server.address());
            let flooded = flood(&mut raw);
            self.serves_a_known_key();
            let grown = self.resident().saturating_sub(self.memory);
            assert!(grown < MOST, "{grown} KiB more, after {flooded:?}");
        }
        self.serves_a_known_key();
    }
}

/// The reason that a client gives for a reset (RFC 9113 §7).
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// CVE-2023-44487: requests that are given up as soon as they are made.
#[test]
fn of_requests_that_are_given_up_at_once() {
    let flooded = Flooded::new();
    flooded.by(|raw| {
        for _ in 0..10_000 {
            let id = raw.next_id();
            let block = head("GET", "/articles", &[("x-api-key", &unknown_key())]);
            raw.try_send(HEADERS, END_HEADERS | END_STREAM, id, &block)?;
            raw.try_send(RST_STREAM, 0, id, &CANCEL)?;
        }
        Ok(())
    });
}

/// CVE-2024-27316 and its kin: a head that never ends.
#[test]
fn of_heads_without_an_end() {
    let flooded = Flooded::new();
    flooded.by(|raw| {
        let id = raw.next_id();
        let mut block = head("GET", "/articles", &[]);
        while block.len() < FRAME - 128 {
            block.extend_from_slice(&[0, 1, b'x', 100]);
            block.extend_from_slice(&[b'v'; 100]);
        }
        raw.try_send(HEADERS, END_STREAM, id, &block)?;
        let part = &block[head("GET", "/articles", &[]).len()..];
        // 160 MB, if the server took them.
        let ended = (0..10_000).try_for_each(|_| raw.try_send(CONTINUATION, 0, id, part));
        assert!(ended.is_err(), "the server took a head of 160 MB");
        Ok(())
    });
}

/// The same with empty frames, of which a limit of bytes knows nothing.
#[test]
fn of_heads_with_empty_parts() {
    let flooded = Flooded::new();
    flooded.by(|raw| {
        let id = raw.next_id();
        raw.try_send(HEADERS, END_STREAM, id, &head("GET", "/articles", &[]))?;
        (0..500_000).try_for_each(|_| raw.try_send(CONTINUATION, 0, id, &[]))
    });
}

/// CVE-2019-9512 and -9515: each is answered, and the client does not read the answers.
#[test]
fn of_questions_whose_answers_are_not_read() {
    let flooded = Flooded::new();
    flooded.by(|raw| (0..300_000).try_for_each(|_| raw.try_send(PING, 0, 0, &[7; 8])));
    flooded.by(|raw| (0..300_000).try_for_each(|_| raw.try_send(SETTINGS, 0, 0, &[])));
}

/// More requests at a time than the server admits.
#[test]
fn of_requests_at_once() {
    let flooded = Flooded::new();
    flooded.by(|raw| {
        let block = head("POST", "/webhook/orders", &[("x-api-key", &flooded.key)]);
        // Without their bodies, so that they wait.
        (0..20_000).try_for_each(|_| {
            let id = raw.next_id();
            raw.try_send(HEADERS, END_HEADERS, id, &block)
        })
    });
}
