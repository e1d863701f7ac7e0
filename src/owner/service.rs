//! [`ResolveOwner`]: the middleware.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Either, Full};
use tower_service::Service;

use super::{
    Owner, ResolveOwnerFuture,
    layer::{Answer, AnswerFuture, Config},
};
use crate::{
    Rejection, RejectionKind,
    authenticated::{self, Absence},
    observe,
    rejection::respond_like,
    store::Lookup,
};

/// The middleware that [`OwnerLayer`](super::OwnerLayer) puts around a service.
pub struct ResolveOwner<S, T> {
    inner: S,
    config: Arc<Config<T>>,
}

/// What became of a request.
pub(super) enum Verdict<T> {
    /// On to the inner service.
    Admit,
    Deny(Response<Full<Bytes>>),
    /// The resolver must be waited for; then [`Config::settle`].
    Wait(AnswerFuture<T>),
}

impl<T: Send + Sync + 'static> Config<T> {
    fn judge<B>(&self, request: &mut Request<B>) -> Verdict<T> {
        let key = match authenticated::require(request.extensions()) {
            Ok(key) => key,
            Err(Absence::Unauthenticated) if self.allow_anonymous => return Verdict::Admit,
            Err(absence) => return Verdict::Deny(absence.response(request.headers())),
        };
        let Some(id) = key.owner() else { return self.settle(request, Ok(None)) };
        match self.resolver.resolve_now(id) {
            Some(Lookup::Found(owner)) => self.settle(request, Ok(Some(owner))),
            Some(Lookup::NotFound) => self.settle(request, Ok(None)),
            None => Verdict::Wait(self.resolve(id.clone())),
        }
    }

    /// Goes on with the resolver's answer.
    pub(super) fn settle<B>(&self, request: &mut Request<B>, answer: Answer<T>) -> Verdict<T> {
        let is_active = |owner: &Owner<T>| self.is_active.as_ref().is_none_or(|is| is(owner));
        match answer.map(|owner| owner.filter(is_active)) {
            Ok(Some(owner)) => {
                request.extensions_mut().insert(owner);
                Verdict::Admit
            }
            Ok(None) => deny(request, Rejection::new(RejectionKind::InactiveOwner)),
            Err(error) => deny(request, Rejection::from_owner_error(error)),
        }
    }
}

/// Rendered plainly: the layer outside completes it.
#[cold]
fn deny<B, T>(request: &Request<B>, rejection: Rejection) -> Verdict<T> {
    let rejection = match authenticated::require(request.extensions()) {
        Ok(key) => rejection.with_key(key.id()),
        Err(_) => rejection,
    };
    observe::denied(&rejection);
    Verdict::Deny(respond_like(rejection, request.headers()))
}

impl<S, T> ResolveOwner<S, T> {
    pub(super) fn new(inner: S, config: Arc<Config<T>>) -> Self {
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

impl<S, T, ReqBody, ResBody> Service<Request<ReqBody>> for ResolveOwner<S, T>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    T: Send + Sync + 'static,
{
    type Response = Response<Either<ResBody, Full<Bytes>>>;
    type Error = S::Error;
    type Future = ResolveOwnerFuture<S, ReqBody, T>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        match self.config.judge(&mut request) {
            Verdict::Admit => ResolveOwnerFuture::admitted(self.inner.call(request)),
            Verdict::Deny(response) => ResolveOwnerFuture::denied(response),
            Verdict::Wait(answer) => {
                // The service that was polled ready must be the one that is called: it goes along
                // with the request, and a clone takes its place here.
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                ResolveOwnerFuture::waiting(self.config.clone(), ready, request, answer)
            }
        }
    }
}

impl<S: Clone, T> Clone for ResolveOwner<S, T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), config: self.config.clone() }
    }
}

impl<S: fmt::Debug, T> fmt::Debug for ResolveOwner<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResolveOwner").field("inner", &self.inner).finish_non_exhaustive()
    }
}
