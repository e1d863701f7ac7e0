//! [`RequestHead`]: a request as hooks see it, and the address of its client.

use std::{net::IpAddr, sync::Arc};

use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    header::CONNECTION, request::Parts,
};

/// A user's function of the request.
pub(crate) type Hook<T> = Arc<dyn Fn(&RequestHead<'_>) -> T + Send + Sync>;

/// A request without its body, as hooks see it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestHead<'r> {
    /// The method.
    pub method: &'r Method,
    /// The target.
    pub uri: &'r Uri,
    /// The protocol version.
    pub version: Version,
    /// The headers.
    pub headers: &'r HeaderMap,
    /// Attachments of outer layers and of the server, such as the peer's address.
    pub extensions: &'r Extensions,
}

impl RequestHead<'_> {
    /// Whether a router has begun to take the path apart, as far as can be told: of axum's.
    pub(crate) fn is_inside_router(&self) -> bool {
        #[cfg(feature = "axum")]
        let original = self.extensions.get::<axum::extract::OriginalUri>();
        #[cfg(not(feature = "axum"))]
        let original = self.extensions.get::<std::convert::Infallible>();
        original.is_some()
    }
}

impl<'r, B> From<&'r Request<B>> for RequestHead<'r> {
    #[inline]
    fn from(request: &'r Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}

impl<'r> From<&'r Parts> for RequestHead<'r> {
    fn from(parts: &'r Parts) -> Self {
        Self {
            method: &parts.method,
            uri: &parts.uri,
            version: parts.version,
            headers: &parts.headers,
            extensions: &parts.extensions,
        }
    }
}

/// The address of a request's client, as far as it can be told. An IPv4 address that was mapped to IPv6,
/// as dual-stack sockets show it, is an IPv4 address here.
///
/// Made of an address, or of an `Option` with one, or by a
/// [`ForwardedFor`](crate::auth::ForwardedFor):
///
/// ```
/// use std::net::IpAddr;
/// use tower_api_key::auth::ClientAddress;
///
/// let mapped: IpAddr = "::ffff:192.0.2.1".parse()?;
/// let client = ClientAddress::from(mapped);
/// assert_eq!(client.known(), Some("192.0.2.1".parse()?));
/// assert_eq!(ClientAddress::from(None).charged(), None);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientAddress {
    known: Option<IpAddr>,
    charged: Option<IpAddr>,
}

impl ClientAddress {
    /// Of a client that is unknown because the proxy with this address does not say it.
    pub const fn unknown_behind(peer: IpAddr) -> Self {
        Self { known: None, charged: Some(peer.to_canonical()) }
    }

    /// The client's own address, by which allow-lists decide; `None` where it is unknown.
    pub const fn known(self) -> Option<IpAddr> {
        self.known
    }

    /// The address that failures and lookups are charged to: the client's own, or that of the peer
    /// behind which it is unknown; `None` where that is unknown, too.
    pub const fn charged(self) -> Option<IpAddr> {
        self.charged
    }
}

impl From<Option<IpAddr>> for ClientAddress {
    fn from(address: Option<IpAddr>) -> Self {
        let address = address.as_ref().map(IpAddr::to_canonical);
        Self { known: address, charged: address }
    }
}

impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> Self {
        Some(address).into()
    }
}

/// Whether no header is there twice. Most requests are like that, and then the first value of a name is
/// the only one.
#[inline]
pub(crate) fn have_no_repeats(headers: &HeaderMap) -> bool {
    headers.len() == headers.keys_len()
}

/// The value of a header that is there exactly once.
pub(crate) fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Whether a header of this name has another method taken for the request's: layers that let a client name
/// the method that is meant read one of these, some in any spelling.
pub(crate) fn names_a_method(name: &HeaderName) -> bool {
    const NAMES: [&str; 3] = ["x-http-method", "x-http-method-override", "x-method-override"];
    NAMES.into_iter().any(|other| is_read_as(name.as_str(), other))
}

/// Whether the two are one name to a server that takes all but letters and digits for the same, as gateway
/// interfaces such as CGI and WSGI do. Both are in lower case.
pub(crate) fn is_read_as(sent: &str, ours: &str) -> bool {
    sent.len() == ours.len()
        && sent
            .bytes()
            .zip(ours.bytes())
            .all(|(sent, ours)| sent == ours || (ours == b'-' && !sent.is_ascii_alphanumeric()))
}

/// Whether `Connection` has such an option. A header that it names goes no further than the next proxy
/// (RFC 9110 §7.6.1). Options are given in lower case.
pub(crate) fn has_connection_option(headers: &HeaderMap, is_meant: impl Fn(&str) -> bool) -> bool {
    let values = headers.get_all(CONNECTION).iter();
    let mut options = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    options.any(|option| is_option(option, &is_meant))
}

fn is_option(option: &[u8], is_meant: impl Fn(&str) -> bool) -> bool {
    str::from_utf8(&option.trim_ascii().to_ascii_lowercase()).is_ok_and(is_meant)
}

/// Takes such options out of `Connection`.
pub(crate) fn remove_connection_options(
    headers: &mut HeaderMap,
    is_removed: impl Fn(&str) -> bool,
) {
    if !has_connection_option(headers, &is_removed) {
        return;
    }
    let is_kept = |option: &&[u8]| !is_option(option, &is_removed);
    let values: Vec<_> = headers.get_all(CONNECTION).iter().cloned().collect();
    headers.remove(CONNECTION);
    for value in values {
        let options = value.as_bytes().split(|byte| *byte == b',').filter(is_kept);
        let kept: Vec<_> = options.map(<[u8]>::trim_ascii).filter(|one| !one.is_empty()).collect();
        if let Ok(kept) = HeaderValue::from_bytes(&kept.join(&b", "[..]))
            && !kept.is_empty()
        {
            headers.append(CONNECTION, kept);
        }
    }
}

/// Whether a host, as an authority has it, is this machine.
pub(crate) fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}
