//! [`IdentityLayer`]: sets identity headers on requests.

use std::{convert::Infallible, sync::Arc};

use http::Request;
use tower_layer::Layer;

use super::IdentityHeaders;
use crate::{
    auth::authenticated,
    inner::waiting::{Next, WaitingLayer, WaitingService},
};

/// Gives each request headers that say whose key it came with, and takes out those that the client sent
/// in their place.
///
/// For a gateway: the services behind it read [these headers](IdentityHeaders), in any language, and need
/// to know nothing of keys. They must be reachable through the gateway alone.
///
/// Goes inside an [`ApiKeyLayer`](crate::ApiKeyLayer); without one outside, every request is answered
/// 500, with a text that says so. A request that the outer layer let in without an identity goes on with
/// empty headers.
///
/// Whatever a client has sent under one of the names goes, in any case, and also with another sign in
/// place of a `-`, such as `X_Api_Key_Id`, which some servers take for the same name. Their mention in
/// `Connection` goes, by which a client could have a proxy drop them. So do `Referer`,
/// `X-Forwarded-Uri`, `X-Original-URI` and `X-Original-URL`: they repeat the target, with a key that was
/// sent in it.
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_api_key::{ApiKeyLayer, identity::IdentityLayer, store::MemoryStore};
///
/// let layers = ServiceBuilder::new()
///     .layer(ApiKeyLayer::new(MemoryStore::new()).hide_credentials())
///     .layer(IdentityLayer::new());
/// # let _ = layers;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct IdentityLayer {
    headers: Arc<IdentitySetter>,
}

/// The middleware that [`IdentityLayer`] puts around a service.
pub type Identity<S> = WaitingService<S, IdentitySetter>;

/// Sets the headers for an [`IdentityLayer`].
#[derive(Debug, Default)]
pub struct IdentitySetter(IdentityHeaders);

impl IdentityLayer {
    /// With the default [names](IdentityHeaders).
    pub fn new() -> Self {
        Self::default()
    }

    /// With these names.
    pub fn with_headers(headers: IdentityHeaders) -> Self {
        Self { headers: Arc::new(IdentitySetter(headers)) }
    }
}

impl<S> Layer<S> for IdentityLayer {
    type Service = Identity<S>;

    fn layer(&self, inner: S) -> Self::Service {
        WaitingService::new(inner, self.headers.clone())
    }
}

/// Never waits, and denies no request.
impl WaitingLayer for IdentitySetter {
    type Answer = Infallible;
    type Report = ();

    fn judge<B>(&self, request: &mut Request<B>, _: bool) -> Next<Self> {
        let key = match authenticated::require(request.extensions()) {
            Ok(key) => Some(key.clone()),
            Err(authenticated::Absence::NoKey(_)) => None,
            Err(mistake) => return Next::Deny(mistake.into()),
        };
        self.0.remove(request.headers_mut());
        self.0.set(key.as_ref(), request.headers_mut());
        Next::Admit(())
    }

    fn settle<B>(&self, _: &mut Request<B>, answer: Infallible) -> Next<Self> {
        match answer {}
    }
}
