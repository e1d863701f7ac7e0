//! The bound of requests that wait.

use std::{
    collections::HashSet,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use async_trait::async_trait;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::Full;
use tokio::sync::Semaphore;
use tower::{ServiceBuilder, service_fn};
use tower_api_key::{
    ApiKeyLayer, Credits, KeyManager, NewKey, Owner, OwnerId, OwnerLayer, RateLimits,
    auth::WaitingLimit,
    credits::NewCredits,
    extra_cost::ExtraCostLayer,
    key::{KeyDigest, KeyRecord},
    limit::{LimitCheck, LimitDecision, LocalLimiter, Quota, RateLimiter, Tiers},
    nonzero,
    store::{KeyStore, Lookup, MemoryStore, StoreError},
};

use crate::{
    limits::limits,
    stores::TestStore,
    support::{
        Answer, KEY, OTHER_KEY, clock, code, record, record_with, request, respond, send_waiting,
        with_key,
    },
};

/// A request that is under way, polled once.
struct UnderWay(Pin<Box<dyn Future<Output = Answer> + Send>>);

impl UnderWay {
    /// A request that has to wait.
    fn begin(layer: &ApiKeyLayer, request: Request<()>) -> Self {
        let layer = layer.clone();
        let mut under_way = Self(Box::pin(async move { send_waiting(&layer, request).await }));
        assert!(under_way.poll().is_none(), "the request waits");
        under_way
    }

    fn poll(&mut self) -> Option<Answer> {
        match self.0.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }
    }
}

/// Denied at once, because too many wait.
fn assert_shed(answer: Option<Answer>) -> u64 {
    let answer = answer.expect("no wait");
    assert_eq!((answer.outcome().as_str(), answer.response.status().as_u16()), SHED);
    assert_eq!(answer.cause(), "too many requests wait");
    answer.response.headers()["retry-after"].to_str().unwrap().parse().unwrap()
}

const SHED: (&str, u16) = ("lookup_overloaded", 503);

fn send(layer: &ApiKeyLayer, request: Request<()>) -> Option<Answer> {
    send_waiting(layer, request).now_or_never()
}

fn of(requests: usize) -> WaitingLimit {
    WaitingLimit::builder().with_max_requests(requests).build()
}

/// A store that answers [`KEY`] at once, and all other digests once it may.
struct Gated {
    known: Arc<KeyRecord>,
    may_answer: Arc<Semaphore>,
}

#[async_trait]
impl KeyStore for Gated {
    fn find_now(&self, digest: &KeyDigest) -> Option<Lookup> {
        (self.known.digest == *digest).then(|| Lookup::Found(self.known.clone()))
    }

    async fn find(&self, _: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let _permit = self.may_answer.acquire().await.unwrap();
        Ok(None)
    }
}

#[tokio::test]
async fn further_requests_are_denied_at_once_and_known_keys_go_on() {
    let may_answer = Arc::new(Semaphore::new(0));
    let store = Gated { known: Arc::new(record(KEY)), may_answer: may_answer.clone() };
    let limit = of(3);
    let layer = ApiKeyLayer::new(store).with_waiting_limit(limit.clone());
    let mut waiting: Vec<_> =
        (0..3).map(|_| UnderWay::begin(&layer, with_key(OTHER_KEY))).collect();
    for shed in 1..=20 {
        assert_shed(send(&layer, with_key(OTHER_KEY)));
        assert_eq!((limit.requests(), limit.shed()), (3, shed));
        assert_eq!(send(&layer, with_key(KEY)).expect("no wait").outcome(), "admitted");
    }
    // A client goes away: there is room for another.
    waiting.pop();
    waiting.push(UnderWay::begin(&layer, with_key(OTHER_KEY)));
    assert_shed(send(&layer, with_key(OTHER_KEY)));
    // The store answers.
    may_answer.add_permits(10);
    for mut one in waiting {
        assert_eq!(one.poll().expect("an answer").outcome(), "unknown_key");
    }
    assert_eq!((limit.requests(), limit.bytes()), (0, 0));
}

