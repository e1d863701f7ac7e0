//! `verification_router`: the [answers](answers) to programs, what a question [leaves behind](spends), the
//! programs that may [ask](guard), and that the answer is [the layer's](agrees).

mod agrees;
mod answers;
mod guard;
mod requests;
mod spends;
#[cfg(all(feature = "metrics", feature = "tracing"))]
mod told;

use std::net::IpAddr;

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use serde_json::{Value, json};
use tower_api_key::{
    ApiKeyLayer,
    axum::{VerificationGuard, verification_router},
};

use crate::support::{header_values, respond};

/// The members of each answer, in their order.
const MEMBERS: [&str; 7] =
    ["valid", "code", "key_id", "owner", "scopes", "expires_at", "retry_after"];

const LOCAL: &str = "127.0.0.1";

/// The address of the connection, as the tests attach it.
fn local() -> VerificationGuard {
    VerificationGuard::loopback(|request| request.extensions.get::<IpAddr>().copied())
}

/// For every program on this machine.
fn unguarded(layer: ApiKeyLayer) -> Router {
    verification_router(layer, local()).unwrap()
}

/// `POST /` from this machine.
fn question(body: impl Into<Body>) -> Request<Body> {
    let request = Request::builder().method(Method::POST).uri("/");
    let request = request.header(header::CONTENT_TYPE, "application/json");
    from(LOCAL, request.body(body.into()).unwrap())
}

fn from(peer: &str, mut request: Request<Body>) -> Request<Body> {
    request.headers_mut().insert(header::HOST, "localhost:3000".parse().unwrap());
    request.extensions_mut().insert(peer.parse::<IpAddr>().unwrap());
    request
}

/// The response, after a look at what all have in common.
async fn send(app: &Router, request: Request<Body>) -> Response<Bytes> {
    let response = respond(app.clone(), request).await;
    assert_eq!(header_values(&response, header::CACHE_CONTROL), ["no-store"], "{response:?}");
    assert!(!response.headers().contains_key("grpc-status"), "{response:?}");
    response
}

/// The answer to a question, which has the form of all.
async fn ask(app: &Router, body: &Value) -> Value {
    let response = send(app, question(body.to_string())).await;
    assert_eq!(response.status(), 200, "{response:?}");
    let mut names: Vec<_> = response.headers().keys().map(header::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["cache-control", "content-length", "content-type"]);
    let text = std::str::from_utf8(response.body()).unwrap();
    let key = body["key"].as_str().unwrap();
    // A shorter text is no key, and may be a part of any answer.
    assert!(key.len() < 16 || !text.contains(key), "{text}");
    let places = MEMBERS.map(|name| text.find(&format!("\"{name}\":")).expect(name));
    assert!(places.is_sorted(), "{text}");
    let answer: Value = serde_json::from_str(text).unwrap();
    assert_eq!(answer.as_object().unwrap().len(), MEMBERS.len(), "{text}");
    answer
}

/// `good`, or the code. Of a key that is not good nothing else is told, but when to try again.
async fn outcome(app: &Router, body: Value) -> String {
    let answer = ask(app, &body).await;
    if answer["valid"] == json!(true) {
        assert!(answer["code"].is_null() && answer["key_id"].is_string(), "{answer}");
        return "good".to_owned();
    }
    assert_eq!(answer["valid"], json!(false));
    for name in ["key_id", "owner", "scopes", "expires_at"] {
        assert!(answer[name].is_null(), "{answer}");
    }
    answer["code"].as_str().unwrap().to_owned()
}
