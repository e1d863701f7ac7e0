//! Streams that end with the key that they began with. Tokio's clock is paused: it moves to the next timer
//! when nothing else is left to do.

mod owners;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{FutureExt, future::join_all};
use http::{Request, Response};
use tokio::{
    runtime::Handle,
    task::yield_now,
    time::{Instant, sleep, timeout},
};
use tower::{Layer, ServiceExt, service_fn};
use tower_api_key::{
    ApiKeyLayer, AuthenticatedKey, KeyId, KeyManager, NewKey, RejectionKind, Scopes,
    auth::Revocation,
    clock::SettableClock,
    key::{KeyDigest, KeyRecord},
    manage::{IssuedKey, KeyPatch, RotationGrace},
    store::{
        CachedStore, KeyRepository, KeyStore, LocalInvalidations, MemoryStore, StoreError,
        StoreErrorKind,
    },
};

use crate::support::{NOW, STALE_IF_ERROR, TTL, digest, until};

/// A store that counts its lookups by id. Clones are the same.
#[derive(Clone, Default)]
struct Store(Arc<State>);

#[derive(Default)]
struct State {
    keys: MemoryStore,
    lookups: AtomicUsize,
    /// Looks keys up by their digest alone.
    has_no_ids: AtomicBool,
    fails: AtomicBool,
    panics: AtomicBool,
}

impl Store {
    fn lookups(&self) -> usize {
        self.0.lookups.load(SeqCst)
    }

    fn check(&self) -> Result<(), StoreError> {
        self.0.lookups.fetch_add(1, SeqCst);
        assert!(!self.0.panics.load(SeqCst), "a store's own fault");
        if self.0.fails.load(SeqCst) {
            return Err(StoreError::unavailable("connection refused"));
        }
        Ok(())
    }
}

#[async_trait]
impl KeyStore for Store {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.check()?;
        self.0.keys.find(digest).await
    }

    async fn find_by_id(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        if self.0.has_no_ids.load(SeqCst) {
            return Err(StoreError::new(StoreErrorKind::Unsupported));
        }
        self.check()?;
        self.0.keys.get(id).await
    }
}

type Service = Box<dyn Fn(&str) -> Option<AuthenticatedKey>>;

/// A node with streams, and a manager on another one.
struct Nodes {
    store: Store,
    manager: KeyManager,
    clock: SettableClock,
    /// A service with the layer.
    admit: Service,
}

fn service(layer: &ApiKeyLayer) -> Service {
    let service = layer.layer(service_fn(|request: Request<()>| async move {
        let mut response = Response::new(());
        response.extensions_mut().extend(request.extensions().clone());
        Ok::<_, Infallible>(response)
    }));
    Box::new(move |key: &str| {
        let request = Request::builder().header("x-api-key", key).body(()).unwrap();
        let mut response = service.clone().oneshot(request).now_or_never().unwrap().unwrap();
        response.extensions_mut().remove()
    })
}

impl Nodes {
    /// With a cache that hears of the manager's changes.
    async fn cached() -> Self {
        let (store, bus) = (Store::default(), LocalInvalidations::new());
        let cache = CachedStore::builder(store.clone()).with_invalidations(bus.clone()).build();
        until(|| cache.stats().resets == 1).await;
        let nodes = Self::with(store, ApiKeyLayer::new(cache));
        Self { manager: nodes.manager.clone().with_invalidations(bus), ..nodes }
    }

    fn plain() -> Self {
        let store = Store::default();
        Self::with(store.clone(), ApiKeyLayer::new(store))
    }

    fn with(store: Store, layer: ApiKeyLayer) -> Self {
        let clock = SettableClock::new(NOW);
        let keys = store.0.keys.clone().with_clock(clock.clone());
        let manager = KeyManager::new(keys).with_clock(clock.clone());
        Self { store, manager, admit: service(&layer.with_clock(clock.clone())), clock }
    }

    async fn create(&self) -> IssuedKey {
        self.manager.create(NewKey::named("k")).await.unwrap()
    }

    fn admitted(&self, key: &IssuedKey) -> AuthenticatedKey {
        (self.admit)(key.secret.expose()).expect("admitted")
    }

