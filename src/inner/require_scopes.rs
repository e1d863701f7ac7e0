//! [`RequireScopesLayer`]: asks for scopes where the routes are known.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    auth::{ResponseBody, authenticated},
    key::{InvalidScope, ScopeRule},
    rejection::{Rejection, respond_plainly},
    request::RequestHead,
};

/// Lets in callers whose key meets a [`ScopeRule`], and answers the others 403 with the names of
/// the missing scopes.
///
/// Goes inside an [`ApiKeyLayer`](crate::ApiKeyLayer), which finds out who the caller is.
/// Without one outside, every request is answered 500 and told so. A request that the outer layer
/// let in without an identity is denied as `Missing`, unless [allowed](Self::allow_anonymous). Only
/// a CORS preflight that the outer layer [let in](crate::ApiKeyLayer::pass_cors_preflights) goes on.
///
/// ```
/// use axum::{Router, routing::post};
/// use tower_api_key::{ApiKeyLayer, RequireScopesLayer, store::MemoryStore};
///
/// let app: Router = Router::new()
///     .route("/inventory", post(|| async { "counted" }))
///     .route_layer(RequireScopesLayer::all(["inventory:write"])?)
///     // Outermost, so it runs first.
///     .layer(ApiKeyLayer::new(MemoryStore::new()));
/// # let _ = app;
/// # Ok::<(), tower_api_key::scope::InvalidScope>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RequireScopesLayer {
    rule: Arc<ScopeRule>,
    allow_anonymous: bool,
}

impl RequireScopesLayer {
    /// Asks for keys that meet this rule.
    pub fn new(rule: ScopeRule) -> Self {
        Self { rule: Arc::new(rule), allow_anonymous: false }
    }

    /// Asks for keys with every one of these scopes.
    pub fn all<'s>(scopes: impl IntoIterator<Item = &'s str>) -> Result<Self, InvalidScope> {
        let rules: Result<Vec<_>, _> = scopes.into_iter().map(ScopeRule::scope).collect();
        Ok(Self::new(ScopeRule::all(rules?)))
    }

    /// Asks for keys with at least one of these scopes.
    pub fn any<'s>(scopes: impl IntoIterator<Item = &'s str>) -> Result<Self, InvalidScope> {
        let rules: Result<Vec<_>, _> = scopes.into_iter().map(ScopeRule::scope).collect();
        Ok(Self::new(ScopeRule::any(rules?)))
    }

    /// Lets requests on that the outer layer let in without an identity: those that its bypass
    /// matches, and anonymous callers where it allows them. A key that does not meet the rule is
    /// refused all the same.
    pub fn allow_anonymous(mut self) -> Self {
        self.allow_anonymous = true;
        self
    }
}

impl<S> Layer<S> for RequireScopesLayer {
    type Service = RequireScopes<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireScopes { inner, layer: self.clone() }
    }
}

/// The middleware that [`RequireScopesLayer`] puts around a service.
#[derive(Clone, Debug)]
#[must_use]
pub struct RequireScopes<S> {
    inner: S,
    layer: RequireScopesLayer,
}

impl<S> RequireScopes<S> {
    fn denial<B>(&self, request: &Request<B>) -> Option<Response<Bytes>> {
        let RequireScopesLayer { rule, allow_anonymous } = &self.layer;
        let key = match authenticated::require_unless(*allow_anonymous, request) {
            Ok(Some(key)) => key,
            Ok(None) => return None,
            Err(absence) => return Some(absence.response(&RequestHead::from(request))),
        };
        if rule.is_met_by(key.scopes()) {
            return None;
        }
        let missing = rule.missing(key.scopes());
        let rejection = Rejection::insufficient_scope(missing).with_record(key.record());
        rejection.observe();
        Some(respond_plainly(rejection, Some(&RequestHead::from(request))))
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RequireScopes<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = RequireScopesFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let state = match self.denial(&request) {
            None => State::Inner { future: self.inner.call(request) },
            denial => State::Denied { response: denial },
        };
        RequireScopesFuture { state }
    }
}

pin_project! {
    /// The response of a [`RequireScopes`].
    #[must_use = "a future does nothing unless it is polled"]
    pub struct RequireScopesFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Inner { #[pin] future: F },
        Denied { response: Option<Response<Bytes>> },
    }
}

impl<F, ResBody, E> Future for RequireScopesFuture<F>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project().state.project() {
            StateProjection::Inner { future } => {
                ready!(future.poll(cx)).map(|response| response.map(ResponseBody::from))
            }
            StateProjection::Denied { response } => {
                let response =
                    response.take().expect("`RequireScopesFuture` polled after completion");
                Ok(response.map(ResponseBody::denial))
            }
        })
    }
}

impl<F> fmt::Debug for RequireScopesFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireScopesFuture").finish_non_exhaustive()
    }
}
