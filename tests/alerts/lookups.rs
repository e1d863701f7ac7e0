//! Services whose lookups take too long.

use std::{future::pending, sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};
use tower_api_key::{
    ApiKeyLayer, KeyManager, NewKey, async_trait,
    auth::WaitingLimit,
    key::{KeyDigest, KeyRecord},
    nonzero,
    store::{CachedStore, KeyStore, MemoryStore, RedisStore, StoreError},
};

use crate::{
    load::{app, issue, send, send_to},
    proxy::Proxy,
    service::Stage,
};

/// A store of this prefix in Redis, and the network before it, which dawdles when it is told to.
async fn far_away(stage: &Stage, prefix: &str) -> (RedisStore, RedisStore, Proxy) {
    let network = Proxy::before(&stage.shared_redis);
    let connect = |url: &str| RedisStore::new(url).unwrap().with_prefix(prefix).unwrap();
    let (near, far) = (connect(&stage.shared_redis), connect(network.url()));
    near.migrate().await.unwrap();
    (near, far, network)
}

/// The budget is so small that good keys wait for it in vain.
pub(crate) async fn shed(mut stage: Stage) {
    let (near, far, mut network) = far_away(&stage, "shed").await;
    let keys = issue(&KeyManager::new(near), 3_600, &NewKey::named("key")).await;
    let cache = CachedStore::builder(far)
        .with_lookup_budget(nonzero!(2))
        .with_lookup_timeout(Duration::from_millis(500))
        .build();
    let app = app().layer(KeyManager::new(cache).layer());
    // Each is looked up.
    send_to(&app, 40, "/", keys.into_iter());
    stage.trouble().await;
    network.delay(Duration::from_millis(40));
    // There is no network without it.
    pending::<()>().await;
}

/// A store of the application, which has no circuit breaker and takes as long as it is told.
struct OwnStore {
    store: MemoryStore,
    takes: watch::Receiver<Duration>,
}

#[async_trait]
impl KeyStore for OwnStore {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let takes = *self.takes.borrow();
        sleep(takes).await;
        self.store.find(digest).await
    }
}

/// A service over one, which is slow when the trouble begins.
async fn over_own_store(mut stage: Stage, per_second: u32, room: usize, takes: Duration) {
    let (slow, now_takes) = watch::channel(Duration::ZERO);
    let store = MemoryStore::new();
    let keys = issue(&KeyManager::new(store.clone()), 10, &NewKey::named("key")).await;
    let room = WaitingLimit::builder().with_max_requests(room).build();
    let store = OwnStore { store, takes: now_takes };
    let layer = ApiKeyLayer::new(store).with_waiting_limit(room);
    send(&app().layer(layer), per_second, &keys);
    stage.trouble().await;
    slow.send_replace(takes);
}

/// Every lookup takes more than a second.
pub(crate) async fn slow(stage: Stage) {
    over_own_store(stage, 10, 1_000, Duration::from_millis(1_400)).await;
}

/// More requests wait than there is room for.
pub(crate) async fn waiting(stage: Stage) {
    over_own_store(stage, 40, 8, Duration::from_millis(400)).await;
}
