//! The servers: one route, and a stack in front of it.

use std::{fmt::Write, fs, io, path::Path};

use axum::{Router, body::Body, extract::Request, middleware::from_fn_with_state, routing::get};
use http::{Response, header};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::net::TcpListener;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    keys::Keys,
    middleware::{CachedDatabase, with_map, with_moka_over_sqlite},
    ours,
    requests::Carrier,
    tower_http::{authorize, layer, static_bearer},
};

/// A server by its name, and its title in tables.
pub struct Server {
    /// The name in arguments.
    pub name: &'static str,
    /// The title in tables.
    pub title: &'static str,
    /// Where the stack looks for the key.
    pub carrier: Carrier,
    /// Whether there is anything in front of the route.
    pub has_keys: bool,
}

const fn server(name: &'static str, title: &'static str) -> Server {
    Server { name, title, carrier: Carrier::Own, has_keys: true }
}

/// All servers of this program, the bare one first.
pub const SERVERS: [Server; 12] = [
    Server { has_keys: false, ..server("bare", "bare axum") },
    Server {
        carrier: Carrier::Bearer,
        ..server("static-bearer", "tower-http, static bearer token")
    },
    server("async-auth", "tower-http, `AsyncRequireAuthorization` and a map"),
    server("from-fn", "axum, `from_fn` and a map"),
    server("moka-sqlite", "axum, `from_fn`, moka and SQLite"),
    server("defaults", "ours, in memory"),
    server("cached", "ours, cached"),
    server("everything", "ours, everything on"),
    Server { has_keys: false, ..server("bare-hyper", "bare axum, served by hyper") },
    server("defaults-around", "ours, in memory, around the router"),
    server("cached-around", "ours, cached, around the router"),
    server("everything-around", "ours, everything on, around the router"),
];

/// Keys in the stores of a server.
const KEYS: usize = 1_000;

/// Serves until the process ends. Writes keys into the file: those that it knows, and as many others.
pub fn serve(name: &str, port: u16, folder: &Path) -> io::Result<()> {
    let keys = Keys::new(KEYS);
    let mut text = String::new();
    for key in keys.sent() {
        let _ = writeln!(text, "valid {key}\nunknown {}", keys.unknown());
    }
    fs::write(folder.join("keys"), text)?;

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let _guard = runtime.enter();
    let records = keys.records().clone();
    let bare = Router::new().route("/orders", get(orders));
    match name {
        "bare" => runtime.block_on(inside(bare, port)),
        "static-bearer" => {
            let layer = static_bearer::<Body>(&keys.sent()[0]);
            runtime.block_on(inside(bare.layer(layer), port))
        }
        "async-auth" => {
            let layer =
                layer(move |request: Request| authorize::<_, Body>(records.clone(), request));
            runtime.block_on(inside(bare.layer(layer), port))
        }
        "from-fn" => {
            runtime.block_on(inside(bare.layer(from_fn_with_state(records, with_map)), port))
        }
        "moka-sqlite" => runtime.block_on(async {
            let options = SqliteConnectOptions::new()
                .filename(folder.join("keys.db"))
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Normal);
            let pool = SqlitePoolOptions::new().max_connections(8).connect_with(options).await;
            let database = CachedDatabase::filled(pool.map_err(io::Error::other)?, &records).await;
            let database = database.map_err(io::Error::other)?;
            inside(bare.layer(from_fn_with_state(database, with_moka_over_sqlite)), port).await
        }),
        "defaults" => runtime.block_on(inside(bare.layer(ours::defaults(&keys)), port)),
        "cached" => runtime.block_on(inside(bare.layer(ours::cached(&keys)), port)),
        "everything" => runtime.block_on(inside(bare.layer(ours::everything(&keys)), port)),
        "bare-hyper" => runtime.block_on(around(bare, port)),
        "defaults-around" => runtime.block_on(around(ours::defaults(&keys).layer(bare), port)),
        "cached-around" => runtime.block_on(around(ours::cached(&keys).layer(bare), port)),
        "everything-around" => runtime.block_on(around(ours::everything(&keys).layer(bare), port)),
        other => Err(io::Error::other(format!("no server {other}"))),
    }
}

async fn orders() -> ([(header::HeaderName, &'static str); 1], &'static str) {
    ([(header::CONTENT_TYPE, "application/json")], r#"{"orders":[]}"#)
}

async fn inside(router: Router, port: u16) -> io::Result<()> {
    axum::serve(TcpListener::bind(("127.0.0.1", port)).await?, router).await
}

/// A service around the whole router, as `axum::serve` serves a router.
async fn around<S, B>(service: S, port: u16) -> io::Result<()>
where
    S: Service<Request<Body>, Response = Response<B>, Error = std::convert::Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: axum::body::HttpBody<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let service = OfIncoming(service.clone());
        tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            let service = TowerToHyperService::new(service);
            // A client that is gone is no matter here.
            drop(server.serve_connection_with_upgrades(TokioIo::new(stream), service).await);
        });
    }
}

/// The service, for requests with the body of the server.
#[derive(Clone)]
struct OfIncoming<S>(S);

impl<S: Service<Request<Body>>, I> Service<Request<I>> for OfIncoming<S>
where
    I: axum::body::HttpBody<Data = bytes::Bytes> + Send + 'static,
    I::Error: Into<axum::BoxError>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<I>) -> S::Future {
        self.0.call(request.map(Body::new))
    }
}
