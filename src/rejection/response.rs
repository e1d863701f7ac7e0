//! Denials as responses: problem details (RFC 9457), or gRPC where the request was gRPC.

use std::{
    borrow::Cow,
    mem,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};

use super::{
    Rejection,
    challenge::Challenges,
    fields,
    grpc::{self, GrpcDenials},
    problem::{self, Problem},
};
use crate::{
    key::{RejectionKind, Row, Scopes, TABLE, UNIFORM},
    request::RequestHead,
};

/// A hook that answers denials its own way.
///
/// Implemented for closures:
///
/// ```
/// use bytes::Bytes;
/// use http::Response;
/// use tower_api_key::{ApiKeyLayer, Rejection, store::MemoryStore};
///
/// let layer = ApiKeyLayer::new(MemoryStore::new()).with_rejection_response(
///     |rejection: &Rejection, prepared: Response<Bytes>| {
///         let body = format!("no entry: {}\n", rejection.kind().code());
///         prepared.map(|_| body.into())
///     },
/// );
/// # let _ = layer;
/// ```
pub trait RejectionResponse: Send + Sync + 'static {
    /// Makes the response. `prepared` is what would have been sent, with its status, challenges
    /// and `Cache-Control: no-store`: change it, or start from another.
    ///
    /// gRPC requests are denied as the protocol asks and never come here.
    fn respond(&self, rejection: &Rejection, prepared: Response<Bytes>) -> Response<Bytes>;
}

