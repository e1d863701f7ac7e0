//! `CachedOwners`, mostly through the layers: how often the resolver is asked, and what is said
//! meanwhile. What it shares with `CachedStore` is tested there.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{FutureExt, future::join_all};
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::{sync::Notify, time::Instant};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_api_key::{
    ApiKeyLayer, KeyHasher, KeyId, Owner, OwnerId, OwnerLayer, Rejection,
    clock::SettableClock,
    key::KeyRecord,
    owner::{CachedOwners, CachedOwnersBuilder, OwnerResolver},
    store::{KeyRepository, Lookup, MemoryStore},
};

use crate::support::{MILLISECOND, NOT_FOUND_TTL, NOW, STALE_IF_ERROR, TTL, until};

const SOFT_TIMEOUT: Duration = Duration::from_millis(500);
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Active,
    Inactive,
    Fail,
    Hang,
    Panic,
}

/// The application's users. Clones are the same.
#[derive(Clone)]
struct Users(Arc<State>);

struct State {
    mode: Mutex<Mode>,
    calls: AtomicUsize,
    /// Calls wait here, after they have read the mode, while it is closed.
    is_closed: Mutex<bool>,
    opened: Notify,
}

impl Users {
    fn set(&self, mode: Mode) {
        *self.0.mode.lock().unwrap() = mode;
    }

    fn calls(&self) -> usize {
        self.0.calls.load(SeqCst)
    }

    fn close(&self) {
        *self.0.is_closed.lock().unwrap() = true;
    }

    /// Lets those go on who wait, and who come.
    fn open(&self) {
        *self.0.is_closed.lock().unwrap() = false;
        self.0.opened.notify_waiters();
    }

    async fn asked(&self, calls: usize) {
        until(|| self.calls() >= calls).await;
    }
}

#[async_trait]
impl OwnerResolver for Users {
    type Owner = String;
    type Error = &'static str;

    async fn resolve(&self, id: &OwnerId) -> Result<Option<Owner<String>>, &'static str> {
        let mode = *self.0.mode.lock().unwrap();
        let opened = self.0.opened.notified();
        let is_closed = *self.0.is_closed.lock().unwrap();
        let call = self.0.calls.fetch_add(1, SeqCst) + 1;
        if is_closed {
            opened.await;
        }
        match mode {
            Mode::Active => Ok(Some(Owner::new(format!("{id}, call {call}")))),
            Mode::Inactive => Ok(None),
            Mode::Fail => Err("no route to the users"),
            Mode::Hang => std::future::pending().await,
            Mode::Panic => panic!("a bug in a resolver"),
        }
    }
}

/// Keys in memory, and a cache with the default times in front of the users.
struct Fixture {
    keys: MemoryStore,
    owners: CachedOwners<Users>,
    users: Users,
    clock: SettableClock,
}

impl Fixture {
    fn new() -> Self {
        Self::with(|owners| owners)
    }

    fn with(change: impl FnOnce(CachedOwnersBuilder<Users>) -> CachedOwnersBuilder<Users>) -> Self {
        let users = Users(Arc::new(State {
            mode: Mutex::new(Mode::Active),
            calls: AtomicUsize::new(0),
            is_closed: Mutex::new(false),
            opened: Notify::new(),
        }));
        let clock = SettableClock::new(NOW);
        let owners = change(CachedOwners::builder(users.clone()).with_clock(clock.clone())).build();
        Self { keys: MemoryStore::new(), owners, users, clock }
    }

    /// A fixture whose cache knows `ada`.
    async fn knowing_ada() -> Self {
        let this = Self::new();
        assert_eq!(this.ask("ada").await, "ada, call 1");
        this
    }

    fn at(&self, after: Duration) {
        self.clock.set(NOW.saturating_add(after));
    }

    /// What a request with a key of this owner is answered: the owner, or the code of the denial.
    async fn ask(&self, owner: &str) -> String {
        let key = format!("a-key-that-belongs-to-{owner}");
        let digest = KeyHasher::sha256().digest(&key);
        let mut record = KeyRecord::new(KeyId::generate(NOW).unwrap(), digest, "key", NOW);
        record.owner = Some(owner.into());
        // From the second time on, it is a duplicate.
        let _ = self.keys.insert(&record).await;
        let inner = service_fn(async |request: Request<()>| {
            let owner = Owner::<String>::from_extensions(request.extensions()).unwrap();
            Ok::<_, Infallible>(Response::new(owner.to_string()))
        });
        let service = ServiceBuilder::new()
            .layer(ApiKeyLayer::new(self.keys.clone()))
            .layer(OwnerLayer::new(self.owners.clone()))
            .service(inner);
        let request = Request::builder().header("x-api-key", key).body(()).unwrap();
        let response = service.oneshot(request).await.unwrap();
        if let Some(rejection) = response.extensions().get::<Rejection>() {
            return rejection.kind().code().to_owned();
        }
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.into()).unwrap()
    }

    /// [`Self::ask`] where nothing may wait.
    fn ask_now(&self, owner: &str) -> String {
        self.ask(owner).now_or_never().expect("it does not wait")
    }
}

