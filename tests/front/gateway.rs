//! The example `gateway`, with a service behind it that sends back what it is sent.

use std::{convert::Infallible, net::SocketAddr, process::Command};

use axum::{
    Router,
    body::Body,
    extract::{Request, WebSocketUpgrade, ws::Message},
    http::{HeaderMap, Response, Version},
    routing::any,
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest};

use crate::process::{Server, curl, example};

struct Gateway {
    server: Server,
    key: String,
}

async fn echo(request: Request) -> Response<Body> {
    Response::new(request.into_body())
}

/// A line for each header.
async fn told(headers: HeaderMap) -> String {
    let line = |(name, value)| format!("{name}: {value:?}\n");
    headers.iter().map(line).collect()
}

async fn chat(upgrade: WebSocketUpgrade, headers: HeaderMap) -> Response<Body> {
    upgrade.on_upgrade(async move |mut socket| {
        let id = headers["x-api-key-id"].to_str().unwrap().to_owned();
        socket.send(Message::Text(id.into())).await.unwrap();
        while let Some(Ok(message)) = socket.recv().await {
            if matches!(message, Message::Text(_) | Message::Binary(_)) {
                socket.send(message).await.unwrap();
            }
        }
    })
}

async fn gateway() -> Gateway {
    let router = Router::new()
        .route("/echo", any(echo))
        .route("/headers", any(told))
        .route("/chat", any(chat));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    behind(upstream).await
}

async fn behind(upstream: SocketAddr) -> Gateway {
    let started = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(example("gateway"));
        command.env("ADDR", "127.0.0.1:0").env("UPSTREAM", upstream.to_string());
        let server = Server::start(&mut command);
        let key = server.stdout().split('\'').nth(1).unwrap().to_owned();
        Gateway { server, key }
    });
    started.await.unwrap()
}

/// A byte of a body that no shift or loss leaves the same.
fn byte(at: u64) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)).to_le_bytes()[0]
}

const CHUNK: u64 = 64 * 1024;

fn chunks(length: u64) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> {
    stream::iter((0..length.div_ceil(CHUNK)).map(move |chunk| {
        let (from, to) = (chunk * CHUNK, length.min((chunk + 1) * CHUNK));
        Ok(Frame::data((from..to).map(byte).collect()))
    }))
}

/// The most memory that the process has ever had, in KiB.
fn peak_memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Sends so many bytes there and back, over HTTP/1.1 or HTTP/2.
async fn send(gateway: &Gateway, length: u64, version: Version) {
    let is_http2 = version == Version::HTTP_2;
    let client: Client<HttpConnector, _> =
        Client::builder(TokioExecutor::new()).http2_only(is_http2).build_http();
    let (_, key) = gateway.key.split_once(": ").unwrap();
    let request = hyper::Request::post(gateway.server.url("/echo"))
        .version(version)
        .header("x-api-key", key)
        .body(StreamBody::new(chunks(length)))
        .unwrap();
    let response = client.request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let (mut body, mut at) = (response.into_body(), 0);
    while let Some(frame) = body.frame().await {
        for found in frame.unwrap().into_data().unwrap() {
            assert_eq!(found, byte(at), "at {at} of {length}");
            at += 1;
        }
    }
    assert_eq!(at, length, "{version:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_pass_byte_by_byte_and_none_is_kept_in_memory() {
    const MIB: u64 = 1024 * 1024;
    let gateway = gateway().await;
    for version in [Version::HTTP_11, Version::HTTP_2] {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, MIB, 10 * MIB] {
            send(&gateway, length, version).await;
        }
    }
    let before = peak_memory(gateway.server.id());
    for version in [Version::HTTP_11, Version::HTTP_2] {
        send(&gateway, 100 * MIB, version).await;
    }
    // The system counts in parts, which it adds up later.
    let grown = peak_memory(gateway.server.id()).saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more for 100 MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_passes_with_the_identity_of_its_key() {
    let gateway = gateway().await;
    let url = gateway.server.url("/chat").replace("http:", "ws:");
    let denied = tokio_tungstenite::connect_async(&url).await.unwrap_err();
    let tungstenite::Error::Http(denied) = denied else { panic!("{denied}") };
    assert_eq!(denied.status(), 401);

    let mut request = url.into_client_request().unwrap();
    let (_, key) = gateway.key.split_once(": ").unwrap();
    request.headers_mut().insert("x-api-key", key.parse().unwrap());
    request.headers_mut().insert("x_api_key_id", "forged".parse().unwrap());
    let (mut socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(response.status(), 101);
    let id = socket.next().await.unwrap().unwrap();
    assert_eq!(id.to_text().unwrap().len(), 36, "{id}");
    for message in ["hello".into(), "x".repeat(100_000)] {
        socket.send(message.clone().into()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap().to_text().unwrap(), message);
    }
    socket.close(None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_behind_sees_the_identity_and_nothing_of_the_connection() {
    let gateway = gateway().await;
    let told = tokio::task::spawn_blocking(move || {
        let url = gateway.server.url("/headers");
        assert_eq!(curl([&*url]).status, 401);
        let sent = [
            &*gateway.key,
            "Connection: close, X-Api-Key-Id, X-Mine",
            "X-Mine: of the connection",
            "Keep-Alive: timeout=9",
            "TE: trailers",
            "Proxy-Authorization: Basic forged",
            "X-Api-Key-Id: forged",
            "X_Api_Key_Owner: forged",
            "X-Forwarded-For: 192.0.2.1",
            "Referer: https://forged.example/",
        ];
        let headers = sent.iter().flat_map(|header| ["-H", header]);
        let reply = curl([&*url].into_iter().chain(headers));
        assert_eq!(reply.status, 200, "{reply:?}");
        (reply.body, gateway.key)
    });
    let (told, key) = told.await.unwrap();
    let (_, secret) = key.split_once(": ").unwrap();
    for absent in ["forged", "of the connection", "keep-alive", "te:", "192.0.2.1", secret] {
        assert!(!told.contains(absent), "{absent}: {told}");
    }
    let names: Vec<_> = told.lines().filter_map(|line| line.split(':').next()).collect();
    for name in ["x-api-key-id", "x-api-key-owner", "x-api-key-scopes", "x-forwarded-for"] {
        assert_eq!(names.iter().filter(|other| **other == name).count(), 1, "{name}: {told}");
    }
    assert!(told.contains("x-forwarded-for: \"127.0.0.1\""), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_does_not_answer_is_a_bad_gateway() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nothing = listener.local_addr().unwrap();
    drop(listener);
    let gateway = behind(nothing).await;
    let status = tokio::task::spawn_blocking(move || {
        curl([&*gateway.server.url("/"), "-H", &gateway.key]).status
    });
    assert_eq!(status.await.unwrap(), 502);
}
