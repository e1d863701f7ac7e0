//! A store whose every answer the tests decide, and a cache in front of it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio::{sync::oneshot, task::JoinHandle};
use tower_api_key::{
    KeyId, OwnerId, Timestamp,
    clock::SettableClock,
    key::{KeyDigest, KeyRecord},
    store::{
        ApplyOutcome, CachedStore, CachedStoreBuilder, Changes, DigestCursor, KeyPage, KeyQuery,
        KeyRepository, KeyStore, KeyUse, KnownDigests, Lookup, MemoryStore, StoreError,
        StoreErrorKind, StoreId,
    },
};

/// When the tests take place: 2026-11-23T00:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp::from_unix_millis(1_795_392_000_000);

pub(crate) const TTL: Duration = Duration::from_secs(30);
pub(crate) const NOT_FOUND_TTL: Duration = Duration::from_secs(5);
pub(crate) const STALE_IF_ERROR: Duration = Duration::from_mins(5);
pub(crate) const MILLISECOND: Duration = Duration::from_millis(1);

/// How the store answers from now on.
#[derive(Clone, Copy)]
pub(crate) enum Mode {
    Answer,
    /// Reads at once and waits with the answer until it is [released](Backend::release).
    Wait,
    Fail(StoreErrorKind),
    Hang,
    Panic,
    PanicAtOnce,
}

/// A store that counts its lookups. Clones are the same store.
#[derive(Clone)]
pub(crate) struct Backend(Arc<State>);

struct State {
    keys: MemoryStore,
    mode: Mutex<Mode>,
    /// Other modes, for single keys.
    modes: Mutex<HashMap<[u8; 32], Mode>>,
    lookups: AtomicUsize,
    /// How many digests the store takes at once, and those of each statement.
    batch: AtomicUsize,
    statements: Mutex<Vec<Vec<KeyDigest>>>,
    identity: Mutex<Option<StoreId>>,
    /// Reads by id, and of lists.
    reads: AtomicUsize,
    answers: AtomicUsize,
    waiting: Mutex<Vec<Option<oneshot::Sender<()>>>>,
    listing: Mutex<Listing>,
    /// Pages of all digests, and of those that were added.
    pages: AtomicUsize,
    added: AtomicUsize,
}

/// Whether the store lists its digests.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Listing {
    Never,
    Fails,
    Works,
}

impl Backend {
    fn new() -> Self {
        Self(Arc::new(State {
            keys: MemoryStore::new(),
            mode: Mutex::new(Mode::Answer),
            modes: Mutex::default(),
            lookups: AtomicUsize::new(0),
            batch: AtomicUsize::new(1),
            statements: Mutex::default(),
            identity: Mutex::default(),
            reads: AtomicUsize::new(0),
            answers: AtomicUsize::new(0),
            waiting: Mutex::default(),
            listing: Mutex::new(Listing::Never),
            pages: AtomicUsize::new(0),
            added: AtomicUsize::new(0),
        }))
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.0.mode.lock().unwrap() = mode;
    }

    pub(crate) fn set_for(&self, digest: &KeyDigest, mode: Mode) {
        self.0.modes.lock().unwrap().insert(*digest.as_bytes(), mode);
    }

    fn mode(&self, digest: &KeyDigest) -> Mode {
        let modes = self.0.modes.lock().unwrap();
        modes.get(digest.as_bytes()).copied().unwrap_or(*self.0.mode.lock().unwrap())
    }

    pub(crate) fn list(&self, listing: Listing) {
        *self.0.listing.lock().unwrap() = listing;
    }

    /// How many pages of all digests were read, or were to be, and of those that were added.
    pub(crate) fn pages(&self) -> (usize, usize) {
        (self.0.pages.load(SeqCst), self.0.added.load(SeqCst))
    }

    fn listed(&self, pages: &AtomicUsize) -> Result<&dyn KnownDigests, StoreError> {
        pages.fetch_add(1, SeqCst);
        match *self.0.listing.lock().unwrap() {
            Listing::Works => Ok(self.0.keys.known_digests().unwrap()),
            _ => Err(StoreError::unavailable("no route to host")),
        }
    }

    /// How often the store was asked.
    pub(crate) fn lookups(&self) -> usize {
        self.0.lookups.load(SeqCst)
    }

    /// Has this identity from now on.
    pub(crate) fn identify(&self, identity: Option<StoreId>) {
        *self.0.identity.lock().unwrap() = identity;
    }

    /// Takes so many digests at once from now on.
    pub(crate) fn batch(&self, size: usize) {
        self.0.batch.store(size, SeqCst);
    }

    /// How many digests each statement had.
    pub(crate) fn statements(&self) -> Vec<usize> {
        self.0.statements.lock().unwrap().iter().map(Vec::len).collect()
    }

