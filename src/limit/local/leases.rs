//! [`Leases`]: requests that threads let in without a look at what all of them share.
//!
//! A lease says how much a thread may still charge to a debt. It is given only while all that is
//! lent, together with what is owed, stays below what may be owed: so each request that is let in by
//! a lease would be let in without. The thread notes when it charged how much. Before anything is
//! decided about the debt itself, all notes are collected and charged in the order of their times,
//! which leaves the debt as if no thread had ever had a lease. Nothing is denied before all leases
//! are taken back.

use super::buckets::Entry;
use crate::{key::Quota, runtime::PerThread};

/// The leases of all threads. They are only changed under the lock of the shard that their debt is
/// in, other than by letting requests in.
#[derive(Default)]
pub(super) struct Leases(PerThread<Front>);

/// Leases that a thread can have: with all their notes less than 16 KiB.
const SETS: usize = 16;
const WAYS: usize = 4;

/// Times that a lease can note.
const NOTES: usize = 8;

/// How many requests are lent at once, and at least.
const MOST: u32 = 256;
const LEAST: u32 = 8;

/// So many requests for each thread are not lent: nearer to its end, a debt is not shared out.
const APART: u32 = 32;

/// The leases of one thread.
#[derive(Default)]
struct Front {
    /// None until a limit is first checked.
    sets: Vec<Set>,
}

#[derive(Clone, Default)]
struct Set {
    leases: [Option<Lease>; WAYS],
    /// What was last looked for in vain. It gets a lease when it comes again: among many keys that
    /// come once, none has one for nothing.
    missed: Option<Entry>,
    /// Which one leaves next.
    oldest: usize,
}

#[derive(Clone)]
struct Lease {
    entry: Entry,
    quota: Quota,
    /// How much may still be charged, in nanoseconds.
    left: u64,
    /// When the debt is paid off, for all that this thread knows: no later than it is.
    paid_at: u64,
    /// When it was last used.
    used: u64,
    notes: [Note; NOTES],
    noted: usize,
}

/// So much was charged at a time.
#[derive(Clone, Copy, Default)]
pub(super) struct Note {
    pub(super) at: u64,
    pub(super) charge: u64,
}

/// No lease has let a request in.
pub(super) struct Miss {
    /// The thread should have one.
    pub(super) is_wanted: bool,
    /// This one is in its place.
    pub(super) victim: Option<Entry>,
}

/// What is lent of a debt.
#[derive(Clone, Copy, Default)]
pub(super) struct Lent {
    /// In nanoseconds.
    pub(super) sum: u64,
    /// By how many threads requests are checked.
    threads: u32,
}

impl Leases {
    /// Lets a request in. Then so much is owed, for all that this thread knows.
    #[inline]
    pub(super) fn charge(
        &self,
        entry: &Entry,
        quota: Quota,
        charge: u64,
        now: u64,
    ) -> Result<u64, Miss> {
        let mut front = self.0.mine();
        if let Some(set) = front.sets.get_mut(set(entry))
            && let Some(lease) = set.leases.iter_mut().flatten().find(|held| held.entry == *entry)
            && lease.quota == quota
            && let Some(owed) = lease.charge(charge, now)
        {
            return Ok(owed);
        }
        Err(front.miss(entry))
    }

    /// Collects what the threads have noted, and returns what is still lent. The calling thread's
    /// lease ends; with `all`, so do the others'.
    pub(super) fn collect(&self, entry: &Entry, all: bool, notes: &mut Vec<Note>) -> Lent {
        if let Some(lease) = self.0.mine().take(entry) {
            notes.extend(lease.notes());
        }
        let mut lent = Lent::default();
        self.0.each(|front| {
            lent.threads += 1;
            if all {
                notes.extend(front.take(entry).iter().flat_map(Lease::notes));
            } else if let Some(lease) = front.find(entry) {
                notes.extend(lease.notes());
                lease.noted = 0;
                lent.sum = lent.sum.saturating_add(lease.left);
            }
        });
        notes.sort_unstable_by_key(|note| note.at);
        lent
    }

