//! The services that benches compare: one that does nothing, bare, behind a floor and behind the
//! layer; and the requests they are given.

use std::{
    cell::Cell,
    collections::HashMap,
    convert::Infallible,
    future::{Ready, ready},
    hash::{BuildHasherDefault, Hasher},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, Request, Response};
use http_body_util::Full;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::runtime::{Builder, Runtime};
use tower_api_key::{
    ApiKeyLayer, AuthenticatedKey, IssuerSecrets, KeyFormat, KeyHasher, KeyManager, KeySource,
    NewKey, RateLimits, Timestamp, UsageRecorder,
    auth::{ApiKeyAuth, ResponseBody},
    key::{KeyDigest, KeyRecord},
    limit::{Limit, Limits, LocalLimiter, Quota, Tiers},
    nonzero,
    store::{CachedStore, KeyStore, MemoryStore},
};
use tower_layer::Layer;
use tower_service::Service;

/// Keys in the store.
const KEYS: usize = 1_000;

/// The body of every service's answer here, so that all of them move the same bytes.
pub(crate) type Body = ResponseBody<Full<Bytes>>;

/// The inner service: a response at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoOp {
    /// Whether the response has headers already, as most have.
    pub(crate) with_headers: bool,
    /// The fate of the request. Freeing its memory costs more than everything measured here
    /// and varies with the state of the heap: where requests are admitted, [`keep`] them.
    pub(crate) dispose: fn(Request<()>),
}

impl Service<Request<()>> for NoOp {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        (self.dispose)(request);
        let mut response = Response::new(Full::default());
        if self.with_headers {
            let json = http::HeaderValue::from_static("application/json");
            response.headers_mut().insert(http::header::CONTENT_TYPE, json);
        }
        ready(Ok(response))
    }
}

thread_local! {
    static KEPT: Cell<Option<Request<()>>> = const { Cell::new(None) };
}

/// Keeps a request until [`take_kept`].
pub(crate) fn keep(request: Request<()>) {
    KEPT.set(Some(request));
}

/// The last request that was kept, without the identity that it was given.
pub(crate) fn take_kept() -> Option<Request<()>> {
    let mut request = KEPT.take()?;
    request.extensions_mut().remove::<AuthenticatedKey>();
    request.extensions_mut().remove::<Arc<KeyRecord>>();
    Some(request)
}

/// The least that checking a key can cost: header lookup, SHA-256, map lookup, constant-time
/// compare, extension insert. One source, no formats, no expiry, no denials.
#[derive(Clone)]
pub(crate) struct Floor {
    inner: NoOp,
    header: HeaderName,
    keys: Arc<HashMap<[u8; 32], Arc<KeyRecord>, BuildHasherDefault<FirstWord>>>,
}

/// The first eight bytes of a digest as its hash.
#[derive(Default)]
pub(crate) struct FirstWord(u64);

impl Hasher for FirstWord {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Service<Request<()>> for Floor {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Mapped;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<()>) -> Self::Future {
        let key = request.headers().get(&self.header).map_or(&b""[..], |value| value.as_bytes());
        let digest: [u8; 32] = Sha256::digest(key).into();
        if let Some(record) = self.keys.get(&digest)
            && bool::from(record.digest.as_bytes().ct_eq(&digest))
        {
            request.extensions_mut().insert(record.clone());
            return Mapped(Some(self.inner.call(request)));
        }
        Mapped(None)
    }
}

/// The inner response with the body type of the layer, or an empty 401.
pub(crate) struct Mapped(Option<<NoOp as Service<Request<()>>>::Future>);

impl Future for Mapped {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.0 else {
            let mut response = Response::new(Body::default());
            *response.status_mut() = http::StatusCode::UNAUTHORIZED;
            return Poll::Ready(Ok(response));
        };
        Pin::new(future).poll(cx).map_ok(|response| response.map(ResponseBody::from))
    }
}

/// The inner service with nothing in front but the change of the body's type.
#[derive(Clone)]
pub(crate) struct PassThrough(pub(crate) NoOp);

impl Service<Request<()>> for PassThrough {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Mapped;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        Mapped(Some(self.0.call(request)))
    }
}

/// A store of keys and one of them.
pub(crate) struct Setup {
    runtime: Runtime,
    store: MemoryStore,
    manager: KeyManager,
    /// Of the same keys, behind a cache.
    cached: KeyManager,
    floor_keys: Arc<HashMap<[u8; 32], Arc<KeyRecord>, BuildHasherDefault<FirstWord>>>,
    /// A key that is in the store.
    pub(crate) valid: String,
    /// A well-formed key that is not.
    pub(crate) unknown: String,
}

