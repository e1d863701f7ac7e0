//! Real servers, over HTTP/1 and HTTP/2, of every kind that ignores the method: nothing runs for a
//! request without a key that only looks like a preflight.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use axum::{Router, routing::any};
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpStream};
use tonic::{
    Status,
    transport::{Server, server::TcpIncoming},
};
use tower::{Service, ServiceBuilder, service_fn};

use self::greeter::{
    GreetOftenRequest, GreetRequest, Greeting,
    greeter_server::{Greeter, GreeterServer},
};
use super::layer;
use crate::support::KEY;

#[allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]
mod greeter {
    include!("../../../examples/tonic/generated/greeter.rs");
}

/// How often a handler ran.
#[derive(Clone, Default)]
struct Runs(Arc<AtomicUsize>);

impl Runs {
    fn count(&self) {
        self.0.fetch_add(1, SeqCst);
    }

    fn take(&self) -> usize {
        self.0.swap(0, SeqCst)
    }
}

#[tonic::async_trait]
impl Greeter for Runs {
    async fn greet(&self, _: tonic::Request<GreetRequest>) -> Answer<Greeting> {
        self.count();
        Ok(tonic::Response::new(Greeting { text: String::new() }))
    }

    type GreetOftenStream = Pin<Box<dyn Stream<Item = Result<Greeting, Status>> + Send>>;

    async fn greet_often(
        &self,
        _: tonic::Request<GreetOftenRequest>,
    ) -> Answer<Self::GreetOftenStream> {
        self.count();
        Ok(tonic::Response::new(Box::pin(stream::empty())))
    }
}

