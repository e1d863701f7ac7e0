//! Streams inside an [`OwnerLayer`] end with the owner of their key.

use std::{
    convert::Infallible,
    future::{Ready, pending, ready},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use tokio::time::sleep;
use tower::{Layer, ServiceExt, layer::util::Identity};
use tower_api_key::{
    ApiKeyLayer, AuthenticatedKey, KeyManager, NewKey, OwnerId, OwnerLayer, RejectionKind,
    clock::SettableClock,
    key::KeyRecord,
    manage::IssuedKey,
    owner::{CachedOwners, OwnerResolver},
    store::{CachedStore, KeyRepository, LocalInvalidations, MemoryStore},
};

use super::{AT_ONCE, NOW, STALE_IF_ERROR, TTL, ends, goes_on, until};

/// How often a store without a cache is asked for a key.
const EVERY: Duration = Duration::from_secs(30);

/// The answer of a resolver to every question. Clones are the same.
#[derive(Clone, Default)]
struct Owners(Arc<State>);

#[derive(Default)]
struct State {
    mode: AtomicU8,
    asked: AtomicUsize,
}

const ACTIVE: u8 = 0;
const INACTIVE: u8 = 1;
const FAILING: u8 = 2;
const SILENT: u8 = 3;

impl Owners {
    fn answer(&self, mode: u8) {
        self.0.mode.store(mode, SeqCst);
    }

    fn asked(&self) -> usize {
        self.0.asked.load(SeqCst)
    }

    fn resolver<T: Default + Send + Sync + 'static>(
        &self,
    ) -> impl OwnerResolver<Owner = T> + use<T> {
        let state = self.0.clone();
        move |_: OwnerId| {
            state.asked.fetch_add(1, SeqCst);
            let mode = state.mode.load(SeqCst);
            async move {
                match mode {
                    ACTIVE => Ok(Some(T::default())),
                    INACTIVE => Ok(None),
                    FAILING => Err(io::Error::other("connection refused")),
                    _ => pending().await,
                }
            }
        }
    }
}

struct Service {
    store: MemoryStore,
    manager: KeyManager,
    key: IssuedKey,
    layer: ApiKeyLayer,
}

impl Service {
    async fn plain() -> Self {
        let store = MemoryStore::new();
        let manager = KeyManager::new(store.clone());
        Self::with(store.clone(), manager, ApiKeyLayer::new(store)).await
    }

    /// With a cache that hears of the manager's changes.
    async fn cached() -> Self {
        let (store, bus) = (MemoryStore::new(), LocalInvalidations::new());
        let cache = CachedStore::builder(store.clone()).with_invalidations(bus.clone()).build();
        until(|| cache.stats().resets == 1).await;
        let manager = KeyManager::new(store.clone()).with_invalidations(bus);
        Self::with(store, manager, ApiKeyLayer::new(cache)).await
    }

    async fn with(store: MemoryStore, manager: KeyManager, layer: ApiKeyLayer) -> Self {
        let clock = SettableClock::new(NOW);
        let manager = manager.with_clock(clock.clone());
        let key = manager
            .create(NewKey { owner: Some("ada".into()), ..NewKey::named("k") })
            .await
            .unwrap();
        Self { store, manager, key, layer: layer.with_clock(clock) }
    }

    /// The identity that a handler behind this layer gets. The layer must live on for the owner to be asked for.
    async fn admitted<L, S, B>(&self, inner: &L) -> AuthenticatedKey
    where
        L: Layer<Echo, Service = S>,
        S: tower::Service<Request<()>, Response = Response<B>, Error = Infallible> + Clone,
    {
        let service = self.layer.layer(inner.layer(Echo));
        let request = Request::builder().header("x-api-key", self.key.secret.expose());
        let mut response = service.oneshot(request.body(()).unwrap()).await.unwrap();
        response.extensions_mut().remove().expect("admitted")
    }
}

/// Answers with the extensions of the request.
#[derive(Clone)]
struct Echo;

impl tower::Service<Request<()>> for Echo {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let mut response = Response::new(());
        response.extensions_mut().extend(request.into_parts().0.extensions);
        ready(Ok(response))
    }
}

