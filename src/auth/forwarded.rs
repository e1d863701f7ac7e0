//! [`ForwardedFor`]: the client's address behind proxies.

mod elements;

use std::{net::IpAddr, ops::ControlFlow, sync::Arc};

use http::{HeaderMap, HeaderName, header::FORWARDED};
use ipnet::IpNet;

use self::elements::Element;
use crate::{
    error::ConfigError,
    request::{ClientAddress, RequestHead},
    runtime::unwrapped,
};

/// Finds the client's address in the one header that your proxies write.
///
/// The header is read only if the peer is one of these proxies, so a client that reaches the service
/// past them is judged by the address of its own connection, whatever it sends. Its lines are read as
/// one list, from the end, where the nearest proxy wrote: over elements that are trusted proxies
/// themselves, up to the first that is not. That one is the client. Elements in front of it are what
/// the client says, and are not read.
///
/// If there is no header, or that element is no address (`unknown`, a name, an empty or broken one), the
/// address is unknown: keys with an allow-list are refused, and the
/// [throttle](crate::auth::FailureThrottle) charges the peer. If all elements are trusted, the first of
/// the list is the client.
///
/// `Forwarded` is read by RFC 7239, in its parameter `for`. Every other header, such as
/// `X-Forwarded-For`, holds addresses with commas between, each perhaps with a port.
///
/// ```
/// use std::net::SocketAddr;
/// use axum::extract::ConnectInfo;
/// use tower_api_key::{ApiKeyLayer, auth::ForwardedFor, store::MemoryStore};
///
/// let proxies = ForwardedFor::new("X-Forwarded-For", ["10.0.0.0/8".parse()?])?;
/// let layer = ApiKeyLayer::new(MemoryStore::new()).with_client_address(move |request| {
///     let peer = request.extensions.get::<ConnectInfo<SocketAddr>>();
///     proxies.client(peer.map(|peer| peer.0.ip()), request)
/// });
/// # let _ = layer;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The proxies must *append* the address of their peer to the header, or replace it. One that passes on
/// what it was sent lets clients choose their address.
#[derive(Clone, Debug)]
pub struct ForwardedFor {
    header: HeaderName,
    /// Those that write the header.
    peers: Arc<[IpNet]>,
    /// Those that connect to them, as proxies in front.
    hops: Arc<[IpNet]>,
}

impl ForwardedFor {
    /// Reads the header of this name where the peer is in one of the networks `trusted`.
    ///
    /// # Errors
    ///
    /// [`SourceName`](ConfigError::SourceName) for a name that no header can have, and
    /// [`NoTrustedNetwork`](ConfigError::NoTrustedNetwork) without a network: the header would never be
    /// read, and all clients of a proxy would have one address.
    pub fn new(
        header: &str,
        trusted: impl IntoIterator<Item = IpNet>,
    ) -> Result<Self, ConfigError> {
        let nearest = Self::nearest(header, trusted)?;
        Ok(Self { hops: nearest.peers.clone(), ..nearest })
    }

    /// Reads the header of this name where the peer is in one of the networks `peers`, and takes the last
    /// element, which that peer wrote, for the client. With [`new`](Self::new), a client on a machine with a
    /// proxy has the address of one, and with it chooses its own; here it has that address.
    ///
    /// ```
    /// use tower_api_key::auth::ForwardedFor;
    ///
    /// // nginx on this machine, behind a load balancer.
    /// let clients = ForwardedFor::nearest("X-Forwarded-For", ["127.0.0.1/32".parse()?])?
    ///     .behind(["10.0.7.0/24".parse()?]);
    /// # let _ = clients;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn nearest(
        header: &str,
        peers: impl IntoIterator<Item = IpNet>,
    ) -> Result<Self, ConfigError> {
        let header = HeaderName::from_bytes(header.as_bytes())
            .map_err(|_| ConfigError::SourceName { family: "forwarded-for header" })?;
        let peers: Arc<[IpNet]> = peers.into_iter().map(unwrapped).collect();
        if peers.is_empty() {
            return Err(ConfigError::NoTrustedNetwork);
        }
        Ok(Self { header, peers, hops: Arc::default() })
    }

    /// Reads over elements in these networks: proxies in front of the peers, in which no client is.
    pub fn behind(self, proxies: impl IntoIterator<Item = IpNet>) -> Self {
        let hops = self.hops.iter().copied().chain(proxies.into_iter().map(unwrapped)).collect();
        Self { hops, ..self }
    }

    /// The client of a request that came over a connection from `peer`; `None` where even that is
    /// unknown.
    pub fn client(&self, peer: Option<IpAddr>, request: &RequestHead<'_>) -> ClientAddress {
        match peer.map(|peer| peer.to_canonical()) {
            Some(peer) if is_of(&self.peers, peer) => match self.forwarded(request.headers) {
                Some(client) => client.into(),
                None => ClientAddress::unknown_behind(peer),
            },
            peer => peer.into(),
        }
    }

    /// The right-most address that is not trusted; the first one if all are trusted.
    fn forwarded(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let mut first = None;
        // Each line by itself: a quote that a client left open swallows no line of a proxy.
        for line in headers.get_all(&self.header).iter().rev() {
            let line = line.as_bytes();
            let found = if self.header == FORWARDED {
                self.last_of(elements::forwarded(line).into_iter().rev(), &mut first)
            } else {
                self.last_of(elements::from_the_end(line), &mut first)
            };
            if let ControlFlow::Break(found) = found {
                return found;
            }
        }
        first
    }

    /// The first of these elements that is not trusted, if there is one: an address, or nothing that can
    /// be read. Notes the last one that is trusted.
    fn last_of(
        &self,
        mut from_the_end: impl Iterator<Item = Element>,
        trusted: &mut Option<IpAddr>,
    ) -> ControlFlow<Element> {
        from_the_end.try_for_each(|element| match element {
            Some(address) if is_of(&self.hops, address) => {
                *trusted = Some(address);
                ControlFlow::Continue(())
            }
            client => ControlFlow::Break(client),
        })
    }
}

fn is_of(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}
