//! [`RecordingRouter`]: an axum router that knows its routes.

use std::{convert::Infallible, fmt};

use axum::{
    Router,
    extract::Request,
    handler::Handler,
    response::IntoResponse,
    routing::{MethodRouter, Route},
};
use tower_layer::Layer;
use tower_service::Service;

use super::routes::Routes;

/// An [`axum::Router`] that records the path of each route, so that a
/// [guard audit](super::guard_audit) sees those as well that no document has, and those that were added
/// after a `.layer`, which the layer does not guard.
///
/// An application builds itself on one, and serves the [router](Self::into_router) in it. It has the
/// router's own methods. Routers that record nothing join [with a list](Self::from_parts).
///
/// ```
/// use axum::{Router, routing::get};
/// use tower_api_key::{ApiKeyLayer, testing::{RecordingRouter, TestKeys, guard_audit}};
///
/// fn application(guard: ApiKeyLayer) -> RecordingRouter {
///     RecordingRouter::new()
///         .route("/orders", get(async || "orders"))
///         .layer(guard)
///         // Too late.
///         .route("/invoices", get(async || "invoices"))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let keys = TestKeys::new();
/// let (router, routes) = application(keys.layer()).into_parts();
/// let report = guard_audit(routes, router).run().await;
/// assert!(report.failures().iter().all(|failure| failure.operation == "* /invoices"));
/// assert!(!report.has_passed());
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct RecordingRouter<S = ()> {
    router: Router<S>,
    routes: Routes,
}

impl<S: Clone + Send + Sync + 'static> RecordingRouter<S> {
    /// A router without routes.
    pub fn new() -> Self {
        Self { router: Router::new(), routes: Routes::new() }
    }

    /// A router with the list of its routes, such as the document of one that is made by `utoipa-axum`, or
    /// [`openapi::management`](crate::openapi::management).
    pub fn from_parts(router: Router<S>, listed: impl Into<Routes>) -> Self {
        Self { router, routes: listed.into() }
    }

    /// The router, to be served.
    pub fn into_router(self) -> Router<S> {
        self.router
    }

    /// The router, and the list of its routes.
    pub fn into_parts(self) -> (Router<S>, Routes) {
        (self.router, self.routes)
    }

    /// The list of its routes. A path stands for all its methods.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    fn with(
        self,
        change: impl FnOnce(Router<S>) -> Router<S>,
        record: impl FnOnce(Routes) -> Routes,
    ) -> Self {
        Self { router: change(self.router), routes: record(self.routes) }
    }

    /// See [`Router::route`].
    pub fn route(self, path: &str, methods: MethodRouter<S>) -> Self {
        self.with(|router| router.route(path, methods), |routes| routes.path(path))
    }

    /// See [`Router::route_service`].
    pub fn route_service<T>(self, path: &str, service: T) -> Self
    where
        T: Service<Request, Error = Infallible> + Clone + Send + Sync + 'static,
        T::Response: IntoResponse,
        T::Future: Send + 'static,
    {
        self.with(|router| router.route_service(path, service), |routes| routes.path(path))
    }

    /// See [`Router::nest`].
    pub fn nest(self, path: &str, inner: Self) -> Self {
        let nested = inner.routes.nested(path);
        self.with(|router| router.nest(path, inner.router), |routes| routes.merge(nested))
    }

    /// See [`Router::nest_service`]. Its paths are not known: the path itself and one below it are
    /// recorded.
    pub fn nest_service<T>(self, path: &str, service: T) -> Self
    where
        T: Service<Request, Error = Infallible> + Clone + Send + Sync + 'static,
        T::Response: IntoResponse,
        T::Future: Send + 'static,
    {
        let nested = Routes::new().path("/").path("/{*rest}").nested(path);
        self.with(|router| router.nest_service(path, service), |routes| routes.merge(nested))
    }

    /// See [`Router::merge`].
    pub fn merge(self, other: Self) -> Self {
        self.with(|router| router.merge(other.router), |routes| routes.merge(other.routes))
    }

    /// See [`Router::fallback`].
    pub fn fallback<H, T>(self, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.with(|router| router.fallback(handler), |routes| routes.fallback(""))
    }

    /// See [`Router::fallback_service`].
    pub fn fallback_service<T>(self, service: T) -> Self
    where
        T: Service<Request, Error = Infallible> + Clone + Send + Sync + 'static,
        T::Response: IntoResponse,
        T::Future: Send + 'static,
    {
        self.with(|router| router.fallback_service(service), |routes| routes.fallback(""))
    }

    /// See [`Router::method_not_allowed_fallback`].
    pub fn method_not_allowed_fallback<H, T>(self, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.with(|router| router.method_not_allowed_fallback(handler), |routes| routes)
    }

    /// See [`Router::layer`].
    pub fn layer<L>(self, layer: L) -> Self
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoResponse + 'static,
        <L::Service as Service<Request>>::Error: Into<Infallible> + 'static,
        <L::Service as Service<Request>>::Future: Send + 'static,
    {
        self.with(|router| router.layer(layer), |routes| routes)
    }

    /// See [`Router::route_layer`].
    pub fn route_layer<L>(self, layer: L) -> Self
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoResponse + 'static,
        <L::Service as Service<Request>>::Error: Into<Infallible> + 'static,
        <L::Service as Service<Request>>::Future: Send + 'static,
    {
        self.with(|router| router.route_layer(layer), |routes| routes)
    }

    /// See [`Router::with_state`].
    pub fn with_state<S2>(self, state: S) -> RecordingRouter<S2> {
        RecordingRouter { router: self.router.with_state(state), routes: self.routes }
    }
}

impl<S: Clone + Send + Sync + 'static> Default for RecordingRouter<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> fmt::Debug for RecordingRouter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordingRouter").field("routes", &self.routes).finish_non_exhaustive()
    }
}