impl<F> RejectionResponse for F
where
    F: Fn(&Rejection, Response<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
{
    fn respond(&self, rejection: &Rejection, prepared: Response<Bytes>) -> Response<Bytes> {
        self(rejection, prepared)
    }
}

type Head = Box<[(HeaderName, HeaderValue)]>;

/// How a layer turns rejections into responses.
#[derive(Clone)]
pub(crate) struct Renderer {
    challenges: Challenges,
    /// The headers that all denials of a kind have, in the order of [`TABLE`], and then those of a
    /// uniform one.
    heads: Arc<[Head]>,
    pub(crate) uniform: bool,
    pub(crate) grpc: GrpcDenials,
    pub(crate) hook: Option<Arc<dyn RejectionResponse>>,
}

impl Default for Renderer {
    fn default() -> Self {
        let mut this = Self {
            challenges: Challenges::default(),
            heads: [].into(),
            uniform: false,
            grpc: GrpcDenials::default(),
            hook: None,
        };
        this.set_challenges(Challenges::default());
        this
    }
}

impl Renderer {
    pub(crate) fn set_challenges(&mut self, challenges: Challenges) {
        self.challenges = challenges;
        self.heads = TABLE.iter().chain([UNIFORM]).map(|row| self.head(row)).collect();
    }

    /// What a request without a credential is asked for by this layer.
    pub(crate) fn own_challenges(&self) -> impl Iterator<Item = HeaderValue> {
        self.challenges.values(None, None)
    }

    /// And by those beside it.
    pub(crate) fn challenges(&self) -> impl Iterator<Item = HeaderValue> {
        self.own_challenges().chain(self.challenges.foreign().cloned())
    }

    fn head(&self, row: &Row) -> Head {
        let has_challenge = row.status == StatusCode::UNAUTHORIZED || row.challenge_error.is_some();
        let challenges = has_challenge.then(|| self.challenges.values(row.challenge_error, None));
        let asks_for_others = row.status == StatusCode::UNAUTHORIZED;
        let others = asks_for_others.then(|| self.challenges.foreign().cloned());
        let challenges = challenges.into_iter().flatten().chain(others.into_iter().flatten());
        let challenges = challenges.map(|challenge| (header::WWW_AUTHENTICATE, challenge));
        problem::head().into_iter().chain(challenges).collect()
    }

    /// The response to this request, which is left without its headers and extensions.
    pub(crate) fn respond<B>(
        &self,
        rejection: Rejection,
        request: &mut Request<B>,
    ) -> Response<Bytes> {
        let head = RequestHead::from(&*request);
        let grpc = self.grpc.within(head.extensions).content_type(&head).cloned();
        self.respond_as(rejection, grpc.as_ref(), Room::of(request))
    }

    /// The response in the form of gRPC with this content type, or as problem details.
    fn respond_as(
        &self,
        mut rejection: Rejection,
        grpc: Option<&HeaderValue>,
        room: Room,
    ) -> Response<Bytes> {
        let row = self.row(rejection.kind);
        // What a uniform denial says is the same for all kinds: nothing of the rejection's own.
        let own = (!self.folds(rejection.kind)).then_some(&rejection);
        let folds = own.is_none();
        let head = &self.heads[if folds { TABLE.len() } else { row.kind as usize }];
        let mut response = if let Some(content_type) = grpc {
            let mut response = grpc::denial(content_type.clone(), row, own);
            let rest = head.iter().filter(|(name, _)| *name != header::CONTENT_TYPE);
            add(rest, response.headers_mut());
            response
        } else {
            let mut response = Response::new(body_of(row, own));
            *response.status_mut() = row.status;
            *response.headers_mut() = room.headers;
            add(head, response.headers_mut());
            response
        };
        *response.extensions_mut() = room.extensions;
        if let Some(rejection) = own {
            self.add_own_headers(rejection, response.headers_mut(), grpc.is_some());
        }
        if let (Some(hook), None) = (&self.hook, grpc) {
            response = hook.respond(&rejection, response);
            self.add_missing_challenge(&mut response);
        }
        rejection.rendered = true;
        response.extensions_mut().insert(rejection);
        response
    }

    /// A denial that was made further in, by [`respond_plainly`] or a handler, and now passes this layer:
    /// answered anew so that it gets this layer's challenges, hook and uniformity. `is_grpc` says whether
    /// the request [may be answered](GrpcDenials::may_answer) in the form of gRPC.
    #[inline]
    pub(crate) fn respond_anew<'r, B>(
        &self,
        inner: &'r Response<B>,
        is_grpc: bool,
    ) -> Option<(&'r Rejection, Response<Bytes>)> {
        let extensions = inner.extensions();
        let rejection = extensions.get::<Rejection>();
        #[cfg(feature = "tonic")]
        let rejection = match rejection {
            // Most responses have no extensions at all, and then this is no further look.
            None if !extensions.is_empty() => super::tonic_status::rejection_in(extensions),
            found => found,
        };
        let rejection = rejection.filter(|rejection| !rejection.rendered)?;
        Some((rejection, self.respond_in_place_of(inner.headers(), is_grpc, rejection.clone())))
    }

    #[cold]
    fn respond_in_place_of(
        &self,
        inner: &HeaderMap,
        is_grpc: bool,
        rejection: Rejection,
    ) -> Response<Bytes> {
        let folds = self.folds(rejection.kind);
        let grpc = is_grpc.then(|| self.grpc.content_type_again(inner)).flatten();
        let mut response = self.respond_as(rejection, grpc, Room::default());
        let headers = response.headers_mut();
        // What layers between added stays, such as CORS headers, without which a browser could
        // not read the denial. What the denial says itself, and what was about the body that it
        // replaces, does not; nor does what would tell one uniform denial from another.
        let ours: Vec<HeaderName> = headers.keys().cloned().collect();
        for (name, value) in inner {
            let goes = ours.contains(name)
                || DESCRIBES_BODY.contains(name)
                || grpc::is_status(name)
                || (folds && fields::reports_limit(name));
            if !goes {
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

    /// The status with which a request is denied for this reason; `None` where a hook may choose another.
    pub(crate) fn status_of(
        &self,
        kind: RejectionKind,
        request: &RequestHead<'_>,
    ) -> Option<StatusCode> {
        if self.grpc.within(request.extensions).content_type(request).is_some() {
            return Some(StatusCode::OK);
        }
        self.hook.is_none().then(|| self.row(kind).status)
    }

    /// The status of this kind.
    #[cfg(feature = "openapi")]
    pub(crate) fn status(&self, kind: RejectionKind) -> StatusCode {
        self.row(kind).status
    }

    /// The code of a denial for this reason.
    #[cfg(feature = "axum")]
    pub(crate) fn code(&self, kind: RejectionKind) -> &'static str {
        self.row(kind).code
    }

    /// Whether a denial of this kind looks like every other one of a bad key.
    pub(crate) fn folds(&self, kind: RejectionKind) -> bool {
        self.uniform && kind.is_of_a_bad_key()
    }

    fn row(&self, kind: RejectionKind) -> &'static Row {
        if self.folds(kind) { UNIFORM } else { kind.row() }
    }

    /// Adds what not all denials of the kind say.
    fn add_own_headers(&self, rejection: &Rejection, headers: &mut HeaderMap, is_grpc: bool) {
        for (name, value) in rejection.limit_fields().into_iter().flatten() {
            headers.insert(name, value.clone());
        }
        if let Some(seconds) = rejection.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // gRPC clients take fewer headers than others: no challenge lists what the status has no room for.
        let has_room = |missing: &Scopes| !is_grpc || grpc::names_all(missing);
        let missing = rejection.missing_scopes().filter(|all| !all.is_empty() && has_room(all));
        if let Some(missing) = missing {
            headers.remove(header::WWW_AUTHENTICATE);
            let error = rejection.kind.row().challenge_error;
            for challenge in self.challenges.values(error, Some(missing.as_str())) {
                headers.append(header::WWW_AUTHENTICATE, challenge);
            }
        }
    }

    /// A 401 has a challenge (RFC 9110 §15.5.2), also where a hook started from another response.
    fn add_missing_challenge(&self, response: &mut Response<Bytes>) {
        let is_unauthorized = response.status() == StatusCode::UNAUTHORIZED;
        if is_unauthorized && !response.headers().contains_key(header::WWW_AUTHENTICATE) {
            for challenge in self.challenges() {
                response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
            }
        }
    }
}

/// The memory of a request's headers and extensions, without them: in it, the request's denial allocates
/// hardly anything.
#[derive(Default)]
struct Room {
    headers: HeaderMap,
    extensions: Extensions,
}

/// A response keeps room for no more than so many headers, however many its client has sent.
const MOST_HEADERS: usize = 64;

impl Room {
    fn of<B>(request: &mut Request<B>) -> Self {
        let mut extensions = mem::take(request.extensions_mut());
        extensions.clear();
        // The capacity says nothing of values that repeat a name.
        if request.headers().capacity().max(request.headers().len()) > MOST_HEADERS {
            return Self { extensions, ..Self::default() };
        }
        let mut headers = mem::take(request.headers_mut());
        headers.clear();
        Self { headers, extensions }
    }
}

#[inline]
fn add<'h>(head: impl IntoIterator<Item = &'h (HeaderName, HeaderValue)>, headers: &mut HeaderMap) {
    for (name, value) in head {
        headers.append(name.clone(), value.clone());
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
            .field("grpc", &self.grpc)
            .field("hook", &self.hook.is_some())
            .finish_non_exhaustive()
    }
}

