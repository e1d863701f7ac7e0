//! Headers that take no key, and the key's header in `Connection`.

use http::{HeaderMap, HeaderName, header};

use crate::request::{names_a_method, remove_connection_options};

/// A key in one of these would change where a message goes, where it ends or how it is read, or would
/// be kept by a proxy.
const NAMES: [HeaderName; 26] = [
    header::ACCEPT,
    header::AGE,
    header::ALLOW,
    header::ALT_SVC,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::COOKIE,
    header::DATE,
    header::ETAG,
    header::EXPECT,
    header::FORWARDED,
    header::HOST,
    header::LOCATION,
    header::MAX_FORWARDS,
    header::ORIGIN,
    header::PRAGMA,
    header::RANGE,
    header::REFERER,
    header::SET_COOKIE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::USER_AGENT,
    header::VARY,
    header::VIA,
];

/// Those of HTTP/1.0 and of extensions, which have no constants.
const OTHER_NAMES: [&str; 6] =
    ["alt-used", "early-data", "http2-settings", "keep-alive", "priority", "x-real-ip"];

const FAMILIES: [&str; 9] = [
    "accept-",
    "access-control-",
    "cdn-",
    "content-",
    "grpc-",
    "if-",
    "proxy-",
    "sec-",
    "x-forwarded-",
];

/// Whether HTTP, a proxy, a cache or a browser reads this header.
pub(super) fn is_of_http(name: &HeaderName) -> bool {
    let text = name.as_str();
    NAMES.contains(name)
        || OTHER_NAMES.contains(&text)
        || names_a_method(name)
        || FAMILIES.iter().any(|family| text.starts_with(family))
}

/// Takes a header's name out of `Connection`: a proxy removes the headers that are named there.
pub(super) fn keep_past_proxies(name: &HeaderName, headers: &mut HeaderMap) {
    remove_connection_options(headers, |option| option == name.as_str());
}
