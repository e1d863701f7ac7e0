//! A store that reads from a replica which lags: nothing is answered that is older than what was
//! announced, and no key is refused because the replica does not have it yet. Tokio's clock is paused: it
//! moves to the next timer when nothing else is left to do.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::{sync::Semaphore, time::sleep};
use tower_api_key::{
    KeyId, KeyManager, NewKey,
    clock::{Clock, SettableClock},
    key::{KeyDigest, KeyRecord},
    manage::{IssuedKey, KeyPatch, KeySet, RotationGrace},
    store::{
        AnnouncedKey, AnnouncedState, Announcement, ApplyOutcome, CachedStore, CachedStoreBuilder,
        Invalidations, KeyRepository, KeyStore, LocalInvalidations, MemoryStore, StoreError,
        StoreErrorKind, Subscription,
    },
};

use crate::{
    listening::Bus,
    support::{NOW, TTL, digest, record, until},
};

pub(crate) const LAG_BOUND: Duration = Duration::from_mins(1);
/// Later than a floor lasts.
pub(crate) const LATER: Duration = Duration::from_secs(91);

/// A primary, and a replica that has what it was told to have. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Replicated(pub(crate) Arc<State>);

#[derive(Default)]
pub(crate) struct State {
    pub(crate) primary: MemoryStore,
    replica: Mutex<HashMap<[u8; 32], Arc<KeyRecord>>>,
    /// Whether `find` asks the primary, as most stores do.
    has_no_replica: AtomicBool,
    pub(crate) is_down: AtomicBool,
    asked: [AtomicUsize; 2],
    /// What the primary has of keys since a fail-over.
    fell_back: Mutex<HashMap<[u8; 32], Option<Arc<KeyRecord>>>>,
    /// Answers of the primary wait for one of these.
    held: Mutex<Option<Arc<Semaphore>>>,
}

impl Replicated {
    /// The replica has this key as it is now.
    pub(crate) async fn replicate(&self, digest: &KeyDigest) {
        let found = self.0.primary.find(digest).await.unwrap();
        let mut replica = self.0.replica.lock().unwrap();
        match found {
            Some(record) => replica.insert(*digest.as_bytes(), record),
            None => replica.remove(digest.as_bytes()),
        };
    }

    /// The primary has this of a key from now on, as after a fail-over.
    fn falls_back(&self, digest: &KeyDigest, to: Option<Arc<KeyRecord>>) {
        self.0.fell_back.lock().unwrap().insert(*digest.as_bytes(), to);
    }

    /// Each answer of the primary waits for a permit from now on, and is of the moment at which it was asked.
    pub(crate) fn hold(&self) -> Arc<Semaphore> {
        let held = Arc::new(Semaphore::new(0));
        *self.0.held.lock().unwrap() = Some(held.clone());
        held
    }

    /// How often the replica and the primary were asked.
    pub(crate) fn asked(&self) -> [usize; 2] {
        [0, 1].map(|which| self.0.asked[which].load(SeqCst))
    }
}

#[async_trait]
impl KeyStore for Replicated {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.0.asked[0].fetch_add(1, SeqCst);
        if self.0.has_no_replica.load(SeqCst) {
            return self.0.primary.find(digest).await;
        }
        Ok(self.0.replica.lock().unwrap().get(digest.as_bytes()).cloned())
    }

    async fn find_fresh(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.0.asked[1].fetch_add(1, SeqCst);
        if self.0.is_down.load(SeqCst) {
            return Err(StoreError::unavailable("connection refused"));
        }
        let fell_back = self.0.fell_back.lock().unwrap().get(digest.as_bytes()).cloned();
        let found = match fell_back {
            Some(found) => found,
            None => self.0.primary.find(digest).await?,
        };
        let held = self.0.held.lock().unwrap().clone();
        if let Some(held) = held {
            held.acquire().await.unwrap().forget();
        }
        Ok(found)
    }

    async fn find_by_id(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.0.primary.get(id).await
    }

    fn may_lag(&self) -> bool {
        !self.0.has_no_replica.load(SeqCst)
    }
}

/// A node that reads from the replica, and a manager on another one.
pub(crate) struct Nodes {
    pub(crate) store: Replicated,
    pub(crate) bus: LocalInvalidations,
    pub(crate) cache: CachedStore<Replicated>,
    pub(crate) manager: KeyManager,
    pub(crate) clock: SettableClock,
}

