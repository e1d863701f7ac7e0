//! How many allocations the layer adds to a request, counted by a global allocator. A test binary
//! of its own, because it has only one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::{convert::Infallible, future::Ready, sync::Arc, task::Context};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::{Layer, Service, service_fn};
use tower_api_key::{
    ApiKeyLayer, IssuerSecrets, KeyFormat, KeyHasher, KeyManager, NewKey, UsageRecorder,
    auth::WaitingLimit,
    key::{KeyDigest, KeyRecord},
    store::{KeyStore, MemoryStore, StoreError},
};

/// Allocations while `f` runs.
fn allocations<T>(f: impl FnOnce() -> T) -> (u64, T) {
    let mut result = None;
    let info = allocation_counter::measure(|| result = Some(f()));
    (info.count_total, result.unwrap())
}

/// Those of a denial: of the box for its `Rejection`, and of its second challenge.
const DENIAL: u64 = 2;

async fn setup() -> (ApiKeyLayer, String) {
    let manager = KeyManager::new(MemoryStore::new());
    let issued = manager.create(NewKey::named("test")).await.unwrap();
    let layer = manager.layer().insecure_without_cache_headers();
    (layer, issued.secret.expose().to_owned())
}

/// A request as servers make them: some headers, and an extension.
fn request(key: Option<&str>) -> Request<()> {
    let mut builder = Request::get("/orders").header("host", "example.com").header("accept", "*/*");
    if let Some(key) = key {
        builder = builder.header("x-api-key", key);
    }
    builder.extension("from the server").body(()).unwrap()
}

fn inner()
-> impl Service<Request<()>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send> + Clone
{
    service_fn(|_| -> Ready<Result<_, Infallible>> {
        std::future::ready(Ok(Response::new(Full::default())))
    })
}

/// Allocations of one call, after one that warms up whatever is made once.
fn count<S, B>(mut service: S, key: Option<&str>) -> (u64, Response<B>)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    let mut call = |request| {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(service.poll_ready(&mut cx).is_ready());
        let future = std::pin::pin!(service.call(request));
        match future.poll(&mut cx) {
            std::task::Poll::Ready(Ok(response)) => response,
            std::task::Poll::Pending => panic!("a memory store never waits"),
        }
    };
    drop(call(request(key)));
    let request = request(key);
    allocations(|| call(request))
}

#[tokio::test]
async fn a_valid_key_costs_the_one_that_the_extension_makes() {
    let (layer, key) = setup().await;
    let (bare, _) = count(inner(), Some(&key));
    let (layered, response) = count(layer.layer(inner()), Some(&key));
    assert_eq!(response.status(), StatusCode::OK);
    println!("valid key: {layered} allocations, {bare} without the layer");
    assert_eq!(layered - bare, 1);
}

#[tokio::test]
async fn denials_take_the_room_of_their_requests() {
    let (layer, key) = setup().await;
    let unknown = KeyManager::new(MemoryStore::new()).create(NewKey::named("elsewhere")).await;
    let unknown = unknown.unwrap().secret;
    let malformed = format!("{key}x");
    for (name, key) in [
        ("missing", None),
        ("malformed", Some(malformed.as_str())),
        ("unknown", Some(unknown.expose())),
    ] {
        let (denied, response) = count(layer.layer(inner()), key);
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{name}");
        println!("{name} key: {denied} allocations");
        assert_eq!(denied, DENIAL, "{name}");
    }
}

/// A seal is checked without allocating anything, whether it is good or not.
#[tokio::test]
async fn a_seal_costs_none() {
    let format = |secret| {
        let secrets = IssuerSecrets::new(&[secret; 32]).unwrap().with_next(&[3; 32]).unwrap();
        KeyFormat::new("key").unwrap().sealed(secrets, &KeyHasher::sha256()).unwrap()
    };
    let manager = KeyManager::new(MemoryStore::new()).with_format(format(1));
    let issued = manager.create(NewKey::named("test")).await.unwrap();
    let layer = manager.layer().insecure_without_cache_headers();
    let key = issued.secret.expose();
    let (bare, _) = count(inner(), Some(key));
    let (layered, response) = count(layer.layer(inner()), Some(key));
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(layered - bare, 1);

    let forged = format(2).generate().unwrap();
    let (denied, response) = count(layer.layer(inner()), Some(forged.expose()));
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(denied, DENIAL);
}

