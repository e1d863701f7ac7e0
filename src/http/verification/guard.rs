//! [`VerificationGuard`]: the programs that may ask about keys, and over which connections.

use std::{fmt, net::IpAddr, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state, map_request},
    response::{IntoResponse, Response},
};
use http::{
    HeaderName, HeaderValue,
    header::{HOST, ORIGIN},
    uri::Authority,
};

use crate::{
    auth::ApiKeyLayer,
    inner::RequireScopesLayer,
    key::{RejectionKind, Scope, ScopeRule},
    rejection::{GrpcDenials, Rejection},
    request::{Hook, RequestHead, is_read_as, is_this_machine},
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
    /// The request comes from a private address (a loopback address, RFC 1918, RFC 4193), as the layer's
    /// [`with_client_address`](ApiKeyLayer::with_client_address) tells. Or it comes over TLS, as the layer's
    /// [`with_secure_transport_check`](ApiKeyLayer::with_secure_transport_check) tells; the scheme of a URI does
    /// not, since a client writes it. Every other request is denied as [`InsecureTransport`](RejectionKind::InsecureTransport), also where the
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
    /// A proxy on this machine would let the world in, so a request is denied in the same way whose `Host` is not
    /// this machine, or that has a header of proxies, such as `Via` or one that begins with `X-Forwarded`. A
    /// proxy that writes none and asks for `localhost`, as nginx with nothing but `proxy_pass` does, cannot be
    /// told from a program: let none lead here. A browser would let its pages in: a request with `Origin` or
    /// `Sec-Fetch-Site` is denied as [`CrossSite`](RejectionKind::CrossSite).
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
    let is_secure = layer.config().secure_transport.as_ref();
    if is_secure.is_some_and(|is_secure| is_secure(request))
        || layer.client_address(request).is_some_and(is_private)
    {
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

/// Headers that proxies add, and beginnings of them, in any spelling.
const OF_PROXIES: [&str; 9] = [
    "via",
    "forwarded",
    "x-forwarded",
    "x-real-ip",
    "x-client-ip",
    "x-original-",
    "x-envoy-",
    "cf-connecting-ip",
    "true-client-ip",
];

fn is_of_proxy(name: &HeaderName) -> bool {
    let begins =
        |ours: &str| name.as_str().get(..ours.len()).is_some_and(|sent| is_read_as(sent, ours));
    OF_PROXIES.into_iter().any(begins)
}

/// Whether the request asks this machine by a name of its own.
fn asks_this_machine(request: &RequestHead<'_>) -> bool {
    let hosts = request.headers.get_all(HOST).iter().map(HeaderValue::to_str);
    let of_uri = request.uri.authority().map(Authority::as_str).into_iter().map(Ok);
    let mut all = of_uri.chain(hosts).peekable();
    all.peek().is_some()
        && all.all(|host| {
            let authority = host.ok().and_then(|host| host.parse::<Authority>().ok());
            authority.is_some_and(|authority| is_this_machine(authority.host()))
        })
}

/// Headers that browsers add to every `POST`.
const OF_BROWSERS: [HeaderName; 2] = [ORIGIN, HeaderName::from_static("sec-fetch-site")];

fn is_of_this_machine(
    peer: &Hook<Option<IpAddr>>,
    request: &RequestHead<'_>,
) -> Result<(), RejectionKind> {
    let is_local = peer(request).is_some_and(|peer| peer.to_canonical().is_loopback());
    if !is_local || request.headers.keys().any(is_of_proxy) {
        return Err(RejectionKind::AddressNotAllowed);
    }
    if OF_BROWSERS.iter().any(|name| request.headers.contains_key(name)) {
        return Err(RejectionKind::CrossSite);
    }
    if !asks_this_machine(request) {
        return Err(RejectionKind::AddressNotAllowed);
    }
    Ok(())
}

impl fmt::Debug for VerificationGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationGuard").finish_non_exhaustive()
    }
}
