//! [`Told`]: the request that a proxy asks about.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header,
    request::Parts,
    uri::{Authority, Scheme},
};

use super::{
    decision::Settings,
    flavour::{FORWARDED, Family, ORIGINAL},
    routes::Required,
    target::Path,
};
use crate::{
    inner::IdentityHeaders,
    request::{is_read_as, names_a_method, only},
    text::percent_decode,
};

/// A header by which some servers take another target than the one that is asked about.
const X_REWRITE_URL: &str = "x-rewrite-url";

/// Headers of the connection to the proxy, and copies of the target, which no hook is to read.
const NOT_OF_THE_ORIGINAL: [HeaderName; 4] = [
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::REFERER,
    HeaderName::from_static("x-original-url"),
];

/// A question of a proxy.
pub(super) enum Asked {
    /// About this request, with its [rule](Required).
    Of(Request<()>),
    /// About none that could be told, or none that has a rule: the question itself.
    OfNone(Parts),
}

/// A proxy's account of the request that it asks about, as it is written.
pub(super) struct Told<'t> {
    pub(super) method: &'t [u8],
    pub(super) scheme: &'t [u8],
    pub(super) host: &'t HeaderValue,
    pub(super) target: &'t str,
}

impl Family {
    /// The original request. A proxy takes out what a client sent in place of the identity before it asks: what
    /// comes here would reach the service as well.
    pub(super) fn original(&self, asked: Parts, settings: &Settings) -> Asked {
        if settings.identity.are_in(&asked.headers) {
            return Asked::OfNone(asked);
        }
        let told = self.told(&asked.headers);
        match told.and_then(|told| told.line(&asked.headers, settings)) {
            Some(line) => Asked::Of(line.with(asked)),
            None => Asked::OfNone(asked),
        }
    }

    fn told<'t>(&self, headers: &'t HeaderMap) -> Option<Told<'t>> {
        Some(Told {
            method: only(headers, &self.method)?.as_bytes(),
            scheme: only(headers, &self.scheme)?.as_bytes(),
            host: only(headers, &self.host)?,
            target: only(headers, &self.uri)?.to_str().ok()?,
        })
    }
}

/// The method and the whole target of the original request, with its rule.
pub(super) struct Line {
    method: Method,
    scheme: Scheme,
    host: HeaderValue,
    uri: Uri,
    rule: Required,
}

impl Told<'_> {
    /// The line of a request with these headers, where it has one meaning and a rule.
    pub(super) fn line(&self, headers: &HeaderMap, settings: &Settings) -> Option<Line> {
        let method = Method::from_bytes(self.method).ok()?;
        let scheme = match self.scheme {
            b"http" | b"ws" => Scheme::HTTP,
            b"https" | b"wss" => Scheme::HTTPS,
            _ => return None,
        };
        let authority = self.host.to_str().ok()?.parse::<Authority>().ok()?;
        let rule = settings.routes.find(&method, &Path::of_target(self.target)?)?.clone();
        if query_names_a_method(self.target) {
            return None;
        }
        let is_deceptive = |name: &HeaderName| is_deceptive(name, &settings.identity);
        if !authority.as_str().bytes().all(is_of_host) || headers.keys().any(is_deceptive) {
            return None;
        }
        let uri = Uri::builder()
            .scheme(scheme.clone())
            .authority(authority)
            .path_and_query(self.target)
            .build()
            .ok()?;
        let method = if method == Method::HEAD { Method::GET } else { method };
        Some(Line { method, scheme, host: self.host.clone(), uri, rule })
    }
}

impl Line {
    /// The original request, of which the rest is here.
    pub(super) fn with(self, mut parts: Parts) -> Request<()> {
        parts.uri = self.uri;
        parts.method = self.method;
        #[cfg(feature = "axum")]
        parts.extensions.remove::<axum::extract::OriginalUri>();
        restore(&mut parts.headers, &self.scheme, self.host);
        parts.extensions.insert(self.rule);
        Request::from_parts(parts, ())
    }
}

/// Whether a service may take a header of this name for another one, or for the method or the target.
fn is_deceptive(name: &HeaderName, identity: &IdentityHeaders) -> bool {
    // Proxies take out `X-Original-URL`, in that spelling.
    let imitates = |other: &HeaderName| name != other && is_read_as(name.as_str(), other.as_str());
    names_a_method(name)
        || is_read_as(name.as_str(), X_REWRITE_URL)
        || NOT_OF_THE_ORIGINAL.iter().any(imitates)
        || identity.are_imitated_by(name.as_str())
}

/// Whether a parameter of the query names another method, as some servers read it. PHP drops spaces before a name,
/// ends it at a NUL or a bracket, and takes a dot, a space and a plus sign for an underscore. A name that has no
/// meaning is none.
fn query_names_a_method(target: &str) -> bool {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    query.split(['&', ';']).any(|parameter| {
        let name = parameter.split('=').next().unwrap_or_default();
        let Some(name) = percent_decode(name.as_bytes()) else { return true };
        let is_blank = |byte: &u8| matches!(byte, b'+') || byte.is_ascii_whitespace();
        let start = name.iter().position(|byte| !is_blank(byte)).unwrap_or(name.len());
        let read = name[start..].split(|byte| matches!(byte, 0 | b'[')).next().unwrap_or_default();
        is_read_as(&String::from_utf8_lossy(read).to_ascii_lowercase(), "-method")
    })
}

/// Of a name or an address and a port. A list, or a user's name, is no host.
const fn is_of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'[' | b']')
}

/// Takes out both families, and puts back what hooks of layers look for.
fn restore(headers: &mut HeaderMap, scheme: &Scheme, host: HeaderValue) {
    for Family { method, scheme, host, uri } in [FORWARDED, ORIGINAL] {
        for name in [method, scheme, host, uri] {
            headers.remove(name);
        }
    }
    for name in NOT_OF_THE_ORIGINAL {
        headers.remove(name);
    }
    let is_https = *scheme == Scheme::HTTPS;
    let scheme = HeaderValue::from_static(if is_https { "https" } else { "http" });
    headers.insert(FORWARDED.scheme, scheme);
    headers.insert(FORWARDED.host, host.clone());
    headers.insert(header::HOST, host);
    // A proxy asks without `Upgrade`, which is of one connection. Another site may not open a `WebSocket`
    // with a user's cookie, so that a layer has to know of it.
    if headers.contains_key(header::SEC_WEBSOCKET_KEY)
        || headers.contains_key(header::SEC_WEBSOCKET_VERSION)
    {
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
}
