//! Streams that end with their key: that of a `GET`, and that of a call which takes long.

use axum::{
    body::Body, extract::Request, http::header::CONTENT_TYPE, middleware::Next, response::Response,
};
use futures_util::StreamExt;
use tower_api_key::AuthenticatedKey;

/// Ends a stream of events when the key comes to its end, whatever the server would still send. The server
/// sees its client go away.
pub(crate) async fn end_with_key(key: AuthenticatedKey, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let is_stream = response.headers().get(CONTENT_TYPE).is_some_and(|content_type| {
        content_type.to_str().is_ok_and(|text| text.starts_with("text/event-stream"))
    });
    if !is_stream {
        return response;
    }
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(key.revoked())))
}