    /// The digests of a statement, counted from zero.
    pub(crate) fn digests_of(&self, statement: usize) -> Vec<KeyDigest> {
        self.0.statements.lock().unwrap()[statement].clone()
    }

    /// How often the store was read in another way than by digest.
    pub(crate) fn reads(&self) -> usize {
        self.0.reads.load(SeqCst)
    }

    /// How often it has answered or failed.
    pub(crate) fn answers(&self) -> usize {
        self.0.answers.load(SeqCst)
    }

    /// Waits until it was asked so often.
    pub(crate) async fn asked(&self, lookups: usize) {
        until(|| self.lookups() >= lookups).await;
    }

    /// Waits until it has answered so often.
    pub(crate) async fn answered(&self, answers: usize) {
        until(|| self.answers() >= answers).await;
    }

    /// Lets a lookup go that [waits](Mode::Wait), counted from zero.
    pub(crate) fn release(&self, waiting: usize) {
        self.0.waiting.lock().unwrap()[waiting].take().unwrap().send(()).unwrap();
    }

    /// Writes past the cache, as another node would.
    pub(crate) async fn insert(&self, record: &KeyRecord) {
        self.0.keys.insert(record).await.unwrap();
    }

    /// Deletes past the cache.
    pub(crate) async fn delete(&self, digest: &KeyDigest) {
        let found = self.0.keys.find(digest).await.unwrap().unwrap();
        let mut record = KeyRecord::clone(&found);
        record.details.deleted_at = Some(NOW);
        record.revision += 1;
        assert_eq!(self.0.keys.update(&found, &record).await.unwrap(), ApplyOutcome::Done);
    }

    /// Revokes past the cache.
    pub(crate) async fn revoke(&self, digest: &KeyDigest) {
        let found = self.0.keys.find(digest).await.unwrap().unwrap();
        let mut record = KeyRecord::clone(&found);
        record.details.revoked_at = Some(NOW);
        record.revision += 1;
        assert_eq!(self.0.keys.update(&found, &record).await.unwrap(), ApplyOutcome::Done);
    }
}

#[async_trait]
impl KeyStore for Backend {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.0.lookups.fetch_add(1, SeqCst);
        let found = self.0.keys.find(digest).await;
        let answer = match self.mode(digest) {
            Mode::Answer => found,
            Mode::Wait => {
                let (release, released) = oneshot::channel();
                self.0.waiting.lock().unwrap().push(Some(release));
                released.await.unwrap();
                found
            }
            // Not at once: others join it.
            Mode::Fail(kind) => {
                tokio::task::yield_now().await;
                Err(StoreError::new(kind).with_source("no route to host"))
            }
            Mode::Hang => std::future::pending().await,
            Mode::Panic => {
                tokio::task::yield_now().await;
                panic!("a bug in a store")
            }
            Mode::PanicAtOnce => panic!("a bug in a store"),
        };
        self.0.answers.fetch_add(1, SeqCst);
        answer
    }

    /// Counts as a lookup of each. Waits once, if it [waits](Mode::Wait).
    async fn find_many(
        &self,
        digests: &[KeyDigest],
    ) -> Vec<Result<Option<Arc<KeyRecord>>, StoreError>> {
        let found = self.0.keys.find_many(digests).await;
        self.0.statements.lock().unwrap().push(digests.to_vec());
        let released = matches!(self.mode(&digests[0]), Mode::Wait).then(|| {
            let (release, released) = oneshot::channel();
            self.0.waiting.lock().unwrap().push(Some(release));
            released
        });
        self.0.lookups.fetch_add(digests.len(), SeqCst);
        if let Some(released) = released {
            released.await.unwrap();
        }
        self.0.answers.fetch_add(digests.len(), SeqCst);
        found
    }

    async fn identity(&self) -> Result<Option<StoreId>, StoreError> {
        Ok(*self.0.identity.lock().unwrap())
    }

    fn max_batch(&self) -> usize {
        self.0.batch.load(SeqCst)
    }

    fn known_digests(&self) -> Option<&dyn KnownDigests> {
        (*self.0.listing.lock().unwrap() != Listing::Never).then_some(self)
    }
}

#[async_trait]
impl KnownDigests for Backend {
    async fn count(&self) -> Result<u64, StoreError> {
        self.0.keys.known_digests().unwrap().count().await
    }

    async fn page(
        &self,
        after: Option<DigestCursor>,
        limit: usize,
    ) -> Result<(Vec<KeyDigest>, Option<DigestCursor>), StoreError> {
        self.listed(&self.0.pages)?.page(after, limit).await
    }

    async fn added(
        &self,
        after: KeyId,
        limit: usize,
    ) -> Result<Vec<(KeyId, KeyDigest)>, StoreError> {
        self.listed(&self.0.added)?.added(after, limit).await
    }
}

