//! [`original`]: the request that a proxy asks about.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header,
    request::Parts,
    uri::{Authority, Scheme},
};

use super::{
    flavour::{FORWARDED, Family, ORIGINAL},
    routes::Routes,
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

/// The original request, with the [rule](super::routes::Required) for it, or `None` where there is no
/// telling or no rule.
pub(super) fn original(
    mut asked: Parts,
    family: &Family,
    routes: &Routes,
    identity: &IdentityHeaders,
) -> Option<Request<()>> {
    let headers = &asked.headers;
    let method = Method::from_bytes(only(headers, &family.method)?.as_bytes()).ok()?;
    let scheme = match only(headers, &family.scheme)?.as_bytes() {
        b"http" | b"ws" => Scheme::HTTP,
        b"https" | b"wss" => Scheme::HTTPS,
        _ => return None,
    };
    let host = only(headers, &family.host)?.clone();
    let authority = host.to_str().ok()?.parse::<Authority>().ok()?;
    let target = only(headers, &family.uri)?.to_str().ok()?;
    let rule = routes.find(&method, &Path::of_target(target)?)?.clone();
    let is_deceptive = |name: &HeaderName| {
        // Proxies take out `X-Original-URL`, in that spelling.
        let imitates =
            |other: &HeaderName| name != other && is_read_as(name.as_str(), other.as_str());
        names_a_method(name)
            || is_read_as(name.as_str(), X_REWRITE_URL)
            || NOT_OF_THE_ORIGINAL.iter().any(imitates)
            || identity.are_imitated_by(name.as_str())
    };
    if query_names_a_method(target) {
        return None;
    }
    if !authority.as_str().bytes().all(is_of_host) || headers.keys().any(is_deceptive) {
        return None;
    }
    let uri = Uri::builder()
        .scheme(scheme.clone())
        .authority(authority)
        .path_and_query(target)
        .build()
        .ok()?;
    asked.uri = uri;
    asked.method = if method == Method::HEAD { Method::GET } else { method };
    #[cfg(feature = "axum")]
    asked.extensions.remove::<axum::extract::OriginalUri>();
    restore(&mut asked.headers, &scheme, host);
    asked.extensions.insert(rule);
    Some(Request::from_parts(asked, ()))
}

/// Whether a parameter of the query names another method, as some servers read it.
fn query_names_a_method(target: &str) -> bool {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    query.split(['&', ';']).any(|parameter| {
        let name = parameter.split('=').next().unwrap_or_default();
        percent_decode(name.as_bytes()).is_some_and(|name| name.eq_ignore_ascii_case(b"_method"))
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