impl Setup {
    pub(crate) fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let store = MemoryStore::new();
        let manager = KeyManager::new(store.clone());
        let mut floor_keys = HashMap::default();
        let mut valid = String::new();
        for number in 0..KEYS {
            let new = NewKey::named(format!("key {number}"));
            let issued = runtime.block_on(manager.create(new)).unwrap();
            floor_keys.insert(*issued.record.digest.as_bytes(), issued.record);
            issued.secret.expose().clone_into(&mut valid);
        }
        let elsewhere = KeyManager::new(MemoryStore::new());
        let unknown = runtime.block_on(elsewhere.create(NewKey::named("elsewhere"))).unwrap();
        let unknown = unknown.secret.expose().to_owned();
        let long = Duration::from_hours(24);
        let cache =
            CachedStore::builder(store.clone()).with_ttl(long).with_not_found_ttl(long).build();
        for digest in floor_keys.keys() {
            let digest = KeyDigest::from_bytes(*digest);
            assert!(runtime.block_on(cache.find(&digest)).unwrap().is_some());
        }
        let cached = KeyManager::new(cache);
        let floor_keys = Arc::new(floor_keys);
        Self { runtime, store, manager, cached, floor_keys, valid, unknown }
    }

    pub(crate) fn floor(&self, inner: NoOp) -> Floor {
        let header = HeaderName::from_static("x-api-key");
        Floor { inner, header, keys: self.floor_keys.clone() }
    }

    /// The layer as a manager makes it: both default sources, its own format.
    pub(crate) fn layer(&self) -> ApiKeyLayer {
        self.manager.layer()
    }

    /// [`layer`](Self::layer) without cache headers, to compare with the floor.
    pub(crate) fn layered(&self, inner: NoOp) -> ApiKeyAuth<NoOp> {
        self.layer().insecure_without_cache_headers().layer(inner)
    }

    /// [`cached`](Self::cached) with a recorder of uses.
    pub(crate) fn counting(&self, inner: NoOp) -> ApiKeyAuth<NoOp> {
        let usage = UsageRecorder::new(self.store.clone()).unwrap();
        let layer = self.cached.layer().insecure_without_cache_headers().with_usage(usage);
        self.warmed(layer.layer(inner))
    }

    /// [`layered`](Self::layered) with a cache in front of the store, that knows of both keys.
    pub(crate) fn cached(&self, inner: NoOp) -> ApiKeyAuth<NoOp> {
        self.warmed(self.cached.layer().insecure_without_cache_headers().layer(inner))
    }

    /// A service whose cache knows of both keys.
    fn warmed(&self, mut service: ApiKeyAuth<NoOp>) -> ApiKeyAuth<NoOp> {
        for key in [&self.valid, &self.unknown] {
            let answered = self.runtime.block_on(service.call(request(Some(key))));
            assert!(answered.is_ok());
            take_kept();
        }
        service
    }

    /// [`layered`](Self::layered) with sealed keys alone, under so many secrets, and a key under the
    /// last that is tried.
    pub(crate) fn sealed(&self, inner: NoOp, secrets: usize) -> (ApiKeyAuth<NoOp>, String) {
        let manager = self.manager.clone().with_format(sealed_format(secrets));
        let issuing = self.manager.clone().with_format(sealed_format(1));
        let issued = self.runtime.block_on(issuing.create(NewKey::named("sealed"))).unwrap();
        let service = manager.layer().insecure_without_cache_headers().layer(inner);
        (service, issued.secret.expose().to_owned())
    }

    /// [`cached`](Self::cached) with a rate limit that is counted in memory.
    pub(crate) fn limited(&self, inner: NoOp, with_fields: bool) -> ApiKeyAuth<NoOp> {
        let rate = RateLimits::new(LocalLimiter::new());
        let rate = if with_fields { rate } else { rate.without_headers() };
        self.warmed(self.with_limits(rate).layer(inner))
    }

    /// [`cached`](Self::cached) with a rate limit that is lent by Redis: enough requests for a minute
    /// of this bench. `None` where there is no Redis.
    #[cfg(feature = "redis")]
    #[allow(dead_code, reason = "instructions are not counted of it")]
    pub(crate) fn leased(&self, inner: NoOp) -> Option<ApiKeyAuth<NoOp>> {
        use tower_api_key::{
            KeyHasher,
            limit::{LimitCheck, LimitSubject, RateLimiter, RedisLimiter},
        };

        let url = std::env::var("TEST_REDIS_URL");
        let url = url.unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
        let limits = limits();
        self.runtime.block_on(async {
            let limiter = RedisLimiter::builder(&url).with_prefix("bench");
            let limiter = limiter.with_lease_time(Duration::from_mins(1)).connect().await.ok()?;
            let digest = KeyHasher::sha256().digest(&self.valid);
            let bucket = LimitSubject::Lineage(self.store.find(&digest).await.unwrap()?.lineage());
            let check = LimitCheck::new(bucket, &limits).with_cost(1_000_000_000);
            limiter.check(&check).await.unwrap();
            limiter.give_back(&check, Duration::ZERO);
            Some(self.with_limits(RateLimits::new(limiter).without_headers()).layer(inner))
        })
    }

    fn with_limits(&self, rate: RateLimits) -> ApiKeyLayer {
        let rate = rate.with_tiers(Tiers::new().with_default(limits()));
        self.cached.layer().insecure_without_cache_headers().with_rate_limits(rate)
    }

    /// The lenient layer of `ApiKeyLayer::new`, with one source.
    pub(crate) fn lenient(&self, inner: NoOp) -> ApiKeyAuth<NoOp> {
        ApiKeyLayer::new(self.store.clone())
            .with_sources([KeySource::x_api_key()])
            .insecure_without_cache_headers()
            .layer(inner)
    }
}

