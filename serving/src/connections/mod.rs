//! Connections: how many there are, and how long clients may take.
//!
//! `axum::serve` would do but for that: it takes any number of connections, and waits for a client
//! as long as the client likes.

mod activity;
pub(crate) mod connection;
mod request_body;
mod response_body;
pub(crate) mod slots;
mod stream;

use std::{future::Future, pin::pin, time::Duration};

use axum::{Router, serve::Listener};
use tokio::{net::TcpListener, sync::watch};

use self::connection::Connection;
pub use self::slots::{Slots, fitting_connections};

/// Serves until `signal`, and then finishes what was begun. A client has `client_timeout` to send the
/// head of a request, again to send its body, and again to take any part of an answer.
pub async fn serve(
    mut listener: TcpListener,
    router: Router,
    slots: Slots,
    client_timeout: Duration,
    signal: impl Future<Output = ()>,
) {
    let http = connection::protocols(client_timeout);
    let (stop, stopping) = watch::channel(false);
    let mut signal = pin!(signal);
    loop {
        let accepted = async {
            // Of errors it takes care itself: it logs them and waits a little where that helps.
            let (stream, peer) = Listener::accept(&mut listener).await;
            (stream, peer, slots.take(peer.ip()).await)
        };
        let (stream, peer, slot) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut signal => break,
        };
        let Some(slot) = slot else {
            tracing::debug!(%peer, "connection closed: this address has too many");
            continue;
        };
        tracing::trace!(%peer, "connection accepted");
        let connection = Connection { peer, router: router.clone(), client_timeout, slot };
        tokio::spawn(connection.serve(stream, http.clone(), stopping.clone()));
    }
    drop(listener);
    stop.send_replace(true);
    slots.all_free().await;
}
