//! Clients: of good and ended keys, of random ones, and such that misbehave.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Bytes,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use tower_api_key::{KeyFormat, RejectionKind};

use crate::{End, TIMEOUT, history::Verdict, keys::Keys, random::Random};

/// A connection that is kept.
pub(crate) struct Connection {
    server: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { server, sender }
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> (StatusCode, Bytes) {
        let answer = async {
            if self.sender.ready().await.is_err() {
                *self = Self::to(self.server).await;
            }
            let response = self.sender.send_request(request).await.unwrap();
            let status = response.status();
            (status, response.collect().await.unwrap().to_bytes())
        };
        timeout(TIMEOUT, answer).await.expect("an answer")
    }

    /// What the server decides about a key.
    pub(crate) async fn ask(&mut self, key: &str) -> Verdict {
        let request = Request::get("/articles").header("host", "server").header("x-api-key", key);
        let (status, body) = self.send(request.body(Full::default()).unwrap()).await;
        if status == StatusCode::OK {
            return Verdict::Accepted;
        }
        let problem: Value = serde_json::from_slice(&body).unwrap();
        let kind = RejectionKind::all().find(|kind| problem["code"] == kind.code());
        Verdict::Refused(kind.unwrap_or_else(|| panic!("{status}: {problem}")))
    }
}

/// Asks with keys that there are or were.
pub(crate) async fn asks(server: SocketAddr, keys: Arc<Keys>, end: End, mut random: Random) {
    let mut connection = Connection::to(server).await;
    while !end.has_come() {
        let Some(key) = keys.any(&mut random) else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let began = keys.now();
        let verdict = connection.ask(&key.secret).await;
        keys.answered(&key, began, verdict);
    }
}

/// Asks with keys that never were, each once.
pub(crate) async fn floods(server: SocketAddr, keys: Arc<Keys>, end: End) {
    let mut connection = Connection::to(server).await;
    let format = KeyFormat::new("key").unwrap();
    while !end.has_come() {
        let verdict = connection.ask(format.generate().unwrap().expose()).await;
        keys.answered_unknown(verdict);
    }
}

/// Is slow, or goes away: before, in and after a request.
pub(crate) async fn misbehaves(
    server: SocketAddr,
    number: usize,
    keys: Arc<Keys>,
    end: End,
    mut random: Random,
) {
    while !end.has_come() {
        let Some(key) = keys.any(&mut random) else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let request =
            format!("GET /articles HTTP/1.1\r\nhost: server\r\nx-api-key: {}\r\n\r\n", key.secret);
        let mut stream = TcpStream::connect(server).await.unwrap();
        if number.is_multiple_of(2) {
            // The server hangs up in the middle: no request is as slow as that.
            for byte in request.bytes() {
                let is_over = stream.write_all(&[byte]).await.is_err() || end.has_come();
                let hangs_up = timeout(Duration::from_millis(200), stream.read_u8()).await;
                if is_over || hangs_up.is_ok() {
                    break;
                }
            }
            keys.saw("slow clients");
        } else {
            let sent = random.below(request.len() + 1);
            let _ = stream.write_all(&request.as_bytes()[..sent]).await;
            if random.chance(500) {
                // With a reset in place of an orderly end.
                let _ = stream.set_zero_linger();
            }
            drop(stream);
            keys.saw("clients that went away");
            sleep(Duration::from_millis(5)).await;
        }
    }
}
