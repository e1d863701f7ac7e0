//! The service behind every stack, and the keeping of its requests.

use std::{
    cell::Cell,
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use tower_api_key::AuthenticatedKey;
use tower_service::Service;

use crate::by_hand::Record;

/// A response at once.
///
/// It keeps its request until [`take_kept`] or [`take_raw`]: to free the memory costs more than most
/// of what is measured here, and varies with the state of the heap.
#[derive(Clone, Copy, Debug)]
pub struct NoOp {
    /// Whether the response has headers already, as most have.
    pub with_headers: bool,
}

impl<B> Service<Request<B>> for NoOp {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        KEPT.set(Some(request.map(drop)));
        let mut response = Response::new(Full::default());
        if self.with_headers {
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        ready(Ok(response))
    }
}

thread_local! {
    static KEPT: Cell<Option<Request<()>>> = const { Cell::new(None) };
}

/// The last request that was let in on this thread, as it came to the service.
pub fn take_raw() -> Option<Request<()>> {
    KEPT.take()
}

/// The last request that was let in on this thread, without the identity that it was given.
pub fn take_kept() -> Option<Request<()>> {
    let mut request = KEPT.take()?;
    request.extensions_mut().remove::<AuthenticatedKey>();
    request.extensions_mut().remove::<Arc<Record>>();
    Some(request)
}
