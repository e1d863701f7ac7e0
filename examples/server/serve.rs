//! Connections, and how long clients may take.
//!
//! `axum::serve` would do but for that: it waits for a client as long as the client likes.

use std::{
    future::Future,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo, serve::Listener};
use http::{Extensions, Request};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};
use tower::ServiceExt;

/// Until when the body of a request must have come.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// For a request whose head has just come, unless [`serve`] says otherwise.
    pub(crate) fn of(extensions: &Extensions) -> Instant {
        extensions.get::<Self>().map_or_else(Instant::now, |deadline| deadline.0)
    }
}

/// Serves until `signal`, and then finishes what was begun. A client has `patience` to send the
/// head of a request, and again to send its body.
pub(crate) async fn serve(
    mut listener: TcpListener,
    router: Router,
    patience: Duration,
    signal: impl Future<Output = ()>,
) {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(patience);
    // Over HTTP/2 clients may be silent, as long as they are there.
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(patience)
        .keep_alive_timeout(patience);
    let connections = GracefulShutdown::new();
    let mut signal = pin!(signal);
    loop {
        let (stream, peer) = tokio::select! {
            // Of errors it takes care itself: it logs them and waits a little where that helps.
            accepted = Listener::accept(&mut listener) => accepted,
            () = &mut signal => break,
        };
        let connection = Connection { stream, peer, router: router.clone(), patience };
        tokio::spawn(connection.serve(http.clone(), connections.watcher()));
    }
    drop(listener);
    connections.shutdown().await;
}

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    patience: Duration,
}

impl Connection {
    async fn serve(self, http: auto::Builder<TokioExecutor>, watcher: Watcher) {
        let Self { stream, peer, router, patience } = self;
        tracing::trace!(%peer, "connection accepted");
        let has_asked = Arc::new(AtomicBool::new(false));
        let asks = has_asked.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            asks.store(true, Ordering::Relaxed);
            let extensions = request.extensions_mut();
            extensions.insert(ConnectInfo(peer));
            extensions.insert(Deadline(Instant::now() + patience));
            router.clone().oneshot(request.map(Body::new))
        });
        // hyper's own timer starts when it knows that this is HTTP/1.
        let gave_up = async {
            sleep(patience).await;
            if has_asked.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        let served = watcher.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            // An error is the client's: it went away, took too long, or speaks something else.
            _ = served => {}
            () = gave_up => {}
        }
    }
}
