//! 403 for a call of a tool that the key may not use (RFC 6750 §3.1), which takes a look into the body:
//! clients of older protocols name the tool nowhere else.
//!
//! This gives the denial its form. Whether a tool runs is decided by the server of the SDK, so that a
//! body which the two read differently gains nothing.
//!
//! A batch is refused: protocol version 2025-03-26 has them, and an SDK runs each call in one, while limits
//! count requests.

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
    if !is_one_message(&body) {
        return (StatusCode::BAD_REQUEST, "Bad Request: send one message, and no batch")
            .into_response();
    }
    let missing = called_tool(&body).and_then(|tool| tools.missing(&key, &tool));
    if let Some(missing) = missing {
        // The layer for keys, outside, adds its challenge.
        return Rejection::insufficient_scope(missing).with_key(key.id()).into_response();
    }
    next.run(Request::from_parts(parts, Body::from(body))).await
}

/// Whether a body is an object, if it is JSON. Its first character tells, also where the rest is read by the
/// server alone.
fn is_one_message(body: &[u8]) -> bool {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    body.iter().find(|byte| !is_space(byte)) == Some(&b'{')
}

/// The name of the tool that a body calls. A body that cannot be read calls none: the server refuses it.
fn called_tool(body: &[u8]) -> Option<String> {
    let message: Message = serde_json::from_slice(body).ok()?;
    message.params?.name.filter(|_| message.method.as_deref() == Some("tools/call"))
}
