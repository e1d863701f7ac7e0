//! Requests a second over HTTP/1.1 with a valid key, and with an unknown one that is sent again and
//! again, over a cache in front of a database that takes a millisecond.
//!
//! `cargo bench --all-features --bench unknown_over_http`. Compare lines of one run.

#![allow(clippy::print_stdout, reason = "that is what a bench is for")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

#[path = "support/mode.rs"]
mod mode;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use axum::{Json, Router, routing::get};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tower_api_key::{
    AuthenticatedKey, KeyManager, NewKey,
    key::{KeyDigest, KeyRecord},
    store::{CachedStore, KeyStore, MemoryStore, StoreError},
};

const ROUNDS: usize = 10;

fn round() -> Duration {
    if mode::measures() { Duration::from_millis(500) } else { Duration::from_millis(10) }
}

struct Database(MemoryStore);

#[async_trait]
impl KeyStore for Database {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.0.find(digest).await
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let keys = MemoryStore::new();
    let manager = KeyManager::new(keys.clone());
    let valid = manager.create(NewKey::named("valid")).await.unwrap().secret;
    let elsewhere = KeyManager::new(MemoryStore::new());
    let unknown = elsewhere.create(NewKey::named("unknown")).await.unwrap().secret;
    let cache = CachedStore::new(Database(keys));
    let layer = tower_api_key::ApiKeyLayer::new(cache);
    let app = Router::new().route("/", get(orders)).layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });

    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut client, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    // In turns, so that what else the machine does falls on both.
    let (mut valids, mut unknowns) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        valids.push(requests(&mut client, valid.expose(), StatusCode::OK).await);
        unknowns.push(requests(&mut client, unknown.expose(), StatusCode::UNAUTHORIZED).await);
    }
    let (valid, unknown) = (median(valids), median(unknowns));
    println!("requests a second over one connection, median of {ROUNDS} rounds");
    println!("  valid key    {valid:8.0}");
    println!("  unknown key  {unknown:8.0}, {:.2} times that", unknown / valid);
}

async fn orders(key: AuthenticatedKey) -> Json<serde_json::Value> {
    let orders: Vec<_> = (1..=3).map(|id| serde_json::json!({"id": id, "state": "sent"})).collect();
    Json(serde_json::json!({"customer": key.name(), "orders": orders}))
}

/// Requests a second, one after the other.
async fn requests(client: &mut SendRequest<Empty<Bytes>>, key: &str, expected: StatusCode) -> f64 {
    let (start, mut count, round) = (Instant::now(), 0_u32, round());
    while start.elapsed() < round {
        client.ready().await.unwrap();
        let request = Request::get("/").header("host", "localhost").header("x-api-key", key);
        let response = client.send_request(request.body(Empty::new()).unwrap()).await.unwrap();
        assert_eq!(response.status(), expected);
        response.into_body().collect().await.unwrap();
        count += 1;
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