#[tokio::test]
async fn memory_is_bounded_as_well() {
    let limit = WaitingLimit::builder().with_max_bytes(76 << 10).build();
    let layer = ApiKeyLayer::new(TestStore::stuck()).with_waiting_limit(limit.clone());
    let large = || request(&[("x-api-key", KEY), ("x-large", &"a".repeat(16 << 10))]);
    let waiting = [(); 3].map(|()| UnderWay::begin(&layer, large()));
    assert_shed(send(&layer, large()));
    assert!(limit.bytes() > 3 * (16 << 10), "{limit:?}");
    // There is room for one that is small.
    let small = UnderWay::begin(&layer, with_key(KEY));
    assert_eq!(limit.requests(), 4);
    drop((waiting, small));
    assert_eq!((limit.requests(), limit.bytes(), limit.shed()), (0, 0, 1));
    // Many small headers take more than their bytes.
    let names: Vec<_> = (0..800).map(|n| format!("h{n}")).collect();
    let mut headers: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    headers.push(("x-api-key", KEY));
    assert_shed(send(&layer, request(&headers)));
}

#[tokio::test(start_paused = true)]
async fn there_is_room_again_however_a_wait_ends() {
    struct Panics;
    #[async_trait]
    impl KeyStore for Panics {
        async fn find(&self, _: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            tokio::task::yield_now().await;
            panic!("a fault of the store")
        }
    }
    let limit = of(1);
    let layer =
        |store: Arc<dyn KeyStore>| ApiKeyLayer::new(store).with_waiting_limit(limit.clone());
    let later = layer(Arc::new(TestStore::waiting([record(KEY)])));
    let stuck = layer(Arc::new(TestStore::stuck()));
    let panics = layer(Arc::new(Panics));
    for _ in 0..3 {
        assert_eq!(send_waiting(&later, with_key(KEY)).await.outcome(), "admitted");
        assert_eq!(send_waiting(&later, with_key(OTHER_KEY)).await.outcome(), "unknown_key");
        assert_eq!(send_waiting(&stuck, with_key(KEY)).await.outcome(), "store_unavailable");
        drop(UnderWay::begin(&stuck, with_key(KEY)));
        let panics = panics.clone();
        let panicked =
            tokio::spawn(async move { send_waiting(&panics, with_key(KEY)).await }).await;
        assert!(panicked.unwrap_err().is_panic());
        assert_eq!((limit.requests(), limit.bytes(), limit.shed()), (0, 0, 0));
    }
}

#[tokio::test]
async fn the_times_to_come_back_are_spread() {
    let limit = of(1);
    let layer = ApiKeyLayer::new(TestStore::stuck()).with_waiting_limit(limit);
    let _waiting = UnderWay::begin(&layer, with_key(KEY));
    let seconds: HashSet<_> = (0..200).map(|_| assert_shed(send(&layer, with_key(KEY)))).collect();
    assert_eq!(seconds, (1..=8).collect());
}

#[tokio::test]
async fn layers_made_from_one_share_a_limit_and_others_do_not() {
    let layer = ApiKeyLayer::new(TestStore::stuck()).with_waiting_limit(of(1));
    let same = layer.clone().with_realm("another");
    let other = ApiKeyLayer::new(TestStore::stuck());
    let _waiting = UnderWay::begin(&layer, with_key(KEY));
    assert_shed(send(&same, with_key(KEY)));
    let _other = UnderWay::begin(&other, with_key(KEY));
}

/// A limiter that calls a function, and then has to be waited for until it may answer.
struct Calls {
    counts: LocalLimiter,
    before: Mutex<Box<dyn FnMut() + Send>>,
    may_answer: Arc<Semaphore>,
}

impl Calls {
    fn new(may_answer: &Arc<Semaphore>, before: impl FnMut() + Send + 'static) -> Self {
        let (counts, before) = (LocalLimiter::new(), Mutex::new(Box::new(before) as _));
        Self { counts, before, may_answer: may_answer.clone() }
    }
}

#[async_trait]
impl RateLimiter for Calls {
    fn check_now(&self, _: &LimitCheck<'_>) -> Option<LimitDecision> {
        (self.before.lock().unwrap())();
        None
    }

    async fn check(&self, check: &LimitCheck<'_>) -> Result<LimitDecision, StoreError> {
        let _permit = self.may_answer.acquire().await.unwrap();
        self.counts.check(check).await
    }

    fn give_back(&self, check: &LimitCheck<'_>, after: std::time::Duration) {
        self.counts.give_back(check, after);
    }
}

