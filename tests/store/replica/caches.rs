//! Three nodes with a cache each, whose lookups go to a replica that is two seconds behind.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use futures_util::future::join_all;
use tower_api_key::{
    KeyManager, NewKey,
    clock::SettableClock,
    key::{KeyDigest, KeyRecord},
    manage::IssuedKey,
    store::{
        Announcement, CachedStore, Invalidations, KeyStore, LocalInvalidations, StoreError,
        StoreId, Subscription,
    },
};

use super::{
    LAG_BOUND, asks_replica, next_number,
    pair::{Pair, Replicated},
    until,
};
use crate::{conformance::digest, proxy::Proxy};

const KEYS: usize = 12;

/// A machine that is busy may be slower than the replica is, or find it too far behind to be asked: then once more.
const ROUNDS: usize = 10;

/// Counts lookups: those that may go to a replica, and those of the primary.
#[derive(Clone)]
struct Counted<S> {
    store: S,
    asked: Arc<[AtomicUsize; 2]>,
}

#[async_trait]
impl<S: KeyStore> KeyStore for Counted<S> {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.store.find(digest).await
    }

    async fn find_fresh(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.asked[1].fetch_add(1, SeqCst);
        self.store.find_fresh(digest).await
    }

    async fn find_many(
        &self,
        digests: &[KeyDigest],
    ) -> Vec<Result<Option<Arc<KeyRecord>>, StoreError>> {
        self.asked[0].fetch_add(1, SeqCst);
        self.store.find_many(digests).await
    }

    fn max_batch(&self) -> usize {
        self.store.max_batch()
    }

    fn may_lag(&self) -> bool {
        self.store.may_lag()
    }

    async fn identity(&self) -> Result<Option<StoreId>, StoreError> {
        self.store.identity().await
    }
}

/// A bus that counts the announcements that its subscriber has done with, and may carry no revisions.
#[derive(Clone)]
struct Bus {
    inner: LocalInvalidations,
    heard: Arc<AtomicUsize>,
}

#[async_trait]
impl Invalidations for Bus {
    async fn publish(&self, announcement: &Announcement) -> Result<(), StoreError> {
        self.inner.publish(announcement).await
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, StoreError> {
        let inner = self.inner.subscribe().await?;
        Ok(Box::new(Counting { inner, bus: self.clone(), has_heard: false }))
    }
}

struct Counting {
    inner: Box<dyn Subscription>,
    bus: Bus,
    has_heard: bool,
}

#[async_trait]
impl Subscription for Counting {
    async fn next(&mut self) -> Result<Announcement, StoreError> {
        // The one before was done with.
        if self.has_heard {
            self.bus.heard.fetch_add(1, SeqCst);
        }
        let announcement = self.inner.next().await?;
        self.has_heard = true;
        Ok(announcement)
    }
}

/// A cache's time to live.
const TTL: Duration = Duration::from_secs(1);

struct Node<S> {
    clock: SettableClock,
    cache: CachedStore<Counted<S>>,
    asked: Arc<[AtomicUsize; 2]>,
    heard: Arc<AtomicUsize>,
}

impl<S: KeyStore> Node<S> {
    /// Whether the key is there and not revoked, by a lookup: the time of what was found before is up.
    async fn accepts(&self, key: &IssuedKey) -> bool {
        self.clock.advance(TTL * 5);
        let found = self.cache.find(&key.record.digest).await.unwrap();
        found.is_some_and(|found| found.details.revoked_at.is_none())
    }

    async fn asks_replica(&self, key: &IssuedKey) -> bool {
        let before = [0, 1].map(|which| self.asked[which].load(SeqCst));
        let accepts = self.accepts(key).await;
        assert!(accepts, "a good key was refused");
        [0, 1].map(|which| self.asked[which].load(SeqCst)) == [before[0] + 1, before[1]]
    }
}

struct Cluster<R: Replicated> {
    pair: Pair<R>,
    nodes: Vec<Node<R::Store>>,
    manager: KeyManager,
}

impl<R: Replicated> Cluster<R> {
    async fn start(has_floors: bool) -> Option<Self> {
        let pair = Pair::<R>::start().await?;
        let inner = LocalInvalidations::new();
        let mut nodes = Vec::new();
        for _ in 0..3 {
            let store = Counted { store: pair.node().await, asked: Arc::default() };
            let bus = Bus { inner: inner.clone(), heard: Arc::default() };
            let (asked, heard) = (store.asked.clone(), bus.heard.clone());
            let clock = SettableClock::new(SystemTime::now().into());
            // Without a time to live and a bound on the lag, floors are over as soon as they are raised.
            let (ttl, lag_bound) =
                if has_floors { (TTL, LAG_BOUND) } else { (Duration::ZERO, Duration::ZERO) };
            let cache = CachedStore::builder(store)
                .with_ttl(ttl)
                .with_lag_bound(lag_bound)
                .with_clock(clock.clone())
                .with_invalidations(bus)
                .build();
            nodes.push(Node { clock, cache, asked, heard });
        }
        let manager = KeyManager::new(pair.plain().await).with_invalidations(inner);
        Some(Self { pair, nodes, manager })
    }

