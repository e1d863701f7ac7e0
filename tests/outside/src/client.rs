//! Keys, requests, and what each composition answers.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderName, Method, Request, Response, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tower_api_key::{
    ApiKeyLayer, AuthenticatedKey, KeyManager, NewKey, Scopes, store::MemoryStore,
};

use crate::layers::{MARK, STOP};

pub(crate) const KEY: HeaderName = HeaderName::from_static("x-api-key");

/// A layer, and two of the keys that it knows.
pub(crate) struct Keys {
    pub(crate) layer: ApiKeyLayer,
    /// With the scope that the inner layer asks for.
    pub(crate) good: String,
    pub(crate) without_scope: String,
}

impl Keys {
    pub(crate) async fn new() -> Self {
        let manager = KeyManager::new(MemoryStore::new());
        let scopes = Scopes::parse(["read"]).unwrap();
        let new = NewKey { scopes, ..NewKey::named("Ada") };
        let good = manager.create(new).await.unwrap();
        let other = manager.create(NewKey::named("Eve")).await.unwrap();
        Self {
            layer: manager.layer(),
            good: good.secret.expose().to_owned(),
            without_scope: other.secret.expose().to_owned(),
        }
    }
}

/// What a handler answers to this request.
pub(crate) fn greeting<B>(request: &Request<B>) -> String {
    let key = request.extensions().get::<AuthenticatedKey>().expect("an identity");
    format!("Hello, {}.", key.name())
}

/// One request over a connection of its own, as HTTP/2, which all servers here speak.
pub(crate) async fn send(
    server: SocketAddr,
    method: Method,
    headers: &[(HeaderName, &str)],
) -> Response<Bytes> {
    let stream = TcpStream::connect(server).await.unwrap();
    let executor = TokioExecutor::new();
    let (mut sender, connection) = http2::handshake(executor, TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(format!("http://{server}/"));
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

pub(crate) async fn get(server: SocketAddr, headers: &[(HeaderName, &str)]) -> Response<Bytes> {
    send(server, Method::GET, headers).await
}

/// A request with the good key reaches the handler, and its answer the client.
pub(crate) async fn assert_handler_answers(server: SocketAddr, keys: &Keys) {
    let response = get(server, &[(KEY, &keys.good)]).await;
    assert_eq!((response.status().as_u16(), &response.body()[..]), (200, &b"Hello, Ada."[..]));
}

/// The response is this denial, with this crate's body.
pub(crate) fn assert_denied(response: &Response<Bytes>, status: u16, code: &str) {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    let body = str::from_utf8(response.body()).unwrap();
    assert!(body.contains(&format!(r#""code":"{code}""#)), "{body}");
    let length = response.headers().get(header::CONTENT_LENGTH);
    assert!(length.is_none_or(|length| length == body.len().to_string().as_str()), "{length:?}");
}

/// What every `stack!` answers without reaching the handler.
pub(crate) async fn assert_stack_denies(server: SocketAddr, keys: &Keys) {
    let missing = get(server, &[]).await;
    assert_denied(&missing, 401, "missing_key");
    assert_eq!(missing.headers().get_all(MARK).iter().count(), 1, "by the layers outside alone");

    let unknown = get(server, &[(KEY, "a key that there is not")]).await;
    assert_denied(&unknown, 401, "malformed_key");

    // From within all of them, though the layers between compress what it is made of.
    let forbidden = get(server, &[(KEY, &keys.without_scope)]).await;
    assert_denied(&forbidden, 403, "insufficient_scope");
    assert_eq!(forbidden.headers().get_all(MARK).iter().count(), 2, "by those inside as well");

    let gzip = get(server, &[(header::ACCEPT_ENCODING, "gzip")]).await;
    assert_eq!(
        (gzip.status().as_u16(), &gzip.headers()["content-encoding"]),
        (401, &"gzip".parse().unwrap())
    );
    assert_eq!(gzip.body()[..2], [0x1f, 0x8b], "the mark of gzip");
    assert_ne!(gzip.body().len(), missing.body().len());

    // The layers outside answer themselves, with a body that they made.
    let preflight =
        [(header::ORIGIN, "https://example.com"), (header::ACCESS_CONTROL_REQUEST_METHOD, "GET")];
    for (status, method, headers) in [
        (200, Method::OPTIONS, &preflight[..]),
        (406, Method::GET, &[(header::ACCEPT, "image/png")]),
        (418, Method::GET, &[(STOP, "")]),
    ] {
        let response = send(server, method, headers).await;
        assert_eq!((response.status().as_u16(), response.body().len()), (status, 0));
    }
}
