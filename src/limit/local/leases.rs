//! [`Leases`]: requests that threads let in without a look at what all of them share.
//!
//! A lease says how much a thread may still charge to a debt. It is given only while all that is
//! lent, together with what is owed, stays below what may be owed: so each request that is let in by
//! a lease would be let in without. The thread notes when it charged how much. Before anything is
//! decided about the debt itself, all notes are collected and charged in the order of their times,
//! which leaves the debt as if no thread had ever had a lease. Nothing is denied before all leases
//! are taken back.
//!
//! Times are in order: no lease lets a request in at an earlier time than the latest at which any limit
//! was checked. If the clock goes back, a request is decided by the debt itself, after all that was
//! charged before it, until the clock has caught up.

use super::{
    entry::Entry,
    front::{Front, Miss},
    lease::{LEAST, Lease, MOST, Note, Settled},
};
use crate::{
    key::Quota,
    runtime::{
        PerThread,
        sync::atomic::{AtomicU64, Ordering},
    },
};

/// The leases of all threads. They are only changed under the lock of the shard that their debt is
/// in, other than by letting requests in.
#[derive(Default)]
pub(super) struct Leases {
    threads: PerThread<Front>,
    /// The latest time. Written when the clock has ticked, and else read.
    latest: AtomicU64,
}

/// So many requests for each thread are not lent: nearer to its end, a debt is not shared out.
const APART: u32 = 32;

/// What is lent of a debt.
#[derive(Clone, Copy)]
pub(super) struct Lent {
    /// How many requests, and to how many threads.
    requests: u16,
    pub(super) holders: u16,
    /// How many each of them may have.
    most: u8,
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
        cost: u32,
        now: u64,
    ) -> Result<u64, Miss> {
        let mut front = self.threads.mine();
        // Under the lock: whatever is decided about the debt from here on comes to this lease after
        // it has made its time the latest.
        if self.is_in_order(now)
            && let Some(lease) = front.find(entry)
            && lease.is_for(quota)
            && let Some(owed) = lease.charge(cost, now)
        {
            return Ok(owed);
        }
        Err(front.miss(entry, cost, now))
    }

    /// Whether there was no later time before. Now there is no earlier one after it.
    #[inline]
    fn is_in_order(&self, now: u64) -> bool {
        let latest = self.latest.load(Ordering::Relaxed);
        if latest < now {
            self.latest.fetch_max(now, Ordering::Relaxed);
        }
        latest <= now
    }

    /// Collects what the threads have noted, and returns what is still lent. The calling thread's
    /// lease ends. Those of others keep so many requests at the most; with none, they end as well.
    pub(super) fn collect(&self, entry: &Entry, most: u8, notes: &mut Vec<Note>) -> Lent {
        if let Some(lease) = self.threads.mine().take(entry) {
            notes.extend(lease.note());
        }
        let mut lent = Lent { requests: 0, holders: 0, most, threads: 0 };
        self.threads.each(|front| {
            lent.threads += 1;
            if most == 0 {
                notes.extend(front.take(entry).and_then(|lease| lease.note()));
            } else if let Some(lease) = front.find(entry) {
                let (note, rest) = lease.settle(most);
                notes.extend(note);
                lent.requests += u16::from(rest);
                lent.holders += 1;
            }
        });
        notes.sort_unstable_by_key(|note| note.at);
        lent
    }

    /// Lends to the calling thread if that is wanted and plenty is left, where so much is owed. Tells all
    /// that have leases how the debt stands, and returns how many they are if the thread is one of them.
    pub(super) fn share(
        &self,
        entry: &Entry,
        quota: Quota,
        lent: Lent,
        owed: u64,
        now: u64,
        is_wanted: bool,
    ) -> Option<u16> {
        let mut settled = Settled { paid_at: now.saturating_add(owed), lent: lent.requests };
        let part = if is_wanted { self.part(quota, lent, owed) } else { 0 };
        let lease = Lease::new(entry.id, quota, part, lent.requests, settled.paid_at);
        let is_lent = part >= LEAST && self.threads.mine().put(entry, lease);
        if is_lent {
            settled.lent += u16::from(part);
        }
        if lent.holders > 0 {
            self.threads.each(|front| {
                if let Some(lease) = front.find(entry) {
                    lease.tell(settled);
                }
            });
        }
        is_lent.then_some(lent.holders + 1)
    }

    /// How many requests the calling thread may have.
    fn part(&self, quota: Quota, lent: Lent, owed: u64) -> u8 {
        let threads = if lent.threads == 0 { self.threads.count() } else { lent.threads };
        let free = quota.room().saturating_sub(owed).saturating_sub(lent.sum(quota));
        let free = free.saturating_sub(apart(quota, threads));
        // As much again for every other thread, and for what comes then.
        let part = free / (2 * u64::from(threads.max(1))) / quota.interval_nanos();
        u8::try_from(part).unwrap_or(MOST).min(lent.most)
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let mut sum = 0;
        self.threads.each(|front| sum += front.len());
        sum
    }
}

impl Lent {
    pub(super) const NOTHING: Self = Self { requests: 0, holders: 0, most: MOST, threads: 0 };

    /// In nanoseconds.
    fn sum(self, quota: Quota) -> u64 {
        // No more than the room: no product overflows that was lent.
        quota.interval_nanos().get().saturating_mul(self.requests.into())
    }

    /// Whether so much can be owed while so much is lent.
    pub(super) fn leaves_plenty(self, quota: Quota, owed: u64) -> bool {
        let sum = owed.saturating_add(self.sum(quota));
        sum.saturating_add(apart(quota, self.threads)) <= quota.room()
    }
}

/// How many requests each of so many other threads may have, so that all of them are paid off within
/// the gap: the calling thread then needs none of its notes longer than that.
pub(super) fn most_within(gap: Option<u64>, quota: Quota, others: u16) -> u8 {
    let Some(gap) = gap else { return MOST };
    let most = gap / quota.interval_nanos() / u64::from(others.max(1));
    u8::try_from(most).unwrap_or(MOST).max(LEAST)
}

fn apart(quota: Quota, threads: u32) -> u64 {
    quota.charge(threads.saturating_mul(APART))
}
