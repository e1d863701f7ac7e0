//! [`Front`]: the leases of one thread.

use super::{
    entry::{Entry, EntryId},
    lease::Lease,
};

/// Leases that a thread can have: 1,280 in 64 KiB.
const SETS: usize = 256;
const WAYS: usize = 5;

/// After so many misses, it is forgotten what was missed.
const MISSES: u32 = 2_048;

#[derive(Default)]
pub(super) struct Front {
    /// None until a limit is first checked.
    sets: Option<Box<[Set; SETS]>>,
    misses: u32,
}

/// Four lines of memory.
#[derive(Clone, Default)]
#[repr(align(64))]
struct Set {
    /// Two bits for each entry that was missed of late. It gets a lease when it comes again: among
    /// many keys that come once, hardly any has one for nothing.
    missed: u64,
    /// When that was.
    epoch: u8,
    tags: [u8; WAYS],
    /// The tag of the last entry that found no room. It gets some when it comes again, so that many
    /// keys in turn do not displace each other.
    refused: u8,
    /// Which one leaves next.
    oldest: u8,
    leases: [Option<Lease>; WAYS],
}

/// No lease has let a request in.
#[derive(Default)]
pub(super) struct Miss {
    /// The thread should have one.
    pub(super) is_wanted: bool,
    /// This one is in its place.
    pub(super) victim: Option<EntryId>,
    /// See [`Lease::gap`].
    pub(super) gap: Option<u64>,
}

/// Where a lease may be. With a choice of two sets, nearly all places are used before any lease is
/// displaced.
#[derive(Clone, Copy)]
struct Places {
    sets: [usize; 2],
    tag: u8,
}

impl Places {
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a few bits are enough")]
    const fn of(entry: &Entry) -> Self {
        let hash = entry.hash();
        let word = hash as usize;
        Self { sets: [word % SETS, word / SETS % SETS], tag: (hash >> 16) as u8 }
    }
}

/// Two bits, others than those that the places follow from.
const fn missed(entry: &Entry) -> u64 {
    let hash = entry.hash();
    (1 << ((hash >> 40) % 64)) | (1 << ((hash >> 48) % 64))
}

impl Front {
    #[inline]
    pub(super) fn find(&mut self, entry: &Entry) -> Option<&mut Lease> {
        let (set, way) = self.place(entry)?;
        self.sets.as_deref_mut()?[set].leases[way].as_mut()
    }

    #[inline]
    fn place(&self, entry: &Entry) -> Option<(usize, usize)> {
        let sets = self.sets.as_deref()?;
        let Places { sets: [first, second], tag } = Places::of(entry);
        if let Some(way) = sets[first].position(entry, tag) {
            return Some((first, way));
        }
        Some((second, sets[second].position(entry, tag)?))
    }

    pub(super) fn take(&mut self, entry: &Entry) -> Option<Lease> {
        let (set, way) = self.place(entry)?;
        self.sets.as_deref_mut()?[set].leases[way].take()
    }

    /// False if there is no room for it.
    pub(super) fn put(&mut self, entry: &Entry, lease: Lease) -> bool {
        let Places { sets: [first, second], tag } = Places::of(entry);
        let Some(sets) = self.sets.as_deref_mut() else { return false };
        // The one with more room, so that both fill up evenly.
        let roomier = if sets[first].free() < sets[second].free() { second } else { first };
        let set = &mut sets[roomier];
        let Some(way) = set.leases.iter().position(Option::is_none) else { return false };
        set.leases[way] = Some(lease);
        set.tags[way] = tag;
        true
    }

    pub(super) fn miss(&mut self, entry: &Entry, cost: u32, now: u64) -> Miss {
        if let Some(lease) = self.find(entry) {
            return Miss { is_wanted: true, victim: None, gap: lease.gap(cost, now) };
        }
        self.misses = self.misses.wrapping_add(1);
        let epoch = (self.misses / MISSES).to_le_bytes()[0];
        let Places { sets: [first, second], tag } = Places::of(entry);
        if self.sets.is_none() {
            self.sets = vec![Set::default(); SETS].try_into().ok();
        }
        let Some(sets) = self.sets.as_deref_mut() else { return Miss::default() };
        let is_full = sets[first].free() + sets[second].free() == 0;
        let set = &mut sets[first];
        if !set.has_missed(missed(entry), epoch) {
            return Miss::default();
        }
        let victim = if is_full { set.victim(tag) } else { None };
        Miss { is_wanted: victim.is_some() || !is_full, victim, gap: None }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sets.iter().flat_map(|sets| sets.iter()).map(|set| WAYS - set.free()).sum()
    }
}

impl Set {
    #[inline]
    fn position(&self, entry: &Entry, tag: u8) -> Option<usize> {
        (0..WAYS).find(|way| {
            self.tags[*way] == tag
                && self.leases[*way].as_ref().is_some_and(|lease| lease.id == entry.id)
        })
    }

    fn free(&self) -> usize {
        self.leases.iter().filter(|lease| lease.is_none()).count()
    }

    /// Whether an entry with these bits was missed of late. Now it is.
    fn has_missed(&mut self, bits: u64, epoch: u8) -> bool {
        if self.epoch != epoch {
            (self.missed, self.epoch) = (0, epoch);
        }
        let has = self.missed & bits == bits;
        self.missed |= bits;
        has
    }

    /// What leaves for an entry that was refused before.
    fn victim(&mut self, tag: u8) -> Option<EntryId> {
        if self.refused != tag {
            self.refused = tag;
            return None;
        }
        self.oldest = self.oldest.wrapping_add(1);
        self.leases[usize::from(self.oldest) % WAYS].as_ref().map(|lease| lease.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leases_of_a_thread_take_up_64_kib() {
        assert!(SETS * size_of::<Set>() <= 64 * 1024);
    }
}
