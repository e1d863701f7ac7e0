//! [`Barrier`]: no answer of a store is used that is older than what was announced.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

use super::{
    floors::{Floors, has_ended},
    watermarks::HeardWatermarks,
};
use crate::{
    clock::Timestamp,
    error::{StoreError, StoreErrorKind},
    key::{KeyDigest, KeyRecord},
    runtime::{
        MapDigest,
        sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    store::{AnnouncedKey, AnnouncedState, KeyStore, Watermark, cache::Answer},
};

/// Lookups of the authority under way at a time: of changed keys, and as many of others. Those that a replica
/// does not find are as many as a client tries, and must not be in the way of keys that exist.
const PERMITS: usize = 64;

/// And so many that wait for these, each no longer than a lookup may take.
const MAX_WAITING: usize = 1_000;

/// How often the authority is asked in one lookup. Whatever can write to the channel can announce a watermark each
/// time.
const MAX_TRIES: usize = 3;

/// Lookups for streams under way at a time: an act on many keys has each of their streams ask.
const STREAMS: usize = 16;

/// Clocks of nodes may differ by so much, or by how far replicas may lag. Of a revision that is further
/// ahead, only the authority tells: a clock that is wrong makes no key unusable on other nodes.
const SKEW: Duration = Duration::from_mins(1);

/// Decides which answers of a store are new enough, and when only the authority is asked.
pub(super) struct Barrier {
    floors: Floors,
    watermarks: HeardWatermarks,
    lag_bound: Duration,
    /// Whether each bus is listened to. What was missed before is looked after by
    /// [`raise_all`](Self::raise_all).
    buses: Box<[AtomicBool]>,
    changed: Places,
    others: Places,
    streams: Semaphore,
}

impl Barrier {
    /// A replica may be behind by `lag_bound`; what it said before a change was heard is kept for `ttl`.
    pub(super) fn new(ttl: Duration, lag_bound: Duration, buses: usize) -> Self {
        Self {
            floors: Floors::new(ttl.saturating_add(lag_bound)),
            watermarks: HeardWatermarks::new(ttl.saturating_add(lag_bound)),
            lag_bound,
            buses: (0..buses).map(|_| AtomicBool::new(false)).collect(),
            changed: Places::new(),
            others: Places::new(),
            streams: Semaphore::new(STREAMS),
        }
    }

    /// Nothing older than these changes is used from now on.
    pub(super) fn raise(&self, changed: &[AnnouncedKey], now: Timestamp) {
        let ahead = self.ahead(now).as_unix_millis();
        self.floors.raise(changed, u64::try_from(ahead).unwrap_or(0));
    }

    /// No answer is used from now on in which a key is not revoked that this watermark covers. Of one that is
    /// ahead of what a clock can have shown, and of those that are too many, only the authority tells.
    pub(super) fn raise_watermark(&self, watermark: &Watermark, is_certain: bool, now: Timestamp) {
        let is_ahead = watermark.issued_before > self.ahead(now);
        if is_ahead || !self.watermarks.raise(watermark, is_certain) {
            self.floors.raise_for_all();
        }
    }

    /// The latest time that a clock can have shown.
    fn ahead(&self, now: Timestamp) -> Timestamp {
        now.saturating_add(self.lag_bound.max(SKEW))
    }

    /// Whether an answer of the authority knows of all that was announced.
    fn settles(&self, digest: MapDigest, found: Option<&KeyRecord>, asked_at: Instant) -> bool {
        let knows_watermarks = found.is_none_or(|record| self.watermarks.settle(record, asked_at));
        self.floors.admit(digest, found) && knows_watermarks
    }

    /// Any key may have changed, and a replica may not have the change.
    pub(super) fn raise_all(&self) {
        self.floors.raise_all(self.lag_bound);
    }

    /// Nothing that was announced counts any more. A replica may not have what became of the authority.
    pub(super) fn reset(&self) {
        self.floors.clear();
        self.watermarks.clear();
        self.raise_all();
    }

    /// Every change is heard by this bus from now on, or no longer.
    pub(super) fn listens(&self, bus: usize, listens: bool) {
        self.buses[bus].store(listens, Relaxed);
    }

    /// Whether only the authority may be asked about this key: a change of it was announced, or may have
    /// been missed while a replica did not have it yet. Without a bus, that is always so.
    pub(super) fn needs_authority<S: KeyStore>(&self, store: &S, digest: &KeyDigest) -> bool {
        store.may_lag() && (!self.hears_all() || self.floors.may_stand(MapDigest::from(digest)))
    }

    fn hears_all(&self) -> bool {
        !self.buses.is_empty() && self.buses.iter().all(|bus| bus.load(Relaxed))
    }

    /// Whether the authority must be asked, since this answer is older than what was announced, or than
    /// what was found `last`, or is a replica's "no such key". A replica only ever says yes.
    pub(super) fn doubts<S: KeyStore>(
        &self,
        store: &S,
        digest: &KeyDigest,
        found: Option<&KeyRecord>,
        last: Option<&KeyRecord>,
    ) -> bool {
        found.map_or_else(|| store.may_lag(), |record| is_older(record, last))
            || !self.floors.admit(MapDigest::from(digest), found)
            || found.is_some_and(|record| !self.watermarks.admit(record))
    }

    /// Whether an answer of the authority, which was asked at this moment, is older than what was announced.
    pub(super) fn is_behind(&self, record: &KeyRecord, asked_at: Instant) -> bool {
        !self.settles(MapDigest::from(&record.digest), Some(record), asked_at)
    }

    /// The answer of the authority, unless that is behind as well: what was announced, or what was found
    /// `last`. It is asked anew where a watermark was heard of meanwhile: for a change of this key alone, the
    /// cache does that.
    pub(super) async fn ask_authority<S: KeyStore>(
        &self,
        store: &S,
        digest: &KeyDigest,
        last: Option<&KeyRecord>,
        resets: u64,
    ) -> Answer<Arc<KeyRecord>, StoreError> {
        let has_changed = self.floors.stands(MapDigest::from(digest));
        let permit = if has_changed { &self.changed } else { &self.others }.take().await?;
        let key = MapDigest::from(digest);
        for _ in 0..MAX_TRIES {
            let asked_at = Instant::now();
            let found = store.find_fresh(digest).await?;
            if let (Some(found), Some(last)) = (&found, last)
                && is_older(found, Some(last))
            {
                // What is forgotten now is not the reason to believe it the next time.
                let state = AnnouncedState::of(last);
                let seen = AnnouncedKey::new(*digest).with_change(last.revision, state);
                self.floors.raise_read(&seen, resets);
                break;
            }
            if self.settles(key, found.as_deref(), asked_at) {
                return Ok(found);
            }
            let is_covered_since = |record| self.watermarks.was_raised_since(record, asked_at);
            if !found.as_deref().is_some_and(is_covered_since) {
                break;
            }
        }
        drop(permit);
        Err(StoreError::new(StoreErrorKind::Behind))
    }

    /// This node has said that a key has ended for good. It does not take that back for an older row, also when
    /// it has forgotten what it said: it has heard of no change that would tell.
    pub(super) fn remember_end<S: KeyStore>(&self, store: &S, record: &KeyRecord, resets: u64) {
        if store.may_lag() && has_ended(record) {
            self.floors.raise_end(MapDigest::from(&record.digest), record.revision, resets);
        }
    }

    /// How often it was [reset](Self::reset). What a node has read before one tells nothing after it.
    pub(super) fn resets(&self) -> u64 {
        self.floors.resets()
    }

    /// The turn of a lookup for a stream, until it is dropped.
    pub(super) async fn turn_of_stream(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        self.streams.acquire().await.map_err(StoreError::unavailable)
    }
}

/// Whether this row is from before the one that was found last.
fn is_older(record: &KeyRecord, last: Option<&KeyRecord>) -> bool {
    last.is_some_and(|last| record.revision < last.revision)
}

/// The lookups of the authority that are under way, and those that wait for them.
struct Places {
    permits: Semaphore,
    waiting: AtomicUsize,
}

impl Places {
    const fn new() -> Self {
        Self { permits: Semaphore::const_new(PERMITS), waiting: AtomicUsize::new(0) }
    }

    /// The turn of a lookup, until it is dropped.
    async fn take(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        if let Ok(permit) = self.permits.try_acquire() {
            return Ok(permit);
        }
        let _place = Place::take(&self.waiting)?;
        self.permits.acquire().await.map_err(StoreError::unavailable)
    }
}

/// A place among those that wait, until it is dropped.
struct Place<'b>(&'b AtomicUsize);

impl<'b> Place<'b> {
    fn take(waiting: &'b AtomicUsize) -> Result<Self, StoreError> {
        let place = Self(waiting);
        if waiting.fetch_add(1, Relaxed) < MAX_WAITING {
            return Ok(place);
        }
        let error = StoreError::new(StoreErrorKind::Overloaded);
        Err(error.with_source("too many lookups wait for the authority"))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
