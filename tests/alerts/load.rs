//! The clients of a service: so many requests a second, whatever becomes of them.

use std::time::Duration;

use axum::{Router, body::Body, routing::get};
use http::Request;
use tokio::time::{MissedTickBehavior, interval};
use tower::ServiceExt;
use tower_api_key::{KeyManager, NewKey};

/// A service without a layer.
pub(crate) fn app() -> Router {
    Router::new().route("/", get(async || "ok"))
}

/// Issues keys that differ in their names alone.
pub(crate) async fn issue(manager: &KeyManager, count: usize, new: &NewKey) -> Vec<String> {
    let mut keys = Vec::with_capacity(count);
    for number in 0..count {
        let new = NewKey { name: format!("key {number}"), ..new.clone() };
        keys.push(manager.create(new).await.unwrap().secret.expose().to_owned());
    }
    keys
}

/// Requests with these keys in turn, so many a second, until the process ends.
pub(crate) fn send(app: &Router, per_second: u32, keys: &[String]) {
    let keys = keys.to_vec();
    send_to(app, per_second, "/", keys.into_iter().cycle());
}

/// Requests with one key after the other. When there are no more, there are no more requests.
pub(crate) fn send_to(
    app: &Router,
    per_second: u32,
    path: &'static str,
    keys: impl Iterator<Item = String> + Send + 'static,
) {
    let app = app.clone();
    tokio::spawn(async move {
        let mut ticks = interval(Duration::from_secs(1) / per_second);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for key in keys {
            ticks.tick().await;
            let request = Request::get(path).header("x-api-key", key).body(Body::empty());
            // None waits for the one before.
            tokio::spawn(app.clone().oneshot(request.unwrap()));
        }
    });
}