#[tokio::test]
async fn who_was_resolved_once_is_known() {
    let fixture = Fixture::knowing_ada().await;
    for _ in 0..3 {
        assert_eq!(fixture.ask_now("ada"), "ada, call 1");
    }
    assert_eq!(fixture.ask("bob").await, "bob, call 2", "each for themselves");
    assert_eq!(fixture.users.calls(), 2);
    let stats = fixture.owners.stats();
    assert_eq!((stats.hits, stats.misses, stats.entries), (3, 2, 2));
}

#[test]
fn a_hit_needs_no_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let fixture = runtime.block_on(Fixture::knowing_ada());
    drop(runtime);
    assert_eq!(fixture.ask_now("ada"), "ada, call 1");
}

#[tokio::test]
async fn who_is_not_active_is_remembered_for_a_shorter_time() {
    let fixture = Fixture::new();
    fixture.users.set(Mode::Inactive);
    assert_eq!(fixture.ask("eve").await, "inactive_owner");
    fixture.users.set(Mode::Active);
    // A tenth of the time may be missing.
    fixture.at(NOT_FOUND_TTL * 9 / 10 - MILLISECOND);
    assert_eq!(fixture.ask_now("eve"), "inactive_owner");
    fixture.at(NOT_FOUND_TTL);
    assert_eq!(fixture.ask("eve").await, "eve, call 2");
}

#[tokio::test]
async fn who_became_inactive_is_refused_when_the_time_is_up() {
    let fixture = Fixture::knowing_ada().await;
    fixture.users.set(Mode::Inactive);
    // A tenth may be missing, and in the last fifth they are asked for in the background.
    fixture.at(TTL * 72 / 100 - MILLISECOND);
    assert_eq!(fixture.ask_now("ada"), "ada, call 1");
    assert_eq!(fixture.users.calls(), 1);
    fixture.at(TTL);
    assert_eq!(fixture.ask("ada").await, "inactive_owner");
    assert_eq!(fixture.users.calls(), 2);
}

#[tokio::test]
async fn owners_in_use_are_resolved_again_in_the_background() {
    let fixture = Fixture::knowing_ada().await;
    // Between four fifths of the longest time, and the shortest.
    fixture.at(TTL * 85 / 100);
    assert_eq!(fixture.ask_now("ada"), "ada, call 1");
    fixture.users.asked(2).await;
    until(|| fixture.ask_now("ada") == "ada, call 2").await;
    assert_eq!((fixture.users.calls(), fixture.owners.stats().refreshes), (2, 1));
}

#[tokio::test]
async fn concurrent_misses_are_one_call() {
    let fixture = Fixture::new();
    fixture.users.close();
    let all = join_all((0..50).map(|_| fixture.ask("ada")));
    let open = async {
        fixture.users.asked(1).await;
        until(|| fixture.owners.stats().coalesced == 49).await;
        fixture.users.open();
    };
    let (answers, ()) = tokio::join!(all, open);
    assert!(answers.iter().all(|answer| answer == "ada, call 1"), "{answers:?}");
    assert_eq!(fixture.users.calls(), 1);
}

#[tokio::test]
async fn a_caller_who_goes_away_takes_nobodys_answer_along() {
    let fixture = Fixture::new();
    fixture.users.close();
    let mut first = Box::pin(fixture.ask("ada"));
    assert!(first.as_mut().now_or_never().is_none());
    fixture.users.asked(1).await;
    drop(first);
    fixture.users.open();
    assert_eq!(fixture.ask("ada").await, "ada, call 1");
}

#[tokio::test]
async fn who_is_forgotten_is_resolved_anew() {
    let fixture = Fixture::knowing_ada().await;
    assert_eq!(fixture.ask("bob").await, "bob, call 2");
    fixture.users.set(Mode::Inactive);
    fixture.owners.forget(&"ada".into());
    assert_eq!(fixture.ask("ada").await, "inactive_owner");
    assert_eq!(fixture.ask_now("bob"), "bob, call 2");
    fixture.users.set(Mode::Active);
    fixture.owners.forget(&"ada".into());
    assert_eq!(fixture.ask("ada").await, "ada, call 4");
    fixture.owners.clear();
    assert_eq!(fixture.ask("bob").await, "bob, call 5");
}

#[tokio::test]
async fn who_is_forgotten_does_not_go_on_when_the_resolver_fails() {
    let fixture = Fixture::knowing_ada().await;
    fixture.users.set(Mode::Fail);
    fixture.owners.forget(&"ada".into());
    assert_eq!(fixture.ask("ada").await, "store_unavailable");
}

/// The call has read what was before the change.
#[tokio::test]
async fn a_change_wins_against_a_call_that_is_on_its_way() {
    let fixture = Fixture::new();
    fixture.users.close();
    let asking = fixture.ask("ada");
    let change = async {
        fixture.users.asked(1).await;
        fixture.users.set(Mode::Inactive);
        fixture.owners.forget(&"ada".into());
        fixture.users.asked(2).await;
        fixture.users.open();
    };
    let (answer, ()) = tokio::join!(asking, change);
    assert_eq!(answer, "inactive_owner");
    assert_eq!(fixture.ask_now("ada"), "inactive_owner");
}

