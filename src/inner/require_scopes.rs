//! [`RequireScopesLayer`]: asks for scopes where the routes are known.

use std::{convert::Infallible, sync::Arc};

use http::{Extensions, Request};
use tower_layer::Layer;

use super::waiting::{InShadow, Next, WaitingLayer, WaitingService, deny};
use crate::{
    auth::{Enforcement, authenticated, shadow::Shade},
    clock::{Clock, Timestamp},
    key::{InvalidScope, ScopeRule},
    rejection::Rejection,
};

/// Lets in callers whose key meets a [`ScopeRule`], and answers the others 403 with the names of
/// the missing scopes.
///
/// Goes inside an [`ApiKeyLayer`](crate::ApiKeyLayer), which identifies the caller.
/// Without one outside, every request is answered 500, with a text that says so. A request that the outer layer
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
    check: Arc<ScopeCheck>,
}

/// The middleware that [`RequireScopesLayer`] puts around a service.
pub type RequireScopes<S> = WaitingService<S, ScopeCheck>;

/// Decides for a [`RequireScopesLayer`].
#[derive(Clone, Debug)]
pub struct ScopeCheck {
    rule: ScopeRule,
    allow_anonymous: bool,
    shadow: Shade,
}

impl RequireScopesLayer {
    /// Asks for keys that meet this rule.
    pub fn new(rule: ScopeRule) -> Self {
        Self { check: Arc::new(ScopeCheck { rule, allow_anonymous: false, shadow: Shade::none() }) }
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
        Arc::make_mut(&mut self.check).allow_anonymous = true;
        self
    }

    /// Denies nothing until this time, and enforces from then on: to see which requests would be
    /// denied before any is.
    ///
    /// Until then a request that would be denied goes on, with a [`WouldDeny`](crate::auth::WouldDeny) in its
    /// extensions and in those of its response, and is told of as by a whole
    /// [layer in shadow](crate::ApiKeyLayer::shadow_until). Where one stands outside and would have denied it
    /// already, its denial stays.
    pub fn shadow_until(mut self, until: Timestamp) -> Self {
        Arc::make_mut(&mut self.check).shadow.begin("RequireScopesLayer", until);
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
}

impl<S> Layer<S> for RequireScopesLayer {
    type Service = RequireScopes<S>;

    fn layer(&self, inner: S) -> Self::Service {
        self.check.shadow.tell();
        WaitingService::new(inner, self.check.clone())
    }
}

/// Never waits: the key is there, and its scopes are known.
impl WaitingLayer for ScopeCheck {
    type Answer = Infallible;
    type Report = ();

    fn judge<B>(&self, request: &mut Request<B>, _: bool) -> Next<Self> {
        let key = match authenticated::require_unless(self.allow_anonymous, request) {
            Ok(Some(key)) => key,
            Ok(None) => return Next::Admit(()),
            Err(absence) => return Next::Deny(absence.into()),
        };
        if self.rule.is_met_by(key.scopes()) {
            return Next::Admit(());
        }
        let missing = self.rule.missing(key.scopes());
        deny(request, Rejection::insufficient_scope(missing))
    }

    fn settle<B>(&self, _: &mut Request<B>, answer: Infallible) -> Next<Self> {
        match answer {}
    }

    fn in_shadow(&self, extensions: &Extensions) -> Option<InShadow> {
        self.shadow.over(extensions).map(InShadow)
    }
}
