//! [`ForwardAuthBuilder`]: the settings.

use std::{net::IpAddr, sync::Arc};

use http::Method;
use ipnet::IpNet;
use tower_layer::Layer;

use super::{ForwardAuth, flavour::Flavour, granting::Granting, routes::Routes, service::Settings};
use crate::{
    auth::ApiKeyLayer, error::ConfigError, inner::IdentityHeaders, key::ScopeRule,
    request::RequestHead,
};

/// Makes a [`ForwardAuth`].
#[derive(Clone)]
#[must_use]
pub struct ForwardAuthBuilder {
    layer: ApiKeyLayer,
    settings: Settings,
}

impl ForwardAuthBuilder {
    pub(super) fn new(layer: ApiKeyLayer, flavour: Flavour) -> Self {
        let settings = Settings {
            flavour,
            identity: Arc::default(),
            routes: Routes::default(),
            trusted: Vec::new(),
            peer: Arc::new(|_| None),
        };
        Self { layer, settings }
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
        self.settings.trusted = networks.into_iter().collect();
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
    pub fn build(self) -> Result<ForwardAuth, ConfigError> {
        let Self { layer, settings } = self;
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
        let granting = Granting { identity: settings.identity.clone() };
        Ok(ForwardAuth::new(layer.without_grpc_denials().layer(granting), settings))
    }
}

impl std::fmt::Debug for ForwardAuthBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForwardAuthBuilder")
            .field("layer", &self.layer)
            .field("flavour", &self.settings.flavour)
            .field("routes", &self.settings.routes)
            .finish_non_exhaustive()
    }
}
