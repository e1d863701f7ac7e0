//! HTTP/2 by hand: clients that do what no library lets them.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
};

use crate::support::connect;

const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
const GO_AWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A connection to the server.
pub(crate) struct Raw {
    stream: TcpStream,
    next_id: u32,
}

impl Raw {
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self::with_settings(address, &[])
    }

    /// With windows of this size for answers.
    pub(crate) fn with_window(address: SocketAddr, size: u32) -> Self {
        const INITIAL_WINDOW_SIZE: u16 = 4;
        let setting = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &size.to_be_bytes()].concat();
        Self::with_settings(address, &setting)
    }

    fn with_settings(address: SocketAddr, settings: &[u8]) -> Self {
        let mut raw = Self { stream: connect(address), next_id: 1 };
        raw.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        raw.send(SETTINGS, 0, 0, settings);
        raw.send(SETTINGS, ACK, 0, &[]);
        raw
    }

    fn send(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) {
        self.try_send(kind, flags, id, payload).unwrap();
    }

    /// An error means that the server has closed the connection.
    pub(crate) fn try_send(
        &mut self,
        kind: u8,
        flags: u8,
        id: u32,
        payload: &[u8],
    ) -> io::Result<()> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &id.to_be_bytes()].concat();
        self.stream.write_all(&[&head, payload].concat())
    }

    /// The head of a request. Returns its stream.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        ends: bool,
    ) -> u32 {
        let id = self.next_id();
        let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
        self.send(HEADERS, flags, id, &head(method, path, headers));
        id
    }

    /// The number of the next stream.
    pub(crate) fn next_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id += 2;
        id
    }

    pub(crate) fn body(&mut self, id: u32, part: &[u8]) {
        self.send(DATA, 0, id, part);
    }

    /// What is answered on a stream, without its headers; pings are answered meanwhile. `None` if
    /// the connection ends before.
    pub(crate) fn answer(&mut self, wanted: u32) -> Option<String> {
        let mut answer = Vec::new();
        loop {
            let (kind, flags, id, payload) = self.frame()?;
            match kind {
                PING if flags & ACK == 0 => self.send(PING, ACK, 0, &payload),
                DATA if id == wanted => answer.extend(payload),
                GO_AWAY if wanted == 0 => return Some(String::new()),
                _ => {}
            }
            if matches!(kind, DATA | HEADERS) && id == wanted && flags & END_STREAM != 0 {
                return Some(String::from_utf8(answer).unwrap());
            }
        }
    }

    /// Waits until the server says that it ends the connection, or ends it.
    pub(crate) fn wait_for_end(mut self) {
        let _ = self.answer(0);
    }

    fn frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.stream.read_exact(&mut payload).ok()?;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        Some((head[3], head[4], id, payload))
    }
}

/// The header block of a request (RFC 7541, without Huffman codes or a table).
pub(crate) fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "http"), (":authority", "x"), (":path", path)];
    let mut block = Vec::new();
    for (name, value) in pseudo.iter().chain(headers) {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}