type User = String;
type Team = Vec<String>;

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_its_owner_becomes_inactive() {
    let (service, owners) = (Service::plain().await, Owners::default());
    let layer = OwnerLayer::new(owners.resolver::<User>());
    let key = service.admitted(&layer).await;
    let mut stream = key.revoked();
    assert!(goes_on(&mut stream).await);
    owners.answer(INACTIVE);
    let (kind, after) = ends(stream).await;
    assert_eq!(kind, RejectionKind::InactiveOwner);
    assert!(after <= EVERY, "{after:?}");
    // So does one that begins then.
    assert_eq!(ends(key.revoked()).await, (RejectionKind::InactiveOwner, AT_ONCE));
}

#[tokio::test(start_paused = true)]
async fn a_check_of_the_layer_decides_as_well() {
    let (service, owners) = (Service::plain().await, Owners::default());
    let is_paid = Arc::new(AtomicBool::new(true));
    let check = is_paid.clone();
    let layer =
        OwnerLayer::new(owners.resolver::<User>()).with_active_check(move |_| check.load(SeqCst));
    let mut stream = service.admitted(&layer).await.revoked();
    assert!(goes_on(&mut stream).await);
    is_paid.store(false, SeqCst);
    assert_eq!(ends(stream).await.0, RejectionKind::InactiveOwner);
}

#[tokio::test(start_paused = true)]
async fn caches_add_what_they_keep() {
    let (service, owners) = (Service::cached().await, Owners::default());
    let clock = SettableClock::new(NOW);
    let cached = CachedOwners::builder(owners.resolver::<User>()).with_ttl(TTL);
    let cached = cached.with_clock(clock.clone()).build();
    let layer = OwnerLayer::new(cached);
    let key = service.admitted(&layer).await;
    let mut stream = key.revoked();
    assert!(goes_on(&mut stream).await);
    owners.answer(INACTIVE);
    let mut seconds = 0;
    while goes_on(&mut stream).await {
        clock.advance(Duration::from_secs(1));
        sleep(Duration::from_secs(1)).await;
        seconds += 1;
        assert!(seconds <= 2 * TTL.as_secs());
    }
    assert_eq!(ends(key.revoked()).await, (RejectionKind::InactiveOwner, AT_ONCE));
}

#[tokio::test(start_paused = true)]
async fn a_stream_follows_its_key_to_another_owner() {
    let (service, owners) = (Service::plain().await, Owners::default());
    let layer = OwnerLayer::new(owners.resolver::<User>());
    let key = service.admitted(&layer).await;
    let mut stream = key.revoked();
    assert!(goes_on(&mut stream).await);
    // No act of a manager does this, but a store of the application's own may.
    let old = service.store.get(service.key.record.id).await.unwrap().unwrap();
    let mut new = KeyRecord::clone(&old);
    new.owner = None;
    service.store.update(&old, &new).await.unwrap();
    let (kind, after) = ends(stream).await;
    assert_eq!(kind, RejectionKind::InactiveOwner);
    assert!(after <= EVERY, "{after:?}");
}

/// The answer about the owner before comes when the key has another one.
#[tokio::test(start_paused = true)]
async fn a_late_answer_about_another_owner_ends_no_stream() {
    let service = Service::plain().await;
    let is_late = Arc::new(AtomicBool::new(false));
    let late = is_late.clone();
    let resolver = move |id: OwnerId| {
        let is_late = late.load(SeqCst) && id.as_str() == "ada";
        async move {
            if is_late {
                sleep(EVERY * 3 / 2).await;
                return Ok::<_, Infallible>(None);
            }
            Ok(Some(User::default()))
        }
    };
    let layer = OwnerLayer::new(resolver).with_lookup_timeout(Duration::from_mins(10));
    let key = service.admitted(&layer).await;
    is_late.store(true, SeqCst);
    let mut stream = key.revoked();
    assert!(goes_on(&mut stream).await);
    let old = service.store.get(service.key.record.id).await.unwrap().unwrap();
    let mut new = KeyRecord::clone(&old);
    new.owner = Some("bob".into());
    service.store.update(&old, &new).await.unwrap();
    for _ in 0..10 {
        sleep(EVERY).await;
        assert!(goes_on(&mut stream).await);
    }
}

