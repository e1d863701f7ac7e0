//! The inner service: called only after it was polled ready, its errors passed through, and
//! whatever its types are.

use std::{
    convert::Infallible,
    fmt,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::Full;
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, layer::util::Identity, limit::ConcurrencyLimit,
    service_fn,
};
use tower_api_key::{
    ApiKeyLayer, OwnerId, OwnerLayer, RateLimits, RequireScopesLayer, extra_cost::ExtraCostLayer,
    identity::IdentityLayer, limit::LocalLimiter, nonzero,
};
use tower_test::mock;

use crate::{
    stores::TestStore,
    support::{KEY, OTHER_KEY, at, record, respond, respond_now, with_key},
};

fn now() -> ApiKeyLayer {
    ApiKeyLayer::new(TestStore::new([record(KEY)]))
}

fn waiting() -> ApiKeyLayer {
    ApiKeyLayer::new(TestStore::waiting([record(KEY)]))
}

/// A service whose clones are not ready, and which panics when it is called unready.
#[derive(Default)]
pub(crate) struct Strict {
    ready: bool,
    /// How many clones lie between this one and the original.
    generation: usize,
    /// The generations that were called.
    pub(crate) called: Arc<std::sync::Mutex<Vec<usize>>>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false, generation: self.generation + 1, called: self.called.clone() }
    }
}

impl Service<Request<()>> for Strict {
    type Response = Response<Full<bytes::Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been polled ready");
        self.called.lock().unwrap().push(self.generation);
        std::future::ready(Ok(Response::default()))
    }
}

#[tokio::test]
async fn without_waiting_the_service_itself_is_called_each_time() {
    let strict = Strict::default();
    let called = strict.called.clone();
    let mut service = ServiceBuilder::new().layer(now()).service(strict);
    for _ in 0..3 {
        let response = service.ready().await.unwrap().call(with_key(KEY)).await.unwrap();
        assert_eq!(response.status(), 200);
    }
    assert_eq!(*called.lock().unwrap(), [0, 0, 0]);
}

#[tokio::test]
async fn after_waiting_the_service_that_was_polled_ready_is_called() {
    let strict = Strict::default();
    let called = strict.called.clone();
    let mut service = ServiceBuilder::new().layer(waiting()).service(strict);
    for _ in 0..3 {
        let response = service.ready().await.unwrap().call(with_key(KEY)).await.unwrap();
        assert_eq!(response.status(), 200);
    }
    // Each request takes the ready service along and leaves a clone in its place.
    assert_eq!(*called.lock().unwrap(), [0, 1, 2]);
}

#[tokio::test]
async fn a_mock_that_reserves_capacity_agrees() {
    let (mut service, mut handle) = mock::spawn_layer(waiting());
    handle.allow(0);
    assert!(service.poll_ready().is_pending(), "ready although the inner service is not");
    handle.allow(1);
    assert!(matches!(service.poll_ready(), Poll::Ready(Ok(()))));
    let response = service.call(with_key(KEY));
    let (response, ()) = tokio::join!(response, async {
        let (request, send) = handle.next_request().await.unwrap();
        assert_eq!(request.headers()["x-api-key"], KEY);
        send.send_response(Response::new(Full::<bytes::Bytes>::default()));
    });
    assert_eq!(response.unwrap().status(), 200);
}

#[tokio::test]
async fn readiness_and_its_errors_are_the_inner_services() {
    let (mut service, mut handle) =
        mock::spawn_layer::<Request<()>, Response<Full<bytes::Bytes>>, _>(now());
    handle.allow(0);
    assert!(service.poll_ready().is_pending());
    handle.send_error("out of order");
    let Poll::Ready(Err(error)) = service.poll_ready() else { panic!("no error") };
    assert_eq!(error.to_string(), "out of order");
}

/// Each middleware: it would promise a place that the inner service does not have.
#[test]
fn none_is_ready_before_the_inner_service() {
    type Plain = Full<bytes::Bytes>;

    fn assert_waits<L, B>(layer: L)
    where
        L: Layer<mock::Mock<Request<Plain>, Response<B>>>,
        L::Service: Service<Request<Plain>>,
        <L::Service as Service<Request<Plain>>>::Error: fmt::Debug,
    {
        let (mut service, mut handle) = mock::spawn_layer::<Request<Plain>, Response<B>, L>(layer);
        handle.allow(0);
        assert!(service.poll_ready().is_pending(), "{}", std::any::type_name::<L>());
        handle.allow(1);
        assert!(matches!(service.poll_ready(), Poll::Ready(Ok(()))));
    }

    let scopes = RequireScopesLayer::all(["orders:read"]).unwrap();
    let owners = OwnerLayer::new(async |id: OwnerId| Ok::<_, Infallible>(Some(id)));
    assert_waits::<_, Plain>(now());
    assert_waits::<_, Plain>(now().shadow_until(at(1_000)));
    assert_waits::<_, Plain>(now().shadowing(Identity::new()));
    assert_waits::<_, Plain>(now().pass_cors_preflights());
    assert_waits::<_, Plain>(scopes.clone());
    assert_waits::<_, Plain>(scopes.shadow_until(at(1_000)));
    assert_waits::<_, Plain>(owners);
    assert_waits::<_, Plain>(ExtraCostLayer::new(
        RateLimits::new(LocalLimiter::new()),
        nonzero!(1),
    ));
    assert_waits::<_, Plain>(IdentityLayer::new());
    #[cfg(feature = "axum")]
    assert_waits::<_, axum::body::Body>(tower::layer::layer_fn(|inner| {
        now().layer(inner).into_axum()
    }));
}

