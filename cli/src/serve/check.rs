//! The check that a proxy asks for: a `ForwardAuth` of the rules in the file.

use std::net::{IpAddr, SocketAddr};

use axum::{Router, extract::ConnectInfo};
use tonic::server::NamedService;
use tower_api_key::{
    ApiKeyLayer, ConfigError, KeyHasher, KeyManager,
    auth::{FailureThrottle, ForwardedFor, RequestHead},
    ext_authz::{DownstreamAddress, ExtAuthz},
    forward_auth::{ForwardAuth, ForwardAuthBuilder},
    identity::IdentityHeaders,
    limit::Quota,
    scope::ScopeRule,
};

use super::{
    config::Config,
    values::{Flavour, Network},
};
use crate::failure::Failure;

/// The address that a connection comes from.
pub(super) fn peer(request: &RequestHead<'_>) -> Option<IpAddr> {
    request.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip())
}

impl Config {
    /// One for all keys: failures with one count for the others, too.
    pub(super) fn throttle(&self) -> Option<FailureThrottle> {
        let failures = self.file.limits.failures_per_minute?;
        Some(FailureThrottle::new(Quota::per_minute(failures)))
    }

    /// The route at which the proxy asks.
    pub(super) fn check(&self, layer: ApiKeyLayer) -> Result<Router, Failure> {
        let path = self.file.forward_auth.path.as_ref();
        let builder = match self.file.forward_auth.proxy {
            Flavour::Nginx => ForwardAuth::nginx(layer),
            Flavour::HaProxy => ForwardAuth::haproxy(layer),
            Flavour::Caddy => ForwardAuth::caddy(layer),
            Flavour::Traefik => ForwardAuth::traefik(layer),
            Flavour::Envoy if path.is_some() => {
                let problem = "is not for Envoy, which asks at the path of its gRPC service";
                return Err(self.wrong("forward_auth.path", problem));
            }
            Flavour::Envoy => {
                // All sources are headers, which Envoy can take out.
                let ext_authz = self.decider(ExtAuthz::builder(layer.hide_credentials()))?;
                let path = format!("/{}/{{method}}", ExtAuthz::NAME);
                return Ok(Router::new().route_service(&path, ext_authz));
            }
        };
        let path = path.map_or("/auth", |path| &*path.0);
        Ok(Router::new().route_service(path, self.decider(builder)?))
    }

    /// The service that decides by the rules of the file.
    fn decider<S>(&self, builder: ForwardAuthBuilder<S>) -> Result<S, Failure> {
        let set = &self.file.forward_auth;
        let mut builder = builder
            .trusting_peers(set.peers.iter().map(|network| network.0), peer)
            .with_identity_headers(self.identity_headers()?);
        if set.peers.is_empty() {
            return Err(self.wrong("forward_auth.peers", "is empty: no proxy could ask"));
        }
        for (index, rule) in self.file.rules.iter().enumerate() {
            let scopes = ScopeRule::all(rule.scopes.iter().map(|scope| scope.0.clone()));
            let added = match &rule.methods {
                None => builder.rule_for_all_methods(&rule.path, scopes),
                Some(methods) if methods.is_empty() => {
                    let problem = "is empty: leave it out for all methods";
                    return Err(self.wrong(&format!("rule {}: methods", index + 1), problem));
                }
                Some(methods) => methods.iter().try_fold(builder, |builder, method| {
                    builder.rule(method.0.clone(), &rule.path, scopes.clone())
                }),
            };
            builder = added.map_err(|error| self.wrong(&format!("rule {}", index + 1), error))?;
        }
        builder.build().map_err(|error| match error {
            ConfigError::NoForwardAuthRule => {
                self.wrong("rule", "there is none: no request would be let in")
            }
            error => self.wrong("forward_auth", error),
        })
    }

    /// The layer that decides.
    pub(super) async fn layer(
        &self,
        keys: &KeyManager,
        hasher: &KeyHasher,
        throttle: Option<FailureThrottle>,
    ) -> Result<ApiKeyLayer, Failure> {
        let set = &self.file.forward_auth;
        let mut layer = keys.layer().with_formats(self.formats(hasher)?);
        if let Some(headers) = &set.key_headers {
            if headers.is_empty() {
                let problem = "is empty: no request would have a key";
                return Err(self.wrong("forward_auth.key_headers", problem));
            }
            layer = layer.with_sources(headers.iter().map(|header| header.0.clone()));
        }
        if let Some(timeout) = self.lookup_timeout() {
            layer = layer.with_lookup_timeout(timeout);
        }
        let connects = self.connects();
        layer = match self.clients()? {
            Some(clients) => {
                layer.with_client_address(move |request| clients.client(connects(request), request))
            }
            // A proxy's own address is not its client's.
            None if set.proxy == Flavour::Envoy => layer.with_client_address(connects),
            None => layer,
        };
        if let Some(throttle) = throttle {
            layer = layer.with_failure_throttle(throttle).map_err(|_| {
                let problem = "needs forward_auth.client_address_header: without it, all clients \
                               of the proxy would have one address";
                self.wrong("limits.failures_per_minute", problem)
            })?;
        }
        if self.file.keys.legacy_hashes {
            let legacy = keys.legacy_hashes();
            legacy
                .refresh()
                .await
                .map_err(|error| Failure::store(&format!("{}: ", self.store_url.name), &error))?;
            layer = layer.with_legacy_hashes(legacy);
        }
        Ok(layer)
    }

    /// Says which address the last connection outside of the sidecar came from: to Envoy, which tells of it,
    /// or else from the proxy.
    fn connects(&self) -> fn(&RequestHead<'_>) -> Option<IpAddr> {
        match self.file.forward_auth.proxy {
            Flavour::Envoy => |request| request.extensions.get().map(DownstreamAddress::ip),
            _ => peer,
        }
    }

    /// Finds the client's address in a header. Without one that the proxy writes, it is unknown but to Envoy: the
    /// peer is the proxy, and a header that the proxy passes on is the client's to choose.
    fn clients(&self) -> Result<Option<ForwardedFor>, Failure> {
        let set = &self.file.forward_auth;
        let Some(header) = &set.client_address_header else {
            if set.trusted_proxies.is_empty() {
                return Ok(None);
            }
            let problem = "goes with client_address_header, which is not set";
            return Err(self.wrong("forward_auth.trusted_proxies", problem));
        };
        let networks = |networks: &[Network]| networks.iter().map(|network| network.0).collect();
        let (peers, hops): (Vec<_>, Vec<_>) =
            (networks(&set.peers), networks(&set.trusted_proxies));
        let clients = if set.proxy == Flavour::Envoy {
            // Envoy writes none of it for the sidecar.
            ForwardedFor::new(header, hops)
        } else {
            ForwardedFor::nearest(header, peers).map(|clients| clients.behind(hops))
        };
        clients.map(Some).map_err(|error| self.wrong("forward_auth.client_address_header", error))
    }

    fn identity_headers(&self) -> Result<IdentityHeaders, Failure> {
        let set = &self.file.forward_auth.identity_headers;
        let mut names = IdentityHeaders::new();
        let field = |name| format!("forward_auth.identity_headers.{name}");
        if let Some(id) = &set.id {
            names = names.with_id_name(id).map_err(|error| self.wrong(&field("id"), error))?;
        }
        if let Some(owner) = &set.owner {
            names = names.with_owner_name(owner).map_err(|e| self.wrong(&field("owner"), e))?;
        }
        if let Some(scopes) = &set.scopes {
            names = names.with_scopes_name(scopes).map_err(|e| self.wrong(&field("scopes"), e))?;
        }
        Ok(names)
    }
}
