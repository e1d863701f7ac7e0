//! Which web pages may call the business routes from other origins.

use std::net::Ipv6Addr;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// The origins of pages that browsers let in. What is no browser is not asked where it comes from.
pub(crate) enum Origins {
    None,
    Any,
    Listed(Vec<HeaderValue>),
}

impl Origins {
    /// Reads a list such as `https://shop.example,http://localhost:5173`; `*` is any, and nothing
    /// is none.
    pub(crate) fn parse(list: &str) -> Result<Self, String> {
        match list.trim() {
            "" => Ok(Self::None),
            "*" => Ok(Self::Any),
            list => list.split(',').map(|text| origin(text.trim())).collect::<Result<_, _>>(),
        }
    }
}

impl FromIterator<HeaderValue> for Origins {
    fn from_iter<I: IntoIterator<Item = HeaderValue>>(origins: I) -> Self {
        Self::Listed(origins.into_iter().collect())
    }
}

/// Stands outside the key layer: a preflight has no key. Pages send keys themselves, in a header,
/// and browsers add no cookies: what is said to a page is said to its key.
pub(crate) fn layer(origins: &Origins) -> Option<CorsLayer> {
    let origin = match origins {
        Origins::None => return None,
        Origins::Any => AllowOrigin::any(),
        Origins::Listed(origins) => AllowOrigin::list(origins.iter().cloned()),
    };
    let layer = CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers([
            HeaderName::from_static("x-api-key"),
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("idempotency-key"),
            header::IF_MATCH,
        ])
        .expose_headers([
            HeaderName::from_static("ratelimit"),
            HeaderName::from_static("ratelimit-policy"),
            header::RETRY_AFTER,
            header::WWW_AUTHENTICATE,
            header::ETAG,
        ]);
    Some(layer)
}

/// An origin as browsers write it (RFC 6454 §6.2), or it would never match: a scheme, a host in
/// lower case, and a port unless it is the scheme's own. `null` is the origin of pages that have
/// none, which may be any page's.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let malformed = || format!("`{}` is no origin like https://shop.example", text.escape_debug());
    let (scheme, authority) = text.split_once("://").ok_or_else(malformed)?;
    let (host, port) = split_port(authority).ok_or_else(malformed)?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '+' | '-' | '.'));
    let is_default = matches!((scheme, port), ("http", Some("80")) | ("https", Some("443")));
    let is_port = port.is_none_or(|port| {
        port.parse::<u16>().is_ok_and(|number| number != 0 && number.to_string() == port)
    });
    if !is_scheme || !is_host(host) || !is_port || is_default {
        return Err(malformed());
    }
    HeaderValue::from_str(text).map_err(|_| malformed())
}

/// The host, and the port behind its colon if there is one.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    let end = if authority.starts_with('[') { authority.find(']')? + 1 } else { 0 };
    match authority[end..].split_once(':') {
        Some((rest, port)) => Some((&authority[..end + rest.len()], Some(port))),
        None => Some((authority, None)),
    }
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok_and(|parsed| parsed.to_string() == address);
    }
    !host.is_empty() && host.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.' | '_'))
}
