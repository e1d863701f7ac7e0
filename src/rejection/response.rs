//! Denials as responses: problem details (RFC 9457), or gRPC where the request was gRPC.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use http_body_util::Full;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{Challenges, Rejection, RejectionKind, Row, TABLE, UNIFORM, grpc};
use crate::Scopes;

/// A hook that answers denials its own way.
///
/// Implemented for closures:
///
/// ```
/// use bytes::Bytes;
/// use http::Response;
/// use http_body_util::Full;
/// use tower_api_key::{ApiKeyLayer, Rejection, store::MemoryStore};
///
/// let layer = ApiKeyLayer::new(MemoryStore::new()).with_rejection_response(
///     |rejection: &Rejection, prepared: Response<Full<Bytes>>| {
///         let body = format!("no entry: {}\n", rejection.kind().code());
///         prepared.map(|_| Full::from(body))
///     },
/// );
/// # let _ = layer;
/// ```
pub trait RejectionResponse: Send + Sync + 'static {
    /// Makes the response. `prepared` is what would have been sent, with its status, challenges
    /// and `Cache-Control: no-store`: change it, or start from another.
    ///
    /// gRPC requests are denied as the protocol asks and never come here.
    fn respond(
        &self,
        rejection: &Rejection,
        prepared: Response<Full<Bytes>>,
    ) -> Response<Full<Bytes>>;
}

impl<F> RejectionResponse for F
where
    F: Fn(&Rejection, Response<Full<Bytes>>) -> Response<Full<Bytes>> + Send + Sync + 'static,
{
    fn respond(
        &self,
        rejection: &Rejection,
        prepared: Response<Full<Bytes>>,
    ) -> Response<Full<Bytes>> {
        self(rejection, prepared)
    }
}

/// How a layer turns rejections into responses.
#[derive(Clone, Default)]
pub(crate) struct Renderer {
    pub(crate) challenges: Challenges,
    pub(crate) uniform: bool,
    pub(crate) hook: Option<Arc<dyn RejectionResponse>>,
}

impl Renderer {
    /// The response to a request (or in place of a response) with these headers.
    pub(crate) fn respond(
        &self,
        mut rejection: Rejection,
        like: &HeaderMap,
    ) -> Response<Full<Bytes>> {
        let row = self.row(rejection.kind);
        let grpc = grpc::content_type(like).cloned();
        let is_grpc = grpc.is_some();
        let mut response = match grpc {
            Some(content_type) => grpc::response(row, content_type),
            None => problem(row, &rejection),
        };
        self.add_headers(&mut response, row, &rejection);
        if let (Some(hook), false) = (&self.hook, is_grpc) {
            response = hook.respond(&rejection, response);
        }
        rejection.rendered = true;
        response.extensions_mut().insert(rejection);
        response
    }

    /// A denial that was made further in, by [`respond_like`], and now passes this layer:
    /// answered anew so that it gets this layer's challenges, hook and uniformity.
    #[inline]
    pub(crate) fn respond_anew<'r, B>(
        &self,
        inner: &'r Response<B>,
    ) -> Option<(&'r Rejection, Response<Full<Bytes>>)> {
        let rejection = inner.extensions().get::<Rejection>().filter(|r| !r.rendered)?;
        Some((rejection, self.respond_in_place_of(inner.headers(), rejection.clone())))
    }

    #[cold]
    fn respond_in_place_of(
        &self,
        inner: &HeaderMap,
        rejection: Rejection,
    ) -> Response<Full<Bytes>> {
        let mut response = self.respond(rejection, inner);
        let headers = response.headers_mut();
        // What layers between added stays, such as CORS headers, without which a browser could
        // not read the denial. What the denial says itself, and what was about the body that it
        // replaces, does not.
        let ours: Vec<HeaderName> = headers.keys().cloned().collect();
        for (name, value) in inner {
            if !ours.contains(name) && !DESCRIBES_BODY.contains(name) {
                headers.append(name, value.clone());
            }
        }
        response
    }

    /// What is answered for this kind: the `code`, and what the caller can do about it.
    #[cfg(feature = "openapi")]
    pub(crate) fn words(&self, kind: RejectionKind) -> (&'static str, &'static str) {
        let row = self.row(kind);
        (row.code, row.detail)
    }

    fn row(&self, kind: RejectionKind) -> &'static Row {
        let row = kind.row();
        let fold = self.uniform && row.challenge_error == UNIFORM.challenge_error;
        if fold { UNIFORM } else { row }
    }

    fn add_headers(&self, response: &mut Response<Full<Bytes>>, row: &Row, rejection: &Rejection) {
        let challenged =
            row.status == http::StatusCode::UNAUTHORIZED || row.challenge_error.is_some();
        let missing = rejection.missing_scopes().filter(|scopes| !scopes.is_empty());
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(report) = rejection.limit_report() {
            report.apply(headers);
        }
        if let Some(seconds) = rejection.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if challenged {
            for challenge in
                self.challenges.values(row.challenge_error, missing.map(Scopes::as_str))
            {
                headers.append(header::WWW_AUTHENTICATE, challenge);
            }
        }
    }
}