#[tokio::test]
async fn a_request_that_has_waited_makes_way_for_no_other() {
    let limit = of(1);
    let stuck = ApiKeyLayer::new(TestStore::stuck()).with_waiting_limit(limit.clone());
    let others = Arc::new(Mutex::new(Vec::new()));
    // Between its two waits, another request takes the only place.
    let kept = others.clone();
    let takes_the_place =
        move || kept.lock().unwrap().push(UnderWay::begin(&stuck, with_key(OTHER_KEY)));
    let may_answer = Arc::new(Semaphore::new(0));
    let limiter = Calls::new(&may_answer, takes_the_place);
    let rate = RateLimits::new(limiter)
        .with_tiers(Tiers::new().with_default(limits(Quota::per_hour(nonzero!(1)))));
    let layer = ApiKeyLayer::new(TestStore::waiting([record(KEY)]))
        .with_waiting_limit(limit.clone())
        .with_rate_limits(rate);
    let mut request = UnderWay::begin(&layer, with_key(KEY));
    assert!(request.poll().is_none());
    assert_eq!((limit.requests(), others.lock().unwrap().len()), (2, 1));
    may_answer.add_permits(1);
    assert_eq!(request.poll().expect("an answer").outcome(), "admitted");
    others.lock().unwrap().clear();
    assert_eq!((limit.requests(), limit.bytes(), limit.shed()), (0, 0, 0));
}

/// A layer that knows [`KEY`], whose limits are elsewhere and never heard of.
fn silently_limited(limit: &WaitingLimit) -> ApiKeyLayer {
    let limiter = Calls::new(&Arc::new(Semaphore::new(0)), || ());
    let tiers = Tiers::new().with_default(limits(Quota::per_hour(nonzero!(1))));
    ApiKeyLayer::new(TestStore::new([record(KEY)]))
        .with_waiting_limit(limit.clone())
        .with_rate_limits(RateLimits::new(limiter).with_tiers(tiers))
}

#[tokio::test]
async fn known_keys_have_room_that_unknown_ones_cannot_fill() {
    let limit = of(8);
    let stuck = ApiKeyLayer::new(TestStore::stuck()).with_waiting_limit(limit.clone());
    let unknown: Vec<_> = (0..8).map(|_| UnderWay::begin(&stuck, with_key(OTHER_KEY))).collect();
    assert_shed(send(&stuck, with_key(OTHER_KEY)));
    let silent = silently_limited(&limit);
    let known: Vec<_> = (0..2).map(|_| UnderWay::begin(&silent, with_key(KEY))).collect();
    assert_shed(send(&silent, with_key(KEY)));
    // Where fewer unknown keys wait, that is room for known ones, too.
    drop(unknown);
    let more: Vec<_> = (0..8).map(|_| UnderWay::begin(&silent, with_key(KEY))).collect();
    assert_shed(send(&silent, with_key(KEY)));
    assert_shed(send(&stuck, with_key(OTHER_KEY)));
    drop((known, more));
    assert_eq!((limit.requests(), limit.bytes()), (0, 0));
}

#[tokio::test]
async fn a_request_that_is_denied_for_this_consumes_nothing() {
    let (clock, limit) = (clock(), of(1));
    let store = MemoryStore::new().with_clock(clock.clone());
    let credits = Credits::builder(store.clone()).with_clock(clock.clone()).build().unwrap();
    let tiers = Tiers::new().with_default(limits(Quota::per_hour(nonzero!(2))));
    let local = LocalLimiter::builder().with_clock(clock.clone()).build();
    let local = RateLimits::new(local).with_tiers(tiers.clone());
    let remote = Calls::new(&Arc::new(Semaphore::new(1)), || ());
    let remote = RateLimits::new(remote).with_tiers(tiers);
    let manager =
        KeyManager::new(store).with_clock(clock).with_credits(credits).with_rate_limits(local);
    let new =
        NewKey { credits: Some(NewCredits { remaining: 4, refill: None }), ..NewKey::named("key") };
    let key = manager.create(new).await.unwrap().secret;
    let with_credits = manager.layer().with_waiting_limit(limit.clone());
    let silent = silently_limited(&limit);
    // By its credits, which are not here yet, and by its limits, which are elsewhere.
    for layer in [with_credits.clone(), with_credits.with_rate_limits(remote)] {
        let stuck = ApiKeyLayer::new(TestStore::stuck()).with_waiting_limit(limit.clone());
        let waiting =
            [(&stuck, OTHER_KEY), (&silent, KEY)].map(|(l, key)| UnderWay::begin(l, with_key(key)));
        for _ in 0..5 {
            assert_shed(send(&layer, with_key(key.expose())));
        }
        drop(waiting);
        for outcome in ["admitted", "admitted", "rate_limited"] {
            let answer = send_waiting(&layer, with_key(key.expose())).await;
            assert_eq!(answer.outcome(), outcome);
        }
    }
}