/// A key that another system stored as a slow hash is one like all others after its first use,
/// and looking for such keys costs an unknown one nothing.
#[cfg(feature = "legacy-hashes")]
#[tokio::test]
async fn a_key_of_another_system_costs_what_any_key_costs() {
    use tower_api_key::{KeyHasher, key::LegacyHash, legacy::LegacyHashes, store::KeyRepository};

    let (key, unknown) = ("a-key-of-another-system", "no-key-of-another-system");
    let store = MemoryStore::new();
    let manager = KeyManager::new(store.clone());
    let issued = manager.create(NewKey::named("imported")).await.unwrap();
    let mut imported = tower_api_key::key::KeyRecord::clone(&issued.record);
    imported.digest = KeyHasher::sha256().digest("not a key");
    imported.start = key[..8].into();
    imported.details.legacy_hash = Some(LegacyHash::parse(&bcrypt::hash(key, 4).unwrap()).unwrap());
    imported.revision += 1;
    store.update(&issued.record, &imported).await.unwrap();
    let legacy = LegacyHashes::new(store);
    let layer = manager.layer().with_legacy_hashes(legacy.clone());
    let layer = layer.insecure_without_cache_headers();

    // The first use, which is not counted.
    let mut service = layer.layer(inner());
    assert_eq!(service.call(request(Some(key))).await.unwrap().status(), StatusCode::OK);
    assert_eq!(legacy.stats().upgrades, 1);

    let (bare, _) = count(inner(), Some(key));
    let (layered, response) = count(layer.layer(inner()), Some(key));
    assert_eq!((response.status(), layered - bare), (StatusCode::OK, 1));
    let (denied, response) = count(layer.layer(inner()), Some(unknown));
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(denied, DENIAL);
    assert_eq!(legacy.stats().verifications, 1);
}

/// A key in a cache costs what a key in memory costs, and one that is known not to exist no more
/// than its denial.
#[cfg(feature = "cache")]
#[tokio::test]
async fn a_hit_in_a_cache_allocates_nothing() {
    use tower_api_key::store::{CachedStore, KeyStore, Lookup};

    let cache = CachedStore::new(MemoryStore::new());
    let manager = KeyManager::new(cache.clone());
    let issued = manager.create(NewKey::named("test")).await.unwrap();
    let unknown = KeyManager::new(MemoryStore::new()).create(NewKey::named("elsewhere")).await;
    let unknown = unknown.unwrap().record.digest;
    cache.find(&issued.record.digest).await.unwrap().unwrap();
    assert!(cache.find(&unknown).await.unwrap().is_none());

    let (found, lookup) = allocations(|| cache.find_now(&issued.record.digest));
    assert!(matches!(lookup, Some(Lookup::Found(_))));
    let (not_found, lookup) = allocations(|| cache.find_now(&unknown));
    assert!(matches!(lookup, Some(Lookup::NotFound)));
    assert_eq!((found, not_found), (0, 0));

    let layer = manager.layer().insecure_without_cache_headers();
    let (bare, _) = count(inner(), Some(issued.secret.expose()));
    let (layered, response) = count(layer.layer(inner()), Some(issued.secret.expose()));
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(layered - bare, 1);
}

/// What the extension needs, and nothing else.
#[cfg(feature = "cache")]
#[tokio::test]
async fn an_owner_in_a_cache_costs_the_one_that_the_extension_makes() {
    use tower_api_key::{
        OwnerId, OwnerLayer,
        owner::{CachedOwners, OwnerResolver},
    };

    let manager = KeyManager::new(MemoryStore::new());
    let new = NewKey { owner: Some("user-1".into()), ..NewKey::named("test") };
    let issued = manager.create(new).await.unwrap();
    let owners = CachedOwners::new(async |id: OwnerId| Ok::<_, Infallible>(Some(id)));
    owners.resolve(&"user-1".into()).await.unwrap().unwrap();

    let layer = manager.layer().insecure_without_cache_headers();
    let key = Some(issued.secret.expose());
    let (without, _) = count(layer.layer(inner()), key);
    let (with, response) = count(layer.layer(OwnerLayer::new(owners).layer(inner())), key);
    assert_eq!(response.status(), StatusCode::OK);
    println!("owner: {} allocations", with - without);
    assert_eq!(with - without, 1);
}

#[tokio::test]
async fn counting_uses_allocates_nothing() {
    let store = MemoryStore::new();
    let manager = KeyManager::new(store.clone());
    let key = manager.create(NewKey::named("test")).await.unwrap().secret;
    let layer = manager.layer().insecure_without_cache_headers();
    let counting = layer.clone().with_usage(UsageRecorder::new(store).unwrap());
    let (without, _) = count(layer.layer(inner()), Some(key.expose()));
    let (with, response) = count(counting.layer(inner()), Some(key.expose()));
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(with, without);
}