type Answer<T> = Result<tonic::Response<T>, Status>;

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Serves HTTP/1 and HTTP/2 until the runtime ends.
async fn serve<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + 'static,
{
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

/// Serves a layer around services of every kind: their names, addresses and paths.
macro_rules! serve_all {
    ($layer:expr, $runs:expr) => {{
        let (runs, layer) = ($runs.clone(), $layer);
        let counted = runs.clone();
        let service = service_fn(move |_: Request<_>| {
            counted.count();
            async { Ok::<_, Infallible>(Response::new(axum::body::Body::empty())) }
        });
        let plain = service.clone();
        let plain = ServiceBuilder::new().layer(layer.clone()).service_fn(
            move |request: Request<Incoming>| {
                plain.clone().call(request.map(axum::body::Body::new))
            },
        );
        let counted = runs.clone();
        let handler = move || async move { counted.count() };
        let router = Router::new()
            .route("/any", any(handler.clone()))
            .route_service("/route-service", service.clone())
            .nest_service("/nest-service", service)
            .fallback(handler)
            .layer(layer.clone());
        let router = serve(router).await;
        let (listener, tonic) = listen().await;
        tokio::spawn(
            Server::builder()
                .accept_http1(true)
                .layer(layer)
                .add_service(GreeterServer::new(runs))
                .serve_with_incoming(TcpIncoming::from(listener)),
        );
        [
            ("hyper", serve(plain).await, "/"),
            ("any", router, "/any"),
            ("route_service", router, "/route-service"),
            ("nest_service", router, "/nest-service/x"),
            ("fallback", router, "/nowhere"),
            ("tonic, unary", tonic, "/greeter.Greeter/Greet"),
            ("tonic, streaming", tonic, "/greeter.Greeter/GreetOften"),
        ]
    }};
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Protocol {
    Http1,
    Http2,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Sent {
    Nothing,
    /// Announced by its length.
    Sized,
    /// Announced by `transfer-encoding`, or over HTTP/2 by nothing.
    Unsized,
}

const SHAPES: [(Protocol, Sent); 6] = [
    (Protocol::Http1, Sent::Nothing),
    (Protocol::Http1, Sent::Sized),
    (Protocol::Http1, Sent::Unsized),
    (Protocol::Http2, Sent::Nothing),
    (Protocol::Http2, Sent::Sized),
    (Protocol::Http2, Sent::Unsized),
];

const GRPC: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];

/// An empty gRPC message, which is good for any method without required fields.
const MESSAGE: Bytes = Bytes::from_static(&[0; 5]);

/// An empty body of which hyper's client says nothing. Of an `Empty` one it says
/// `content-length: 0`, which no browser does.
struct Nothing;

impl http_body::Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

/// Sends a preflight with further headers.
async fn send(
    address: SocketAddr,
    path: &str,
    (protocol, sent): (Protocol, Sent),
    headers: &[(&str, &str)],
) -> Response<Incoming> {
    let body = match sent {
        Sent::Nothing => BoxBody::new(Nothing),
        Sent::Sized => BoxBody::new(Full::new(MESSAGE)),
        Sent::Unsized => {
            let frames = [Ok::<_, Infallible>(Frame::data(MESSAGE))];
            BoxBody::new(StreamBody::new(stream::iter(frames)))
        }
    };
    let of_all = [
        ("host", "api.test"),
        ("origin", "https://web.test"),
        ("access-control-request-method", "POST"),
    ];
    let mut request = Request::builder().method("OPTIONS");
    for (name, value) in of_all.iter().chain(headers) {
        request = request.header(*name, *value);
    }
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    if protocol == Protocol::Http1 {
        let request = request.uri(path).body(body).unwrap();
        let (mut client, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        return client.send_request(request).await.unwrap();
    }
    let request = request.uri(format!("http://{address}{path}")).body(body).unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
    let (mut client, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    client.send_request(request).await.unwrap()
}

#[tokio::test]
async fn a_key_is_asked_for_whatever_a_preflight_carries() {
    let runs = Runs::default();
    for (name, address, path) in serve_all!(layer(), runs) {
        for shape in SHAPES {
            for headers in [&[][..], &GRPC[..1], &GRPC[1..], &GRPC] {
                let response = send(address, path, shape, headers).await;
                assert_eq!(runs.take(), 0, "{name} {shape:?} {headers:?}");
                if headers.is_empty() {
                    assert_eq!(response.status(), 401, "{name} {shape:?}");
                    let body = response.collect().await.unwrap().to_bytes();
                    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
                    assert_eq!(problem["code"], "missing_key");
                    let detail = problem["detail"].as_str().unwrap();
                    assert!(detail.contains("CORS layer belongs outside"), "{detail}");
                }
            }
            // With a key it is a request like any other, so what is above could have run.
            let key = [&GRPC[..], &[("x-api-key", KEY)]].concat();
            send(address, path, shape, &key).await;
            let is_call = sent_a_message(shape) || !name.starts_with("tonic");
            assert_eq!(runs.take(), usize::from(is_call), "{name} {shape:?}");
        }
    }
}

/// tonic runs no handler without a message.
fn sent_a_message((_, sent): (Protocol, Sent)) -> bool {
    sent != Sent::Nothing
}

#[tokio::test]
async fn where_preflights_pass_only_empty_ones_run_anything() {
    let runs = Runs::default();
    for (name, address, path) in serve_all!(layer().pass_cors_preflights(), runs) {
        for shape in SHAPES {
            for headers in [&[][..], &GRPC[..1], &GRPC[1..], &GRPC] {
                let response = send(address, path, shape, headers).await;
                let passes = shape.1 == Sent::Nothing && headers.is_empty();
                // What opting in means: such services take any method.
                let runs_anyway = passes && !name.starts_with("tonic");
                assert_eq!(
                    runs.take(),
                    usize::from(runs_anyway),
                    "{name} {shape:?} {headers:?} {response:?}"
                );
                if !passes && headers.is_empty() {
                    assert_eq!(response.status(), 401, "{name} {shape:?}");
                }
            }
        }
    }
}

/// What the choice is for: a CORS layer inside answers preflights, and everything else needs a key.
#[tokio::test]
async fn a_cors_layer_inside_answers_and_nothing_runs() {
    let runs = Runs::default();
    let cors = axum::middleware::from_fn(
        |request: axum::extract::Request, next: axum::middleware::Next| async move {
            if request.method() == http::Method::OPTIONS {
                let answer = [("access-control-allow-origin", "*")];
                return axum::response::IntoResponse::into_response(answer);
            }
            next.run(request).await
        },
    );
    let counted = runs.clone();
    let router = Router::new()
        .route("/any", any(move || async move { counted.count() }))
        .layer(cors)
        .layer(layer().pass_cors_preflights());
    let address = serve(router).await;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let response = send(address, "/any", (protocol, Sent::Nothing), &[]).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        for sent in [Sent::Sized, Sent::Unsized] {
            let response = send(address, "/any", (protocol, sent), &[]).await;
            assert_eq!(response.status(), 401, "{protocol:?} {sent:?}");
        }
    }
    assert_eq!(runs.take(), 0);
}
