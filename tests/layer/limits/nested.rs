//! Two layers on the way of a request: what both count with counts once.

use std::convert::Infallible;

use http::{HeaderName, Request, Response, header};
use http_body_util::Full;
use tower::{ServiceBuilder, service_fn};
use tower_api_key::{
    ApiKeyLayer, Credits, KeyManager, NewKey, RateLimits, UsageRecorder,
    credits::NewCredits,
    limit::{LocalLimiter, Quota, Tiers},
    nonzero,
    store::{KeyRepository, MemoryStore},
};

use super::limits;
use crate::support::{clock, header_values, respond, with_key};

/// What is shared by layers, and a key with a hundred credits.
struct Shared {
    store: MemoryStore,
    manager: KeyManager,
    usage: UsageRecorder,
}

impl Shared {
    fn new() -> Self {
        let store = MemoryStore::new().with_clock(clock());
        let credits = Credits::builder(store.clone()).with_clock(clock()).build().unwrap();
        let usage = UsageRecorder::builder(store.clone()).with_clock(clock()).build().unwrap();
        let manager = KeyManager::new(store.clone()).with_clock(clock()).with_credits(credits);
        Self { store, manager, usage }
    }

    fn layer(&self, rate: &RateLimits) -> ApiKeyLayer {
        self.manager.layer().with_usage(self.usage.clone()).with_rate_limits(rate.clone())
    }

    /// Twelve requests of a new key through both layers: how many were let in, and were counted as uses, and
    /// how many credits are left.
    async fn twelve(&self, outer: &ApiKeyLayer, inner: &ApiKeyLayer) -> (usize, u64, String) {
        let credits = Some(NewCredits { remaining: 100, refill: None });
        let key = self.manager.create(NewKey { credits, ..NewKey::named("k") }).await.unwrap();
        let (mut admitted, mut left) = (0, String::new());
        for _ in 0..12 {
            let service = service_fn(async |_: Request<()>| {
                Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::default()))
            });
            let service = ServiceBuilder::new().layer(outer).layer(inner).service(service);
            let response = respond(service, with_key(key.secret.expose())).await;
            if response.status() == 200 {
                admitted += 1;
                left = header_values(&response, HeaderName::from_static("credits-remaining"))
                    .join(",");
                // And both vary on the same headers.
                assert_eq!(header_values(&response, header::VARY), ["x-api-key, authorization"]);
            }
        }
        self.usage.flush().await.unwrap();
        let record = self.store.get(key.record.id).await.unwrap().unwrap();
        (admitted, record.use_count, left)
    }
}

fn ten_a_minute() -> RateLimits {
    let tiers = Tiers::new().with_default(limits(Quota::per_minute(nonzero!(10))));
    RateLimits::new(LocalLimiter::builder().with_clock(clock()).build()).with_tiers(tiers)
}

#[tokio::test]
async fn layers_of_one_manager_count_once() {
    let (shared, rate) = (Shared::new(), ten_a_minute());
    let (outer, inner) = (shared.layer(&rate), shared.layer(&rate));
    assert_eq!(shared.twelve(&outer, &inner).await, (10, 10, "90".to_owned()));
    // The same with one layer, and with one that was changed.
    assert_eq!(
        shared.twelve(&outer, &outer.clone().allow_anonymous()).await,
        (10, 10, "90".to_owned())
    );
}

#[tokio::test]
async fn what_is_not_shared_is_counted_by_each() {
    let shared = Shared::new();
    let (outer, inner) = (shared.layer(&ten_a_minute()), shared.layer(&ten_a_minute()));
    // Other limits, and the same uses and credits.
    assert_eq!(shared.twelve(&outer, &inner).await, (10, 10, "90".to_owned()));
    let stricter = {
        let tiers = Tiers::new().with_default(limits(Quota::per_minute(nonzero!(4))));
        RateLimits::new(LocalLimiter::builder().with_clock(clock()).build()).with_tiers(tiers)
    };
    assert_eq!(shared.twelve(&outer, &shared.layer(&stricter)).await.0, 4);
    assert_eq!(shared.twelve(&shared.layer(&stricter), &inner).await.0, 4);
    // An outer layer that counts no uses leaves them to the inner one.
    let outer = shared.manager.layer();
    assert_eq!(shared.twelve(&outer, &inner).await, (10, 10, "90".to_owned()));
}

/// The one layer that stood outside last is remembered; another one must not be taken for it.
#[tokio::test]
async fn an_inner_layer_may_stand_in_several_places() {
    let (shared, rate) = (Shared::new(), ten_a_minute());
    let inner = shared.layer(&rate);
    let (same, without) = (shared.layer(&rate), shared.manager.layer());
    for _ in 0..3 {
        assert_eq!(shared.twelve(&same, &inner).await.0, 10);
        assert_eq!(shared.twelve(&without, &inner).await.0, 10);
    }
}
