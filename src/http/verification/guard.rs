//! [`VerificationGuard`]: the programs that may ask about keys, and over which connections.

use std::{fmt, net::IpAddr, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state, map_request},
    response::{IntoResponse, Response},
};
use http::{
    HeaderName,
    header::{FORWARDED, ORIGIN, VIA},
    uri::Scheme,
};

use crate::{
    auth::ApiKeyLayer,
    inner::RequireScopesLayer,
    key::{RejectionKind, Scope, ScopeRule},
    rejection::{GrpcDenials, Rejection},
    request::{Hook, RequestHead},
};

/// Guards a [`verification_router`](crate::axum::verification_router): decides which programs may ask about
/// keys. Their requests carry the keys of others, so it also decides over which connections they may come.
#[must_use]
pub struct VerificationGuard(Programs);

enum Programs {
    WithKey(Box<ApiKeyLayer>),
    OnThisMachine(Hook<Option<IpAddr>>),
}

/// The scope of keys that ask about others.
const VERIFY: &str = "keys:verify";

impl VerificationGuard {
    /// Lets programs ask that send a key of this layer with the scope `keys:verify`.
    ///
    /// The request comes over TLS, as the layer's
    /// [`with_secure_transport_check`](ApiKeyLayer::with_secure_transport_check) tells, or without one
    /// the scheme `https` of its URI. Or it comes from a private address (a loopback address, RFC 1918,
    /// RFC 4193), as the layer's [`with_client_address`](ApiKeyLayer::with_client_address) tells. Every
    /// other request is denied as [`InsecureTransport`](RejectionKind::InsecureTransport), also where the
    /// address is unknown.
    ///
    /// Such a key may try any key from any address that it states. `keys:*` and `*` include the scope, so a
    /// layer of its own for programs keeps the keys of customers out.
    pub fn keys(layer: ApiKeyLayer) -> Self {
        Self(Programs::WithKey(Box::new(layer)))
    }

    /// Lets every program on this machine ask, without a key. `peer` says which address a connection comes
    /// from; a request for which it says none is denied, as one from another address is, as
    /// [`AddressNotAllowed`](RejectionKind::AddressNotAllowed).
    ///
    /// A proxy on this machine would let the world in: a request with `Via`, `Forwarded`, `X-Forwarded-For`
    /// or `X-Real-IP` is denied in the same way. So would a browser for the pages that it shows: a request
    /// with `Origin` or `Sec-Fetch-Site` is denied as [`CrossSite`](RejectionKind::CrossSite).
    ///
    /// ```
    /// use std::net::SocketAddr;
    ///
    /// use axum::extract::ConnectInfo;
    /// use tower_api_key::axum::VerificationGuard;
    ///
    /// let guard = VerificationGuard::loopback(|request| {
    ///     let peer = request.extensions.get::<ConnectInfo<SocketAddr>>()?;
    ///     Some(peer.ip())
    /// });
    /// # let _ = guard;
    /// ```
    pub fn loopback(
        peer: impl Fn(&RequestHead<'_>) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        Self(Programs::OnThisMachine(Arc::new(peer)))
    }

    /// The query parameters in which a program's key is looked for.
    pub(super) fn query_parameters(&self) -> impl Iterator<Item = &str> {
        let layer = match &self.0 {
            Programs::WithKey(layer) => Some(layer),
            Programs::OnThisMachine(_) => None,
        };
        layer.into_iter().flat_map(|layer| layer.query_parameters())
    }

    /// These routes behind this guard.
    pub(super) fn protect(self, routes: Router) -> Router {
        let (routes, connection): (_, Connection) = match self.0 {
            Programs::WithKey(layer) => {
                let scope = RequireScopesLayer::new(ScopeRule::from(Scope::known(VERIFY)));
                let guarded = routes.layer(scope).layer((*layer).clone());
                (guarded, Arc::new(move |request| is_private_or_secure(&layer, request)))
            }
            Programs::OnThisMachine(peer) => {
                (routes, Arc::new(move |request| is_of_this_machine(&peer, request)))
            }
        };
        // As for management routes, no denial is gRPC.
        routes.layer(from_fn_with_state(connection, over)).layer(map_request(
            async |mut request: Request| {
                GrpcDenials::Never.tell_inside(request.extensions_mut());
                request
            },
        ))
    }
}

/// Says why a request may not come over its connection.
type Connection = Hook<Result<(), RejectionKind>>;

/// Before the program's key is looked for, and anything else of the request is read.
async fn over(State(connection): State<Connection>, request: Request, next: Next) -> Response {
    match connection(&RequestHead::from(&request)) {
        Ok(()) => next.run(request).await,
        Err(kind) => Rejection::new(kind).into_response(),
    }
}

fn is_private_or_secure(
    layer: &ApiKeyLayer,
    request: &RequestHead<'_>,
) -> Result<(), RejectionKind> {
    let is_secure = match &layer.config().secure_transport {
        Some(is_secure) => is_secure(request),
        None => request.uri.scheme() == Some(&Scheme::HTTPS),
    };
    if is_secure || layer.client_address(request).is_some_and(is_private) {
        return Ok(());
    }
    Err(RejectionKind::InsecureTransport)
}

fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_loopback() || address.is_private(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local(),
    }
}

/// Headers that proxies add.
const OF_PROXIES: [HeaderName; 4] = [
    VIA,
    FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
];

/// Headers that browsers add to every `POST`.
const OF_BROWSERS: [HeaderName; 2] = [ORIGIN, HeaderName::from_static("sec-fetch-site")];

fn is_of_this_machine(
    peer: &Hook<Option<IpAddr>>,
    request: &RequestHead<'_>,
) -> Result<(), RejectionKind> {
    let has = |names: &[HeaderName]| names.iter().any(|name| request.headers.contains_key(name));
    let is_local = peer(request).is_some_and(|peer| peer.to_canonical().is_loopback());
    if !is_local || has(&OF_PROXIES) {
        return Err(RejectionKind::AddressNotAllowed);
    }
    if has(&OF_BROWSERS) {
        return Err(RejectionKind::CrossSite);
    }
    Ok(())
}

impl fmt::Debug for VerificationGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationGuard").finish_non_exhaustive()
    }
}