    /// A stream goes on for so long, and expires then.
    async fn expires_after(&self, time: Duration, mut stream: Revocation) {
        let last = Duration::from_millis(1);
        self.pass(time.saturating_sub(last)).await;
        assert!(goes_on(&mut stream).await);
        self.pass(last).await;
        let (kind, after) = ends(stream).await;
        assert_eq!(kind, RejectionKind::Expired);
        assert!(after <= Duration::from_millis(2), "{after:?}");
    }

    /// Moves both clocks.
    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        sleep(time).await;
    }
}

/// Whether a stream goes on.
async fn goes_on(stream: &mut Revocation) -> bool {
    for _ in 0..20 {
        if stream.now_or_never().is_some() {
            return false;
        }
        yield_now().await;
    }
    true
}

/// The end of a stream, and after which time it came.
async fn ends(stream: Revocation) -> (RejectionKind, Duration) {
    let began = Instant::now();
    let kind = timeout(Duration::from_hours(1), stream).await.expect("it ends");
    (kind, began.elapsed())
}

const AT_ONCE: Duration = Duration::ZERO;

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_the_end_of_its_key_is_announced() {
    let nodes = Nodes::cached().await;
    for kind in [RejectionKind::Revoked, RejectionKind::Disabled, RejectionKind::Unknown] {
        let key = nodes.create().await;
        let mut stream = nodes.admitted(&key).revoked();
        assert!(goes_on(&mut stream).await);
        let id = key.record.id;
        match kind {
            RejectionKind::Revoked => drop(nodes.manager.revoke(id, None).await.unwrap()),
            RejectionKind::Disabled => drop(nodes.manager.disable(id).await.unwrap()),
            _ => nodes.manager.delete(id).await.unwrap(),
        }
        assert_eq!(ends(stream).await, (kind, AT_ONCE));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_its_key_is_revoked_by_its_age() {
    let nodes = Nodes::cached().await;
    let key = nodes.create().await;
    nodes.clock.advance(Duration::from_millis(1));
    let young = nodes.create().await;
    let (mut stream, mut other) =
        (nodes.admitted(&key).revoked(), nodes.admitted(&young).revoked());
    assert!(goes_on(&mut stream).await);
    nodes.manager.revoke_issued_before(young.record.created_at, None).await.unwrap();
    assert_eq!(ends(stream).await, (RejectionKind::Revoked, AT_ONCE));
    assert!(goes_on(&mut other).await);
}

/// Before the stream begins, and after its request was let in.
#[tokio::test(start_paused = true)]
async fn what_was_announced_before_the_stream_is_not_missed() {
    let nodes = Nodes::cached().await;
    let key = nodes.create().await;
    let admitted = nodes.admitted(&key);
    nodes.manager.revoke(key.record.id, None).await.unwrap();
    sleep(Duration::from_millis(1)).await;
    assert_eq!(ends(admitted.revoked()).await, (RejectionKind::Revoked, AT_ONCE));
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_its_key_expires() {
    let nodes = Nodes::cached().await;
    let end = NOW.saturating_add(Duration::from_secs(7));
    let new = NewKey { expires_at: Some(end), ..NewKey::named("k") };
    let key = nodes.manager.create(new).await.unwrap();
    let mut stream = nodes.admitted(&key).revoked();
    assert!(goes_on(&mut stream).await);
    nodes.expires_after(Duration::from_secs(7), stream).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_the_grace_of_its_key() {
    let nodes = Nodes::cached().await;
    let key = nodes.create().await;
    let stream = nodes.admitted(&key).revoked();
    let grace = RotationGrace::FromNow(Duration::from_secs(10));
    nodes.manager.rotate(key.record.id, grace).await.unwrap();
    nodes.expires_after(Duration::from_secs(10), stream).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_outlasts_changes_that_leave_its_key_good() {
    let nodes = Nodes::cached().await;
    let scopes = Scopes::parse(["a", "b"]).unwrap();
    let key = nodes.manager.create(NewKey { scopes, ..NewKey::named("k") }).await.unwrap();
    let mut stream = nodes.admitted(&key).revoked();
    assert!(goes_on(&mut stream).await);
    let id = key.record.id;
    let patch = KeyPatch { scopes: Some(Scopes::default()), ..KeyPatch::default() };
    nodes.manager.update(id, patch).await.unwrap();
    assert!(goes_on(&mut stream).await);
    // Its digest is renewed, as when the pepper changes: the next change is announced of the new one.
    let old = nodes.store.0.keys.get(id).await.unwrap().unwrap();
    let mut new = KeyRecord::clone(&old);
    new.digest = digest(7);
    new.revision += 1;
    nodes.store.0.keys.update(&old, &new).await.unwrap();
    nodes.pass(TTL).await;
    assert!(goes_on(&mut stream).await);
    nodes.manager.revoke(id, None).await.unwrap();
    assert_eq!(ends(stream).await, (RejectionKind::Revoked, AT_ONCE));
}

/// A revoked key stays so, but one that was switched off may be switched on again.
#[tokio::test(start_paused = true)]
async fn a_stream_of_a_key_that_came_back_goes_on() {
    let nodes = Nodes::cached().await;
    let key = nodes.create().await;
    for _ in 0..3 {
        let stream = nodes.admitted(&key).revoked();
        nodes.manager.disable(key.record.id).await.unwrap();
        assert_eq!(ends(stream).await.0, RejectionKind::Disabled);
        nodes.manager.enable(key.record.id).await.unwrap();
        sleep(Duration::from_millis(1)).await;
        let mut next = nodes.admitted(&key).revoked();
        assert!(goes_on(&mut next).await);
    }
}

/// Without a cache, or where the announcement is lost.
#[tokio::test(start_paused = true)]
async fn without_an_announcement_the_key_is_looked_up_once_in_its_time() {
    let nodes = Nodes::plain();
    let keys = [nodes.create().await, nodes.create().await];
    let streams = (0..200).map(|number| nodes.admitted(&keys[number % 2]).revoked());
    let streams: Vec<_> = streams.collect();
    let before = nodes.store.lookups();
    let streams = tokio::spawn(join_all(streams));
    sleep(TTL * 10).await;
    // One when it begins, and one in 27 to 30 seconds: for each key, not for each stream.
    let lookups = nodes.store.lookups() - before;
    assert!((20..=26).contains(&lookups), "{lookups}");
    nodes.manager.revoke(keys[0].record.id, None).await.unwrap();
    nodes.manager.delete(keys[1].record.id).await.unwrap();
    let began = Instant::now();
    let kinds = streams.await.unwrap();
    assert!(began.elapsed() <= TTL, "{:?}", began.elapsed());
    for (number, kind) in kinds.into_iter().enumerate() {
        let expected = [RejectionKind::Revoked, RejectionKind::Unknown][number % 2];
        assert_eq!(kind, expected);
    }
}

/// As those of an application that knows keys by their digests alone.
#[tokio::test(start_paused = true)]
async fn a_store_without_ids_is_asked_by_digest() {
    let nodes = Nodes::plain();
    nodes.store.0.has_no_ids.store(true, SeqCst);
    let key = nodes.create().await;
    let mut stream = nodes.admitted(&key).revoked();
    sleep(TTL * 3).await;
    assert!(goes_on(&mut stream).await);
    nodes.manager.revoke(key.record.id, None).await.unwrap();
    assert_eq!(ends(stream).await.0, RejectionKind::Revoked);
}

#[tokio::test(start_paused = true)]
async fn streams_end_within_a_minute_when_the_store_has_been_silent_for_long() {
    let nodes = Nodes::cached().await;
    let key = nodes.create().await;
    let streams: Vec<_> =
        (0..100).map(|_| tokio::spawn(ends(nodes.admitted(&key).revoked()))).collect();
    let lasting = nodes.admitted(&key).revoked().outlasting_outages();
    let lasting = tokio::spawn(ends(lasting));
    sleep(TTL).await;
    nodes.store.0.fails.store(true, SeqCst);
    let before = nodes.store.lookups();
    let ended: Vec<_> = join_all(streams).await.into_iter().map(Result::unwrap).collect();
    assert!(ended.iter().all(|(kind, _)| *kind == RejectionKind::Unavailable));
    let first = ended.iter().map(|(_, after)| *after).min().unwrap();
    let last = ended.iter().map(|(_, after)| *after).max().unwrap();
    let silence = TTL + STALE_IF_ERROR;
    assert!(first >= silence, "{first:?}");
    // The store last answered in its first 30 seconds, and is asked every 30 from then on.
    assert!(last <= silence + TTL * 2 + Duration::from_mins(1), "{last:?}");
    assert!(last - first > Duration::from_secs(30), "they end together: {first:?} to {last:?}");
    // 1, 2, 4, 8, 16, and then 30 seconds apart.
    let lookups = nodes.store.lookups() - before;
    assert!(lookups <= 30, "{lookups}");
    assert!(!lasting.is_finished());
    nodes.store.0.fails.store(false, SeqCst);
    sleep(TTL).await;
    assert!(!lasting.is_finished());
    nodes.manager.revoke(key.record.id, None).await.unwrap();
    assert_eq!(lasting.await.unwrap().0, RejectionKind::Revoked);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_answers_again_in_time_ends_no_stream() {
    let nodes = Nodes::cached().await;
    let key = nodes.create().await;
    let stream = tokio::spawn(ends(nodes.admitted(&key).revoked()));
    sleep(TTL).await;
    nodes.store.0.fails.store(true, SeqCst);
    sleep(STALE_IF_ERROR - TTL).await;
    nodes.store.0.fails.store(false, SeqCst);
    sleep(Duration::from_hours(1) - STALE_IF_ERROR * 2).await;
    assert!(!stream.is_finished());
}

/// Also while the store is silent: what is known of the key says when it ends.
#[tokio::test(start_paused = true)]
async fn a_key_expires_while_the_store_is_silent() {
    let nodes = Nodes::cached().await;
    let end = NOW.saturating_add(Duration::from_mins(2));
    let new = NewKey { expires_at: Some(end), ..NewKey::named("k") };
    let key = nodes.manager.create(new).await.unwrap();
    let mut stream = nodes.admitted(&key).revoked().outlasting_outages();
    assert!(goes_on(&mut stream).await);
    nodes.store.0.fails.store(true, SeqCst);
    nodes.pass(Duration::from_mins(2)).await;
    let (kind, after) = ends(stream).await;
    assert_eq!(kind, RejectionKind::Expired);
    assert!(after <= TTL, "{after:?}");
}

/// Nothing is left of streams that went away.
#[tokio::test(start_paused = true)]
async fn a_watch_ends_with_its_last_stream() {
    let nodes = Nodes::plain();
    let key = nodes.create().await;
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let mut streams = [0; 3].map(|_| nodes.admitted(&key).revoked());
    assert_eq!(tasks(), before, "one that was not polled watches nothing");
    for stream in &mut streams {
        assert!(goes_on(stream).await);
    }
    assert_eq!(tasks(), before + 1);
    let [first, rest @ ..] = streams;
    drop(rest);
    sleep(TTL * 2).await;
    assert_eq!(tasks(), before + 1);
    drop(first);
    until(|| tasks() == before).await;
    // And another one may begin.
    let mut again = nodes.admitted(&key).revoked();
    assert!(goes_on(&mut again).await);
    nodes.manager.revoke(key.record.id, None).await.unwrap();
    assert_eq!(ends(again).await.0, RejectionKind::Revoked);
    until(|| tasks() == before).await;
}

/// A stream must not go on because nothing can tell of its key any more.
#[tokio::test(start_paused = true)]
async fn where_nothing_can_tell_a_stream_ends() {
    let nodes = Nodes::plain();
    let key = nodes.create().await;
    let admitted = nodes.admitted(&key);
    // Outside of a runtime.
    let stream = admitted.revoked();
    let outside = std::thread::spawn(move || stream.now_or_never()).join().unwrap();
    assert_eq!(outside, Some(RejectionKind::Unavailable));
    // With a watch whose runtime was shut down.
    let mut stream = admitted.revoked();
    let other = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            other.block_on(async { assert!(goes_on(&mut stream).await) });
            other.shutdown_background();
        });
    });
    // Another one begins.
    assert!(goes_on(&mut stream).await);
    nodes.manager.revoke(key.record.id, None).await.unwrap();
    assert_eq!(ends(stream).await.0, RejectionKind::Revoked);
    // Without its layer.
    drop(nodes);
    assert_eq!(ends(admitted.revoked()).await, (RejectionKind::Unavailable, AT_ONCE));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_panics_is_asked_five_times() {
    let nodes = Nodes::plain();
    let key = nodes.create().await;
    let stream = nodes.admitted(&key).revoked();
    let before = nodes.store.lookups();
    nodes.store.0.panics.store(true, SeqCst);
    assert_eq!(ends(stream).await, (RejectionKind::Unavailable, AT_ONCE));
    assert_eq!(nodes.store.lookups() - before, 5);
}
