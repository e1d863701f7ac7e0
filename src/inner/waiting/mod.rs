//! [`Gated`]: the middleware of layers that stand inside an [`ApiKeyLayer`](crate::ApiKeyLayer),
//! look at the identity that it attached, and may have to wait before they let a request on.

mod future;

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use tower_service::Service;

pub(super) use self::future::GatedFuture;
use crate::{
    auth::{ResponseBody, authenticated},
    limit::LimitReport,
    rejection::{Rejection, respond_plainly},
    request::RequestHead,
};

/// Decides about requests.
///
/// Of this crate's layers alone: it cannot be named outside.
pub trait Gate: Send + Sync + 'static {
    /// What a request may have to wait for.
    type Answer;

    /// Decides, or says what has to be waited for.
    fn judge<B>(&self, request: &mut Request<B>) -> Verdict<Self::Answer>;

    /// Goes on with what was waited for.
    fn settle<B>(&self, request: &mut Request<B>, answer: Self::Answer) -> Verdict<Self::Answer>;
}

/// What became of a request.
pub enum Verdict<A> {
    /// On to the inner service, and on its response how a limit stands, if there is one.
    Admit(Option<LimitReport>),
    /// Back to the caller.
    Deny(Response<Bytes>),
    /// Something must be waited for; then [`Gate::settle`].
    Wait(Pin<Box<dyn Future<Output = A> + Send>>),
}

impl<A> fmt::Debug for Verdict<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admit(_) => "Admit",
            Self::Deny(_) => "Deny",
            Self::Wait(_) => "Wait",
        })
    }
}

/// A denial, rendered plainly: the layer outside completes it.
#[cold]
pub(crate) fn deny<B, A>(request: &Request<B>, rejection: Rejection) -> Verdict<A> {
    let rejection = match authenticated::require(request.extensions()) {
        Ok(key) => rejection.with_record(key.record()),
        Err(_) => rejection,
    };
    rejection.observe();
    Verdict::Deny(respond_plainly(rejection, Some(&RequestHead::from(request))))
}

/// The middleware that layers like [`OwnerLayer`](crate::OwnerLayer) and
/// [`ExtraCostLayer`](crate::extra_cost::ExtraCostLayer) put around a service.
///
/// A [response's body](ResponseBody) is the inner service's or a denial's, and `Error` is the inner
/// service's.
#[must_use]
pub struct Gated<S, G> {
    inner: S,
    gate: Arc<G>,
}

impl<S, G> Gated<S, G> {
    pub(crate) fn new(inner: S, gate: Arc<G>) -> Self {
        Self { inner, gate }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, G, ReqBody, ResBody> Service<Request<ReqBody>> for Gated<S, G>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    G: Gate,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = GatedFuture<S, ReqBody, G>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        match self.gate.judge(&mut request) {
            Verdict::Admit(report) => GatedFuture::admitted(self.inner.call(request), report),
            Verdict::Deny(response) => GatedFuture::denied(response),
            Verdict::Wait(answer) => {
                // The service that was polled ready must be the one that is called: it goes along
                // with the request, and a clone takes its place here.
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                GatedFuture::waiting(self.gate.clone(), ready, request, answer)
            }
        }
    }
}

impl<S: Clone, G> Clone for Gated<S, G> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), gate: self.gate.clone() }
    }
}

impl<S: fmt::Debug, G> fmt::Debug for Gated<S, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gated").field("inner", &self.inner).finish_non_exhaustive()
    }
}