#[tokio::test(start_paused = true)]
async fn each_layer_on_the_way_decides() {
    let service = Service::plain().await;
    let (users, teams) = (Owners::default(), Owners::default());
    let user_layer = OwnerLayer::new(users.resolver::<User>());
    let both = (user_layer.clone(), OwnerLayer::new(teams.resolver::<Team>()));
    let mut of_both = service.admitted(&both).await.revoked();
    let mut of_user = service.admitted(&user_layer).await.revoked();
    let mut of_none = service.admitted(&Identity::new()).await.revoked();
    assert!(goes_on(&mut of_both).await);
    assert!(goes_on(&mut of_user).await);

    teams.answer(INACTIVE);
    assert_eq!(ends(of_both).await.0, RejectionKind::InactiveOwner);
    assert!(goes_on(&mut of_user).await);
    users.answer(INACTIVE);
    assert_eq!(ends(of_user).await.0, RejectionKind::InactiveOwner);
    assert!(goes_on(&mut of_none).await);
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_cannot_tell_is_as_silent_as_a_store() {
    for mode in [FAILING, SILENT] {
        let (service, owners) = (Service::cached().await, Owners::default());
        let layer = OwnerLayer::new(owners.resolver::<User>());
        let key = service.admitted(&layer).await;
        let (mut stream, mut patient) = (key.revoked(), key.revoked().outlasting_outages());
        assert!(goes_on(&mut stream).await);
        assert!(goes_on(&mut patient).await);
        owners.answer(mode);
        let (kind, after) = ends(stream).await;
        assert_eq!(kind, RejectionKind::Unavailable);
        assert!(after >= STALE_IF_ERROR, "{after:?}");
        assert!(after <= 3 * TTL + STALE_IF_ERROR + Duration::from_mins(1), "{after:?}");
        assert!(goes_on(&mut patient).await);
        // It answers again.
        owners.answer(ACTIVE);
        sleep(2 * TTL).await;
        let mut second = key.revoked();
        sleep(Duration::from_hours(1)).await;
        assert!(goes_on(&mut second).await);
        assert!(goes_on(&mut patient).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_resolver_holds_up_no_revocation() {
    let (service, owners) = (Service::cached().await, Owners::default());
    let layer = OwnerLayer::new(owners.resolver::<User>()).with_lookup_timeout(TTL);
    let mut stream = service.admitted(&layer).await.revoked();
    owners.answer(SILENT);
    assert!(goes_on(&mut stream).await);
    assert_eq!(owners.asked(), 2);
    service.manager.revoke(service.key.record.id, None).await.unwrap();
    assert_eq!(ends(stream).await, (RejectionKind::Revoked, AT_ONCE));
}

#[tokio::test(start_paused = true)]
async fn a_resolver_slower_than_the_time_to_live_is_waited_for() {
    let (service, owners) = (Service::cached().await, Owners::default());
    let slow = 3 * TTL;
    let resolver = {
        let owners = owners.clone();
        move |id: OwnerId| {
            let answer = owners.resolver::<User>();
            async move {
                sleep(slow).await;
                OwnerResolver::resolve(&answer, &id).await.map(|owner| owner.map(|_| User::new()))
            }
        }
    };
    let layer = OwnerLayer::new(resolver).with_lookup_timeout(2 * slow);
    let mut stream = service.admitted(&layer).await.revoked();
    sleep(Duration::from_hours(1)).await;
    assert!(goes_on(&mut stream).await);
    owners.answer(INACTIVE);
    let (kind, after) = ends(stream).await;
    assert_eq!(kind, RejectionKind::InactiveOwner);
    assert!(after <= 2 * slow + TTL, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn one_question_serves_all_streams_of_a_key() {
    let (service, owners) = (Service::cached().await, Owners::default());
    let layer = OwnerLayer::new(owners.resolver::<User>());
    let key = service.admitted(&layer).await;
    // Without a stream there is none but that of the request.
    sleep(10 * TTL).await;
    assert_eq!(owners.asked(), 1);
    let mut streams: Vec<_> = (0..100).map(|_| key.revoked()).collect();
    for stream in &mut streams {
        assert!(goes_on(stream).await);
    }
    assert_eq!(owners.asked(), 2);
    sleep(10 * TTL).await;
    // A key is looked up up to a tenth earlier.
    assert!((11..=14).contains(&owners.asked()), "{}", owners.asked());
}
