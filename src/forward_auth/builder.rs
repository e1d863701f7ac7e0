//! [`ForwardAuthBuilder`]: the settings.

use std::{fmt, net::IpAddr, sync::Arc};

use http::{HeaderName, Method};
use ipnet::IpNet;
use tower_layer::Layer;

use super::{
    ForwardAuth,
    decision::{Decider, Settings},
    granting::Granting,
    routes::Routes,
};
use crate::{
    auth::{
        ApiKeyLayer,
        extract::{KeySource, SourceKind},
    },
    error::ConfigError,
    inner::IdentityHeaders,
    key::ScopeRule,
    request::RequestHead,
    runtime::unwrapped,
};

/// Makes a [`ForwardAuth`], or a service that is asked in another way and decides alike.
#[must_use]
pub struct ForwardAuthBuilder<S = ForwardAuth> {
    layer: ApiKeyLayer,
    settings: Settings,
    /// Whether an answer can name headers that go no further.
    can_hide: bool,
    make: fn(Decider) -> S,
}

impl<S> ForwardAuthBuilder<S> {
    pub(super) fn new(layer: ApiKeyLayer, make: fn(Decider) -> S) -> Self {
        let settings = Settings {
            identity: Arc::default(),
            routes: Routes::default(),
            trusted: Vec::new(),
            peer: Arc::new(|_| None),
        };
        Self { layer, settings, can_hide: false, make }
    }

    /// With answers that can name headers that go no further.
    #[cfg(feature = "ext-authz")]
    pub(super) fn hiding(self) -> Self {
        Self { can_hide: true, ..self }
    }

    /// Decides for peers in these networks alone: those of the proxies, in which no client is. `peer` says
    /// which address the connection comes from; a request for which it says none is refused.
    ///
    /// The client's address, for allow-lists of keys, is the layer's matter: see
    /// [`ForwardedFor`](crate::auth::ForwardedFor).
    pub fn trusting_peers(
        mut self,
        networks: impl IntoIterator<Item = IpNet>,
        peer: impl Fn(&RequestHead<'_>) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        self.settings.trusted = networks.into_iter().map(unwrapped).collect();
        self.settings.peer = Arc::new(peer);
        self
    }

    /// Opens a path to keys with these scopes, for one method: `/orders`, `/orders/{id}` with any one
    /// segment in place of the braces, `/files/{*path}` with one or more.
    ///
    /// Of several paths that match, the one decides that says more in its first segments, and of that
    /// alone the methods. A path with a slash at its end counts as the one without.
    ///
    /// # Errors
    ///
    /// [`ForwardAuthRule`](ConfigError::ForwardAuthRule) for a path that is none or has such a rule already,
    /// and for `HEAD`, which counts as `GET`.
    pub fn rule(
        mut self,
        method: Method,
        path: &str,
        scopes: ScopeRule,
    ) -> Result<Self, ConfigError> {
        self.settings.routes.add(Some(method), path, scopes)?;
        Ok(self)
    }

    /// The same for all methods without a rule of their own.
    ///
    /// # Errors
    ///
    /// As [`rule`](Self::rule).
    pub fn rule_for_all_methods(
        mut self,
        path: &str,
        scopes: ScopeRule,
    ) -> Result<Self, ConfigError> {
        self.settings.routes.add(None, path, scopes)?;
        Ok(self)
    }

    /// Puts the identity into headers of these names.
    pub fn with_identity_headers(mut self, names: IdentityHeaders) -> Self {
        self.settings.identity = Arc::new(names);
        self
    }

    /// The service.
    ///
    /// # Errors
    ///
    /// [`Contradiction`](ConfigError::Contradiction) for a layer with a bypass or one that lets anonymous
    /// callers in, [`NoTrustedNetwork`](ConfigError::NoTrustedNetwork) without a peer, and
    /// [`NoForwardAuthRule`](ConfigError::NoForwardAuthRule) without a rule: no request would be let in.
    /// A `Contradiction` as well for a layer that looks for keys in an identity header, and for Envoy for one that
    /// [hides credentials](ApiKeyLayer::hide_credentials) and looks for them elsewhere than in headers.
    pub fn build(self) -> Result<S, ConfigError> {
        let Self { layer, settings, can_hide, make } = self;
        let contradiction = |setting, problem| {
            Err(ConfigError::Contradiction { settings: ["ForwardAuth", setting], problem })
        };
        if layer.config().bypass.is_some() {
            return contradiction("with_bypass", "every request past the proxy has a key");
        }
        if layer.config().allow_anonymous {
            return contradiction("allow_anonymous", "every request past the proxy has a key");
        }
        if settings.trusted.is_empty() {
            return Err(ConfigError::NoTrustedNetwork);
        }
        if settings.routes.is_empty() {
            return Err(ConfigError::NoForwardAuthRule);
        }
        let mut sources = layer.config().sources.iter().filter_map(KeySource::header_name);
        if sources.any(|name| settings.identity.names().contains(&name)) {
            return contradiction(
                "with_identity_headers",
                "a header that keys come in cannot hold the identity",
            );
        }
        let hidden = if can_hide && layer.config().hide_credentials {
            match credential_headers(&layer) {
                Some(names) => names,
                None => {
                    return contradiction(
                        "hide_credentials",
                        "the proxy takes keys out of headers alone",
                    );
                }
            }
        } else {
            Arc::default()
        };
        let granting = Granting { identity: settings.identity.clone(), hidden };
        let service = layer.without_grpc_denials().layer(granting);
        Ok(make(Decider::new(service, settings)))
    }
}

/// The headers in which the layer looks for keys, each once, if it looks nowhere else.
fn credential_headers(layer: &ApiKeyLayer) -> Option<Arc<[HeaderName]>> {
    let mut names = Vec::new();
    for source in &layer.config().sources {
        // Its key is one element of a list, and the other elements stay.
        let is_websocket = matches!(source.kind(), SourceKind::WebSocketProtocol(_));
        let name = source.header_name().filter(|_| !is_websocket)?;
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    Some(names.into())
}

// `S` is made, and never held.
impl<S> Clone for ForwardAuthBuilder<S> {
    fn clone(&self) -> Self {
        let Self { layer, settings, can_hide, make } = self;
        Self { layer: layer.clone(), settings: settings.clone(), can_hide: *can_hide, make: *make }
    }
}

impl<S> fmt::Debug for ForwardAuthBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardAuthBuilder")
            .field("layer", &self.layer)
            .field("trusted", &self.settings.trusted)
            .field("routes", &self.settings.routes)
            .finish_non_exhaustive()
    }
}
