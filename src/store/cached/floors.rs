//! [`Floors`]: the least revision of what may be said about a key, since a change of it was announced.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::{
    key::KeyRecord,
    runtime::{DigestHash, DigestMap, MapDigest, Mutex},
    store::{AnnouncedKey, AnnouncedState},
};

/// At a time, of 56 bytes each when the map is full: 6.1 MB. Then the older half makes way for a time in
/// which every key is taken to have a floor.
const MAX: usize = 114_688;

/// The floors of a cache.
pub(super) struct Floors {
    table: Mutex<Table>,
    /// How long each is there.
    lasts: Duration,
    start: Instant,
    max: usize,
}

struct Table {
    floors: DigestMap<Floor>,
    /// Until then, keys without a floor may have had one.
    all_until: Moment,
    /// With so many, those that are over make way.
    sweep_at: usize,
    /// How often everything was forgotten.
    resets: u64,
}

/// Milliseconds since the start of the cache. Not by its clock, which may be set.
type Moment = u64;

/// What is known of a key since its change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Floor {
    revision: u64,
    /// 48 bits of a [`Moment`] would do for 8,000 years: the state finds its place beside them.
    until_and_state: u64,
}

/// The least number of floors at which those that are over are looked for.
const FEW: usize = 1_024;

const STATE_BITS: u32 = 8;
/// The key can be used, now or one day.
const LIVE: u64 = 1;
/// The key was found to be revoked or deleted.
const ENDED: u64 = 2;
/// Nothing is said of the key: it is live if it was.
const UNSURE: u64 = 4;

/// The last moment that fits beside a state.
const LAST: Moment = u64::MAX >> STATE_BITS;

impl Floor {
    const fn new(revision: u64, state: u64, until: Moment) -> Self {
        Self { revision, until_and_state: until << STATE_BITS | state }
    }

    const fn until(self) -> Moment {
        self.until_and_state >> STATE_BITS
    }

    const fn is_live(self) -> bool {
        self.until_and_state & LIVE != 0
    }

    const fn has_ended(self) -> bool {
        self.until_and_state & ENDED != 0
    }

    /// The same, until then.
    const fn lasting(self, until: Moment) -> Self {
        let state = self.until_and_state & ((1 << STATE_BITS) - 1);
        Self { until_and_state: until << STATE_BITS | state, ..self }
    }

    const fn is_unsure(self) -> bool {
        self.until_and_state & UNSURE != 0
    }

    /// This one in the place of another, which tells whether the key is live if this one does not.
    const fn after(self, before: Self) -> Self {
        let state = if self.is_unsure() && before.is_live() { LIVE } else { 0 };
        Self { until_and_state: self.until_and_state | state, ..self }
    }

    /// Whether an answer of a store knows of the change. A key that was live after it is found by every
    /// answer that does. One that has ended for good is so at that revision: a watermark gives it none.
    fn admits(self, found: Option<&KeyRecord>) -> bool {
        found.map_or(!self.is_live(), |record| {
            let is_as_new = !self.has_ended() || has_ended(record);
            record.revision > self.revision || (record.revision == self.revision && is_as_new)
        })
    }
}

impl Floors {
    pub(super) fn new(lasts: Duration) -> Self {
        Self::with_max(lasts, MAX)
    }

    fn with_max(lasts: Duration, max: usize) -> Self {
        let floors = HashMap::with_hasher(DigestHash::default());
        let table = Table { floors, all_until: 0, sweep_at: FEW.min(max), resets: 0 };
        Self { table: Mutex::new(table), lasts, start: Instant::now(), max }
    }

    /// Nothing older than these changes is used from now on. Of those without a revision, or with one that
    /// is `ahead` of what a clock can have shown, only the authority tells. One of an unsure state does not
    /// tell that a key is gone which was live.
    pub(super) fn raise(&self, changed: &[AnnouncedKey], ahead: u64) {
        self.raise_each(None, changed.iter().map(|key| said(key, ahead)));
    }

    /// The same of a row that was read when there were so many [`resets`](Self::resets): after another one it tells
    /// nothing.
    pub(super) fn raise_read(&self, row: &AnnouncedKey, resets: u64) {
        self.raise_each(Some(resets), [said(row, u64::MAX)]);
    }

    /// This key was found to have ended for good, at this revision. At one revision that outweighs what was
    /// announced before: it may be the end of a watermark. It was read when there were so many
    /// [`resets`](Self::resets), as in [`raise_read`](Self::raise_read).
    pub(super) fn raise_end(&self, digest: MapDigest, revision: u64, resets: u64) {
        self.raise_each(Some(resets), [(digest, revision, ENDED)]);
    }

