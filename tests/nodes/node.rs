//! A node that serves requests: a layer over a cache that listens.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::{Request, Response};
use tower::{ServiceBuilder, ServiceExt};
use tower_api_key::{
    ApiKeyLayer, AuthenticatedKey, KeyHasher, Rejection, RejectionKind, Timestamp,
    clock::SettableClock,
    key::KeyRecord,
    store::{CachedStore, Invalidations, KeyRepository},
};

use crate::{
    place::Place,
    watched::{Progress, TIMEOUT, Watched},
};

/// How long this node's cache trusts what it has found, by a clock that stands still.
pub(crate) const TTL: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) cache: CachedStore<Arc<dyn KeyRepository>>,
    pub(crate) layer: ApiKeyLayer,
    pub(crate) clock: SettableClock,
    bus: Watched,
}

impl Node {
    /// A node of the same place, with connections of its own. Listens when this returns.
    pub(crate) async fn of(place: &Place) -> Self {
        Self::over(place.store().await, place.bus().await).await
    }

    /// A node with this store and bus. Listens when this returns.
    pub(crate) async fn over(store: Arc<dyn KeyRepository>, bus: Arc<dyn Invalidations>) -> Self {
        let clock = SettableClock::new(Timestamp::from_unix_millis(1_795_392_000_000));
        let bus = Watched::new(bus);
        let cache = CachedStore::builder(store)
            .with_ttl(TTL)
            .with_clock(clock.clone())
            // Waits for the store as long as it takes on a busy machine.
            .with_soft_timeout(TIMEOUT)
            .with_lookup_timeout(TIMEOUT)
            .with_invalidations(bus.clone())
            .build();
        let layer = ApiKeyLayer::new(cache.clone()).with_lookup_timeout(TIMEOUT);
        let node = Self { cache, layer, clock, bus };
        node.until(|progress| progress.subscriptions == 1).await;
        node
    }

    pub(crate) fn with_hasher(mut self, hasher: KeyHasher) -> Self {
        self.layer = self.layer.with_hasher(hasher);
        self
    }

    /// A request with this key.
    pub(crate) async fn ask(&self, key: &str) -> Result<AuthenticatedKey, RejectionKind> {
        ask(&self.layer, key).await
    }

    /// Asks once, so that the answer is in the cache, and makes sure that it is.
    pub(crate) async fn warm(&self, key: &str) {
        self.ask(key).await.unwrap();
        let before = self.cache.stats();
        self.ask(key).await.unwrap();
        let after = self.cache.stats();
        assert_eq!((after.hits, after.misses), (before.hits + 1, before.misses), "not cached");
    }

    pub(crate) fn progress(&self) -> Progress {
        self.bus.progress()
    }

    /// Waits until the cache has heard and done so much.
    pub(crate) async fn until(&self, so_far: impl FnMut(&Progress) -> bool) {
        self.bus.until(so_far).await;
    }

    /// Makes a change that is announced once, and waits until this node has acted on it.
    pub(crate) async fn hears<T>(&self, change: impl Future<Output = T>) -> T {
        let before = self.progress().heard;
        let changed = change.await;
        self.until(|progress| progress.heard > before).await;
        changed
    }
}

/// A request with this key to a service behind `layer`.
pub(crate) async fn ask(layer: &ApiKeyLayer, key: &str) -> Result<AuthenticatedKey, RejectionKind> {
    let service =
        ServiceBuilder::new().layer(layer).service_fn(|mut request: Request<()>| async move {
            let key = request.extensions_mut().remove::<AuthenticatedKey>().unwrap();
            let mut response = Response::new(String::new());
            response.extensions_mut().insert(key);
            Ok::<_, Infallible>(response)
        });
    let request = Request::builder().header("x-api-key", key).body(()).unwrap();
    let mut response = service.oneshot(request).await.unwrap();
    match response.extensions_mut().remove::<AuthenticatedKey>() {
        Some(key) => Ok(key),
        None => Err(response.extensions().get::<Rejection>().unwrap().kind()),
    }
}

/// Revokes a key behind everybody's back: nothing is announced.
pub(crate) async fn revoke_silently(store: &dyn KeyRepository, record: &KeyRecord) {
    let old = store.get(record.id).await.unwrap().unwrap();
    let mut revoked = old.as_ref().clone();
    revoked.details.revoked_at = Some(revoked.created_at);
    revoked.revision += 1;
    let update = store.update(&old, &revoked).await.unwrap();
    assert_eq!(update, tower_api_key::store::ApplyOutcome::Done);
}
