//! Denials as native gRPC responses, without depending on a gRPC library.
//!
//! A gRPC client reads a bare HTTP 429 as `UNAVAILABLE` and never sees a problem body, so a denial
//! is a response of the protocol itself: HTTP 200, the status in headers and no body, which is the
//! *trailers-only* form of gRPC and of gRPC-Web.

mod encoding;
mod status;

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Response, Version, header};

pub(super) use self::status::{GrpcStatus, names_all};
use super::Rejection;
use crate::{
    key::Row,
    request::{RequestHead, only},
};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// A `google.rpc.Status`, in base64.
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
/// When to try again (gRFC A6), for clients that do so by themselves.
pub(super) const GRPC_RETRY_PUSHBACK: HeaderName =
    HeaderName::from_static("grpc-retry-pushback-ms");

/// Which requests are denied in the form of gRPC, whose HTTP status is 200.
///
/// Proxies that ask a service whether to let a request in (`auth_request` of nginx, `forward_auth`
/// of Caddy) take 2xx for yes, and copy the client's headers into their question. So it takes more
/// than headers: a proxy's question is no `POST` over HTTP/2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum GrpcDenials {
    /// None. What a layer outside says here, no layer inside can undo.
    Never,
    /// Native requests.
    #[default]
    Native,
    /// Native ones over every HTTP version, since a gRPC-Web layer outside makes them of others,
    /// and gRPC-Web ones.
    NativeAndWeb,
}

/// The protocol that a content type stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Grpc,
    GrpcWeb,
}

/// In the extensions of a request: [`Never`](GrpcDenials::Never), also further in.
#[derive(Clone, Copy)]
struct NeverInside;

/// The same of [`NativeAndWeb`](GrpcDenials::NativeAndWeb).
// Two types without a value: extensions keep those without an allocation.
#[derive(Clone, Copy)]
struct WebInside;

impl GrpcDenials {
    /// What holds for requests with these extensions where no layer says anything itself.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        let inside = extensions.get::<WebInside>().map_or(Self::Native, |_| Self::NativeAndWeb);
        inside.within(extensions)
    }

    /// What holds for them where a layer says this.
    pub(crate) fn within(self, extensions: &Extensions) -> Self {
        if extensions.get::<NeverInside>().is_some() { Self::Never } else { self }
    }

    /// Tells the layers further in what holds for this request, where it is not what they assume.
    #[inline]
    pub(crate) fn tell_inside(self, extensions: &mut Extensions) {
        match self {
            Self::Native => {}
            Self::Never => drop(extensions.insert(NeverInside)),
            Self::NativeAndWeb => drop(extensions.insert(WebInside)),
        }
    }

    /// The content type of the denial, if a request like this one is denied in the form of gRPC.
    #[inline]
    pub(super) fn content_type<'r>(self, request: &RequestHead<'r>) -> Option<&'r HeaderValue> {
        let is_of_a_call = *request.method == Method::POST
            && (request.version >= Version::HTTP_2 || self == Self::NativeAndWeb);
        // Most requests are told by this, without a look at their headers.
        if self == Self::Never || !is_of_a_call { None } else { self.content_type_of_call(request) }
    }

    fn content_type_of_call<'r>(self, request: &RequestHead<'r>) -> Option<&'r HeaderValue> {
        let content_type = only(request.headers, &header::CONTENT_TYPE)?;
        let is_denied_so = match protocol(content_type.as_bytes())? {
            Protocol::GrpcWeb => self == Self::NativeAndWeb,
            Protocol::Grpc => only(request.headers, &header::TE).is_some_and(|te| te == "trailers"),
        };
        is_denied_so.then_some(content_type)
    }

    /// Whether a denial of this request may be in the form of gRPC where its handler made it so.
    ///
    /// A status of tonic has that form whatever its request was.
    #[inline]
    pub(crate) fn may_answer(self, request: &RequestHead<'_>) -> bool {
        self.content_type(request).is_some() && self.within(request.extensions) != Self::Never
    }

    /// The same for a denial that takes the place of another, which was made further in, and whose request
    /// [may be answered](Self::may_answer) so.
    pub(super) fn content_type_again(self, denial: &HeaderMap) -> Option<&HeaderValue> {
        if self == Self::Never || !denial.contains_key(GRPC_STATUS) {
            return None;
        }
        let content_type = only(denial, &header::CONTENT_TYPE)?;
        let protocol = protocol(content_type.as_bytes())?;
        (protocol == Protocol::Grpc || self == Self::NativeAndWeb).then_some(content_type)
    }
}

/// Whether this header is one that a denial in the form of gRPC has of its own.
pub(super) fn is_status(name: &HeaderName) -> bool {
    [GRPC_STATUS, GRPC_MESSAGE, GRPC_STATUS_DETAILS, GRPC_RETRY_PUSHBACK].contains(name)
}

/// `application/grpc` or `application/grpc-web` (`-text`), each perhaps with `+` and the name of a
/// message format, as the protocols write them: in lower case and without parameters.
fn protocol(content_type: &[u8]) -> Option<Protocol> {
    let mut halves = content_type.splitn(2, |byte| *byte == b'+');
    let base = halves.next()?;
    if let Some(format) = halves.next()
        && (format.is_empty()
            || !format.iter().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(b)))
    {
        return None;
    }
    match base {
        b"application/grpc" => Some(Protocol::Grpc),
        b"application/grpc-web" | b"application/grpc-web-text" => Some(Protocol::GrpcWeb),
        _ => None,
    }
}

/// The denial without its challenges. `own` is the rejection, unless nothing of its own is to be told.
pub(super) fn denial(
    content_type: HeaderValue,
    row: &'static Row,
    own: Option<&Rejection>,
) -> Response<Bytes> {
    response(content_type, status::trailers(row, own))
}

/// The answer where a layer is missing.
pub(super) fn mistake(content_type: HeaderValue, what_to_do: &str) -> Response<Bytes> {
    response(content_type, GrpcStatus::of_mistake(what_to_do).trailers())
}

/// Repeats the request's content type, which gRPC-Web clients insist on.
fn response(content_type: HeaderValue, trailers: status::Trailers) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.extend(trailers);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        use Protocol::{Grpc, GrpcWeb};
        for (good, expected) in [
            ("application/grpc", Grpc),
            ("application/grpc+proto", Grpc),
            ("application/grpc+x.y-z_1", Grpc),
            ("application/grpc-web", GrpcWeb),
            ("application/grpc-web+proto", GrpcWeb),
            ("application/grpc-web-text", GrpcWeb),
            ("application/grpc-web-text+proto", GrpcWeb),
        ] {
            assert!(protocol(good.as_bytes()) == Some(expected), "{good}");
        }
        for bad in [
            "",
            "application/json",
            "application/grp",
            "application/grpcx",
            "APPLICATION/GRPC",
            "application/grpc+",
            "application/grpc ",
            " application/grpc",
            "application/grpc;charset=utf-8",
            "application/grpc+proto;q=1",
            "application/grpc+proto, text/html",
            "application/grpc, text/html",
            "application/grpc-webx",
            "application/grpc-web-text-x",
            "text/html, application/grpc",
        ] {
            assert!(protocol(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