impl Nodes {
    /// Which has listened for long enough to ask the replica.
    pub(crate) async fn new() -> Self {
        let nodes = Self::with(CachedStoreBuilder::with_invalidations);
        until(|| nodes.cache.stats().resets == 1).await;
        sleep(LAG_BOUND).await;
        nodes
    }

    /// The same, with room for one key in its cache.
    async fn forgetful() -> Self {
        let nodes = Self::with(|cache, bus| cache.with_invalidations(bus).with_capacity(1));
        until(|| nodes.cache.stats().resets == 1).await;
        sleep(LAG_BOUND).await;
        nodes
    }

    fn with(
        settings: impl FnOnce(
            CachedStoreBuilder<Replicated>,
            LocalInvalidations,
        ) -> CachedStoreBuilder<Replicated>,
    ) -> Self {
        let (store, bus) = (Replicated::default(), LocalInvalidations::new());
        let clock = SettableClock::new(NOW);
        let cache = CachedStore::builder(store.clone()).with_clock(clock.clone());
        let cache = settings(cache, bus.clone()).build();
        let primary = store.0.primary.clone().with_clock(clock.clone());
        let manager = KeyManager::new(primary).with_clock(clock.clone());
        let manager = manager.with_invalidations(bus.clone());
        Self { store, bus, cache, manager, clock }
    }

    pub(crate) async fn create(&self) -> IssuedKey {
        self.manager.create(NewKey::named("k")).await.unwrap()
    }

    /// A key that the replica has, and the cache.
    pub(crate) async fn known(&self) -> IssuedKey {
        let key = self.create().await;
        self.store.replicate(&key.record.digest).await;
        self.is_good(&key).await;
        sleep(LATER).await;
        key
    }

    async fn revoke(&self, key: &IssuedKey) {
        self.manager.revoke(key.record.id, None).await.unwrap();
        until(|| self.cache.find_now(&key.record.digest).is_none()).await;
    }

    pub(crate) async fn find(
        &self,
        key: &IssuedKey,
    ) -> Result<Option<Arc<KeyRecord>>, StoreErrorKind> {
        self.cache.find(&key.record.digest).await.map_err(|error| error.kind())
    }

    pub(crate) async fn is_good(&self, key: &IssuedKey) {
        let found = self.find(key).await.unwrap().expect("it exists");
        assert!(found.details.revoked_at.is_none(), "it is revoked");
    }

    pub(crate) async fn is_revoked(&self, key: &IssuedKey) {
        let found = self.find(key).await.unwrap().expect("it exists");
        assert!(found.details.revoked_at.is_some(), "the replica was believed");
    }

