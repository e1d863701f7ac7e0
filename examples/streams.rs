//! Streams that end with the key that they began with: server-sent events and a WebSocket, also of a page
//! of another origin.
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
use http::{HeaderName, header};
use tokio::{
    net::TcpListener,
    time::{interval, timeout},
};
use tokio_stream::wrappers::IntervalStream;
use tower_api_key::{
    ApiKeyLayer, AuthenticatedKey, ConfigError, KeyManager, KeySource, NewKey,
    store::{CachedStore, LocalInvalidations, MemoryStore},
};
use tower_http::cors::{Any, CorsLayer};

const TICK: Duration = Duration::from_millis(500);

/// How long a client has to take the last message of a WebSocket.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A tick twice a second, and the reason when the key has come to its end.
async fn events(key: AuthenticatedKey) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let ticks = IntervalStream::new(interval(TICK)).map(|_| Event::default().data("tick"));
    let end = key.revoked().shared();
    // Browsers connect again when a stream ends, so they are told why it did. Events that come to an end of
    // their own have no reason, and this does not wait for one.
    let ended = end.clone();
    let reason = stream::once(async move { ended.now_or_never() }).flat_map(stream::iter);
    let last = reason.map(|reason| Event::default().event("end").data(reason.code()));
    Sse::new(ticks.take_until(end).chain(last).map(Ok)).keep_alive(KeepAlive::default())
}

/// Echoes messages until the key has come to its end.
async fn socket(key: AuthenticatedKey, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(move |socket| echo(key, socket))
}

async fn echo(key: AuthenticatedKey, mut socket: WebSocket) {
    let reason = tokio::select! {
        // The end comes first, also while a message waits for a client that does not read.
        biased;
        reason = key.revoked() => reason,
        () = echo_all(&mut socket) => return,
    };
    let frame = CloseFrame { code: close_code::POLICY, reason: reason.code().into() };
    let _ = timeout(CLOSE_TIMEOUT, socket.send(Message::Close(Some(frame)))).await;
}

async fn echo_all(socket: &mut WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        match message {
            Message::Text(_) | Message::Binary(_) => {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Close(_) => return,
        }
    }
}

async fn revoke(State(keys): State<KeyManager>, key: AuthenticatedKey) -> Result<String, String> {
    keys.revoke(key.id(), None).await.map_err(|error| error.to_string())?;
    Ok("Its streams end now.\n".to_owned())
}

/// Where a browser can put a key: with `fetch` in a header, for a WebSocket among the sub-protocols, as in
/// `new WebSocket(url, ["api-key", key])`, and for an `EventSource` in nothing but the URL. That ends up in
/// logs, so read server-sent events with `fetch` where you can.
fn layer(keys: &KeyManager) -> Result<ApiKeyLayer, ConfigError> {
    let layer = keys
        .layer()
        .with_source(KeySource::websocket_protocol("api-key")?)
        .with_source(KeySource::query("api_key")?);
    Ok(layer.hide_credentials())
}

/// Pages of any origin may ask, with a key that they hold and without a browser's credentials.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_headers([HeaderName::from_static("x-api-key"), header::AUTHORIZATION])
        .expose_headers([header::WWW_AUTHENTICATE])
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
        .layer(layer(&keys)?)
        // Outside the keys: preflights carry no key, and a page may read denials, too.
        .layer(cors())
        .with_state(keys.clone());

    let addr = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(addr).await?;
    let (key, url) = (issued.secret.expose(), format!("http://{}", listener.local_addr()?));
    println!("curl -N -H 'X-API-Key: {key}' {url}/events");
    println!("curl -X POST -H 'X-API-Key: {key}' {url}/revoke");
    axum::serve(listener, app).await?;
    Ok(())
}