    /// Lends to the calling thread, where so much is owed. False if there is not plenty left.
    pub(super) fn lend(
        &self,
        entry: &Entry,
        quota: Quota,
        lent: Lent,
        owed: u64,
        now: u64,
    ) -> bool {
        let threads = if lent.threads == 0 { self.0.count() } else { lent.threads };
        let free = quota.room().saturating_sub(owed).saturating_sub(lent.sum);
        let free = free.saturating_sub(apart(quota, threads));
        // As much again for every other thread, and for what comes then.
        let part = free / (2 * u64::from(threads.max(1)));
        let part = part.min(quota.charge(MOST));
        if part < quota.charge(LEAST) {
            return false;
        }
        let lease = Lease {
            entry: *entry,
            quota,
            left: part,
            paid_at: now.saturating_add(owed),
            used: now,
            notes: [Note::default(); NOTES],
            noted: 0,
        };
        let mut front = self.0.mine();
        let set = front.sets.get_mut(set(entry));
        let place = set.and_then(|set| set.leases.iter_mut().find(|place| place.is_none()));
        place.is_some_and(|place| place.replace(lease).is_none())
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let mut sum = 0;
        self.0.each(|front| {
            sum += front.sets.iter().flat_map(|set| set.leases.iter().flatten()).count();
        });
        sum
    }
}

impl Lent {
    /// Whether so much can be owed while so much is lent.
    pub(super) fn leaves_plenty(self, quota: Quota, owed: u64) -> bool {
        let sum = owed.saturating_add(self.sum).saturating_add(apart(quota, self.threads));
        sum <= quota.room()
    }
}

#[inline]
const fn set(entry: &Entry) -> usize {
    entry.place() % SETS
}

fn apart(quota: Quota, threads: u32) -> u64 {
    quota.charge(threads.saturating_mul(APART))
}

impl Front {
    fn find(&mut self, entry: &Entry) -> Option<&mut Lease> {
        let set = self.sets.get_mut(set(entry))?;
        set.leases.iter_mut().flatten().find(|lease| lease.entry == *entry)
    }

    fn take(&mut self, entry: &Entry) -> Option<Lease> {
        let set = self.sets.get_mut(set(entry))?;
        let is_it =
            |place: &&mut Option<Lease>| place.as_ref().is_some_and(|lease| lease.entry == *entry);
        set.leases.iter_mut().find(is_it)?.take()
    }

    fn miss(&mut self, entry: &Entry) -> Miss {
        if self.sets.is_empty() {
            self.sets.resize(SETS, Set::default());
        }
        let Some(set) = self.sets.get_mut(set(entry)) else {
            return Miss { is_wanted: false, victim: None };
        };
        let is_held = set.leases.iter().flatten().any(|held| held.entry == *entry);
        if is_held {
            return Miss { is_wanted: true, victim: None };
        }
        if set.missed.replace(*entry).as_ref() != Some(entry) {
            return Miss { is_wanted: false, victim: None };
        }
        if set.leases.iter().any(Option::is_none) {
            return Miss { is_wanted: true, victim: None };
        }
        set.oldest = (set.oldest + 1) % WAYS;
        let victim = set.leases.get(set.oldest).and_then(Option::as_ref);
        Miss { is_wanted: true, victim: victim.map(|lease| lease.entry) }
    }
}

impl Lease {
    #[inline]
    fn charge(&mut self, charge: u64, now: u64) -> Option<u64> {
        // A clock that went back: what is owed now is more than this thread can tell.
        if charge > self.left || now < self.used {
            return None;
        }
        match self.noted.checked_sub(1).and_then(|last| self.notes.get_mut(last)) {
            // While something is owed, it does not matter when more is charged.
            Some(last) if last.at == now || self.paid_at >= now => last.charge += charge,
            _ => {
                *self.notes.get_mut(self.noted)? = Note { at: now, charge };
                self.noted += 1;
            }
        }
        self.used = now;
        self.left -= charge;
        self.paid_at = self.paid_at.max(now).saturating_add(charge);
        Some(self.paid_at - now)
    }

    fn notes(&self) -> impl Iterator<Item = Note> + use<> {
        self.notes.into_iter().take(self.noted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leases_of_a_thread_take_up_less_than_16_kib() {
        assert!(SETS * size_of::<Set>() < 16 * 1024);
    }
}
