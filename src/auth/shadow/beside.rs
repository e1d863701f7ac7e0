//! [`ShadowingLayer`]: keys of ours, judged beside the check that is in place.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Extensions, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    decide::Plan,
    future::ShadowingFuture,
    noted::{Comparison, Noted},
};
use crate::auth::{authenticated::AuthenticatedKey, layer::ApiKeyLayer, service::take_ready};

/// An [`ApiKeyLayer`] beside the check that it is to take the place of; see
/// [`shadowing`](ApiKeyLayer::shadowing).
#[derive(Clone)]
#[must_use]
pub struct ShadowingLayer<L> {
    plan: Arc<Plan>,
    other: L,
    comparison: Option<Arc<Comparison>>,
}

impl<L> ShadowingLayer<L> {
    pub(super) fn new(keys: &ApiKeyLayer, other: L) -> Self {
        Self { plan: Arc::new(Plan::new(keys.config(), None)), other, comparison: None }
    }

    /// Says whether both mean the same caller, where both let a request in: `is_same` gets this layer's
    /// identity, and the extensions with the attachments of the other check. It must not block or panic.
    ///
    /// ```
    /// use tower_api_key::{ApiKeyLayer, store::MemoryStore};
    ///
    /// #[derive(Clone)]
    /// struct Customer(String);
    /// # #[derive(Clone)]
    /// # struct OldKeyCheckLayer;
    ///
    /// let layer = ApiKeyLayer::new(MemoryStore::new())
    ///     .shadowing(OldKeyCheckLayer)
    ///     .with_comparison(|key, extensions| {
    ///         let customer = extensions.get::<Customer>().map(|customer| customer.0.as_str());
    ///         customer == key.owner().map(|owner| owner.as_str())
    ///     });
    /// # let _ = layer;
    /// ```
    pub fn with_comparison(
        self,
        is_same: impl Fn(&AuthenticatedKey, &Extensions) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { comparison: Some(Arc::new(is_same)), ..self }
    }
}

impl<S, L: Layer<Noted<S>>> Layer<S> for ShadowingLayer<L> {
    type Service = Shadowing<L::Service>;

    fn layer(&self, inner: S) -> Self::Service {
        let other = self.other.layer(Noted::new(inner, self.comparison.clone()));
        Shadowing { plan: self.plan.clone(), other }
    }
}

/// The middleware that a [`ShadowingLayer`] puts around a service.
#[derive(Clone)]
#[must_use]
pub struct Shadowing<O> {
    plan: Arc<Plan>,
    other: O,
}

impl<O, ReqBody, ResBody> Service<Request<ReqBody>> for Shadowing<O>
where
    O: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
{
    type Response = O::Response;
    type Error = O::Error;
    type Future = ShadowingFuture<O, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.other.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        ShadowingFuture::begin(self.plan.clone(), take_ready(&mut self.other), request)
    }
}

impl<L: fmt::Debug> fmt::Debug for ShadowingLayer<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShadowingLayer")
            .field("plan", &self.plan)
            .field("other", &self.other)
            .finish_non_exhaustive()
    }
}

impl<O: fmt::Debug> fmt::Debug for Shadowing<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shadowing").field("other", &self.other).finish_non_exhaustive()
    }
}
