//! [`ShadowLayer`]: an [`ApiKeyLayer`] that denies nothing yet.

use std::{fmt, sync::Arc};

use tower_layer::Layer;

use super::{
    beside::ShadowingLayer, decide::Plan, enforcement::Enforcement, period::Period, service::Shadow,
};
use crate::{
    auth::{layer::ApiKeyLayer, revocation::register},
    clock::Timestamp,
};

/// An [`ApiKeyLayer`] in shadow; see [`shadow_until`](ApiKeyLayer::shadow_until).
#[derive(Clone)]
#[must_use]
pub struct ShadowLayer {
    enforcing: ApiKeyLayer,
    plan: Arc<Plan>,
    period: Arc<Period>,
}

impl ApiKeyLayer {
    /// Denies nothing until this time, and enforces from then on: to see which requests would be denied
    /// before any is.
    ///
    /// Until then every step of a decision runs, and nothing of the response changes: no denial, no header,
    /// no cache policy. A request that would be denied has a [`WouldDeny`](super::WouldDeny) in its
    /// extensions and in those of its response; an event and the metric
    /// `tower_api_key_would_deny_total` tell of it, and `tower-api-key shadow-report` sums the events up. A
    /// request that would be let in has its [`AuthenticatedKey`](crate::AuthenticatedKey), unless a layer
    /// further out has attached one. One that would be denied has none, so handlers must not need one yet,
    /// and scope and cost layers inside deny it unless they are in shadow themselves.
    ///
    /// - **Nothing is written**: no use is counted, no digest renewed, no event hook called, no credential
    ///   hidden.
    /// - **Limits, credits and failures** are counted apart, in the memory of this node: the layer spends and
    ///   charges nothing. With several nodes, each sees its own part of the requests.
    /// - **No request waits** longer than 50 ms, and about 1,000 may wait. Beyond that a request is undecided:
    ///   it goes on like one that would be denied, without a `WouldDeny`.
    /// - **The log is told** when the service is made, and then every hour, in a warning. The gauge
    ///   `tower_api_key_shadow_layers` counts layers in shadow.
    ///
    /// Guards of [management routes](crate::axum) and [`or_else`](Self::or_else) take no layer in shadow, and a
    /// [guard audit](crate::testing::guard_audit) fails on one that it comes through. CORS preflights count as
    /// requests without a key: put the CORS layer outside.
    ///
    /// ```
    /// use tower_api_key::{ApiKeyLayer, Timestamp, auth::WouldDeny, store::MemoryStore};
    ///
    /// let until: Timestamp = "2027-03-01T00:00:00Z".parse()?;
    /// let layer = ApiKeyLayer::new(MemoryStore::new()).shadow_until(until);
    /// # let _ = layer;
    ///
    /// async fn handler(request: http::Request<()>) -> &'static str {
    ///     match request.extensions().get::<WouldDeny>() {
    ///         Some(would_deny) => would_deny.rejection().kind().code(),
    ///         None => "a good key",
    ///     }
    /// }
    /// # let _ = handler;
    /// # Ok::<(), tower_api_key::clock::ParseTimestampError>(())
    /// ```
    pub fn shadow_until(self, until: Timestamp) -> ShadowLayer {
        let plan = Arc::new(Plan::new(self.config(), None));
        ShadowLayer { enforcing: self, plan, period: Arc::new(Period::new("ApiKeyLayer", until)) }
    }

    /// Judges requests beside the check that is in place, and reports where the two differ: the way from one
    /// to the other without a client that notices.
    ///
    /// The other layer stays in charge: its answer is served, and handlers see its attachments. This layer
    /// decides first, as one [in shadow](Self::shadow_until): it counts apart, writes nothing, and has
    /// a request wait 50 ms at most. A difference is an event, counted in
    /// `tower_api_key_shadow_differences_total`, and a [`Difference`](super::Difference) in the extensions
    /// of the response. `tower-api-key shadow-report` sums the events up.
    ///
    /// The other layer has let a request in when it calls the service inside, with the request's extensions.
    ///
    /// ```
    /// use tower_api_key::{ApiKeyLayer, store::MemoryStore};
    /// # #[derive(Clone)]
    /// # struct OldKeyCheckLayer;
    ///
    /// let layer = ApiKeyLayer::new(MemoryStore::new()).shadowing(OldKeyCheckLayer);
    /// # let _ = layer;
    /// ```
    pub fn shadowing<L>(self, other: L) -> ShadowingLayer<L> {
        ShadowingLayer::new(&self, other)
    }
}

impl ShadowLayer {
    /// Enforces for some keys at once. Until the end of the shadow, the others stay in it.
    pub fn with_enforcement(self, enforcement: Enforcement) -> Self {
        let plan = Arc::new(Plan::new(self.enforcing.config(), Some(enforcement)));
        Self { plan, ..self }
    }
}

impl<S> Layer<S> for ShadowLayer {
    type Service = Shadow<S>;

    fn layer(&self, inner: S) -> Self::Service {
        register(&self.plan.apart);
        // Said at the start.
        self.period.is_running(&*self.plan.apart.clock);
        Shadow::new(self.enforcing.layer(inner), self.plan.clone(), self.period.clone())
    }
}

impl fmt::Debug for ShadowLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShadowLayer")
            .field("enforcing", &self.enforcing)
            .field("plan", &self.plan)
            .field("period", &self.period)
            .finish()
    }
}
