//! [`ApiKeyAuth`]: the middleware.

use std::{
    fmt, mem,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::{
    authenticate::{self, Admission, Outcome},
    body::ResponseBody,
    extract::KeySource,
    future::ResponseFuture,
    shared_config::{SharedConfig, ThreadConfig},
};

/// The middleware that [`ApiKeyLayer`](crate::ApiKeyLayer) puts around a service.
///
/// A [response's body](ResponseBody) is the inner service's or a denial's. `Error` is the inner
/// service's: a denial is always a response.
#[derive(Clone)]
#[must_use]
pub struct ApiKeyAuth<S> {
    inner: S,
    config: SharedConfig,
}

impl<S> ApiKeyAuth<S> {
    pub(crate) fn new(inner: S, config: SharedConfig) -> Self {
        Self { inner, config }
    }

    /// The same layer around another service.
    #[cfg(feature = "axum-serve")]
    pub(super) fn around<T>(&self, inner: T) -> ApiKeyAuth<T> {
        ApiKeyAuth { inner, config: self.config.clone() }
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

    /// As the calling thread counts it.
    pub(crate) fn config(&mut self) -> &ThreadConfig {
        self.config.mine()
    }

    pub(crate) fn sources(&self) -> &[KeySource] {
        &self.config.sources
    }

    /// Goes on with an outcome that was found for a request, with this service, which was polled ready.
    pub(super) fn go_on<B>(mut self, request: Request<B>, outcome: Outcome) -> ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        let config = self.config.mine().clone();
        ResponseFuture::of_outcome(config, self.inner, request, outcome, None)
    }

    /// Lets a request in.
    #[inline]
    pub(crate) fn admit<B>(
        &mut self,
        mut request: Request<B>,
        admission: Admission,
    ) -> ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        let config = self.config.mine();
        let plan = authenticate::let_in(config, &mut request, admission);
        ResponseFuture::admitted(config.clone(), plan, self.inner.call(request))
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for ApiKeyAuth<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let config = self.config.mine();
        match authenticate::authenticate(config, &mut request) {
            Outcome::Admit(admission) => {
                let plan = authenticate::let_in(config, &mut request, admission);
                ResponseFuture::admitted(config.clone(), plan, self.inner.call(request))
            }
            Outcome::Reject(rejection) => {
                let future = ResponseFuture::rejected(config, rejection, &mut request);
                drop(take_ready(&mut self.inner));
                future
            }
            Outcome::Mistake(what_to_do) => {
                drop(take_ready(&mut self.inner));
                ResponseFuture::mistaken(what_to_do, &request)
            }
            Outcome::Wait(waiting) => {
                let ready = take_ready(&mut self.inner);
                ResponseFuture::waiting(config.clone(), ready, request, waiting)
            }
        }
    }
}

/// The service that was polled ready, with a clone in its place. It must be the one that is called, so it
/// goes along with a request that waits. Dropped, it gives back what it has reserved, such as a place in a
/// limit of concurrent requests: a client that is denied and stays connected must not keep that.
#[cold]
pub(crate) fn take_ready<S: Clone>(service: &mut S) -> S {
    let clone = service.clone();
    mem::replace(service, clone)
}

impl<S: fmt::Debug> fmt::Debug for ApiKeyAuth<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyAuth").field("inner", &self.inner).finish_non_exhaustive()
    }
}
