//! 403 for a call of a tool that the key may not use (RFC 6750 §3.1), which takes a look into the body:
//! clients of older protocols name the tool nowhere else.
//!
//! This gives the denial its form. Whether a tool runs is decided by the server of the SDK, so that a
//! body which the two read differently gains nothing.

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use tower_api_key::{AuthenticatedKey, Rejection};

use crate::tools::ToolScopes;

/// The longest body that is read.
pub(crate) const MAX_BODY: usize = 1 << 20;

#[derive(Deserialize)]
#[serde(untagged)]
enum Messages {
    One(Message),
    /// Of protocol version 2025-03-26.
    Batch(Vec<Message>),
}

#[derive(Deserialize)]
struct Message {
    method: Option<String>,
    params: Option<Params>,
}

#[derive(Deserialize)]
struct Params {
    name: Option<String>,
}

pub(crate) async fn require_scopes(
    State(tools): State<ToolScopes>,
    key: AuthenticatedKey,
    request: Request,
    next: Next,
) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let missing = called_tools(&body).into_iter().find_map(|tool| tools.missing(&key, &tool));
    if let Some(missing) = missing {
        // The layer for keys, outside, adds its challenge.
        return Rejection::insufficient_scope(missing).with_key(key.id()).into_response();
    }
    next.run(Request::from_parts(parts, Body::from(body))).await
}

/// The names of the tools that a body calls. A body that cannot be read calls none: the server refuses it.
fn called_tools(body: &[u8]) -> Vec<String> {
    let messages = match serde_json::from_slice(body) {
        Ok(Messages::One(message)) => vec![message],
        Ok(Messages::Batch(messages)) => messages,
        Err(_) => Vec::new(),
    };
    let calls = messages.into_iter().filter(|m| m.method.as_deref() == Some("tools/call"));
    calls.filter_map(|call| call.params?.name).collect()
}