#[tokio::test]
async fn layers_inside_are_bounded_as_well() {
    let limit = of(1);
    let owned = record_with(KEY, |record| record.owner = Some(OwnerId::new("ada")));
    let keys = ApiKeyLayer::new(TestStore::new([owned]));
    let respond_through = async |request| {
        let (may_answer, limit) = (Arc::new(Semaphore::new(0)), limit.clone());
        let resolve = move |_: OwnerId| {
            let may_answer = may_answer.clone();
            async move {
                let _permit = may_answer.acquire().await.unwrap();
                Ok::<_, Infallible>(Some(7))
            }
        };
        let owners = OwnerLayer::new(resolve).with_waiting_limit(limit);
        let inner = service_fn(|request: Request<()>| async move {
            assert!(request.extensions().get::<Owner<i32>>().is_some());
            Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::default()))
        });
        respond(ServiceBuilder::new().layer(keys.clone()).layer(owners).service(inner), request)
            .await
    };
    let mut first = Box::pin(respond_through(with_key(KEY)));
    assert!((&mut first).now_or_never().is_none());
    let second = respond_through(with_key(KEY)).now_or_never().expect("no wait");
    assert_eq!((code(&second).as_str(), second.status().as_u16()), SHED);
    drop(first);
    assert_eq!((limit.requests(), limit.bytes(), limit.shed()), (0, 0, 1));

    let may_answer = Arc::new(Semaphore::new(0));
    let limiter = Calls::new(&may_answer, || ());
    let rate = RateLimits::new(limiter)
        .with_tiers(Tiers::new().with_default(limits(Quota::per_hour(nonzero!(1)))));
    let extra = ExtraCostLayer::new(rate, nonzero!(1)).with_waiting_limit(limit.clone());
    let inner = service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::default()))
    });
    let service = ServiceBuilder::new().layer(keys.clone()).layer(extra).service(inner);
    let mut first = Box::pin(respond(service.clone(), with_key(KEY)));
    assert!((&mut first).now_or_never().is_none());
    let second = respond(service, with_key(KEY)).now_or_never().expect("no wait");
    assert_eq!((code(&second).as_str(), second.status().as_u16()), SHED);
    may_answer.add_permits(1);
    // The request that was denied has cost nothing.
    assert_eq!(first.await.status(), 200);
    assert_eq!(limit.requests(), 0);
}

#[cfg(feature = "metrics")]
#[test]
fn the_bound_and_the_denials_are_metrics() {
    let figures = crate::figures::Figures::default();
    let gauges = || {
        let gauge = |name: &str| figures.gauge(&format!("tower_api_key_waiting_{name}"));
        ["requests", "requests_limit", "bytes_limit"].map(gauge)
    };
    let shed = || figures.counter("tower_api_key_requests_shed_total");
    metrics::with_local_recorder(&figures, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _guard = runtime.enter();
        let limit = WaitingLimit::builder().with_max_requests(2).with_max_bytes(1 << 20).build();
        let layer = ApiKeyLayer::new(TestStore::stuck())
            .with_waiting_limit(limit)
            .with_lookup_timeout(std::time::Duration::from_mins(1));
        assert_eq!(gauges(), [0; 3]);
        let waiting = [(); 2].map(|()| UnderWay::begin(&layer, with_key(KEY)));
        assert_eq!(gauges(), [2, 2, 1 << 20]);
        let bytes = figures.gauge("tower_api_key_waiting_bytes");
        assert!((2 * 5_632..4 * 5_632).contains(&bytes), "{bytes}");
        assert_eq!(shed(), 0);
        assert_shed(send(&layer, with_key(KEY)));
        assert_eq!(shed(), 1);
        drop(waiting);
        assert_eq!(gauges(), [0, 2, 1 << 20]);
        drop(layer);
        assert_eq!(gauges(), [0; 3]);
    });
    assert_eq!(figures.gauge("tower_api_key_waiting_bytes"), 0);
}