/// The response of a layer further in, or of a handler, which knows neither the challenges of the
/// [`ApiKeyLayer`](crate::ApiKeyLayer) outside nor its hook: that layer completes it. Without a
/// request, as problem details.
pub(crate) fn respond_plainly(
    rejection: Rejection,
    request: Option<&RequestHead<'_>>,
) -> Response<Bytes> {
    static RENDERER: LazyLock<Renderer> = LazyLock::new(Renderer::default);
    let grpc = request.and_then(|head| GrpcDenials::of(head.extensions).content_type(head));
    let mut response = RENDERER.respond_as(rejection, grpc, Room::default());
    if let Some(rejection) = response.extensions_mut().get_mut::<Rejection>() {
        rejection.rendered = false;
    }
    response
}

/// The response where a layer is missing: a mistake in the program, told to its operator.
pub(crate) fn respond_with_mistake(
    what_to_do: &'static str,
    request: &RequestHead<'_>,
) -> Response<Bytes> {
    let grpc = GrpcDenials::of(request.extensions).content_type(request);
    let mut response = if let Some(content_type) = grpc {
        grpc::mistake(content_type.clone(), what_to_do)
    } else {
        let mut response = Response::new(Bytes::from(what_to_do));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, text);
        response
    };
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, no_store);
    response
}

