//! Keys, files with keys, servers, and a service in the place of one.

use std::{
    convert::Infallible,
    fs,
    future::{Future, Ready, ready},
    path::PathBuf,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header::HeaderName};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tempfile::TempDir;
use tokio::{net::TcpListener, time::Instant};
use tower::{Layer, Service, ServiceExt};
use tower_api_key::{
    SecretKey,
    client::{AttachApiKeyLayer, ClientKey},
};

pub(crate) const KEY: &str = "acme_the-key-of-this-client";
pub(crate) const OTHER_KEY: &str = "acme_the-key-that-replaces-it";

pub(crate) const ORIGIN: &str = "https://api.example.com";

pub(crate) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

pub(crate) fn key() -> ClientKey {
    ClientKey::new(&SecretKey::new(KEY)).unwrap()
}

/// A layer that sends [`KEY`] to these origins.
pub(crate) fn layer(origins: &[&str]) -> AttachApiKeyLayer {
    AttachApiKeyLayer::new(key(), origins).unwrap()
}

pub(crate) fn get(uri: &str) -> Request<String> {
    Request::get(uri).body(String::new()).unwrap()
}

/// A folder for one test's file.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path("key");
        fs::write(&path, text).unwrap();
        path
    }

    /// As careful programs do.
    pub(crate) fn replace(&self, text: impl AsRef<[u8]>) {
        fs::write(self.path("new"), text).unwrap();
        fs::rename(self.path("new"), self.path("key")).unwrap();
    }
}

/// A request as a server saw it.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) at: Instant,
}

impl Seen {
    /// All values of a header.
    pub(crate) fn all(&self, name: &HeaderName) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }
}

type Answer = Arc<dyn Fn(&Seen) -> Response<String> + Send + Sync>;

/// A service that answers as told, and remembers the requests.
#[derive(Clone)]
pub(crate) struct Answers {
    seen: Arc<Mutex<Vec<Seen>>>,
    answer: Answer,
}

impl Answers {
    pub(crate) fn new(answer: impl Fn(&Seen) -> Response<String> + Send + Sync + 'static) -> Self {
        Self { seen: Arc::default(), answer: Arc::new(answer) }
    }

    pub(crate) fn well() -> Self {
        Self::new(|_| Response::default())
    }

    /// Those since it was last asked.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// The one since it was last asked.
    pub(crate) fn seen_once(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1);
        seen.into_iter().next().unwrap()
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<String> {
        let seen = Seen {
            target: request.uri().to_string(),
            headers: request.headers().clone(),
            at: Instant::now(),
        };
        let response = (self.answer)(&seen);
        self.seen.lock().unwrap().push(seen);
        response
    }
}

impl<B> Service<Request<B>> for Answers {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.answer(&request)))
    }
}

/// Sends a request through the layer.
pub(crate) fn send(
    layer: &AttachApiKeyLayer,
    answers: &Answers,
    request: Request<String>,
) -> impl Future<Output = Response<String>> + Send + 'static {
    let sent = layer.layer(answers.clone()).oneshot(request);
    async move { sent.await.unwrap() }
}

/// A server on this host, over HTTP/1 and HTTP/2. Returns its origin.
pub(crate) async fn serve(answers: Answers) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answers = answers.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let response = answers.answer(&request).map(Full::<Bytes>::from);
                async { Ok::<_, Infallible>(response) }
            });
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                // A client that goes away is no failure.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    origin
}

pub(crate) type HttpClient = Client<HttpConnector, Full<Bytes>>;

pub(crate) fn http_client() -> HttpClient {
    Client::builder(TokioExecutor::new()).build_http()
}

pub(crate) fn get_empty(uri: &str) -> Request<Full<Bytes>> {
    Request::get(uri).body(Full::default()).unwrap()
}
