//! [`AttachApiKey`]: the middleware.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::{attach::Config, future::ResponseFuture};

/// The middleware that [`AttachApiKeyLayer`](super::AttachApiKeyLayer) puts around a client.
///
/// `Response` and `Error` are the inner service's.
#[derive(Clone)]
#[must_use]
pub struct AttachApiKey<S> {
    inner: S,
    config: Arc<Config>,
}

impl<S> AttachApiKey<S> {
    pub(super) fn new(inner: S, config: Arc<Config>) -> Self {
        Self { inner, config }
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

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for AttachApiKey<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let Some(server) = self.config.server_of(&request) else {
            self.config.remove(request.headers_mut());
            return ResponseFuture::sent(None, self.inner.call(request));
        };
        if let Some(until) = self.config.paused_until(server) {
            // What the service has reserved is not kept while the request waits: it is polled ready
            // again.
            let service = self.inner.clone();
            drop(mem::replace(&mut self.inner, service.clone()));
            return ResponseFuture::held(self.config.clone(), server, until, service, request);
        }
        let sent = self.config.attach(server, &mut request);
        ResponseFuture::sent(Some(sent), self.inner.call(request))
    }
}

impl<S: fmt::Debug> fmt::Debug for AttachApiKey<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachApiKey").field("inner", &self.inner).finish_non_exhaustive()
    }
}
