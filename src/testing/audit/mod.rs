//! [`guard_audit`]: asks every operation of an application as a client without rights would.

mod judge;
mod plan;
mod report;
mod variant;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http::{Request, Response, request};
use http_body::{Body, Frame, SizeHint};
use tower_service::Service;

use self::plan::{Plan, Probe, Public, Row};
pub use self::{
    report::{AuditFailure, AuditReason, AuditReport, AuditedRow, SentKey},
    variant::Variant,
};
use super::{
    keys::{TestKey, TestKeys},
    routes::Routes,
    with_key::WithKey,
};
use crate::{auth::KeySource, key::OwnerId, manage::IssuedKey};

/// Asks every operation of a list without a key, with a key that lacks its scopes, and in every form
/// that a guard may overlook, and reports those that are not denied as they should be.
///
/// For each operation that asks for a key:
///
/// - without a key, the answer is 401 with a challenge;
/// - with a key without scopes, where it asks for scopes, 403 that names exactly those;
/// - with `//` for each `/`, with `/%2e` in front, with a slash more or less at the end and in
///   letters of the other case, its path is denied, or no route has it: 404, 405 or a redirection;
/// - with each method that the list does not have, `HEAD` and `OPTIONS` among them, its path is denied,
///   or the answer is 405;
/// - a path that no route has is denied, or no route has it.
///
/// Only a denial of this crate counts: the response's extensions hold the
/// [`Rejection`](crate::Rejection). Any other answer of a router, an extractor or a handler, such as 400,
/// 404 or 422, is [checked too late](AuditReason::CheckedTooLate).
///
/// The audit walks what is listed, as the first line of its report says. A
/// [`RecordingRouter`](super::RecordingRouter) makes a complete list.
///
/// Where every guard is right, no handler runs. What runs where one is wrong, only the application knows:
/// audit it with the stores of a test.
///
/// ```
/// use http::{Method, Request, Response};
/// use tower::{ServiceBuilder, service_fn};
/// use tower_api_key::{
///     RequireScopesLayer,
///     testing::{Routes, TestKeys, guard_audit},
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keys = TestKeys::new();
/// let application = ServiceBuilder::new()
///     .layer(keys.layer().with_bypass(|request| request.uri.path() == "/health"))
///     .layer(RequireScopesLayer::all(["orders:read"])?.allow_anonymous())
///     .service(service_fn(async |_: Request<_>| {
///         Ok::<_, std::convert::Infallible>(Response::new(String::new()))
///     }));
/// let routes = Routes::new().route_with_scopes(Method::GET, "/orders", ["orders:read"]).path("/health");
///
/// let report = guard_audit(routes, application).public(["/health"]).with_keys(&keys).run().await;
/// report.assert_passed();
/// # Ok(())
/// # }
/// ```
pub fn guard_audit<S>(routes: impl Into<Routes>, application: S) -> GuardAudit<S> {
    GuardAudit {
        routes: routes.into(),
        application,
        public: Vec::new(),
        keys: None,
        owner: None,
        parameters: BTreeMap::new(),
        has_cors_outside: false,
        runs_handlers: false,
        prepare: None,
    }
}

/// An audit that is about to [run](Self::run); made by [`guard_audit`].
#[must_use = "an audit asks nothing until it runs"]
pub struct GuardAudit<S> {
    routes: Routes,
    application: S,
    public: Vec<Public>,
    keys: Option<TestKeys>,
    owner: Option<OwnerId>,
    parameters: BTreeMap<String, String>,
    has_cors_outside: bool,
    runs_handlers: bool,
    prepare: Option<Prepare>,
}

type Prepare = Box<dyn Fn(&mut request::Parts) + Send + Sync>;

impl<S> GuardAudit<S> {
    /// Leaves out operations that need no key: a path, such as `/health`, or one of its operations,
    /// such as `GET /health`. One that is not listed, or that its document says is guarded, is a failure.
    pub fn public<T: AsRef<str>>(mut self, operations: impl IntoIterator<Item = T>) -> Self {
        self.public
            .extend(operations.into_iter().map(|operation| Public::parse(operation.as_ref())));
        self
    }

    /// Makes the keys to ask with. Operations that ask for scopes need them.
    pub fn with_keys(mut self, keys: &TestKeys) -> Self {
        self.keys = Some(keys.clone());
        self
    }

    /// The owner of these keys, for an application with an [`OwnerLayer`](crate::OwnerLayer) outside of
    /// its scopes.
    pub fn with_owner(mut self, owner: impl Into<OwnerId>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// The value of a parameter in paths: `with_parameter("id", "42")` for `/orders/{id}`. Others are `1`.
    pub fn with_parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.insert(name.into(), value.into());
        self
    }

    /// Says that a CORS layer stands outside of the guard and answers every `OPTIONS`: such an answer, by
    /// the headers that it has, counts as none of a handler's.
    pub fn cors_outside(mut self) -> Self {
        self.has_cors_outside = true;
        self
    }

    /// Also asks each operation with a key that has its scopes, which must be let in. Handlers run, with
    /// an empty body; whatever they answer but 401, 403 and 5xx is right.
    pub fn running_handlers(mut self) -> Self {
        self.runs_handlers = true;
        self
    }

