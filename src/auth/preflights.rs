//! [`PassPreflightsLayer`]: for applications whose CORS layer stands inside, and how a CORS
//! preflight is told from other requests.

use std::{
    fmt,
    task::{Context, Poll},
};

use http::{HeaderName, HeaderValue, Method, Request, Response, header};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    authenticate::Admission,
    body::ResponseBody,
    extract::{self, KeySource},
    future::ResponseFuture,
    layer::ApiKeyLayer,
    service::ApiKeyAuth,
};
use crate::request::{RequestHead, names_a_method, only};

/// An [`ApiKeyLayer`] that lets CORS preflights in without a key; see
/// [`pass_cors_preflights`](ApiKeyLayer::pass_cors_preflights).
#[derive(Clone, Debug)]
#[must_use]
pub struct PassPreflightsLayer(ApiKeyLayer);

impl PassPreflightsLayer {
    pub(crate) const fn new(layer: ApiKeyLayer) -> Self {
        Self(layer)
    }
}

impl<S> Layer<S> for PassPreflightsLayer {
    type Service = PassPreflights<S>;

    fn layer(&self, inner: S) -> Self::Service {
        PassPreflights(self.0.layer(inner))
    }
}

/// The middleware that [`PassPreflightsLayer`] puts around a service.
///
/// It asks for a request body that tells whether it is empty: over HTTP/2, no header does.
#[derive(Clone)]
#[must_use]
pub struct PassPreflights<S>(ApiKeyAuth<S>);

impl<S> PassPreflights<S> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        self.0.get_ref()
    }

    /// The inner service.
    pub fn get_mut(&mut self) -> &mut S {
        self.0.get_mut()
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.0.into_inner()
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for PassPreflights<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ReqBody: Body,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        if is_preflight(&request, self.0.sources()) {
            return self.0.admit(request, Admission::Preflight);
        }
        self.0.call(request)
    }
}

impl<S: fmt::Debug> fmt::Debug for PassPreflights<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PassPreflights").field(self.0.get_ref()).finish()
    }
}

/// Whether the request has the shape of a CORS preflight (Fetch standard, "CORS-preflight
/// request"). Any client can send one of this shape, with everything else that it likes.
#[inline]
pub(crate) fn is_like_preflight(request: &RequestHead<'_>) -> bool {
    request.method == Method::OPTIONS
        && request.headers.contains_key(header::ORIGIN)
        && request.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Whether the request is a preflight, and nothing in it is what a browser would not send with
/// one: no body, nothing about a body or about another protocol, and no credential.
fn is_preflight<B: Body>(request: &Request<B>, sources: &[KeySource]) -> bool {
    let head = RequestHead::from(request);
    is_like_preflight(&head)
        && request.body().is_end_stream()
        && only(head.headers, &header::ORIGIN).is_some_and(|origin| !origin.is_empty())
        && only(head.headers, &header::ACCESS_CONTROL_REQUEST_METHOD).is_some_and(is_method)
        && !head.headers.keys().any(is_foreign)
        && !extract::holds_any(sources, &head)
}

fn is_method(name: &HeaderValue) -> bool {
    Method::from_bytes(name.as_bytes()).is_ok()
}

/// Headers that no browser sends with a preflight, and that give a request another meaning.
const FOREIGN: [HeaderName; 9] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("x-grpc-web"),
];

/// One of [`FOREIGN`], or of those that describe a body or a gRPC call, or name another method.
fn is_foreign(name: &HeaderName) -> bool {
    FOREIGN.contains(name)
        || names_a_method(name)
        || name.as_str().starts_with("content-")
        || name.as_str().starts_with("grpc-")
}