#[async_trait]
impl KeyRepository for Backend {
    /// Writes; then fails or hangs if the mode of an updated key says so, as a connection may be
    /// lost before the answer.
    async fn apply(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
        let applied = self.0.keys.apply(changes).await;
        let updated = changes.updates.first();
        match updated.map_or(Mode::Answer, |update| self.mode(&update.record.digest)) {
            Mode::Fail(kind) => Err(StoreError::new(kind)),
            Mode::Hang => std::future::pending().await,
            _ => applied,
        }
    }

    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.0.reads.fetch_add(1, SeqCst);
        self.0.keys.get(id).await
    }

    async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        self.0.reads.fetch_add(1, SeqCst);
        self.0.keys.list(query).await
    }

    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        self.0.keys.record_uses(uses).await
    }

    async fn purge(&self, before: Timestamp, owner: Option<&OwnerId>) -> Result<u64, StoreError> {
        self.0.keys.purge(before, owner).await
    }
}

/// A cache with the default times in front of a store, and a clock that stands still.
pub(crate) struct Fixture {
    pub(crate) cache: CachedStore<Backend>,
    pub(crate) store: Backend,
    pub(crate) clock: SettableClock,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(|cache| cache)
    }

    pub(crate) fn with(
        change: impl FnOnce(CachedStoreBuilder<Backend>) -> CachedStoreBuilder<Backend>,
    ) -> Self {
        let (store, clock) = (Backend::new(), SettableClock::new(NOW));
        let cache = change(CachedStore::builder(store.clone()).with_clock(clock.clone())).build();
        Self { cache, store, clock }
    }

    /// A fixture with these keys in the store, and in the cache.
    pub(crate) async fn knowing(digests: &[KeyDigest]) -> Self {
        let this = Self::new();
        this.know(digests).await;
        this
    }

    pub(crate) async fn know(&self, digests: &[KeyDigest]) {
        for digest in digests {
            self.store.insert(&record(*digest)).await;
            assert_eq!(self.find(digest).await, Ok(Answer::Good));
        }
    }

    /// Asks for a key as a layer does.
    pub(crate) async fn find(&self, digest: &KeyDigest) -> Result<Answer, StoreErrorKind> {
        find(&self.cache, digest).await
    }

    /// The same, by a caller of its own.
    pub(crate) fn spawn_find(
        &self,
        digest: KeyDigest,
    ) -> JoinHandle<Result<Answer, StoreErrorKind>> {
        let cache = self.cache.clone();
        tokio::spawn(async move { find(&cache, &digest).await })
    }

    /// What is said without waiting, if anything.
    pub(crate) fn find_now(&self, digest: &KeyDigest) -> Option<Answer> {
        self.cache.find_now(digest).map(Answer::from)
    }

    /// Sets the clock to so long after the start of the test.
    pub(crate) fn at(&self, after: Duration) {
        self.clock.set(NOW.saturating_add(after));
    }

    /// Lets time pass, for the clock and for tokio.
    pub(crate) async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        tokio::time::advance(time).await;
    }
}

/// What a store says about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Good,
    Revoked,
    Unknown,
}

impl From<Lookup> for Answer {
    fn from(lookup: Lookup) -> Self {
        match lookup {
            Lookup::Found(record) if record.details.revoked_at.is_some() => Self::Revoked,
            Lookup::Found(_) => Self::Good,
            Lookup::NotFound => Self::Unknown,
        }
    }
}

/// Asks for a key as a layer does.
pub(crate) async fn find(
    store: &impl KeyStore,
    digest: &KeyDigest,
) -> Result<Answer, StoreErrorKind> {
    let lookup = match store.find_now(digest) {
        Some(lookup) => lookup,
        None => store.find(digest).await.map_err(|error| error.kind())?.into(),
    };
    if let Lookup::Found(record) = &lookup {
        assert_eq!(record.digest, *digest);
    }
    Ok(lookup.into())
}

/// A digest whose key lives the whole of its time to live.
pub(crate) fn digest(number: u64) -> KeyDigest {
    jittered_digest(0, number)
}

/// A digest with this first byte, from which the cache takes by how much it shortens the time to
/// live: 0 not at all, 255 by a tenth.
pub(crate) fn jittered_digest(first: u8, number: u64) -> KeyDigest {
    let mut bytes = [0; 32];
    bytes[0] = first;
    bytes[8..16].copy_from_slice(&number.to_be_bytes());
    KeyDigest::from_bytes(bytes)
}

pub(crate) fn record(digest: KeyDigest) -> KeyRecord {
    KeyRecord::new(KeyId::generate(NOW).unwrap(), digest, "key of the tests", NOW)
}

/// Lets other tasks run until something is so. A minute is no expectation, but an end.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_mins(1), "it never came true");
        tokio::task::yield_now().await;
    }
}
