//! [`ChargeLayer`]: what a route costs more.

use std::{fmt, num::NonZeroU32, sync::Arc};

use http::Request;
use tower_layer::Layer;

use super::waiting::{Gate, Gated, Verdict, deny};
use crate::{
    auth::authenticated,
    limit::{Limited, RateLimits},
    request::RequestHead,
};

/// Charges the rate limits of the caller's key for a request once more, where routes are known:
/// for those that cost more than others.
///
/// Goes inside an [`ApiKeyLayer`](crate::ApiKeyLayer) with the same [`RateLimits`], which has
/// charged the request what every request costs. What the limits do not let in is denied like
/// there; only what this layer would have charged is then not counted. Without an `ApiKeyLayer`
/// outside, every request is answered 500 and told so. A request that the outer layer let in
/// without an identity is denied as `Missing`, unless [allowed](Self::allow_anonymous): there are
/// no limits that could count it. Only a CORS preflight that the outer layer
/// [let in](crate::ApiKeyLayer::pass_cors_preflights) goes on.
///
/// ```
/// use axum::{Router, routing::post};
/// use tower_api_key::{
///     ApiKeyLayer, ChargeLayer, LocalLimiter, RateLimits, nonzero, store::MemoryStore,
/// };
///
/// let limits = RateLimits::new(LocalLimiter::new());
/// let app: Router = Router::new()
///     .route("/export", post(|| async { "a large file" }))
///     // Ten in all.
///     .route_layer(ChargeLayer::new(limits.clone(), nonzero!(9)))
///     // Outermost, so it runs first.
///     .layer(ApiKeyLayer::new(MemoryStore::new()).with_rate_limits(limits));
/// # let _ = app;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ChargeLayer {
    gate: Arc<ChargeGate>,
}

/// The middleware that [`ChargeLayer`] puts around a service.
pub type Charge<S> = Gated<S, ChargeGate>;

/// Decides for a [`ChargeLayer`].
#[derive(Clone, Debug)]
pub struct ChargeGate {
    limits: RateLimits,
    cost: NonZeroU32,
    allow_anonymous: bool,
}

/// What the limits have said.
pub struct ChargeAnswer(Limited);

impl fmt::Debug for ChargeAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChargeAnswer").finish_non_exhaustive()
    }
}

impl ChargeLayer {
    /// Charges these limits so many requests more.
    pub fn new(limits: RateLimits, cost: NonZeroU32) -> Self {
        Self { gate: Arc::new(ChargeGate { limits, cost, allow_anonymous: false }) }
    }

    /// Lets requests on, at no cost, that the outer layer let in without an identity: those that
    /// its bypass matches, and anonymous callers where it allows them.
    pub fn allow_anonymous(mut self) -> Self {
        Arc::make_mut(&mut self.gate).allow_anonymous = true;
        self
    }
}

impl<S> Layer<S> for ChargeLayer {
    type Service = Charge<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Gated::new(inner, self.gate.clone())
    }
}

impl Gate for ChargeGate {
    type Answer = ChargeAnswer;

    fn judge<B>(&self, request: &mut Request<B>) -> Verdict<ChargeAnswer> {
        let limited = match authenticated::require_unless(self.allow_anonymous, request) {
            Ok(Some(key)) => self.limits.charge(key.record(), self.cost.get()),
            Ok(None) => return Verdict::Admit(None),
            Err(absence) => return Verdict::Deny(absence.response(&RequestHead::from(&*request))),
        };
        self.settle(request, ChargeAnswer(limited))
    }

    fn settle<B>(&self, request: &mut Request<B>, answer: ChargeAnswer) -> Verdict<ChargeAnswer> {
        match answer.0 {
            Limited::Admitted(report) => Verdict::Admit(report),
            Limited::Denied(rejection) => deny(request, rejection),
            Limited::Waiting(limited) => {
                Verdict::Wait(Box::pin(async move { ChargeAnswer(limited.await) }))
            }
        }
    }
}