/// Headers that are about a body and not about the response.
const DESCRIBES_BODY: [HeaderName; 7] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::ETAG,
    header::LAST_MODIFIED,
    header::TRANSFER_ENCODING,
];

impl std::fmt::Debug for Renderer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renderer")
            .field("challenges", &self.challenges)
            .field("uniform", &self.uniform)
            .field("hook", &self.hook.is_some())
            .finish()
    }
}

/// The response of a layer further in, which knows no challenges: to a request with these
/// headers. An [`ApiKeyLayer`](crate::ApiKeyLayer) outside completes it.
pub(crate) fn respond_like(rejection: Rejection, request: &HeaderMap) -> Response<Full<Bytes>> {
    let mut response = Renderer::default().respond(rejection, request);
    if let Some(rejection) = response.extensions_mut().get_mut::<Rejection>() {
        rejection.rendered = false;
    }
    response
}

/// Bodies without variable members, made once.
static BODIES: LazyLock<Vec<Bytes>> =
    LazyLock::new(|| TABLE.iter().map(|row| body(row, None)).collect());
static UNIFORM_BODY: LazyLock<Bytes> = LazyLock::new(|| body(UNIFORM, None));

impl Rejection {
    /// Whether its problem says more than those of its kind all do.
    fn has_members(&self) -> bool {
        self.missing_scopes.is_some() || self.exhausted.is_some()
    }
}

fn problem(row: &'static Row, rejection: &Rejection) -> Response<Full<Bytes>> {
    let body = if rejection.has_members() {
        body(row, Some(rejection))
    } else if row.code == UNIFORM.code {
        UNIFORM_BODY.clone()
    } else {
        BODIES[row.kind as usize].clone()
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = row.status;
    let json = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn body(row: &Row, rejection: Option<&Rejection>) -> Bytes {
    let problem = Problem { row, rejection };
    // Texts and numbers always serialise.
    serde_json::to_vec(&problem).unwrap_or_default().into()
}

/// RFC 9457 problem details. The type is `about:blank`, so the title is the status phrase
/// (§4.2.1) and `code` tells the kinds apart.
struct Problem<'r> {
    row: &'r Row,
    rejection: Option<&'r Rejection>,
}

impl Serialize for Problem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry("type", "about:blank")?;
        members.serialize_entry("title", &self.row.status.canonical_reason())?;
        members.serialize_entry("status", &self.row.status.as_u16())?;
        members.serialize_entry("detail", self.row.detail)?;
        members.serialize_entry("code", self.row.code)?;
        if let Some(rejection) = self.rejection {
            if let Some(missing) = rejection.missing_scopes() {
                members.serialize_entry("missing_scopes", missing)?;
            }
            if let Some(limit) = rejection.limit() {
                members.serialize_entry("limit", limit)?;
            }
            if let Some(remaining) = rejection.credits_remaining() {
                members.serialize_entry("credits_remaining", &remaining)?;
            }
        }
        members.end()
    }
}
