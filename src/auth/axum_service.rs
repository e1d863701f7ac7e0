//! [`AxumService`]: the layer around a whole `Router`.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{ResponseBody, service::ApiKeyAuth};

/// An [`ApiKeyAuth`] around a whole axum `Router`, with responses of axum's own body.
///
/// `Router::layer` puts a layer around each route, and boxes each route for it. Around the whole router
/// a request goes through the layer once and is boxed no more often than without it. There the layer
/// also sees requests that no route matches: they are denied before they are 404.
///
/// With feature `axum-serve`, `axum::serve` takes the service as it takes a router:
///
/// ```
/// use axum::{Router, routing::get};
/// use tower_api_key::{KeyManager, store::MemoryStore};
/// use tower_layer::Layer;
///
/// # #[cfg(feature = "axum-serve")]
/// async fn run(listener: tokio::net::TcpListener) -> std::io::Result<()> {
///     let keys = KeyManager::new(MemoryStore::new());
///     let router = Router::new().route("/orders", get(async || "orders"));
///     axum::serve(listener, keys.layer().layer(router)).await
/// }
/// ```
///
/// [`into_axum`](ApiKeyAuth::into_axum) is for whatever else asks for axum's body:
///
/// ```
/// use std::net::SocketAddr;
///
/// use axum::{Router, ServiceExt, extract::Request};
/// use tower_api_key::{KeyManager, store::MemoryStore};
/// use tower_layer::Layer;
///
/// # let router = Router::<()>::new();
/// let service = KeyManager::new(MemoryStore::new()).layer().layer(router).into_axum();
/// let service = ServiceExt::<Request>::into_make_service_with_connect_info::<SocketAddr>(service);
/// # let _ = service;
/// ```
#[derive(Clone)]
#[must_use]
pub struct AxumService<S>(ApiKeyAuth<S>);

impl<S> ApiKeyAuth<S> {
    /// The same with responses of axum's own body, for a layer around a whole `Router`.
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    pub fn into_axum(self) -> AxumService<S> {
        AxumService(self)
    }
}

impl<S, B> Service<Request<B>> for AxumService<S>
where
    S: Service<Request<B>, Response = Response<Body>> + Clone,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = AxumFuture<<ApiKeyAuth<S> as Service<Request<B>>>::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<B>>::poll_ready(&mut self.0, cx)
    }

    #[inline]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        AxumFuture { future: self.0.call(request) }
    }
}

pin_project! {
    /// The response of an [`AxumService`].
    #[must_use = "a future does nothing unless it is polled"]
    pub struct AxumFuture<F> {
        #[pin]
        future: F,
    }
}

impl<F, E> Future for AxumFuture<F>
where
    F: Future<Output = Result<Response<ResponseBody<Body>>, E>>,
{
    type Output = Result<Response<Body>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(self.project().future.poll(cx))?;
        Poll::Ready(Ok(response.map(Body::from)))
    }
}

/// `axum::serve` makes a service for each connection: a clone.
#[cfg(feature = "axum-serve")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum-serve")))]
impl<L> Service<axum::serve::IncomingStream<'_, L>> for ApiKeyAuth<axum::Router>
where
    L: axum::serve::Listener,
{
    type Response = AxumService<axum::Router>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: axum::serve::IncomingStream<'_, L>) -> Self::Future {
        let router = self.get_ref().clone().with_state(());
        std::future::ready(Ok(self.around(router).into_axum()))
    }
}

impl<S: fmt::Debug> fmt::Debug for AxumService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AxumService").field(&self.0).finish()
    }
}

impl<F> fmt::Debug for AxumFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AxumFuture").finish_non_exhaustive()
    }
}
