//! Denials as native gRPC responses, without depending on a gRPC library.
//!
//! A gRPC client reads a bare HTTP 429 as `UNAVAILABLE` and never sees a problem body, so a denial
//! is a response of the protocol itself: HTTP 200, the status in headers and no body, which is the
//! *trailers-only* form of gRPC and of gRPC-Web.

use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use http_body_util::Full;

use super::Row;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The content type of a gRPC or gRPC-Web message, if these are its headers.
pub(super) fn content_type(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(header::CONTENT_TYPE).filter(|value| is_grpc(value.as_bytes()))
}

/// `application/grpc`, with a suffix or parameter or `-web…`, in any case.
fn is_grpc(content_type: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let Some((start, rest)) = content_type.split_at_checked(GRPC.len()) else {
        return false;
    };
    start.eq_ignore_ascii_case(GRPC)
        && matches!(rest.first(), None | Some(b'+' | b';' | b'-' | b' '))
}

/// The response without its challenges. Repeats the request's content type, which gRPC-Web
/// clients insist on.
pub(super) fn response(row: &Row, content_type: HeaderValue) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(row.grpc)));
    if let Ok(message) = HeaderValue::try_from(percent_encode(row.code, row.detail)) {
        headers.insert(GRPC_MESSAGE, message);
    }
    response
}

/// `code: detail`, percent-encoded as the gRPC protocol asks: all but 0x20–0x7E, and `%` itself.
fn percent_encode(code: &str, detail: &str) -> String {
    let mut encoded = String::with_capacity(code.len() + 2 + detail.len());
    for part in [code, ": ", detail] {
        for byte in part.bytes() {
            match byte {
                b'%' | ..0x20 | 0x7f.. => {
                    // Writing to a `String` cannot fail.
                    let _ = write!(encoded, "%{byte:02X}");
                }
                _ => encoded.push(char::from(byte)),
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        for good in [
            "application/grpc",
            "application/grpc+proto",
            "APPLICATION/GRPC",
            "application/grpc-web-text+proto",
            "application/grpc;charset=utf-8",
        ] {
            assert!(is_grpc(good.as_bytes()), "{good}");
        }
        for bad in ["", "application/json", "application/grp", "application/grpcx"] {
            assert!(!is_grpc(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encode("code", "50 % é\n"), "code: 50 %25 %C3%A9%0A");
    }
}