    /// A key that is revoked is neither let in nor denied as revoked before the authority answers again.
    pub(crate) async fn is_undecided_while_the_authority_is_silent(&self, key: &IssuedKey) {
        self.store.0.is_down.store(true, SeqCst);
        for _ in 0..3 {
            assert_eq!(self.find(key).await, Err(StoreErrorKind::Unavailable));
            self.clock.advance(Duration::from_secs(1));
        }
        self.store.0.is_down.store(false, SeqCst);
        self.clock.advance(Duration::from_secs(1));
        self.is_revoked(key).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_lags_revives_no_revoked_key() {
    let nodes = Nodes::new().await;
    let key = nodes.known().await;
    nodes.revoke(&key).await;
    let before = nodes.store.asked();
    nodes.is_revoked(&key).await;
    let [replica, primary] = nodes.store.asked();
    assert_eq!([replica, primary], [before[0], before[1] + 1], "only the authority is asked");
    // Also when the answer has lived its time.
    nodes.clock.advance(TTL);
    nodes.is_revoked(&key).await;
    // From then on the replica is taken to have it.
    nodes.store.replicate(&key.record.digest).await;
    nodes.clock.advance(TTL);
    sleep(LATER).await;
    nodes.is_revoked(&key).await;
    assert_eq!(nodes.store.asked(), [before[0] + 1, primary + 1]);
}

/// Nor where an earlier version announces it, without a revision, to a node that has not seen the key.
#[tokio::test(start_paused = true)]
async fn without_a_revision_the_authority_is_asked_as_well() {
    let nodes = Nodes::new().await;
    let key = nodes.known().await;
    let silent = KeyManager::new(nodes.store.0.primary.clone());
    silent.revoke(key.record.id, None).await.unwrap();
    nodes.cache.clear();
    sleep(LATER).await;
    // The fault that floors are for.
    nodes.is_good(&key).await;
    nodes.bus.publish(&[key.record.digest].into()).await.unwrap();
    until(|| nodes.cache.find_now(&key.record.digest).is_none()).await;
    nodes.is_revoked(&key).await;
}

/// Two lookups of one key at once: the answer of the first is dropped by the announcement.
#[tokio::test(start_paused = true)]
async fn what_a_replica_said_before_the_announcement_is_not_kept() {
    let nodes = Nodes::new().await;
    for _ in 0..3 {
        let key = nodes.known().await;
        nodes.clock.advance(TTL);
        let (found, ()) = tokio::join!(nodes.find(&key), nodes.revoke(&key));
        found.unwrap();
        nodes.is_revoked(&key).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_good_before_the_replica_has_it() {
    let nodes = Nodes::new().await;
    // Announced.
    let key = nodes.create().await;
    nodes.is_good(&key).await;
    // Of which nothing was heard, as from a bus that has just died.
    let silent = KeyManager::new(nodes.store.0.primary.clone());
    let key = silent.create(NewKey::named("k")).await.unwrap();
    nodes.is_good(&key).await;
    // One that was tried before it existed.
    let record = record(digest(7));
    assert!(nodes.cache.find(&record.digest).await.unwrap().is_none());
    nodes.store.0.primary.insert(&record).await.unwrap();
    let change =
        AnnouncedKey::new(record.digest).with_change(record.revision, AnnouncedState::Live);
    nodes.bus.publish(&Announcement::new([change])).await.unwrap();
    until(|| nodes.cache.find_now(&record.digest).is_none()).await;
    assert!(nodes.cache.find(&record.digest).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_replicas_no_is_confirmed_once() {
    let nodes = Nodes::new().await;
    for _ in 0..3 {
        assert!(nodes.cache.find(&digest(1)).await.unwrap().is_none());
    }
    assert_eq!(nodes.store.asked(), [1, 1]);
    // It is not taken for an answer where the authority has none.
    nodes.store.0.is_down.store(true, SeqCst);
    let error = nodes.cache.find(&digest(2)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
}

/// What was last known of it does not help: it was forgotten.
#[tokio::test(start_paused = true)]
async fn a_changed_key_is_neither_good_nor_bad_while_the_authority_is_silent() {
    let nodes = Nodes::new().await;
    let key = nodes.known().await;
    nodes.revoke(&key).await;
    nodes.is_undecided_while_the_authority_is_silent(&key).await;
}

/// As after a fail-over to a server that had not received everything: of the acts that it has lost, none is
/// denied as unknown, and none is let in as it was.
#[tokio::test(start_paused = true)]
async fn an_authority_that_is_behind_answers_nothing() {
    let nodes = Nodes::new().await;
    let key = nodes.known().await;
    let revision = key.record.revision;
    let says = async |state, revision| {
        let change = AnnouncedKey::new(key.record.digest).with_change(revision, state);
        nodes.bus.publish(&Announcement::new([change])).await.unwrap();
        until(|| nodes.cache.find_now(&key.record.digest).is_none()).await;
    };
    says(AnnouncedState::Revoked, revision + 1).await;
    assert_eq!(nodes.find(&key).await, Err(StoreErrorKind::Behind));
    // The other keys do not suffer from it.
    let other = nodes.create().await;
    nodes.is_good(&other).await;
    // A key that was made, and is not there.
    let lost = AnnouncedKey::new(digest(7)).with_change(revision, AnnouncedState::Live);
    nodes.bus.publish(&Announcement::new([lost])).await.unwrap();
    until(|| nodes.cache.find_now(&digest(7)).is_none()).await;
    sleep(Duration::from_millis(1)).await;
    let error = nodes.cache.find(&digest(7)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Behind);
    // A later change is above what was lost, since revisions follow the clock.
    nodes.clock.advance(Duration::from_secs(5));
    nodes.manager.disable(key.record.id).await.unwrap();
    nodes.manager.enable(key.record.id).await.unwrap();
    sleep(Duration::from_millis(1)).await;
    nodes.is_good(&key).await;
    sleep(LATER).await;
    assert!(nodes.cache.find(&digest(7)).await.unwrap().is_none());
}

/// A fail-over after another: the first lost a change that this node has found, and the next one the key itself.
#[tokio::test(start_paused = true)]
async fn an_authority_that_falls_behind_further_answers_nothing() {
    let nodes = Nodes::new().await;
    for is_announced in [true, false] {
        let key = nodes.create().await;
        let digest = key.record.digest;
        if !is_announced {
            sleep(LATER).await;
        }
        nodes.clock.advance(Duration::from_secs(1));
        let silent = KeyManager::new(nodes.store.0.primary.clone());
        let silent = silent.with_clock(nodes.clock.clone());
        let patch = KeyPatch { name: Some("other".into()), ..KeyPatch::default() };
        silent.update(key.record.id, patch).await.unwrap();
        nodes.is_good(&key).await;
        nodes.clock.advance(TTL);
        for lost in [Some(key.record.clone()), None] {
            nodes.store.falls_back(&digest, lost);
            assert_eq!(nodes.find(&key).await, Err(StoreErrorKind::Behind), "{is_announced}");
        }
        // It is believed again once it has lasted.
        sleep(LATER).await;
        nodes.clock.advance(TTL);
        assert_eq!(nodes.find(&key).await, Ok(None));
    }
}

/// A deletion that was missed: the authority does not find a key that was announced as live. It may be behind,
/// so the key is not refused as unknown; and what was last known of it is no excuse.
#[tokio::test(start_paused = true)]
async fn what_was_last_known_is_no_excuse_for_an_answer_below_a_floor() {
    let nodes = Nodes::new().await;
    let key = nodes.create().await;
    nodes.store.replicate(&key.record.digest).await;
    nodes.is_good(&key).await;
    let silent = KeyManager::new(nodes.store.0.primary.clone());
    silent.delete(key.record.id).await.unwrap();
    nodes.clock.advance(TTL);
    for _ in 0..3 {
        assert_eq!(nodes.find(&key).await, Err(StoreErrorKind::Behind));
        nodes.clock.advance(Duration::from_millis(100));
    }
    nodes.store.0.is_down.store(true, SeqCst);
    assert_eq!(nodes.find(&key).await, Err(StoreErrorKind::Unavailable));
    nodes.store.0.is_down.store(false, SeqCst);
    sleep(LATER).await;
    nodes.clock.advance(TTL);
    nodes.store.replicate(&key.record.digest).await;
    assert_eq!(nodes.find(&key).await, Ok(None));
}

/// Also of what nothing was announced, or not to this node.
#[tokio::test(start_paused = true)]
async fn what_was_refused_is_not_let_in_by_an_older_row() {
    let nodes = Nodes::new().await;
    let key = nodes.known().await;
    let before = nodes.store.0.primary.get(key.record.id).await.unwrap().unwrap();
    let silent = KeyManager::new(nodes.store.0.primary.clone());
    silent.revoke(key.record.id, None).await.unwrap();
    nodes.store.replicate(&key.record.digest).await;
    nodes.clock.advance(TTL);
    nodes.is_revoked(&key).await;
    // A fail-over: both have the row as it was.
    let now = nodes.store.0.primary.get(key.record.id).await.unwrap().unwrap();
    assert_eq!(nodes.store.0.primary.update(&now, &before).await.unwrap(), ApplyOutcome::Done);
    nodes.store.replicate(&key.record.digest).await;
    nodes.clock.advance(TTL);
    for _ in 0..3 {
        assert_eq!(nodes.find(&key).await.map(drop), Err(StoreErrorKind::Behind));
        nodes.clock.advance(Duration::from_millis(100));
    }
    // It may be a backup that was restored on purpose.
    sleep(LATER).await;
    nodes.is_good(&key).await;
}

/// A cache has forgotten what it said, and has heard of nothing that would tell.
#[tokio::test(start_paused = true)]
async fn what_was_refused_and_forgotten_is_not_let_in_by_a_replica() {
    for (by_watermark, after_reset) in [(false, false), (true, false), (false, true)] {
        let nodes = Nodes::forgetful().await;
        if after_reset {
            nodes.bus.publish(&Announcement::reset()).await.unwrap();
            sleep(LATER).await;
        }
        let (key, other) = (nodes.known_of("ada").await, nodes.known().await);
        let before = nodes.store.0.primary.get(key.record.id).await.unwrap().unwrap();
        let silent = KeyManager::new(nodes.store.0.primary.clone()).with_clock(nodes.clock.clone());
        if by_watermark {
            nodes.clock.advance(Duration::from_millis(1));
            let now = Clock::now(&nodes.clock);
            silent.revoke_issued_before(now, Some("ada")).await.unwrap();
        } else {
            silent.revoke(key.record.id, None).await.unwrap();
        }
        nodes.store.replicate(&key.record.digest).await;
        nodes.clock.advance(TTL);
        nodes.is_revoked(&key).await;
        // The replica that answers now is behind.
        nodes.store.0.replica.lock().unwrap().insert(*key.record.digest.as_bytes(), before);
        for _ in 0..3 {
            // It takes the other one's place.
            nodes.is_good(&other).await;
            assert!(nodes.cache.find_now(&key.record.digest).is_none());
            nodes.is_revoked(&key).await;
        }
    }
}

/// What a lookup has read before a reset is forgotten with it.
#[tokio::test(start_paused = true)]
async fn an_end_that_was_read_before_a_reset_is_no_floor_after_it() {
    let nodes = Nodes::new().await;
    let key = nodes.known().await;
    let before = nodes.store.0.primary.get(key.record.id).await.unwrap().unwrap();
    let silent = KeyManager::new(nodes.store.0.primary.clone());
    silent.revoke(key.record.id, None).await.unwrap();
    // A replica that does not have the key: the authority is asked.
    nodes.store.0.replica.lock().unwrap().clear();
    nodes.clock.advance(TTL * 100);
    let held = nodes.store.hold();
    let asked = nodes.store.asked()[1];
    let (cache, digest) = (nodes.cache.clone(), key.record.digest);
    let lookup = tokio::spawn(async move { cache.find(&digest).await });
    until(|| nodes.store.asked()[1] == asked + 1).await;
    let now = nodes.store.0.primary.get(key.record.id).await.unwrap().unwrap();
    assert_eq!(nodes.store.0.primary.update(&now, &before).await.unwrap(), ApplyOutcome::Done);
    nodes.bus.publish(&Announcement::reset()).await.unwrap();
    sleep(Duration::from_millis(1)).await;
    held.add_permits(100);
    drop(lookup.await.unwrap());
    nodes.is_good(&key).await;
}

/// As streams ask for their keys.
#[tokio::test(start_paused = true)]
async fn an_authority_that_is_behind_answers_nothing_by_id() {
    let nodes = Nodes::new().await;
    let key = nodes.known().await;
    let find = async || nodes.cache.find_by_id(key.record.id).await.map_err(|error| error.kind());
    assert!(find().await.unwrap().is_some());
    let later = key.record.revision + 1;
    let change = AnnouncedKey::new(key.record.digest).with_change(later, AnnouncedState::Revoked);
    nodes.bus.publish(&Announcement::new([change])).await.unwrap();
    until(|| nodes.cache.find_now(&key.record.digest).is_none()).await;
    assert_eq!(find().await, Err(StoreErrorKind::Behind));
}

/// One that was announced late is no reason to believe an older row.
#[tokio::test(start_paused = true)]
async fn an_announcement_of_an_earlier_change_takes_back_nothing() {
    let nodes = Nodes::forgetful().await;
    let (key, other) = (nodes.known().await, nodes.known().await);
    let silent = KeyManager::new(nodes.store.0.primary.clone()).with_clock(nodes.clock.clone());
    let rename = KeyPatch { name: Some("renamed".into()), ..KeyPatch::default() };
    let renamed = silent.update(key.record.id, rename).await.unwrap();
    let disable = KeyPatch { disabled: Some(true), ..KeyPatch::default() };
    silent.update(key.record.id, disable).await.unwrap();
    nodes.store.replicate(&key.record.digest).await;
    nodes.clock.advance(TTL);
    assert!(nodes.find(&key).await.unwrap().unwrap().disabled);
    // Of the name alone, after that was found. Then it is forgotten, and the authority falls behind.
    let change =
        AnnouncedKey::new(key.record.digest).with_change(renamed.revision, AnnouncedState::Live);
    nodes.bus.publish(&Announcement::new([change])).await.unwrap();
    until(|| nodes.cache.find_now(&key.record.digest).is_none()).await;
    nodes.is_good(&other).await;
    nodes.store.falls_back(&key.record.digest, Some(renamed));
    assert_eq!(nodes.find(&key).await.map(drop), Err(StoreErrorKind::Behind));
}

/// As after an act whose node did not live to announce it.
#[tokio::test(start_paused = true)]
async fn an_act_that_is_repeated_is_announced_again() {
    let nodes = Nodes::new().await;
    let silent = KeyManager::new(nodes.store.0.primary.clone());
    for by_set in [false, true] {
        let key = nodes.known().await;
        nodes.is_good(&key).await;
        silent.revoke(key.record.id, None).await.unwrap();
        nodes.is_good(&key).await;
        if by_set {
            let set = KeySet::of_ids([key.record.id]);
            let report = nodes.manager.revoke_all(set, None).await.unwrap();
            assert_eq!(report.already_ended, [key.record.id]);
        } else {
            nodes.manager.revoke(key.record.id, None).await.unwrap();
        }
        until(|| nodes.cache.find_now(&key.record.digest).is_none()).await;
        nodes.is_revoked(&key).await;
    }
}

/// What cannot be read may be the announcement of any key.
#[tokio::test(start_paused = true)]
async fn after_a_message_that_cannot_be_read_no_replica_is_asked_for_a_while() {
    let nodes = Nodes::new().await;
    let key = nodes.known().await;
    let silent = KeyManager::new(nodes.store.0.primary.clone());
    silent.revoke(key.record.id, None).await.unwrap();
    nodes.bus.publish(&Announcement::parse(b"hello")).await.unwrap();
    until(|| nodes.cache.stats().resets == 2).await;
    nodes.is_revoked(&key).await;
    let [before, _] = nodes.store.asked();
    nodes.clock.advance(TTL);
    nodes.is_revoked(&key).await;
    assert_eq!(nodes.store.asked()[0], before);
    // The same of a cache that was emptied by hand.
    let key = nodes.known().await;
    sleep(LATER).await;
    silent.revoke(key.record.id, None).await.unwrap();
    nodes.cache.clear();
    nodes.is_revoked(&key).await;
}

/// As after a backup was restored: what was announced since it was made is forgotten, and the store is believed.
#[tokio::test(start_paused = true)]
async fn after_a_reset_the_authority_is_believed() {
    let nodes = Nodes::new().await;
    let key = nodes.known().await;
    let later = key.record.revision + 1;
    let change = AnnouncedKey::new(key.record.digest).with_change(later, AnnouncedState::Revoked);
    nodes.bus.publish(&Announcement::new([change])).await.unwrap();
    until(|| nodes.cache.find_now(&key.record.digest).is_none()).await;
    assert_eq!(nodes.find(&key).await, Err(StoreErrorKind::Behind));
    let before = nodes.store.asked();
    nodes.bus.publish(&Announcement::reset()).await.unwrap();
    sleep(Duration::from_millis(1)).await;
    nodes.is_good(&key).await;
    assert_eq!(nodes.store.asked(), [before[0], before[1] + 1], "and no replica for a while");
}

/// A clock far ahead on one node makes no key unusable on the others.
#[tokio::test(start_paused = true)]
async fn a_revision_of_the_future_is_no_floor() {
    let nodes = Nodes::new().await;
    let key = nodes.known().await;
    let now = u64::try_from(NOW.as_unix_millis()).unwrap();
    let bound = u64::try_from(LAG_BOUND.as_millis()).unwrap();
    for (revision, found) in [(now + bound + 1, Ok(())), (now + bound, Err(StoreErrorKind::Behind))]
    {
        let change =
            AnnouncedKey::new(key.record.digest).with_change(revision, AnnouncedState::Live);
        nodes.bus.publish(&Announcement::new([change])).await.unwrap();
        until(|| nodes.cache.find_now(&key.record.digest).is_none()).await;
        assert_eq!(nodes.find(&key).await.map(drop), found);
    }
}

#[tokio::test(start_paused = true)]
async fn the_old_digest_of_a_rotated_key_is_asked_of_the_authority() {
    let nodes = Nodes::new().await;
    let old = nodes.known().await;
    let grace = RotationGrace::FromNow(Duration::ZERO);
    let new = nodes.manager.rotate(old.record.id, grace).await.unwrap();
    until(|| nodes.cache.find_now(&old.record.digest).is_none()).await;
    nodes.is_good(&new).await;
    let found = nodes.find(&old).await.unwrap().unwrap();
    assert!(found.ends_at().is_some(), "the replica was believed");
}

/// Changes may have been announced before, and a replica may not have them yet.
#[tokio::test(start_paused = true)]
async fn a_cache_that_begins_to_listen_asks_no_replica_for_a_while() {
    let nodes = Nodes::with(CachedStoreBuilder::with_invalidations);
    let silent = KeyManager::new(nodes.store.0.primary.clone());
    let key = silent.create(NewKey::named("k")).await.unwrap();
    nodes.store.replicate(&key.record.digest).await;
    nodes.is_good(&key).await;
    until(|| nodes.cache.stats().resets == 1).await;
    sleep(LAG_BOUND - Duration::from_millis(10)).await;
    nodes.clock.advance(TTL);
    nodes.is_good(&key).await;
    assert_eq!(nodes.store.asked(), [0, 2]);
    sleep(Duration::from_secs(2)).await;
    nodes.clock.advance(TTL);
    nodes.is_good(&key).await;
    assert_eq!(nodes.store.asked(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_cache_without_a_bus_asks_no_replica() {
    let nodes = Nodes::with(|cache, _| cache);
    let key = nodes.create().await;
    sleep(LAG_BOUND * 100).await;
    nodes.is_good(&key).await;
    assert_eq!(nodes.store.asked(), [0, 1]);
}

/// A bus that never says that it listens.
struct Deaf;

#[async_trait]
impl Invalidations for Deaf {
    async fn publish(&self, _: &Announcement) -> Result<(), StoreError> {
        Ok(())
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, StoreError> {
        Err(StoreError::unavailable("connection refused"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_of_several_buses_listens_to_all_before_it_asks_a_replica() {
    let nodes = Nodes::with(|cache, bus| cache.with_invalidations(bus).with_invalidations(Deaf));
    let key = nodes.create().await;
    sleep(LAG_BOUND * 2).await;
    nodes.is_good(&key).await;
    assert_eq!(nodes.store.asked(), [0, 1]);
}

/// What is changed from now on is not heard, however long ago that began.
#[tokio::test(start_paused = true)]
async fn a_cache_that_ceases_to_listen_asks_no_replica() {
    let bus = Bus::default();
    let nodes = Nodes::with(|cache, _| cache.with_invalidations(bus.clone()));
    let key = nodes.create().await;
    nodes.store.replicate(&key.record.digest).await;
    nodes.is_good(&key).await;
    bus.subscribed(1).await;
    sleep(LATER).await;
    nodes.clock.advance(TTL);
    nodes.is_good(&key).await;
    let asked = nodes.store.asked();
    assert_eq!(asked[0], 1);
    bus.cut();
    for round in 1..4 {
        sleep(LATER).await;
        nodes.clock.advance(TTL);
        nodes.is_good(&key).await;
        assert_eq!(nodes.store.asked(), [asked[0], asked[1] + round]);
    }
}

/// In front of another cache, too.
#[test]
fn a_cache_tells_of_its_store() {
    let store = Replicated::default();
    let cache = CachedStore::new(CachedStore::new(store.clone()));
    assert!(cache.may_lag());
    store.0.has_no_replica.store(true, SeqCst);
    assert!(!cache.may_lag());
    let cache = CachedStore::new(MemoryStore::new());
    assert!(cache.known_digests().is_some() && cache.watermarks().is_some());
}

/// Such a store is asked once, as ever.
#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_lag_is_the_authority() {
    let nodes = Nodes::with(CachedStoreBuilder::with_invalidations);
    nodes.store.0.has_no_replica.store(true, SeqCst);
    until(|| nodes.cache.stats().resets == 1).await;
    let key = nodes.create().await;
    nodes.is_good(&key).await;
    nodes.revoke(&key).await;
    nodes.is_revoked(&key).await;
    assert!(nodes.cache.find(&digest(1)).await.unwrap().is_none());
    assert_eq!(nodes.store.asked(), [3, 0]);
    // Unless it is behind all the same.
    let change = AnnouncedKey::new(digest(2)).with_change(1, AnnouncedState::Live);
    nodes.bus.publish(&Announcement::new([change])).await.unwrap();
    sleep(Duration::from_millis(1)).await;
    let error = nodes.cache.find(&digest(2)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Behind);
    assert_eq!(nodes.store.asked(), [4, 1]);
}

/// 64 at a time, and 1,000 that wait for those.
#[tokio::test(start_paused = true)]
async fn no_more_lookups_of_the_authority_go_on_than_it_can_bear() {
    let budget = NonZeroU32::new(10_000).unwrap();
    let nodes = Nodes::with(|cache, bus| cache.with_invalidations(bus).with_lookup_budget(budget));
    until(|| nodes.cache.stats().resets == 1).await;
    sleep(LAG_BOUND).await;
    let held = nodes.store.hold();
    let keys: Vec<_> = (0..1_100_u32)
        .map(|number| {
            let mut bytes = [9; 32];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            KeyDigest::from_bytes(bytes)
        })
        .collect();
    let changes =
        keys.iter().map(|key| AnnouncedKey::new(*key).with_change(1, AnnouncedState::Deleted));
    nodes.bus.publish(&Announcement::new(changes)).await.unwrap();
    sleep(Duration::from_millis(1)).await;
    let finds = keys.iter().map(|key| {
        let (cache, key) = (nodes.cache.clone(), *key);
        tokio::spawn(async move { cache.find(&key).await.map_err(|error| error.kind()) })
    });
    let finds: Vec<_> = finds.collect();
    until(|| nodes.store.asked()[1] == 64).await;
    sleep(Duration::from_millis(1)).await;
    assert_eq!(nodes.store.asked(), [0, 64]);
    held.add_permits(10_000);
    let found: Vec<_> = join_all(finds).await.into_iter().map(Result::unwrap).collect();
    let refused = found.iter().filter(|found| **found == Err(StoreErrorKind::Overloaded)).count();
    assert_eq!((found.len() - refused, refused), (1_064, 36));
    assert!(found.iter().all(|found| matches!(found, Ok(None) | Err(StoreErrorKind::Overloaded))));
    // All of them have left.
    let (held, asked) = (nodes.store.hold(), nodes.store.asked()[1]);
    let finds = keys.iter().map(|key| {
        let (cache, key) = (nodes.cache.clone(), *key);
        tokio::spawn(async move { cache.find_fresh(&key).await.map_err(|error| error.kind()) })
    });
    let finds: Vec<_> = finds.collect();
    until(|| nodes.store.asked()[1] == asked + 64).await;
    held.add_permits(10_000);
    let found: Vec<_> = join_all(finds).await.into_iter().map(Result::unwrap).collect();
    let refused = found.iter().filter(|found| **found == Err(StoreErrorKind::Overloaded)).count();
    assert_eq!(refused, 36);
}

/// A flood of keys that a replica does not find leaves the authority to those of which a change was announced.
#[tokio::test(start_paused = true)]
async fn unknown_keys_are_not_in_the_way_of_changed_ones() {
    let budget = NonZeroU32::new(10_000).unwrap();
    let nodes = Nodes::with(|cache, bus| cache.with_invalidations(bus).with_lookup_budget(budget));
    until(|| nodes.cache.stats().resets == 1).await;
    sleep(LAG_BOUND).await;
    let key = nodes.known().await;
    nodes.revoke(&key).await;
    let held = nodes.store.hold();
    let before = nodes.store.asked()[1];
    for number in 0..200 {
        let cache = nodes.cache.clone();
        tokio::spawn(async move { cache.find(&digest(number)).await });
    }
    until(|| nodes.store.asked()[1] == before + 64).await;
    let cache = nodes.cache.clone();
    let changed = tokio::spawn(async move { cache.find(&key.record.digest).await });
    until(|| nodes.store.asked()[1] == before + 65).await;
    held.add_permits(1_000);
    assert!(changed.await.unwrap().unwrap().unwrap().details.revoked_at.is_some());
}
