//! What the layers of other crates do here.

use std::time::Duration;

use axum::BoxError;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use tower_http::timeout::TimeoutLayer;

/// A request with it is answered by the `AsyncRequireAuthorizationLayer`.
pub(crate) const STOP: HeaderName = HeaderName::from_static("x-stop");
/// On each response that came through `map_response`, once for every time.
pub(crate) const MARK: HeaderName = HeaderName::from_static("x-mark");

pub(crate) fn timeout() -> TimeoutLayer {
    TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(60))
}

pub(crate) async fn failed(error: BoxError) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

pub(crate) async fn stopped<Q, B: Default>(request: Request<Q>) -> Result<Request<Q>, Response<B>> {
    if !request.headers().contains_key(STOP) {
        return Ok(request);
    }
    let mut response = Response::new(B::default());
    *response.status_mut() = StatusCode::IM_A_TEAPOT;
    Err(response)
}

pub(crate) fn marked<B>(mut response: Response<B>) -> Response<B> {
    response.headers_mut().append(MARK, HeaderValue::from_static("outside"));
    response
}
