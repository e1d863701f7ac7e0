//! Streams that end with the key that they began with: server-sent events and a WebSocket.
//!
//! ```sh
//! cargo run --example streams --features axum,cache
//! ```

#![expect(clippy::print_stdout, reason = "it prints commands to try")]

use std::{convert::Infallible, env, error::Error, time::Duration};

use axum::{
    Router,
    extract::{
        State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code},
    },
    response::{
        Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::{get, post},
};
use futures_util::{FutureExt, Stream, StreamExt, stream};
use tokio::{net::TcpListener, time::interval};
use tokio_stream::wrappers::IntervalStream;
use tower_api_key::{
    AuthenticatedKey, KeyManager, NewKey,
    store::{CachedStore, LocalInvalidations, MemoryStore},
};

const TICK: Duration = Duration::from_millis(500);

/// A tick twice a second, and the reason when the key has come to its end.
async fn events(key: AuthenticatedKey) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let ticks = IntervalStream::new(interval(TICK)).map(|_| Event::default().data("tick"));
    // Browsers connect again when a stream ends, so they are told why it did.
    let end = key.revoked().map(|reason| Event::default().event("end").data(reason.code()));
    let end = end.shared();
    let events = ticks.take_until(end.clone()).chain(stream::once(end));
    Sse::new(events.map(Ok)).keep_alive(KeepAlive::default())
}

/// Echoes messages until the key has come to its end.
async fn socket(key: AuthenticatedKey, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(move |socket| echo(key, socket))
}

async fn echo(key: AuthenticatedKey, mut socket: WebSocket) {
    let mut end = key.revoked();
    loop {
        let message = tokio::select! {
            message = socket.recv() => message,
            reason = &mut end => {
                let frame = CloseFrame { code: close_code::POLICY, reason: reason.code().into() };
                let _ = socket.send(Message::Close(Some(frame))).await;
                return;
            }
        };
        match message {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            _ => return,
        }
    }
}

async fn revoke(State(keys): State<KeyManager>, key: AuthenticatedKey) -> Result<String, String> {
    keys.revoke(key.id(), None).await.map_err(|error| error.to_string())?;
    Ok("Its streams end now.\n".to_owned())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Of a server's database, with a bus that other nodes listen to as well.
    let bus = LocalInvalidations::new();
    let store = CachedStore::builder(MemoryStore::new()).with_invalidations(bus.clone()).build();
    let keys = KeyManager::new(store).with_invalidations(bus);
    let issued = keys.create(NewKey::named("the first caller")).await?;

    let app = Router::new()
        .route("/events", get(events))
        .route("/socket", get(socket))
        .route("/revoke", post(revoke))
        .layer(keys.layer())
        .with_state(keys.clone());

    let addr = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(addr).await?;
    let (key, url) = (issued.secret.expose(), format!("http://{}", listener.local_addr()?));
    println!("curl -N -H 'X-API-Key: {key}' {url}/events");
    println!("curl -X POST -H 'X-API-Key: {key}' {url}/revoke");
    axum::serve(listener, app).await?;
    Ok(())
}