/// Bodies without variable members, made once. Their clones count nothing.
static BODIES: LazyLock<Vec<Bytes>> = LazyLock::new(|| {
    TABLE
        .iter()
        .chain([UNIFORM])
        .map(|row| Bytes::from_static(body(row, None).to_vec().leak()))
        .collect()
});

impl Rejection {
    /// Whether its problem says more than those of its kind all do.
    fn has_members(&self) -> bool {
        self.of_preflight || self.missing_scopes.is_some() || self.exhausted.is_some()
    }
}

/// `own` is the rejection, unless nothing of its own is to be told.
fn body_of(row: &'static Row, own: Option<&Rejection>) -> Bytes {
    match own {
        Some(rejection) if rejection.has_members() => body(row, Some(rejection)),
        Some(_) => BODIES[row.kind as usize].clone(),
        None => BODIES[TABLE.len()].clone(),
    }
}

/// For the programmer who sees that a browser's preflights fail.
const PREFLIGHT: &str = "A browser sends a CORS preflight without a key, so the service's CORS \
                         layer belongs outside its API key layer.";

fn body(row: &'static Row, rejection: Option<&Rejection>) -> Bytes {
    let of_preflight = rejection.is_some_and(|rejection| rejection.of_preflight);
    let detail = if of_preflight {
        [row.detail, PREFLIGHT].join(" ").into()
    } else {
        Cow::Borrowed(row.detail)
    };
    let mut problem = Problem::new(row.status, row.code, detail);
    if let Some(rejection) = rejection {
        if let Some(missing) = rejection.missing_scopes() {
            problem = problem.with_member("missing_scopes", missing.iter().collect::<Vec<_>>());
        }
        if let Some(limit) = rejection.limit() {
            problem = problem.with_member("limit", limit);
        }
        if let Some(remaining) = rejection.credits_remaining() {
            problem = problem.with_member("credits_remaining", remaining);
        }
    }
    problem.body()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request's memory holds its denial, but not where a client has sent very many headers.
    #[test]
    fn a_denial_keeps_no_more_room_than_it_may() {
        let renderer = Renderer::default();
        let denied = |headers: usize| {
            let mut request = Request::new(());
            for number in 0..headers {
                let name = HeaderName::try_from(format!("x-{number}")).unwrap();
                request.headers_mut().insert(name, HeaderValue::from_static("sent"));
            }
            request.extensions_mut().insert("of the request");
            renderer.respond(Rejection::new(RejectionKind::Missing), &mut request)
        };
        let like = denied(0);
        for headers in [1, 20, 60, 200] {
            let response = denied(headers);
            assert_eq!(response.headers(), like.headers());
            assert!(response.extensions().get::<&str>().is_none());
            assert!(response.headers().capacity() <= MOST_HEADERS, "{headers}");
        }
    }

    /// As where a layer between the two has taken the request's extensions out, in which the outer one
    /// says so.
    #[test]
    fn a_denial_as_grpc_becomes_a_problem_where_a_layer_never_denies_so() {
        let mut request = Request::post("/pets.Pets/List").version(http::Version::HTTP_2);
        for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
            request = request.header(name, value);
        }
        let request = request.body(()).unwrap();
        let rejection = Rejection::new(RejectionKind::Missing);
        let inner = respond_plainly(rejection, Some(&RequestHead::from(&request)));
        assert_eq!(inner.headers()["grpc-status"], "16");
        for (grpc, content_type) in [
            (GrpcDenials::Native, "application/grpc"),
            (GrpcDenials::Never, "application/problem+json"),
        ] {
            let renderer = Renderer { grpc, ..Renderer::default() };
            let (_, response) = renderer.respond_anew(&inner, true).unwrap();
            assert_eq!(response.headers()[header::CONTENT_TYPE], content_type);
            let is_grpc = grpc == GrpcDenials::Native;
            for name in ["grpc-status", "grpc-message"] {
                assert_eq!(response.headers().contains_key(name), is_grpc, "{name}");
            }
        }
    }
}