    /// Changes each request before it is sent: the peer's address, a host, a header of a proxy.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use tower_api_key::testing::{RecordingRouter, TestKeys, guard_audit};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let guard = TestKeys::new().layer().with_secure_transport_check(|request| {
    ///     request.headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https")
    /// });
    /// let application = RecordingRouter::new().route("/orders", get(async || "orders")).layer(guard);
    /// let (router, routes) = application.into_parts();
    /// let routes = routes.route(http::Method::GET, "/orders");
    /// let audit = guard_audit(routes, router).preparing(|request| {
    ///     request.headers.insert("x-forwarded-proto", "https".parse().unwrap());
    /// });
    /// audit.run().await.assert_passed();
    /// # }
    /// ```
    pub fn preparing(
        mut self,
        prepare: impl Fn(&mut request::Parts) + Send + Sync + 'static,
    ) -> Self {
        self.prepare = Some(Box::new(prepare));
        self
    }

    /// Asks, and reports. Requests have [an empty body](EmptyBody): for an application that takes one certain type
    /// of bodies, use [`run_with`](Self::run_with).
    ///
    /// # Panics
    ///
    /// If a path or a parameter cannot be sent, or the store of the keys fails.
    pub async fn run<B>(self) -> AuditReport
    where
        S: Service<Request<EmptyBody>, Response = Response<B>> + Clone,
        S::Error: fmt::Debug,
    {
        self.run_with(EmptyBody::default).await
    }

    /// [Runs](Self::run) with these bodies, which should be empty: `run_with(String::new)`.
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    pub async fn run_with<ReqBody, ResBody>(self, body: impl Fn() -> ReqBody) -> AuditReport
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
        S::Error: fmt::Debug,
    {
        let start = Instant::now();
        let Plan { rows, mut failures } =
            Plan::new(&self.routes, &self.public, &self.parameters, self.runs_handlers);
        let keys = match &self.keys {
            Some(maker) => Some(Keys::new(maker, self.owner.as_ref()).await),
            None => None,
        };
        let mut audited = Vec::with_capacity(rows.len());
        for Row { mut shown, probes } in rows {
            for probe in probes {
                if let Err(reason) =
                    self.ask(&probe, keys.as_ref(), body(), &mut shown.requests).await
                {
                    failures.push(probe.failure(&shown, reason));
                }
            }
            audited.push(shown);
        }
        AuditReport::new(audited, failures, start.elapsed())
    }

    async fn ask<ReqBody, ResBody>(
        &self,
        probe: &Probe,
        keys: Option<&Keys<'_>>,
        body: ReqBody,
        requests: &mut usize,
    ) -> Result<(), AuditReason>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
        S::Error: fmt::Debug,
    {
        let request = Request::builder().method(probe.method.clone()).uri(&*probe.path).body(body);
        let request = request.unwrap_or_else(|error| panic!("{:?}: {error}", probe.path));
        let (mut parts, body) = with_key(request, probe, keys).await?.into_parts();
        if let Some(prepare) = &self.prepare {
            prepare(&mut parts);
        }
        *requests += 1;
        let mut service = self.application.clone();
        let response = async {
            poll_fn(|context| service.poll_ready(context)).await?;
            service.call(Request::from_parts(parts, body)).await
        };
        match response.await {
            Ok(response) => probe.judge(&response.into_parts().0, self.has_cors_outside),
            Err(error) => Err(AuditReason::NoAnswer { error: format!("{error:?}") }),
        }
    }
}

impl<S> fmt::Debug for GuardAudit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardAudit")
            .field("routes", &self.routes)
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// The keys that an audit asks with.
struct Keys<'k> {
    maker: &'k TestKeys,
    owner: Option<&'k OwnerId>,
    unknown: IssuedKey,
    without_scopes: IssuedKey,
}

impl<'k> Keys<'k> {
    async fn new(maker: &'k TestKeys, owner: Option<&'k OwnerId>) -> Self {
        let unknown = maker.unknown().await;
        Self { maker, owner, unknown, without_scopes: owned(maker, owner).await }
    }
}

/// The request with the key that it is to be sent with.
async fn with_key<B>(
    request: Request<B>,
    probe: &Probe,
    keys: Option<&Keys<'_>>,
) -> Result<Request<B>, AuditReason> {
    if probe.sent == SentKey::None {
        return Ok(request);
    }
    let Keys { maker, owner, unknown, without_scopes } = keys.ok_or(AuditReason::NoKeys)?;
    let source = probe.source.clone().unwrap_or_else(KeySource::x_api_key);
    Ok(match probe.sent {
        SentKey::None => request,
        SentKey::Unknown => request.with_key_in(&source, unknown),
        SentKey::WithoutScopes => request.with_key_in(&source, without_scopes),
        SentKey::WithScopes => {
            let key = owned(maker, *owner).with_scopes(probe.scopes.iter()).await;
            request.with_key_in(&source, &key)
        }
    })
}

fn owned(maker: &TestKeys, owner: Option<&OwnerId>) -> TestKey {
    match owner {
        Some(owner) => maker.with_owner(owner.clone()),
        None => maker.any(),
    }
}

/// The body of an audit's requests: an empty [`Body`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct EmptyBody;

impl Body for EmptyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}