/// What a node holds is spent without allocating, also where there is not enough.
#[tokio::test]
async fn spending_what_is_held_allocates_nothing() {
    use tower_api_key::{
        Credits,
        credits::{NewCredits, SpendOutcome},
    };

    let store = MemoryStore::new();
    let manager = KeyManager::new(store.clone());
    let new = NewCredits { remaining: 100_000, refill: None };
    let new = NewKey { credits: Some(new), ..NewKey::named("test") };
    let key = manager.create(new).await.unwrap().record;
    let credits = Credits::new(store).unwrap();
    assert_eq!(credits.spend(&key, 1).await.unwrap(), SpendOutcome::Done { remaining: 99_999 });
    let short = credits.spend(&key, 100_000).await.unwrap();
    assert_eq!(short, SpendOutcome::Short { remaining: 99_999, retry_after: None });

    let (done, spend) = allocations(|| credits.spend_now(&key, 1));
    assert_eq!(spend, Some(SpendOutcome::Done { remaining: 99_998 }));
    let (denied, spend) = allocations(|| credits.spend_now(&key, 100_000));
    assert_eq!(spend, Some(SpendOutcome::Short { remaining: 99_998, retry_after: None }));
    let (given_back, ()) = allocations(|| credits.give_back(&key, 1));
    assert_eq!(credits.held(key.id), 511);
    assert_eq!((done, denied, given_back), (0, 0, 0));
}

/// One limit or several, once its bucket is there.
#[tokio::test]
async fn counting_against_local_limits_allocates_nothing() {
    use tower_api_key::{
        RateLimits,
        limit::{Limit, Limits, LocalLimiter, Quota, Tiers},
        nonzero,
    };

    let (layer, key) = setup().await;
    let (without, _) = count(layer.clone().layer(inner()), Some(&key));
    // A thread has a lease of a bucket from its second request on.
    let warmed = |layer: ApiKeyLayer| {
        for _ in 0..2 {
            count(layer.clone().layer(inner()), Some(&key));
        }
        count(layer.layer(inner()), Some(&key))
    };
    let limit = |name| Limit::new(name, Quota::per_hour(nonzero!(1_000))).unwrap();
    for limits in [vec![limit("a")], vec![limit("a"), limit("b"), limit("c")]] {
        let tiers = Tiers::new().with_default(Limits::new(limits).unwrap());
        let rate = RateLimits::new(LocalLimiter::new()).with_tiers(tiers);
        let silent = layer.clone().with_rate_limits(rate.clone().without_headers());
        let (with, response) = warmed(silent);
        assert_eq!((response.status(), with), (StatusCode::OK, without));

        // A value that is not the same each time, and room for two in a response without headers.
        let (with, response) = warmed(layer.clone().with_rate_limits(rate));
        assert!(response.headers().contains_key("ratelimit"));
        println!("fields of a limit: {} allocations", with - without);
        assert_eq!(with - without, 3);
    }
}

/// A store that never answers.
struct Stuck;

#[async_trait::async_trait]
impl KeyStore for Stuck {
    async fn find(&self, _: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        std::future::pending().await
    }
}

/// The bound of waiting requests is one of memory: the estimate is no less than what they hold.
#[tokio::test]
async fn waiting_requests_take_no_more_than_their_estimate() {
    const REQUESTS: u32 = 100;
    let limit = WaitingLimit::new();
    let stores: &[Arc<dyn KeyStore>] = &[
        Arc::new(Stuck),
        #[cfg(feature = "cache")]
        Arc::new(tower_api_key::store::CachedStore::new(Stuck)),
    ];
    for (store, headers, value) in
        stores.iter().flat_map(|store| [(store, 0, 0), (store, 1, 8_000), (store, 40, 20)])
    {
        let layer = ApiKeyLayer::new(store.clone()).with_waiting_limit(limit.clone());
        let waiting = |n: u32| {
            let key = format!("a-key-that-no-other-request-has-{n:08}");
            let mut request = request(Some(&key));
            for n in 0..headers {
                let name = http::HeaderName::try_from(format!("x-header-{n}")).unwrap();
                request.headers_mut().insert(name, "a".repeat(value).parse().unwrap());
            }
            let mut service = layer.layer(inner());
            let mut cx = Context::from_waker(std::task::Waker::noop());
            assert!(service.poll_ready(&mut cx).is_ready());
            let mut future = Box::pin(service.call(request));
            assert!(future.as_mut().poll(&mut cx).is_pending());
            future
        };
        drop(waiting(REQUESTS));
        tokio::task::yield_now().await;
        let mut futures = Vec::with_capacity(REQUESTS as usize);
        let info = allocation_counter::measure(|| futures.extend((0..REQUESTS).map(waiting)));
        let held = usize::try_from(info.bytes_current).unwrap();
        println!("{headers} headers of {value}: {held} bytes, estimated {}", limit.bytes());
        assert_eq!(limit.requests(), REQUESTS as usize);
        assert!(held <= limit.bytes(), "{held} bytes of {}", limit.bytes());
        assert!(held * 6 >= limit.bytes(), "{held} bytes of {}", limit.bytes());
    }
    assert_eq!((limit.requests(), limit.bytes()), (0, 0));
}
