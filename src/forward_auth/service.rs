//! [`ForwardAuth`]: the service.

use std::{
    convert::Infallible,
    fmt,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::{
    ForwardAuthBuilder, ForwardAuthFuture, decision::Decider, flavour::Flavour, original::Asked,
};
use crate::{
    auth::{ApiKeyLayer, ResponseBody},
    request::RequestHead,
};

/// Decides for a proxy that asks about each request before it lets it on, such as nginx with
/// `auth_request` or Traefik with `ForwardAuth`: for services behind it in any language.
///
/// It judges the *original* request, of which the proxy tells in headers, by an [`ApiKeyLayer`] and a map
/// of the scopes that each route needs. It answers 200 with
/// [identity headers](crate::identity::IdentityHeaders), for the proxy to hand on, or with the denial.
/// [The guide](crate::guide::forward_auth) configures the proxies.
///
/// | proxy | reads | status of a denial |
/// |---|---|---|
/// | [nginx](Self::nginx) | `X-Original-Method`, `-Proto`, `-Host`, `-URI` | 401 or 403; the real one in `X-Api-Key-Status`, the body in `X-Api-Key-Problem` |
/// | [`HAProxy`](Self::haproxy) | the same | as it is |
/// | [Traefik](Self::traefik) | `X-Forwarded-Method`, `-Proto`, `-Host`, `-Uri` | as it is |
/// | [Caddy](Self::caddy) | the same | as it is |
///
/// Envoy asks over gRPC: `ext_authz::ExtAuthz`, with feature `ext-authz`, decides for it alike.
///
/// A request is refused as [`ForwardAuthRefused`](crate::RejectionKind::ForwardAuthRefused), with a good
/// key as well,
///
/// 1. if it does not come from a trusted peer;
/// 2. if one of the four headers is not there exactly once, or has no good value. Those of other proxies
///    are never read;
/// 3. if the target is not in normal form: `//`, dot segments, `;`, `\`, control bytes, any of them
///    percent-encoded, `%2F`, or an encoded character that needs no encoding. Servers read such a path in
///    several ways;
/// 4. if no rule names the path and the method, or only one in another case of letters. `HEAD` counts as
///    `GET`;
/// 5. if it has a header that overrides the method, or one that imitates an identity header, such as
///    `X_Api_Key_Id`;
/// 6. if it has an identity header with a value. A proxy takes it out before it asks, since it would hand on
///    that of the client otherwise.
///
/// Every other request is judged by the layer, which cannot have a bypass, let anonymous callers in, pass
/// preflights, or be in shadow. Every response has all identity headers, empty where there is nothing to
/// say; no cache may keep it, and no denial is in the form of gRPC, or has a status of success.
///
/// ```
/// use std::net::{IpAddr, SocketAddr};
///
/// use axum::{Router, extract::ConnectInfo, http::Method};
/// use tower_api_key::{
///     ApiKeyLayer, forward_auth::ForwardAuth, scope::ScopeRule, store::MemoryStore,
/// };
///
/// let layer = ApiKeyLayer::new(MemoryStore::new());
/// let forward_auth = ForwardAuth::nginx(layer)
///     .trusting_peers(["127.0.0.1/32".parse()?], |request| {
///         let peer = request.extensions.get::<ConnectInfo<SocketAddr>>()?;
///         Some(peer.ip())
///     })
///     .rule(Method::GET, "/orders/{id}", ScopeRule::scope("orders:read")?)?
///     // Any good key.
///     .rule_for_all_methods("/profile/{*path}", ScopeRule::all([]))?
///     .build()?;
/// let app: Router = Router::new().route_service("/auth", forward_auth);
/// # let _ = app;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct ForwardAuth {
    decider: Decider,
    flavour: Flavour,
}

impl ForwardAuth {
    /// For nginx with `auth_request`.
    pub fn nginx(layer: ApiKeyLayer) -> ForwardAuthBuilder {
        ForwardAuthBuilder::new(layer, |decider| Self { decider, flavour: Flavour::Nginx })
    }

    /// For Traefik with the middleware `ForwardAuth`.
    pub fn traefik(layer: ApiKeyLayer) -> ForwardAuthBuilder {
        ForwardAuthBuilder::new(layer, |decider| Self { decider, flavour: Flavour::Traefik })
    }

    /// For Caddy with `forward_auth`.
    pub fn caddy(layer: ApiKeyLayer) -> ForwardAuthBuilder {
        ForwardAuthBuilder::new(layer, |decider| Self { decider, flavour: Flavour::Caddy })
    }

    /// For `HAProxy` with the script of [the guide](crate::guide::forward_auth).
    pub fn haproxy(layer: ApiKeyLayer) -> ForwardAuthBuilder {
        ForwardAuthBuilder::new(layer, |decider| Self { decider, flavour: Flavour::HaProxy })
    }
}

impl<B> Service<Request<B>> for ForwardAuth {
    type Response = Response<ResponseBody<String>>;
    type Error = Infallible;
    type Future = ForwardAuthFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_trusted = self.decider.trusts(&RequestHead::from(&request));
        let asked = request.into_parts().0;
        let asked = if is_trusted {
            self.flavour.family().original(asked, self.decider.settings())
        } else {
            Asked::OfNone(asked)
        };
        ForwardAuthFuture::new(self.decider.decide(asked), self.flavour)
    }
}

impl fmt::Debug for ForwardAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardAuth")
            .field("flavour", &self.flavour)
            .field("decider", &self.decider)
            .finish()
    }
}
