//! [`ExtraCostLayer`]: an extra charge for routes that cost more.

use std::{fmt, num::NonZeroU32, sync::Arc};

use http::{Extensions, Request};
use tower_layer::Layer;

use super::waiting::{InShadow, Next, WaitingLayer, WaitingService, deny, wait};
use crate::{
    auth::{Enforcement, WaitingLimit, authenticated, shadow::Shade},
    clock::{Clock, Timestamp},
    limit::{LimitReport, Limited, RateLimits},
};

/// Charges the rate limits of the caller's key once more, for routes that cost more than others.
///
/// Goes inside an [`ApiKeyLayer`](crate::ApiKeyLayer) with the same [`RateLimits`], which has
/// charged the cost of every request. A request that the limits do not let in is denied like
/// there; only the charge of this layer is then not counted. Without an `ApiKeyLayer` outside,
/// every request is answered 500, with a text that says so. A request that the outer layer let in
/// without an identity is denied as `Missing`, unless [allowed](Self::allow_anonymous): there are
/// no limits that could count it. Only a CORS preflight that the outer layer
/// [let in](crate::ApiKeyLayer::pass_cors_preflights) goes on.
///
/// ```
/// use axum::{Router, routing::post};
/// use tower_api_key::{
///     ApiKeyLayer, RateLimits, extra_cost::ExtraCostLayer, limit::LocalLimiter, nonzero,
///     store::MemoryStore,
/// };
///
/// let limits = RateLimits::new(LocalLimiter::new());
/// let app: Router = Router::new()
///     .route("/export", post(|| async { "a large file" }))
///     // Ten in all.
///     .route_layer(ExtraCostLayer::new(limits.clone(), nonzero!(9)))
///     // Outermost, so it runs first.
///     .layer(ApiKeyLayer::new(MemoryStore::new()).with_rate_limits(limits));
/// # let _ = app;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ExtraCostLayer {
    check: Arc<ExtraCostCheck>,
}

/// The middleware that [`ExtraCostLayer`] puts around a service.
pub type ExtraCost<S> = WaitingService<S, ExtraCostCheck>;

/// Decides for an [`ExtraCostLayer`].
#[derive(Clone, Debug)]
pub struct ExtraCostCheck {
    limits: RateLimits,
    cost: NonZeroU32,
    allow_anonymous: bool,
    waiting: WaitingLimit,
    shadow: Shade,
}

/// The answer of the limits.
pub struct ExtraCostAnswer(Limited);

impl fmt::Debug for ExtraCostAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtraCostAnswer").finish_non_exhaustive()
    }
}

impl ExtraCostLayer {
    /// Charges these limits so many requests more.
    pub fn new(limits: RateLimits, cost: NonZeroU32) -> Self {
        let waiting = WaitingLimit::new();
        let check =
            ExtraCostCheck { limits, cost, allow_anonymous: false, waiting, shadow: Shade::none() };
        Self { check: Arc::new(check) }
    }

    /// Lets requests on, at no cost, that the outer layer let in without an identity: those that
    /// its bypass matches, and anonymous callers where it allows them.
    pub fn allow_anonymous(mut self) -> Self {
        Arc::make_mut(&mut self.check).allow_anonymous = true;
        self
    }

    /// Denies nothing until this time, and enforces from then on.
    ///
    /// Until then nothing is charged: the cost is counted apart, together with that of an
    /// [`ApiKeyLayer` in shadow](crate::ApiKeyLayer::shadow_until) outside with the same limits. Inside one that
    /// enforces, the costs of that one are not among the counts, so fewer requests are told of than would be
    /// denied. A request that would be denied goes on, and is told of as there.
    pub fn shadow_until(mut self, until: Timestamp) -> Self {
        Arc::make_mut(&mut self.check).shadow.begin("ExtraCostLayer", until);
        self
    }

    /// Enforces for some keys at once; requests without an identity are those that are
    /// [unidentified](crate::auth::Unidentified). Until the end of [the shadow](Self::shadow_until), the
    /// others stay in it.
    pub fn with_enforcement(mut self, enforcement: Enforcement) -> Self {
        Arc::make_mut(&mut self.check).shadow.enforce(enforcement);
        self
    }

    /// Reads from this clock when [the shadow](Self::shadow_until) ends.
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        Arc::make_mut(&mut self.check).shadow.set_clock(clock);
        self
    }

    /// Bounds how many requests may wait for the limits, by default 10,000 and 64 MiB: further ones
    /// that would have to are denied at once as [`Overloaded`](crate::RejectionKind::Overloaded).
    pub fn with_waiting_limit(mut self, limit: WaitingLimit) -> Self {
        Arc::make_mut(&mut self.check).waiting = limit;
        self
    }
}

impl<S> Layer<S> for ExtraCostLayer {
    type Service = ExtraCost<S>;

    fn layer(&self, inner: S) -> Self::Service {
        self.check.shadow.tell();
        WaitingService::new(inner, self.check.clone())
    }
}

impl WaitingLayer for ExtraCostCheck {
    type Answer = ExtraCostAnswer;
    type Report = Option<LimitReport>;

    fn judge<B>(&self, request: &mut Request<B>, in_shadow: bool) -> Next<Self> {
        let limits = if in_shadow { self.limits.apart() } else { &self.limits };
        let limited = match authenticated::require_unless(self.allow_anonymous, request) {
            Ok(Some(key)) => limits.charge(key.record(), self.cost.get()),
            Ok(None) => return Next::Admit(None),
            Err(absence) => return Next::Deny(absence.into()),
        };
        self.settle(request, ExtraCostAnswer(limited))
    }

    fn settle<B>(&self, request: &mut Request<B>, answer: ExtraCostAnswer) -> Next<Self> {
        match answer.0 {
            Limited::Admitted(rated) => Next::Admit(rated.report),
            Limited::Denied(rejection) => deny(request, rejection),
            Limited::Waiting(limited) => {
                wait(request, &self.waiting, async move { ExtraCostAnswer(limited.await) })
            }
        }
    }

    fn in_shadow(&self, extensions: &Extensions) -> Option<InShadow> {
        self.shadow.over(extensions).map(InShadow)
    }
}
