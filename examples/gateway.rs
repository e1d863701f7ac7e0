//! A gateway: a reverse proxy that knows keys, in front of a service in any language. Bodies are streamed
//! both ways, and `WebSocket`s pass.
//!
//! ```sh
//! UPSTREAM=127.0.0.1:8080 cargo run --example gateway
//! ```
//!
//! The service reads whose key a request came with in `X-Api-Key-Id`, `-Owner` and `-Scopes`. It must be
//! reachable through the gateway alone.

#![expect(clippy::print_stdout, reason = "it prints commands to try")]
#![expect(clippy::print_stderr, reason = "its log")]

use std::{convert::Infallible, env, error::Error, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header,
    uri::{Authority, Scheme},
};
use http_body_util::{Either, Empty};
use hyper::{body::Incoming, upgrade};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{io::copy_bidirectional, net::TcpListener};
use tower::{ServiceBuilder, service_fn};
use tower_api_key::{
    AuthenticatedKey, KeyManager, NewKey, identity::IdentityLayer, store::MemoryStore,
};

type Body = Either<Incoming, Empty<Bytes>>;

/// Headers of one connection, which go no further (RFC 9110 §7.6.1).
const OF_THE_CONNECTION: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Headers of proxies, which a client may have written.
const OF_OTHER_PROXIES: [HeaderName; 6] = [
    header::FORWARDED,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-real-ip"),
];

/// The service behind.
#[derive(Clone)]
struct Upstream {
    client: Client<HttpConnector, Incoming>,
    authority: Authority,
}

impl Upstream {
    async fn forward(self, peer: SocketAddr, request: Request<Incoming>) -> Response<Body> {
        match self.try_forward(peer, request).await {
            Ok(response) => response,
            Err(error) => {
                eprintln!("upstream: {error}");
                let mut response = Response::new(Either::Right(Empty::new()));
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                response
            }
        }
    }

    async fn try_forward(
        &self,
        peer: SocketAddr,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Box<dyn Error + Send + Sync>> {
        let client_side = upgrade::on(&mut request);
        let end = request.extensions().get::<AuthenticatedKey>().map(AuthenticatedKey::revoked);
        let protocol = only_this_connection(request.headers_mut());
        let is_upgrade = protocol.is_some();
        switch_to(protocol, request.headers_mut());
        // Over HTTP/2, the host is in the target alone.
        if let Some(authority) =
            request.uri().authority().filter(|_| request.version() >= Version::HTTP_2)
        {
            let host = HeaderValue::try_from(authority.as_str())?;
            request.headers_mut().insert(header::HOST, host);
        }
        let address = HeaderValue::try_from(peer.ip().to_canonical().to_string())?;
        for name in OF_OTHER_PROXIES {
            request.headers_mut().remove(name);
        }
        request.headers_mut().insert(X_FORWARDED_FOR, address);
        let mut target = request.uri().clone().into_parts();
        target.scheme = Some(Scheme::HTTP);
        target.authority = Some(self.authority.clone());
        *request.uri_mut() = Uri::from_parts(target)?;
        *request.version_mut() = Version::HTTP_11;

        let mut response = self.client.request(request).await?;
        let is_switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if is_switched && !is_upgrade {
            return Err("it switches protocols unasked".into());
        }
        let upstream_side = upgrade::on(&mut response);
        let protocol = only_this_connection(response.headers_mut());
        if is_switched {
            switch_to(protocol, response.headers_mut());
            tokio::spawn(async move {
                let (Ok(client), Ok(upstream)) = tokio::join!(client_side, upstream_side) else {
                    return;
                };
                let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
                let copy = copy_bidirectional(&mut client, &mut upstream);
                // Either side may end the connection as it likes, and it ends with the key.
                match end {
                    Some(end) => tokio::select! { _ = copy => {} _ = end => {} },
                    None => drop(copy.await),
                }
            });
        }
        Ok(response.map(Either::Left))
    }
}

/// Takes out the headers of the connection, with those that `Connection` names, and returns the protocol
/// that it is to be switched to.
fn only_this_connection(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let mut options = Vec::new();
    for line in headers.get_all(header::CONNECTION) {
        let line = String::from_utf8_lossy(line.as_bytes());
        options.extend(line.split(',').map(|option| option.trim().to_ascii_lowercase()));
    }
    let is_upgrade = options.iter().any(|option| option == "upgrade");
    // A service that switched to HTTP/2 would take further requests from the client, past the layer.
    let is_websocket =
        |protocol: &&HeaderValue| protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
    let protocol =
        headers.get(header::UPGRADE).filter(|_| is_upgrade).filter(is_websocket).cloned();
    for option in options {
        headers.remove(option);
    }
    for name in OF_THE_CONNECTION {
        headers.remove(name);
    }
    protocol
}

fn switch_to(protocol: Option<HeaderValue>, headers: &mut HeaderMap) {
    if let Some(protocol) = protocol {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let authority: Authority =
        env::var("UPSTREAM").unwrap_or_else(|_| "127.0.0.1:8080".to_owned()).parse()?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let upstream = Upstream { client, authority };

    let keys = KeyManager::new(MemoryStore::new());
    let issued = keys.create(NewKey::named("the first caller")).await?;
    let layers = ServiceBuilder::new()
        // The service behind needs no key.
        .layer(keys.layer().hide_credentials())
        .layer(IdentityLayer::new());

    let addr = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(addr).await?;
    let url = format!("http://{}/", listener.local_addr()?);
    println!("curl -H 'X-API-Key: {}' {url}", issued.secret.expose());

    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            // Such as too many open files.
            Err(error) => {
                eprintln!("listener: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let upstream = upstream.clone();
        let service = layers.clone().service(service_fn(move |request| {
            let response = upstream.clone().forward(peer, request);
            async move { Ok::<_, Infallible>(response.await) }
        }));
        tokio::spawn(async move {
            let mut server = auto::Builder::new(TokioExecutor::new());
            // A client that does not end the head of a request is not waited for.
            server.http1().timer(TokioTimer::new());
            let service = TowerToHyperService::new(service);
            let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                eprintln!("connection: {error}");
            }
        });
    }
}