    /// Keys that the replica has, and about which each node asks it.
    async fn known(&self) -> Vec<IssuedKey> {
        let mut keys = Vec::new();
        for _ in 0..KEYS {
            keys.push(self.manager.create(NewKey::named("k")).await.unwrap());
        }
        for node in &self.nodes {
            for key in &keys {
                until(async || node.asks_replica(key).await).await;
            }
        }
        keys
    }

    /// Revokes a key, and comes back when each node has heard of it.
    async fn revoke(&self, key: &IssuedKey) {
        let heard: Vec<_> = self.nodes.iter().map(|node| node.heard.load(SeqCst)).collect();
        self.manager.revoke(key.record.id, None).await.unwrap();
        for (node, before) in self.nodes.iter().zip(heard) {
            until(async || node.heard.load(SeqCst) > before).await;
        }
    }

    /// Whether the replica, or what a node reads in its place, takes the key for good.
    async fn replica_accepts(&self, key: &IssuedKey) -> bool {
        let found = self.pair.store.find_many(&[key.record.digest]).await.remove(0).unwrap();
        found.is_some_and(|found| found.details.revoked_at.is_none())
    }
}

pub(super) async fn revoked_keys_stay_revoked<R: Replicated>() {
    let Some(cluster) = Cluster::<R>::start(true).await else { return };
    for _ in 0..ROUNDS {
        let mut stale = 0;
        for key in &cluster.known().await {
            until(async || cluster.replica_accepts(key).await).await;
            cluster.revoke(key).await;
            stale += usize::from(cluster.replica_accepts(key).await);
            for _ in 0..20 {
                for node in &cluster.nodes {
                    assert!(!node.accepts(key).await, "a revoked key was let in");
                }
            }
            // Until the replica has it, and later.
            until(async || {
                for node in &cluster.nodes {
                    assert!(!node.accepts(key).await, "a revoked key was let in");
                }
                !cluster.replica_accepts(key).await
            })
            .await;
        }
        if stale > 0 {
            return;
        }
    }
    panic!("the replica was never behind");
}

/// The same without the barrier: so the test above can fail.
pub(super) async fn without_floors_they_would_not<R: Replicated>() {
    let Some(cluster) = Cluster::<R>::start(false).await else { return };
    // Once is enough, and a machine that is busy may be slower than the replica.
    until(async || {
        let mut accepted = 0;
        for key in &cluster.known().await {
            cluster.revoke(key).await;
            for node in &cluster.nodes {
                accepted += usize::from(node.accepts(key).await);
            }
        }
        accepted > 0
    })
    .await;
}

/// A cache is not told of a replica that says nothing: the store answers, and in time.
pub(super) async fn a_silent_replica_is_no_outage_of_a_cache<R: Replicated>() {
    let Some(pair) = Pair::<R>::start().await else { return };
    let mut proxy = Proxy::before(&pair.replica.url());
    let store = R::build(&pair.primary.url(), &[proxy.url()]).await.unwrap();
    let store = Counted { store, asked: Arc::default() };
    let bus = LocalInvalidations::new();
    let clock = SettableClock::new(SystemTime::now().into());
    let cache = CachedStore::builder(store.clone())
        .with_ttl(TTL)
        .with_clock(clock.clone())
        .with_lag_bound(LAG_BOUND)
        .with_invalidations(bus.clone())
        .build();
    let node = Node { clock, cache, asked: store.asked.clone(), heard: Arc::default() };
    let manager = KeyManager::new(pair.plain().await).with_invalidations(bus);
    let key = manager.create(NewKey::named("k")).await.unwrap();
    until(async || node.asks_replica(&key).await && asks_replica(&store.store).await).await;
    proxy.freeze();
    // Each a lookup of its own, and several at once.
    for _ in 0..20 {
        let others: Vec<_> = (0..10).map(|_| digest(next_number())).collect();
        let others = join_all(others.iter().map(|digest| node.cache.find(digest)));
        let (is_accepted, others) = tokio::join!(node.accepts(&key), others);
        assert!(is_accepted && others.into_iter().all(|found| found.unwrap().is_none()));
    }
    let stats = node.cache.stats();
    assert_eq!((stats.stale, stats.shed), (0, 0));
}

pub(super) async fn new_keys_are_good_at_once<R: Replicated>() {
    let Some(cluster) = Cluster::<R>::start(true).await else { return };
    let silent = KeyManager::new(cluster.pair.plain().await);
    for _ in 0..ROUNDS {
        // From now on the nodes ask the replica.
        drop(cluster.known().await);
        let (mut good, mut missing) = (0, 0);
        for number in 0..100 {
            // Every other one without an announcement, as from a bus that has just died.
            let manager = if number % 2 == 0 { &cluster.manager } else { &silent };
            let key = manager.create(NewKey::named("k")).await.unwrap();
            missing += usize::from(!cluster.replica_accepts(&key).await);
            for node in &cluster.nodes {
                good += usize::from(node.accepts(&key).await);
            }
        }
        assert_eq!(good, 300);
        if missing > 0 {
            return;
        }
    }
    panic!("the replica had all of them");
}