/// A format with so many issuer secrets. The last that is tried is the same, however many there are.
pub(crate) fn sealed_format(secrets: usize) -> KeyFormat {
    let first = [1; 32];
    let secrets = match secrets {
        1 => IssuerSecrets::new(&first),
        more => (2..more)
            .try_fold(IssuerSecrets::new(&[2; 32]).unwrap(), |secrets, number| {
                secrets.with_retired(&[u8::try_from(number + 1).unwrap(); 32])
            })
            .and_then(|secrets| secrets.with_retired(&first)),
    };
    let format = KeyFormat::new("key").unwrap();
    format.sealed(secrets.unwrap(), &KeyHasher::sha256()).unwrap().sealed_only().unwrap()
}

/// A key of the right shape that has another seal.
pub(crate) fn forged() -> String {
    let secrets = IssuerSecrets::new(&[0; 32]).unwrap();
    let format = KeyFormat::new("key").unwrap().sealed(secrets, &KeyHasher::sha256()).unwrap();
    format.generate().unwrap().expose().to_owned()
}

/// More than are ever sent.
fn limits() -> Limits {
    let quota = Quota::per_second(nonzero!(1_000_000)).with_burst(nonzero!(u32::MAX));
    Limits::new([Limit::new("second", quota).unwrap()]).unwrap()
}

/// A request with 13 headers, one of them the key's, and one extension, as servers attach them.
pub(crate) fn request(key: Option<&str>) -> Request<()> {
    let mut builder = Request::get("https://api.example.com/v1/orders?page=2&sort=created");
    for (name, value) in [
        ("host", "api.example.com"),
        ("user-agent", "example-client/1.4.2 (linux; x86_64)"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, br"),
        ("accept-language", "en-GB,en;q=0.8"),
        ("content-type", "application/json"),
        ("content-length", "0"),
        ("origin", "https://shop.example.com"),
        ("referer", "https://shop.example.com/orders"),
        ("x-request-id", "0198c0de-0000-7000-8000-000000000001"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("x-forwarded-for", "203.0.113.7"),
    ] {
        builder = builder.header(name, value);
    }
    let mut request = builder.body(()).unwrap();
    if let Some(key) = key {
        let name = HeaderName::from_static("x-api-key");
        request.headers_mut().insert(name, key.parse().unwrap());
    }
    request.extensions_mut().insert(Timestamp::UNIX_EPOCH);
    request
}

/// Calls a service whose answer needs no waiting.
#[inline]
pub(crate) fn call<S>(service: &mut S, request: Request<()>) -> S::Response
where
    S: Service<Request<()>, Error = Infallible>,
{
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let _ = service.poll_ready(&mut cx);
    let future = std::pin::pin!(service.call(request));
    match future.poll(&mut cx) {
        Poll::Ready(Ok(response)) => response,
        Poll::Pending => panic!("nothing here waits"),
    }
}
