//! [`Fronts`]: what each thread keeps of a store's answers in memory, so that requests on two threads
//! write no line of memory that both use.
//!
//! Reading a shared map takes a shared lock, and sharing a record takes a shared count. A front has a
//! lock of its own, which no other thread waits for, and [counts of its own](SharedRecord). It holds
//! keys that were found and no others.
//!
//! A change removes what it is about from the front of every thread before it is made, and keeps
//! fronts from taking anything in until it is made. So no front ever tells what the store's own memory
//! does not tell, and a hit has nothing to compare.

use std::sync::Arc;

use super::{
    Lookup,
    shared_record::{SharedRecord, ThreadRecord},
};
use crate::{
    key::{KeyDigest, KeyRecord},
    runtime::{
        MapDigest, PerThread,
        sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

/// The fronts of all threads before one store.
#[derive(Default)]
pub(super) struct Fronts {
    threads: PerThread<Front>,
    /// Raised when a change begins and when it ends.
    generation: AtomicU64,
    /// Changes that have begun and have not ended.
    changing: AtomicUsize,
}

/// What a thread knows of changes when it begins to read the store's memory.
#[derive(Clone, Copy)]
pub(super) struct Ticket(u64);

/// Keys that a front can hold: with their counts 64 KiB.
const SETS: usize = 256;
const WAYS: usize = 4;

/// What one thread keeps.
#[derive(Default)]
struct Front {
    /// None until the first key comes.
    sets: Vec<Set>,
    hits: u64,
}

/// Four keys whose digests begin alike, on one line of memory.
#[derive(Clone, Default)]
#[repr(align(64))]
struct Set {
    records: [Option<Arc<ThreadRecord>>; WAYS],
    tags: [u32; WAYS],
    /// The tag of the last key that found no room. It gets some when it comes again: among many
    /// keys that come once, none is taken in for nothing.
    refused: u32,
    /// Which one leaves next.
    oldest: usize,
}

impl Fronts {
    /// The record, if this thread has it and it is fresh, and how many the thread has found by now.
    #[inline]
    pub(super) fn find(
        &self,
        digest: MapDigest,
        is_fresh: impl FnOnce(i64) -> bool,
    ) -> Option<(SharedRecord, u64)> {
        let mut front = self.threads.mine();
        let Front { sets, hits } = &mut *front;
        let in_set = |set: usize| sets.get(set).and_then(|set| set.find(digest));
        let [first, second] = digest.sets();
        let record = in_set(first).or_else(|| in_set(second))?;
        if !is_fresh(record.fresh_until()) {
            return None;
        }
        *hits += 1;
        Some((record.clone().into(), *hits))
    }

    /// The answer of a store whose memory is all there is: what it tells is true until it is changed.
    #[inline]
    pub(super) fn find_in_memory(
        &self,
        digest: &KeyDigest,
        find: impl FnOnce() -> Option<Arc<KeyRecord>>,
    ) -> Lookup<SharedRecord> {
        let key = MapDigest::from(digest);
        if let Some((record, _)) = self.find(key, |_| true) {
            return Lookup::Found(record);
        }
        let ticket = self.ticket();
        find().map(|record| self.keep(ticket, key, record, i64::MAX)).into()
    }

    /// To be taken before the store's memory is read.
    #[inline]
    pub(super) fn ticket(&self) -> Ticket {
        Ticket(self.generation.load(Ordering::SeqCst))
    }

    /// Keeps what the store's memory has told, unless something has changed since.
    pub(super) fn keep(
        &self,
        ticket: Ticket,
        digest: MapDigest,
        record: Arc<KeyRecord>,
        fresh_until: i64,
    ) -> SharedRecord {
        let mut front = self.threads.mine();
        // Under the lock: a change that begins from here on comes to this front after this.
        if self.changing.load(Ordering::SeqCst) > 0
            || self.generation.load(Ordering::SeqCst) != ticket.0
        {
            return record.into();
        }
        if front.sets.is_empty() {
            front.sets.resize(SETS, Set::default());
        }
        front.keep(digest, record, fresh_until)
    }

    /// Makes a change to the store's memory: of this key, or of any.
    #[cfg(any(test, feature = "cache", feature = "file"))]
    pub(super) fn change<T>(&self, digest: Option<MapDigest>, change: impl FnOnce() -> T) -> T {
        let _change = self.begin(digest);
        change()
    }

    /// Begins a change, which lasts as long as what is returned.
    pub(super) fn begin(&self, digest: Option<MapDigest>) -> Change<'_> {
        self.changing.fetch_add(1, Ordering::SeqCst);
        self.generation.fetch_add(1, Ordering::SeqCst);
        let change = Change(self);
        self.threads.each(|front| match digest {
            Some(digest) => front.forget(digest),
            None => front.sets = Vec::new(),
        });
        change
    }

    /// How many answers the fronts have given.
    #[cfg(feature = "cache")]
    pub(super) fn hits(&self) -> u64 {
        let mut sum = 0;
        self.threads.each(|front| sum += front.hits);
        sum
    }
}

impl Clone for Fronts {
    /// Of a store that goes its own way from here on.
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// A change that is under way.
pub(super) struct Change<'f>(&'f Fronts);

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.0.generation.fetch_add(1, Ordering::SeqCst);
        self.0.changing.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Front {
    fn forget(&mut self, digest: MapDigest) {
        for set in digest.sets() {
            if let Some(set) = self.sets.get_mut(set)
                && let Some(position) = set.position(digest)
            {
                set.records[position] = None;
            }
        }
    }

    /// Keeps the record in one of the two sets where it may be: in its place, or else in a free one.
    fn keep(
        &mut self,
        digest: MapDigest,
        record: Arc<KeyRecord>,
        fresh_until: i64,
    ) -> SharedRecord {
        let [first, second] = digest.sets();
        let held = |set: usize| Some((set, self.sets[set].position(digest)?));
        let free = |set: usize| self.sets[set].records.iter().filter(|one| one.is_none()).count();
        // The one with more room, so that both fill up evenly.
        let roomier = if free(first) < free(second) { second } else { first };
        let (set, position) = match held(first).or_else(|| held(second)) {
            Some(place) => place,
            None => match self.sets[roomier].make_room(digest) {
                Some(position) => (roomier, position),
                None => return record.into(),
            },
        };
        let record = Arc::new(ThreadRecord::new(record, fresh_until));
        let set = &mut self.sets[set];
        set.records[position] = Some(record.clone());
        set.tags[position] = digest.tag();
        record.into()
    }
}

impl Set {
    #[inline]
    fn position(&self, digest: MapDigest) -> Option<usize> {
        (0..WAYS).find(|way| {
            self.tags[*way] == digest.tag()
                && self.records[*way]
                    .as_ref()
                    .is_some_and(|record| MapDigest::from(&record.record().digest) == digest)
        })
    }

    #[inline]
    fn find(&self, digest: MapDigest) -> Option<&Arc<ThreadRecord>> {
        self.records[self.position(digest)?].as_ref()
    }

    /// A free place, or another one's for a key that has come in vain before.
    fn make_room(&mut self, digest: MapDigest) -> Option<usize> {
        if let Some(free) = self.records.iter().position(Option::is_none) {
            return Some(free);
        }
        if self.refused != digest.tag() {
            self.refused = digest.tag();
            return None;
        }
        self.oldest = (self.oldest + 1) % WAYS;
        Some(self.oldest)
    }
}

impl MapDigest {
    /// The two sets in which a front may hold it. With a choice, nearly all places are used before any
    /// key is displaced.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a few bits are enough")]
    fn sets(self) -> [usize; 2] {
        let word = self.first_word() as usize;
        [word % SETS, word / SETS % SETS]
    }

    #[inline]
    fn tag(self) -> u32 {
        (self.first_word() >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        key::{KeyDigest, KeyId},
    };

    const FOREVER: i64 = i64::MAX;

    /// The first byte decides on both sets.
    fn record(bytes: [u8; 2]) -> Arc<KeyRecord> {
        let mut digest = [bytes[1]; 32];
        (digest[0], digest[1]) = (bytes[0], bytes[0]);
        let (id, digest) = (KeyId::from_bytes([1; 16]), KeyDigest::from_bytes(digest));
        Arc::new(KeyRecord::new(id, digest, "a key", Timestamp::from_unix_millis(0)))
    }

    fn digest(record: &KeyRecord) -> MapDigest {
        MapDigest::from(&record.digest)
    }

    fn keep(fronts: &Fronts, record: &Arc<KeyRecord>) {
        fronts.keep(fronts.ticket(), digest(record), record.clone(), FOREVER);
    }

    fn holds(fronts: &Fronts, record: &KeyRecord) -> bool {
        fronts.find(digest(record), |_| true).is_some()
    }

    #[test]
    fn a_change_removes_its_key_from_every_thread() {
        let fronts = Arc::new(Fronts::default());
        let (one, other) = (record([1, 1]), record([1, 2]));
        let both = || {
            keep(&fronts, &one);
            keep(&fronts, &other);
        };
        let held = || (holds(&fronts, &one), holds(&fronts, &other));
        std::thread::scope(|scope| {
            scope.spawn(both).join().unwrap();
            both();
            fronts.change(Some(digest(&one)), || ());
            assert_eq!(held(), (false, true));
            // The next thread has a front of its own, and the first one's is gone through as well.
            let mut others = 0;
            fronts.threads.each(|front| {
                others += front.sets.iter().flat_map(|set| set.records.iter().flatten()).count();
            });
            assert_eq!(others, 2, "the other key in both fronts");
        });
        fronts.change(None, || ());
        assert_eq!(held(), (false, false));
    }

    #[test]
    fn nothing_is_kept_that_was_read_before_a_change_ended() {
        let fronts = Fronts::default();
        let record = record([1, 1]);
        let keep = |ticket| fronts.keep(ticket, digest(&record), record.clone(), FOREVER);
        let before = fronts.ticket();
        let change = fronts.begin(Some(digest(&record)));
        let during = fronts.ticket();
        keep(before);
        keep(during);
        let second = fronts.begin(None);
        keep(during);
        drop(change);
        let between = fronts.ticket();
        keep(between);
        drop(second);
        for ticket in [before, during, between] {
            keep(ticket);
        }
        assert!(!holds(&fronts, &record));
        keep(fronts.ticket());
        assert!(holds(&fronts, &record));
    }

    #[test]
    fn a_full_set_takes_in_the_key_that_comes_twice() {
        let fronts = Fronts::default();
        let records: Vec<_> = (0..6).map(|number| record([7, number])).collect();
        for record in &records {
            keep(&fronts, record);
        }
        let held = || records.iter().map(|record| holds(&fronts, record)).collect::<Vec<_>>();
        assert_eq!(held(), [true, true, true, true, false, false]);
        keep(&fronts, &records[5]);
        assert_eq!(held().iter().filter(|held| **held).count(), 4);
        assert!(holds(&fronts, &records[5]));
        // Once more: it takes its own place.
        keep(&fronts, &records[5]);
        assert_eq!(held().iter().filter(|held| **held).count(), 4);
    }

    #[test]
    fn a_record_that_is_no_longer_fresh_is_not_found() {
        let fronts = Fronts::default();
        let record = record([1, 1]);
        fronts.keep(fronts.ticket(), digest(&record), record.clone(), 100);
        assert!(fronts.find(digest(&record), |until| 99 < until).is_some());
        assert!(fronts.find(digest(&record), |until| 100 < until).is_none());
    }

    #[test]
    fn nearly_as_many_keys_as_places_are_held() {
        let fronts = Fronts::default();
        let records: Vec<_> = (0..1_000_u32)
            .map(|number| {
                let hash = crate::key::KeyHasher::sha256().digest(number.to_le_bytes());
                let (id, now) = (KeyId::from_bytes([1; 16]), Timestamp::from_unix_millis(0));
                Arc::new(KeyRecord::new(id, hash, "a key", now))
            })
            .collect();
        for record in &records {
            keep(&fronts, record);
        }
        let held = records.iter().filter(|record| holds(&fronts, record)).count();
        assert!(held >= 900, "{held} of 1000 keys");
    }

    #[test]
    fn uses_are_counted_by_thread() {
        let fronts = Fronts::default();
        let record = record([1, 1]);
        let first = fronts.keep(fronts.ticket(), digest(&record), record.clone(), FOREVER);
        assert!(first.uses().count());
        let (again, _) = fronts.find(digest(&record), |_| true).unwrap();
        assert!(!again.uses().count());
        assert_eq!(first.uses().collect(), 2);
        assert_eq!(record.uses.collect(), 0);
    }

    #[test]
    fn a_front_takes_up_64_kib() {
        // An allocator adds eight bytes to an allocation, and gives multiples of sixteen.
        let allocated = (size_of::<ThreadRecord>() + 16 + 8).next_multiple_of(16);
        assert!(SETS * (size_of::<Set>() + WAYS * allocated) <= 64 * 1024);
    }
}
