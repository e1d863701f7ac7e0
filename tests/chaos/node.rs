//! A node that serves requests, and the keys that it is asked for.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use tower::{ServiceBuilder, ServiceExt};
use tower_api_key::{
    ApiKeyLayer, AuthenticatedKey, KeyFormat, KeyId, KeyManager, NewKey, Rejection, RejectionKind,
    Timestamp,
    clock::{Clock, SystemClock},
    store::{CachedStore, Invalidations, KeyRepository},
};

use crate::patiently;

/// Short, so that every known key outlives its time while the server is in trouble.
pub(crate) const TTL: Duration = Duration::from_millis(300);
/// Long, so that none of them does so for good before the test says so.
pub(crate) const STALE_IF_ERROR: Duration = Duration::from_mins(10);
/// Long after a known key has gone on with what was last known.
const LOOKUP_TIMEOUT: Duration = Duration::from_millis(1_500);
const SOFT_TIMEOUT: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) cache: CachedStore<Arc<dyn KeyRepository>>,
    manager: KeyManager,
    pub(crate) clock: Shifted,
    /// How long a lookup may take.
    pub(crate) lookup_timeout: Duration,
    layer: ApiKeyLayer,
}

/// A key as its owner has it.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) secret: String,
    pub(crate) id: KeyId,
}

impl Node {
    /// A node that looks keys up again and again, and soon gives up on a store.
    pub(crate) fn over(store: Arc<dyn KeyRepository>, bus: Option<Arc<dyn Invalidations>>) -> Self {
        Self::with_times(store, bus, TTL, LOOKUP_TIMEOUT)
    }

    pub(crate) fn with_times(
        store: Arc<dyn KeyRepository>,
        bus: Option<Arc<dyn Invalidations>>,
        ttl: Duration,
        lookup_timeout: Duration,
    ) -> Self {
        let clock = Shifted::default();
        let mut cache = CachedStore::builder(store)
            .with_ttl(ttl)
            .with_not_found_ttl(TTL)
            .with_stale_if_error(STALE_IF_ERROR)
            .with_soft_timeout(SOFT_TIMEOUT)
            .with_clock(clock.clone());
        if let Some(bus) = bus {
            cache = cache.with_invalidations(bus);
        }
        let cache = cache.build();
        let manager = KeyManager::new(cache.clone());
        let layer = manager.layer().with_lookup_timeout(lookup_timeout);
        Self { cache, manager, clock, lookup_timeout, layer }
    }

    /// New keys, which nobody has asked for yet.
    pub(crate) async fn create(&self, count: usize) -> Vec<Key> {
        let mut keys = Vec::new();
        for number in 0..count {
            let new = || NewKey::named(format!("key {number}"));
            let issued = patiently(async || self.manager.create(new()).await).await;
            keys.push(Key { secret: issued.secret.expose().to_owned(), id: issued.record.id });
        }
        keys
    }

    pub(crate) async fn revoke(&self, keys: &[Key]) {
        for key in keys {
            patiently(async || self.manager.revoke(key.id, None).await).await;
        }
    }

    /// A request with this key: whom it lets in, or why it does not.
    pub(crate) async fn ask(&self, secret: &str) -> Result<KeyId, RejectionKind> {
        let service = ServiceBuilder::new().layer(&self.layer).service_fn(
            |request: Request<()>| async move {
                let id = request.extensions().get::<AuthenticatedKey>().unwrap().id();
                let mut response = Response::new(String::new());
                response.extensions_mut().insert(id);
                Ok::<_, Infallible>(response)
            },
        );
        let request = Request::builder().header("x-api-key", secret).body(()).unwrap();
        let response = service.oneshot(request).await.unwrap();
        match response.extensions().get::<KeyId>() {
            Some(id) => Ok(*id),
            None => Err(response.extensions().get::<Rejection>().unwrap().kind()),
        }
    }
}

/// A well-formed key that nobody has issued.
pub(crate) fn unknown_key() -> String {
    KeyFormat::new("key").unwrap().generate().unwrap().expose().to_owned()
}

/// The system's clock, which the test can set forward.
#[derive(Clone, Default)]
pub(crate) struct Shifted(Arc<AtomicI64>);

impl Shifted {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for Shifted {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now().as_unix_millis();
        Timestamp::from_unix_millis(now + self.0.load(Ordering::SeqCst))
    }
}