    /// How often everything was forgotten: what was read before that counts no more.
    pub(super) fn resets(&self) -> u64 {
        self.table.lock().resets
    }

    /// Digests, each with its revision and the state from there on; none of them, where there was another reset since
    /// they were read.
    fn raise_each(
        &self,
        resets: Option<u64>,
        raised: impl IntoIterator<Item = (MapDigest, u64, u64)>,
    ) {
        let now = self.now();
        let until = self.end(now);
        let mut table = self.table.lock();
        if resets.is_some_and(|resets| resets != table.resets) {
            return;
        }
        for (digest, revision, state) in raised {
            let new = Floor::new(revision, state, until);
            let floor = table.floors.entry(digest).or_insert(new);
            let is_over = floor.until() <= now;
            let is_same = revision == floor.revision;
            *floor = if is_over || (is_same && new.has_ended()) {
                new
            } else if revision > floor.revision || (is_same && floor.is_unsure()) {
                new.after(*floor)
            } else {
                floor.lasting(until)
            };
        }
        if table.floors.len() >= table.sweep_at {
            table.sweep(now, self.max);
        }
    }

    /// Any key may have changed: only the authority tells, for so long.
    pub(super) fn raise_all(&self, lasts: Duration) {
        let until = self.now().saturating_add(millis(lasts)).min(LAST);
        let mut table = self.table.lock();
        table.all_until = table.all_until.max(until);
    }

    /// None of them counts any more.
    pub(super) fn clear(&self) {
        let mut table = self.table.lock();
        table.resets += 1;
        table.floors.clear();
        table.floors.shrink_to(FEW.min(self.max));
        table.sweep_at = FEW.min(self.max);
    }

    /// The same, for as long as a floor is there.
    pub(super) fn raise_for_all(&self) {
        self.raise_all(self.lasts);
    }

    /// The end of a floor that is raised now.
    fn end(&self, now: Moment) -> Moment {
        now.saturating_add(millis(self.lasts)).min(LAST)
    }

    /// Whether an answer about this key is as new as what was announced of it.
    pub(super) fn admit(&self, digest: MapDigest, found: Option<&KeyRecord>) -> bool {
        self.floor(digest).is_none_or(|floor| floor.admits(found))
    }

    /// Whether an answer of a replica may be older than what was announced.
    pub(super) fn may_stand(&self, digest: MapDigest) -> bool {
        self.stands(digest) || self.now() < self.table.lock().all_until
    }

    /// Whether a change of this key was announced.
    pub(super) fn stands(&self, digest: MapDigest) -> bool {
        self.floor(digest).is_some()
    }

    fn floor(&self, digest: MapDigest) -> Option<Floor> {
        let table = self.table.lock();
        let floor = *table.floors.get(&digest)?;
        drop(table);
        (self.now() < floor.until()).then_some(floor)
    }

    fn now(&self) -> Moment {
        millis(self.start.elapsed())
    }
}

/// A digest, its revision and the state from there on, as an announcement says them.
fn said(key: &AnnouncedKey, ahead: u64) -> (MapDigest, u64, u64) {
    let said = key.revision().zip(key.state()).filter(|(revision, _)| *revision <= ahead);
    let (revision, state) = said.unwrap_or((0, AnnouncedState::Unsure));
    let state = match state {
        AnnouncedState::Live => LIVE,
        AnnouncedState::Unsure => UNSURE,
        _ => 0,
    };
    (MapDigest::from(key.digest()), revision, state)
}

impl Table {
    /// Drops floors that are over, and the older half if there are too many of the others.
    fn sweep(&mut self, now: Moment, max: usize) {
        self.floors.retain(|_, floor| now < floor.until());
        if self.floors.len() >= max {
            let mut ends: Vec<Moment> = self.floors.values().map(|floor| floor.until()).collect();
            let middle = ends.len() / 2;
            let (_, end, _) = ends.select_nth_unstable(middle);
            let end = *end;
            self.all_until = self.all_until.max(end);
            self.floors.retain(|_, floor| end < floor.until());
        }
        self.sweep_at = (self.floors.len() * 2).clamp(FEW.min(max), max);
        if self.floors.capacity() > self.sweep_at * 4 {
            self.floors.shrink_to(self.sweep_at);
        }
    }
}

/// Whether the key can never be used again.
pub(super) fn has_ended(record: &KeyRecord) -> bool {
    record.is_deleted() || record.details.revoked_at.is_some()
}

fn millis(duration: Duration) -> Moment {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