#[derive(Debug, PartialEq)]
struct Broken;

#[tokio::test]
async fn the_inner_services_error_is_the_error() {
    for layer in [now(), waiting()] {
        let inner = service_fn(async |_: Request<()>| Err::<Response<String>, _>(Broken));
        let service = ServiceBuilder::new().layer(layer).service(inner);
        assert_eq!(service.clone().oneshot(with_key(KEY)).await.unwrap_err(), Broken);
        // A denial is a response, even where the inner service would have failed.
        let response = service.oneshot(with_key(OTHER_KEY)).await.unwrap();
        assert_eq!(response.status(), 401);
    }
}

#[tokio::test]
async fn a_denied_request_never_reaches_the_inner_service() {
    for layer in [now(), waiting()] {
        let inner = service_fn(async |_: Request<()>| -> Result<Response<String>, Infallible> {
            panic!("reached")
        });
        let service = ServiceBuilder::new().layer(layer).service(inner);
        assert_eq!(respond(service, with_key(OTHER_KEY)).await.status(), 401);
    }
}

#[tokio::test]
async fn bodies_services_and_futures_need_not_be_send_or_static() {
    let local = String::from("borrowed");
    for layer in [now(), waiting()] {
        let count = Rc::new(AtomicUsize::new(0));
        let inner = service_fn(|request: Request<Rc<&str>>| {
            let (count, text) = (count.clone(), request.into_body().to_string());
            async move {
                count.fetch_add(1, SeqCst);
                Ok::<_, Rc<str>>(Response::new(text))
            }
        });
        let service = ServiceBuilder::new().layer(layer).service(inner);
        let request = with_key(KEY).map(|()| Rc::new(local.as_str()));
        let response = respond(service, request).await;
        assert_eq!(response.body(), "borrowed");
        assert_eq!(count.load(SeqCst), 1);
    }
}

#[test]
fn nothing_but_a_lookup_needs_a_runtime() {
    let inner =
        service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    let service = now().layer(inner);
    assert_eq!(respond_now(service.clone(), with_key(KEY)).status(), 200);
    assert_eq!(respond_now(service, with_key(OTHER_KEY)).status(), 401);
}

#[tokio::test]
async fn dropping_the_response_gives_up_the_lookup() {
    let store = TestStore::stuck();
    let strict = Strict::default();
    let called = strict.called.clone();
    let service = ApiKeyLayer::new(store.clone()).layer(strict);
    let mut response = Box::pin(service.oneshot(with_key(KEY)));
    assert!(response.as_mut().now_or_never().is_none());
    assert_eq!((store.asked(), store.given_up()), (1, 0));
    drop(response);
    assert_eq!((store.asked(), store.given_up()), (1, 1));
    assert!(called.lock().unwrap().is_empty());
}

#[test]
fn the_inner_service_can_be_had_back() {
    let mut service = now().layer(Strict::default());
    assert_eq!(service.get_ref().generation, 0);
    service.get_mut().generation = 7;
    assert_eq!(service.into_inner().generation, 7);
}

/// What the inner service has reserved for a request goes back when the request is denied, and not when the
/// client hangs up: one that is denied again and again on one connection would keep a place.
#[tokio::test]
async fn a_denial_gives_back_what_was_reserved() {
    async fn assert_gives_back<L, S, B>(layer: L, request: fn() -> Request<()>)
    where
        L: Layer<ConcurrencyLimit<Echo>, Service = S>,
        S: Service<Request<()>, Response = Response<B>, Error = Infallible> + Clone,
    {
        let limited = ConcurrencyLimit::new(service_fn(echo as fn(_) -> _), 1);
        let mut service = layer.layer(limited);
        let mut other = service.clone();
        for _ in 0..3 {
            let response = service.ready().await.unwrap().call(request()).await.unwrap();
            assert!(response.status().is_client_error());
            // Another connection gets the only place, and gives it back.
            let response = other.ready().now_or_never().expect("a place").unwrap();
            drop(response.call(request()).await.unwrap());
        }
    }

    type Echo = tower::util::ServiceFn<fn(Request<()>) -> std::future::Ready<Echoed>>;
    type Echoed = Result<Response<Full<bytes::Bytes>>, Infallible>;
    fn echo(_: Request<()>) -> std::future::Ready<Echoed> {
        std::future::ready(Ok(Response::default()))
    }

    assert_gives_back(now(), || with_key(OTHER_KEY)).await;
    assert_gives_back(waiting(), || with_key(OTHER_KEY)).await;
    let scopes = RequireScopesLayer::all(["orders:read"]).unwrap();
    assert_gives_back((now(), scopes), || with_key(KEY)).await;
    let owners = OwnerLayer::new(async |_: OwnerId| Ok::<Option<()>, Infallible>(None));
    assert_gives_back((now(), owners), || with_key(KEY)).await;
}
