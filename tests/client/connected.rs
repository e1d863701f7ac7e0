//! Clients that are connected to one server name no origin in their requests.

use bytes::Bytes;
use http::{Method, Request, header::HOST};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_api_key::{ApiKeyLayer, ConfigError, store::FixedStore};

use crate::support::{Answers, KEY, ORIGIN, X_API_KEY, get, get_empty, layer, send, serve};

#[tokio::test]
async fn a_target_without_an_origin_has_the_key_where_it_is_known() {
    let answers = Answers::well();
    let without = layer(&[ORIGIN]);
    let with = layer(&["https://other.example", ORIGIN]).with_default_origin(ORIGIN).unwrap();
    for (target, host, has_key) in [
        ("/orders", None, true),
        ("*", None, true),
        ("/", None, true),
        ("/orders?next=//evil.example", None, true),
        ("/orders//1", None, true),
        // Other parsers read a host in these.
        ("//evil.example/orders", None, false),
        ("//", None, false),
        ("///evil.example", None, false),
        ("/\\evil.example", None, false),
        ("/orders", Some("api.example.com"), true),
        ("/orders", Some("other.example"), false),
        ("/orders", Some("evil.example"), false),
        ("https://other.example/", None, true),
        ("https://evil.example/", None, false),
    ] {
        let mut request = get(target);
        if let Some(host) = host {
            request.headers_mut().insert(HOST, host.parse().unwrap());
        }
        send(&with, &answers, request.clone()).await;
        let has_it = answers.seen_once().headers.contains_key(X_API_KEY);
        assert_eq!(has_it, has_key, "{target} {host:?}");
        send(&without, &answers, request).await;
        assert!(!answers.seen_once().headers.contains_key(X_API_KEY), "{target} {host:?}");
    }
}

/// It asks a proxy for a connection, and goes to the proxy.
#[tokio::test]
async fn a_request_for_a_tunnel_has_no_key() {
    let answers = Answers::well();
    let layer = layer(&[ORIGIN]).with_default_origin(ORIGIN).unwrap();
    for target in ["api.example.com:443", ORIGIN, "https://api.example.com/chat", "/", "*"] {
        let mut request = get(target);
        *request.method_mut() = Method::CONNECT;
        request.headers_mut().insert(X_API_KEY, KEY.parse().unwrap());
        send(&layer, &answers, request).await;
        assert!(answers.seen_once().headers.is_empty(), "{target}");
    }
}

#[test]
fn the_default_origin_is_one_of_those_named() {
    for (origin, error) in [
        ("https://other.example", ConfigError::NotAnOrigin),
        ("http://api.example.com", ConfigError::NotAnOrigin),
        ("https://api.example.com:8443", ConfigError::NotAnOrigin),
        // Not "origin 1", which is a good one.
        ("api.example.com", ConfigError::NotAnOrigin),
        ("bad", ConfigError::NotAnOrigin),
        ("", ConfigError::NotAnOrigin),
    ] {
        assert_eq!(layer(&[ORIGIN]).with_default_origin(origin).unwrap_err(), error, "{origin}");
    }
}

#[tokio::test]
async fn over_a_connection_of_hyper() {
    let answers = Answers::well();
    let origin = serve(answers.clone()).await;
    let authority = origin.strip_prefix("http://").unwrap();
    let stream = TcpStream::connect(authority).await.unwrap();
    let (sender, connection) =
        http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let sender = std::sync::Arc::new(tokio::sync::Mutex::new(sender));
    let client =
        layer(&[&origin]).with_default_origin(&origin).unwrap().layer(service_fn(move |request| {
            let sender = sender.clone();
            async move { sender.lock().await.send_request(request).await }
        }));
    let mut request = get_empty("/orders");
    request.headers_mut().insert(HOST, authority.parse().unwrap());
    assert_eq!(client.oneshot(request).await.unwrap().status(), 200);
    let seen = answers.seen_once();
    assert_eq!((seen.all(&X_API_KEY), &*seen.target), (vec![KEY], "/orders"));
}

#[tokio::test]
async fn over_a_channel_of_tonic() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let keys = FixedStore::new().with_key("client", KEY).unwrap();
    let (_, health) = tonic_health::server::health_reporter();
    tokio::spawn(
        tonic::transport::Server::builder()
            .layer(ApiKeyLayer::new(keys))
            .add_service(health)
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let channel = Channel::from_shared(origin.clone()).unwrap().connect().await.unwrap();
    let check = || HealthCheckRequest { service: String::new() };

    let with = layer(&[&origin]).with_bearer();
    let with = with.with_default_origin(&origin).unwrap();
    let client = ServiceBuilder::new().layer(with).service(channel.clone());
    HealthClient::new(client).check(check()).await.unwrap();

    let without = layer(&[&origin]).with_bearer().layer(channel);
    let refused = HealthClient::new(without).check(check()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

/// Any error of the client is its own.
#[tokio::test]
async fn errors_are_the_clients() {
    let broken = service_fn(async |_: Request<String>| Err::<http::Response<()>, _>("broken"));
    for uri in [ORIGIN, "https://other.example", "/orders"] {
        assert_eq!(layer(&[ORIGIN]).layer(broken).oneshot(get(uri)).await.unwrap_err(), "broken");
    }
}
