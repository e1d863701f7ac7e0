//! White space around a key means the same over HTTP/1, HTTP/2 and gRPC: nothing.

use std::net::SocketAddr;

use axum::routing::get;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Code, metadata::MetadataValue, transport::Channel};
use tower_api_key::{ApiKeyLayer, AuthenticatedKey, store::FixedStore};

use crate::{
    grpcio::{Call, outcomes},
    serve::{
        Asks, KEY,
        greeter::{GreetRequest, greeter_client::GreeterClient},
        record, serve, service,
    },
};

/// One service for all protocols.
async fn server() -> SocketAddr {
    let store = FixedStore::new().with_record(record(|_| {})).unwrap();
    let name = get(async |key: AuthenticatedKey| key.name().to_owned());
    serve(service(Asks::Key).route("/name", name).layer(ApiKeyLayer::new(store))).await
}

/// The answer to a request by hand, or the code of its denial.
async fn over_http1(server: SocketAddr, name: &str, value: &str) -> String {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let head =
        format!("GET /name HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{name}:{value}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    outcome(body)
}

/// Of frames that hold the value as it is.
async fn over_http2(server: SocketAddr, name: &str, value: &str) -> String {
    let stream = TokioIo::new(TcpStream::connect(server).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(format!("http://{server}/name"));
    let request = request.header(name, value).body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    outcome(std::str::from_utf8(&body).unwrap())
}

fn outcome(body: &str) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_str(body).ok();
    problem.map_or(body.to_owned(), |problem| problem["code"].as_str().unwrap().to_owned())
}

/// Of a client of tonic's.
async fn over_grpc(server: SocketAddr, name: &'static str, value: &str) -> String {
    let channel =
        Channel::from_shared(format!("http://{server}")).unwrap().connect().await.unwrap();
    let mut request = tonic::Request::new(GreetRequest {});
    request.metadata_mut().insert(name, MetadataValue::try_from(value).unwrap());
    match GreeterClient::new(channel).greet(request).await {
        Ok(greeting) => greeting.into_inner().text,
        Err(status) => {
            assert_eq!(status.code(), Code::Unauthenticated);
            status.message().split(':').next().unwrap().to_owned()
        }
    }
}

/// Each header, and what comes of it.
fn headers() -> Vec<(&'static str, String, &'static str)> {
    let mut headers = Vec::new();
    for (before, after) in [("", ""), (" ", ""), ("", " "), ("   ", "   ")] {
        headers.push(("x-api-key", format!("{before}{KEY}{after}"), "first"));
        headers.push(("authorization", format!("{before}Bearer {KEY}{after}"), "first"));
        headers.push(("authorization", format!("{before}Bearer   {KEY}{after}"), "first"));
        // Within a key it is no white space around it.
        let inside = KEY.replacen('-', " ", 1);
        headers.push(("x-api-key", format!("{before}{inside}{after}"), "malformed_key"));
    }
    headers
}

#[tokio::test(flavor = "multi_thread")]
async fn white_space_around_a_key_means_the_same_over_every_protocol() {
    let server = server().await;
    for (name, value, expected) in headers() {
        assert_eq!(over_http1(server, name, &value).await, expected, "{value:?}");
        assert_eq!(over_http2(server, name, &value).await, expected, "{value:?}");
        assert_eq!(over_grpc(server, name, &value).await, expected, "{value:?}");
    }
    // gRPC has no tabs in metadata.
    let tabs = format!("\t{KEY}\t");
    assert_eq!(over_http1(server, "x-api-key", &tabs).await, "first");
    assert_eq!(over_http2(server, "x-api-key", &tabs).await, "first");
}

#[tokio::test(flavor = "multi_thread")]
async fn and_for_grpcio() {
    let server = server().await;
    let headers = headers();
    let calls: Vec<_> =
        headers.iter().map(|(name, value, _)| Call::new(server).with(name, value)).collect();
    let Some(outcomes) = outcomes(&calls).await else { return };
    for ((_, value, expected), outcome) in headers.iter().zip(&outcomes) {
        let said = outcome.texts.first().cloned();
        let said = said.unwrap_or_else(|| outcome.message.split(':').next().unwrap().to_owned());
        assert_eq!(said, *expected, "{value:?}");
    }
}