#[tokio::test]
async fn when_the_resolver_fails_known_owners_go_on_for_a_while() {
    let fixture = Fixture::knowing_ada().await;
    fixture.users.set(Mode::Fail);
    fixture.at(TTL);
    assert_eq!(fixture.ask("ada").await, "ada, call 1");
    assert_eq!(fixture.ask("bob").await, "store_unavailable");
    // They rest for a second, and then the resolver is asked again.
    let calls = fixture.users.calls();
    assert_eq!(fixture.ask_now("ada"), "ada, call 1");
    assert_eq!(fixture.users.calls(), calls);
    // A tenth of the time to live may be missing.
    fixture.at(TTL * 9 / 10 + STALE_IF_ERROR - MILLISECOND);
    assert_eq!(fixture.ask("ada").await, "ada, call 1");
    fixture.at(TTL + STALE_IF_ERROR);
    assert_eq!(fixture.ask("ada").await, "store_unavailable");
    fixture.users.set(Mode::Inactive);
    fixture.at(TTL + STALE_IF_ERROR + Duration::from_secs(1));
    assert_eq!(fixture.ask("ada").await, "inactive_owner");
}

#[tokio::test]
async fn who_is_inactive_does_not_go_on() {
    let fixture = Fixture::new();
    fixture.users.set(Mode::Inactive);
    assert_eq!(fixture.ask("eve").await, "inactive_owner");
    fixture.users.set(Mode::Fail);
    fixture.at(NOT_FOUND_TTL);
    assert_eq!(fixture.ask("eve").await, "store_unavailable", "nobody knows");
}

#[tokio::test]
async fn going_on_can_be_turned_off() {
    let fixture = Fixture::with(|owners| owners.with_stale_if_error(Duration::ZERO));
    assert_eq!(fixture.ask("ada").await, "ada, call 1");
    fixture.users.set(Mode::Fail);
    fixture.at(TTL);
    assert_eq!(fixture.ask("ada").await, "store_unavailable");
}

/// What fails for one owner says nothing about the others: those whose time is up are asked for.
#[tokio::test]
async fn one_owner_who_cannot_be_resolved_is_no_outage() {
    let fixture = Fixture::knowing_ada().await;
    fixture.at(TTL);
    fixture.users.set(Mode::Fail);
    assert_eq!(fixture.ask("bob").await, "store_unavailable");
    fixture.users.set(Mode::Inactive);
    assert_eq!(fixture.ask("ada").await, "inactive_owner");
}

#[tokio::test(start_paused = true)]
async fn known_owners_wait_a_little_for_a_resolver_that_hangs() {
    let fixture = Fixture::knowing_ada().await;
    fixture.at(TTL);
    fixture.users.set(Mode::Hang);
    let start = Instant::now();
    assert_eq!(fixture.ask("ada").await, "ada, call 1");
    assert_eq!(start.elapsed(), SOFT_TIMEOUT);
    assert_eq!(fixture.ask_now("ada"), "ada, call 1", "now it is known");
}

#[tokio::test(start_paused = true)]
async fn others_wait_until_the_call_is_given_up() {
    let fixture = Fixture::with(|owners| owners.with_lookup_timeout(LOOKUP_TIMEOUT / 2));
    fixture.users.set(Mode::Hang);
    let start = Instant::now();
    assert_eq!(fixture.ask("ada").await, "store_unavailable");
    assert_eq!(start.elapsed(), LOOKUP_TIMEOUT / 2);
}

#[tokio::test]
async fn a_panic_is_an_error_for_those_who_wait() {
    let fixture = Fixture::new();
    fixture.users.set(Mode::Panic);
    assert_eq!(fixture.ask("ada").await, "store_unavailable");
    fixture.users.set(Mode::Active);
    assert_eq!(fixture.ask("ada").await, "ada, call 2");
}

#[tokio::test]
async fn there_is_room_for_so_many() {
    const CAPACITY: usize = 256;
    let fixture = Fixture::with(|owners| owners.with_capacity(CAPACITY));
    for number in 0..1_000 {
        let expected = format!("{number}, call {}", number + 1);
        assert_eq!(fixture.ask(&number.to_string()).await, expected);
    }
    let entries = fixture.owners.stats().entries;
    assert!(entries <= CAPACITY && entries > CAPACITY / 2, "{entries}");
}

#[tokio::test]
async fn clones_share_what_they_know() {
    let fixture = Fixture::knowing_ada().await;
    let clone = fixture.owners.clone();
    let Some(Lookup::Found(owner)) = clone.resolve_now(&"ada".into()) else { panic!("unknown") };
    assert_eq!(*owner, "ada, call 1");
    clone.forget(&"ada".into());
    assert_eq!(fixture.ask("ada").await, "ada, call 2");
}
