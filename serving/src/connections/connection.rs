//! One connection, from its first byte to its last.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo};
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tower::ServiceExt;

use super::{
    activity::{Activity, Busy, End},
    request_body::Timely,
    response_body::Sending,
    slots::Slot,
    stream::Stalling,
};

/// How long a client may take to learn that its idle connection ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// Requests of one HTTP/2 connection at a time.
const MAX_STREAMS: u32 = 100;

/// Requests of one HTTP/2 connection that are given up before they are looked at, or that are faulty.
const MAX_RESETS: usize = 50;

/// Bytes of the headers of an HTTP/2 request, each with 32 more.
const MAX_HEAD: u32 = 16 * 1024;

/// HTTP/1 and HTTP/2, as the client likes.
pub(crate) fn protocols(client_timeout: Duration) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(client_timeout);
    http.http2()
        .timer(TokioTimer::new())
        // A client that is gone does not answer.
        .keep_alive_interval(client_timeout)
        .keep_alive_timeout(client_timeout)
        // Requests that are given up cost their client nothing (CVE-2023-44487), and neither do heads
        // that never end: such a connection is closed.
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .max_header_list_size(MAX_HEAD);
    http
}

pub(crate) struct Connection {
    pub(crate) peer: SocketAddr,
    pub(crate) router: Router,
    pub(crate) client_timeout: Duration,
    pub(crate) slot: Slot,
}

impl Connection {
    pub(crate) async fn serve(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        http: auto::Builder<TokioExecutor>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let Self { peer, router, client_timeout, slot } = self;
        let activity = slot.activity.clone();
        let service = service_fn({
            let activity = activity.clone();
            move |request: Request<Incoming>| {
                answer(router.clone(), request, peer, client_timeout, activity.begin())
            }
        });
        let stream = TokioIo::new(Stalling::new(stream, client_timeout, activity.clone()));
        let mut served = pin!(http.serve_connection(stream, service));
        let mut is_stopping = false;
        let farewell = loop {
            tokio::select! {
                // An error is the client's: it went away, took too long, or speaks something else.
                _ = served.as_mut() => return,
                () = activity.asked_to_leave() => break Duration::ZERO,
                end = ended(&activity, client_timeout, is_stopping) => match end {
                    End::Idle => break FAREWELL,
                    End::Silent if is_stopping => break FAREWELL,
                    End::Silent | End::Stalled => return,
                },
                // An error means that the server is gone already.
                _ = stopping.wait_for(|stopping| *stopping), if !is_stopping => {
                    is_stopping = true;
                    served.as_mut().graceful_shutdown();
                }
            }
        };
        // It is served at least once more, which tells the client over HTTP/2.
        served.as_mut().graceful_shutdown();
        let _ = timeout(farewell, served).await;
    }
}

/// Waits until a connection has to end.
async fn ended(activity: &Arc<Activity>, client_timeout: Duration, is_stopping: bool) -> End {
    loop {
        let (due, end) = activity.due(client_timeout);
        match end {
            // Nothing more comes from it, but an answer to the last ping.
            Some(end @ (End::Idle | End::Silent)) if is_stopping => return end,
            Some(end) if due <= Instant::now() => return end,
            // Looked at again: by then it may be busy with something else.
            _ => sleep_until(due).await,
        }
    }
}

async fn answer(
    router: Router,
    request: Request<Incoming>,
    peer: SocketAddr,
    client_timeout: Duration,
    busy: Busy,
) -> Result<Response<Body>, Infallible> {
    let deadline = Instant::now() + client_timeout;
    let (mut request, unread) = Timely::of(request, deadline);
    request.extensions_mut().insert(ConnectInfo(peer));
    let response = router.oneshot(request).await?;
    unread.discard(response.status(), deadline, &busy).await;
    busy.sends();
    Ok(response.map(|body| Body::new(Sending::new(body, busy))))
}
