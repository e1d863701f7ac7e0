//! The headers of the original request, of a [`Question`].

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::question::{Question, RawHeader};
use crate::{inner::IdentityHeaders, request::has_connection_option};

/// The address from which Envoy has its connection, in the extensions of the original request: the client's,
/// or that of another proxy in front of Envoy.
///
/// For [`with_client_address`](crate::ApiKeyLayer::with_client_address). It is absent where Envoy names no
/// socket, such as for a pipe. It comes from the connection, or from the PROXY protocol on it, and never from
/// `X-Forwarded-For`, whatever `xff_num_trusted_hops` says. Behind a load balancer, a
/// [`ForwardedFor`](crate::auth::ForwardedFor) with the balancer's network finds the client by both.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, ext_authz::DownstreamAddress, store::MemoryStore};
///
/// let layer = ApiKeyLayer::new(MemoryStore::new())
///     .with_client_address(|request| request.extensions.get().map(DownstreamAddress::ip));
/// # let _ = layer;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DownstreamAddress(IpAddr);

impl DownstreamAddress {
    /// The address.
    pub fn ip(&self) -> IpAddr {
        self.0
    }
}

/// More than a proxy lets through: Envoy's own bound is 100 unless it is set.
const MAX_HEADERS: usize = 256;

/// Everything about the original request but its line.
pub(super) struct Rest {
    pub(super) headers: HeaderMap,
    pub(super) downstream: Option<DownstreamAddress>,
    pub(super) host: HeaderValue,
}

impl Question {
    /// `None` where the headers are told twice or not at all, contradict the line, or are none of HTTP.
    pub(super) fn rest(&self, identity: &IdentityHeaders) -> Option<Rest> {
        let downstream = match &self.source {
            None => None,
            Some(address) => {
                // The zone of a link-local address (RFC 4007 §11) is of Envoy's machine.
                let address = str::from_utf8(address).ok()?.split('%').next()?;
                Some(DownstreamAddress(address.parse().ok()?))
            }
        };
        let headers = match &self.raw {
            Some(raw) if self.joined.is_empty() => self.raw_headers(raw)?,
            None if !self.joined.is_empty() => self.joined_headers()?,
            _ => return None,
        };
        let host = value(&self.host)?;
        let agrees = headers.get_all(header::HOST).iter().all(|other| *other == host);
        // The identity would go no further than the next proxy.
        let is_named = |option: &str| identity.are_named_by(option);
        let is_kept = agrees && !has_connection_option(&headers, is_named);
        is_kept.then_some(Rest { headers, downstream, host })
    }

    fn raw_headers(&self, raw: &[RawHeader]) -> Option<HeaderMap> {
        let mut headers = with_room(raw.len())?;
        for RawHeader { key, value: text, raw_value } in raw {
            let bytes = match (text.is_empty(), raw_value.is_empty()) {
                (true, _) => raw_value,
                (false, true) => text,
                (false, false) => return None,
            };
            if is_pseudo(key) {
                self.agrees_with(key, bytes).then_some(())?;
            } else {
                headers.append(HeaderName::from_bytes(key).ok()?, value(bytes)?);
            }
        }
        Some(headers)
    }

    fn joined_headers(&self) -> Option<HeaderMap> {
        let mut headers = with_room(self.joined.len())?;
        for (key, bytes) in &self.joined {
            if is_pseudo(key) {
                self.agrees_with(key, bytes).then_some(())?;
            } else if headers.insert(HeaderName::from_bytes(key).ok()?, value(bytes)?).is_some() {
                // It is a map, in which each name stands once.
                return None;
            }
        }
        Some(headers)
    }

    /// Whether a pseudo-header says the same as the line.
    fn agrees_with(&self, key: &[u8], said: &[u8]) -> bool {
        let told = match key {
            b":method" => &self.method,
            b":scheme" => &self.scheme,
            b":authority" => &self.host,
            b":path" => &self.path,
            _ => return false,
        };
        told == said
    }
}

fn with_room(count: usize) -> Option<HeaderMap> {
    (count <= MAX_HEADERS).then(|| HeaderMap::with_capacity(count))
}

fn is_pseudo(key: &[u8]) -> bool {
    key.starts_with(b":")
}

/// Shares the memory of the question.
fn value(bytes: &Bytes) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(bytes.clone()).ok()
}
