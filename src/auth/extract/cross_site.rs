//! 3. Extract: whether a request that carries a credential by itself was another site's idea.
//!
//! The rules are those of the OWASP cheat sheet "Cross-Site Request Forgery Prevention" for Fetch
//! Metadata, with `Origin` for browsers that do not send it (over plain HTTP, or before 2023).

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri,
    header::{HOST, ORIGIN, UPGRADE},
    uri::Authority,
};

use crate::request::{RequestHead, only};

/// W3C Fetch Metadata Request Headers, §2.4.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether the request may change something, and its headers do not show that it comes from the
/// service's own pages or from a client that is no browser.
#[cold]
pub(super) fn may_be_forced(request: &RequestHead<'_>) -> bool {
    let headers = request.headers;
    if is_safe(request.method) && !headers.contains_key(UPGRADE) {
        return false;
    }
    if headers.contains_key(SEC_FETCH_SITE) {
        let site = only(headers, &SEC_FETCH_SITE);
        return !site.is_some_and(|site| site == "same-origin" || site == "none");
    }
    if headers.contains_key(ORIGIN) {
        return !only(headers, &ORIGIN).is_some_and(|origin| is_own(origin, request));
    }
    false
}

/// RFC 9110 §9.2.1.
fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method)
}

/// Whether this is an origin at the host, and port, that the request goes to. The scheme is not
/// compared: behind a proxy that takes the TLS off, nothing tells it.
fn is_own(origin: &HeaderValue, request: &RequestHead<'_>) -> bool {
    let Some(origin) = origin.to_str().ok().and_then(|text| text.parse::<Uri>().ok()) else {
        return false;
    };
    let default_port = match origin.scheme_str() {
        Some("https") => 443,
        Some("http") => 80,
        _ => return false,
    };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default_port);
    let is_same = |own: &Authority| {
        origin.authority().is_some_and(|origin| {
            origin.host().eq_ignore_ascii_case(own.host()) && port(origin) == port(own)
        })
    };
    // `:authority`, or an absolute target, stands above `Host` (RFC 9112 §3.2.2).
    match request.uri.authority() {
        Some(own) => is_same(own),
        None => host(request.headers).is_some_and(|own| is_same(&own)),
    }
}

fn host(headers: &HeaderMap) -> Option<Authority> {
    only(headers, &HOST)?.to_str().ok()?.parse().ok()
}
