//! [`Lease`]: how much a thread may charge to a debt by itself, and the note of what it has charged.
//!
//! One note is enough: a time, and how many requests were let in then. That needs two facts about a
//! debt, which after a charge is paid off at `max(at, paid_at) + charge`.
//!
//! 1. While something is owed, it does not matter when more is charged. So requests are noted as one as
//!    long as the thread itself knows of a debt: what it knows is never more than what is owed.
//! 2. Once nothing was owed, no charge before that matters to one after it. So a note may be replaced by
//!    one of a later time if the debt was paid off in between.
//!
//! The second needs to know what other threads may have charged. When the debt was last settled, all
//! notes were collected, and this lease was told when the debt is paid off and how much was lent to
//! others. Since then nothing was charged but by these leases, or the note would have been collected.
//! Let *X* be what was lent to others, and say that the debt was not paid off at any moment from the
//! note's time until now. Then its end is the begin of that stretch (when it was settled, or the
//! first charge of it) and all charges since: those of this thread, with which alone it would end at
//! `paid_at` or before, and of others no more than *X*. So it ends by `paid_at + X`: if now is not
//! earlier, the debt was paid off at some moment, and the note has no use any more.
//!
//! Where the note has a use, a lease lets no request of another time in, and the debt is settled.

use std::num::{NonZeroU32, NonZeroU64};

use super::entry::EntryId;
use crate::key::Quota;

/// How many requests are lent at once, and at least.
pub(super) const MOST: u8 = u8::MAX;
pub(super) const LEAST: u8 = 8;

/// Not told yet how many requests were lent to others.
const UNKNOWN: u16 = u16::MAX;

/// With 48 bytes, five and what finds them take up four lines of memory.
#[derive(Clone)]
pub(super) struct Lease {
    pub(super) id: EntryId,
    /// These two are all that decisions take from a quota.
    interval: NonZeroU64,
    burst: NonZeroU32,
    /// How many requests the others may have let in since the debt was settled.
    others: u16,
    /// How many requests may still be let in, and how many are noted.
    left: u8,
    noted: u8,
    /// When the debt is paid off, for all that this thread knows: no later than it is. What is noted
    /// was charged when it was due: see [`note`](Self::note).
    paid_at: u64,
}

/// So much was charged at a time.
#[derive(Clone, Copy)]
pub(super) struct Note {
    pub(super) at: u64,
    pub(super) charge: u64,
}

/// How a debt stands that was settled.
#[derive(Clone, Copy)]
pub(super) struct Settled {
    pub(super) paid_at: u64,
    /// How many requests are lent, to all threads.
    pub(super) lent: u16,
}

impl Lease {
    /// Of so many requests, while others have so many.
    pub(super) const fn new(
        id: EntryId,
        quota: Quota,
        left: u8,
        others: u16,
        paid_at: u64,
    ) -> Self {
        let (interval, burst) = (quota.interval_nanos(), quota.burst());
        Self { id, interval, burst, others, left, noted: 0, paid_at }
    }

    #[inline]
    pub(super) fn is_for(&self, quota: Quota) -> bool {
        self.interval == quota.interval_nanos() && self.burst == quota.burst()
    }

    /// Lets a request in. Then so much is owed, for all that this thread knows.
    #[inline]
    pub(super) fn charge(&mut self, cost: u32, now: u64) -> Option<u64> {
        let cost = u8::try_from(cost).ok()?;
        let left = self.left.checked_sub(cost)?;
        if self.paid_at < now {
            if self.noted > 0 && self.wait(now) > 0 {
                return None;
            }
            self.paid_at = now;
            self.noted = 0;
        }
        self.left = left;
        // All of it was lent: no more than the most.
        self.noted += cost;
        self.paid_at = self.paid_at.saturating_add(self.nanos(cost.into()));
        Some(self.paid_at - now)
    }

    /// How long the note may still be needed.
    fn wait(&self, now: u64) -> u64 {
        if self.others == UNKNOWN {
            return u64::MAX;
        }
        self.paid_at.saturating_add(self.nanos(self.others)).saturating_sub(now)
    }

    /// How long the debt has been paid off for all that this thread knows, if it is for the note that a
    /// request of that cost is not let in. It is when more is lent to others than is paid off in that time.
    pub(super) fn gap(&self, cost: u32, now: u64) -> Option<u64> {
        let is_held_up = self.noted > 0 && self.wait(now) > 0 && cost <= self.left.into();
        now.checked_sub(self.paid_at).filter(|_| is_held_up)
    }

    /// What was charged since the debt was settled, as far as it is of use.
    pub(super) fn note(&self) -> Option<Note> {
        let charge = self.nanos(self.noted.into());
        // The debt was paid off until then at the earliest: charged before, it would be the same.
        (self.noted > 0).then(|| Note { at: self.paid_at.saturating_sub(charge), charge })
    }

    /// Hands the note over, and keeps so many requests at the most, as is returned. The thread does
    /// not know then what others have, until it is [told](Self::tell).
    pub(super) fn settle(&mut self, most: u8) -> (Option<Note>, u8) {
        let note = self.note();
        self.noted = 0;
        self.others = UNKNOWN;
        self.left = self.left.min(most);
        (note, self.left)
    }

    /// Tells how the debt stands since all notes were handed over.
    pub(super) fn tell(&mut self, settled: Settled) {
        // What this thread has charged since is charged on top of it.
        let charge = self.nanos(self.noted.into());
        let before = self.paid_at.saturating_sub(charge);
        self.paid_at = before.max(settled.paid_at).saturating_add(charge);
        self.others = settled.lent.saturating_sub(self.left.into());
    }

    #[inline]
    fn nanos(&self, requests: u16) -> u64 {
        self.interval.get().saturating_mul(requests.into())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{super::entry::Key, *};
    use crate::{nonzero, runtime::DigestHash};

    #[test]
    fn five_leases_and_what_finds_them_take_up_four_lines() {
        assert_eq!(size_of::<Option<Lease>>(), 48);
    }

    #[test]
    fn a_note_is_not_replaced_before_it_is_told_what_others_have() {
        let quota = Quota::per_second(nonzero!(1_000));
        let id = Key::new([1, 2], DigestHash::default()).limit(3).id;
        let mut lease = Lease::new(id, quota, 20, 0, 0);
        let second = 1_000_000_000;
        assert!(lease.charge(1, second).is_some() && lease.charge(1, 2 * second).is_some());
        let (note, left) = lease.settle(MOST);
        assert_eq!((note.map(|note| note.at), left), (Some(2 * second), 18));
        assert!(lease.charge(1, 3 * second).is_some());
        assert!(lease.charge(1, 9 * second).is_none());
        assert!(lease.gap(1, 9 * second).is_some());
        // Others have ten, and before the debt was settled so much was charged that it is not paid off
        // until a second after.
        lease.tell(Settled { paid_at: 4 * second, lent: 17 + 10 });
        let (end, ten) = (4 * second + 1_000_000, 10_000_000);
        assert!(lease.charge(1, end + ten - 1).is_none());
        assert_eq!(lease.gap(1, end + ten - 1), Some(ten - 1));
        assert_eq!(lease.gap(18, end + ten - 1), None, "there are seventeen");
        assert_eq!(lease.gap(1, end + ten), None, "the note has no use any more");
        assert_eq!(Lease::new(id, quota, 20, 10, second).gap(1, second), None, "nothing is noted");
        assert!(lease.charge(1, end + ten).is_some());
    }

    /// What is noted leaves the debt as it is with all that was let in.
    fn collect(leases: &mut [Lease], most: u8, paid_at: u64) -> (u64, u16) {
        let (notes, left): (Vec<_>, Vec<_>) =
            leases.iter_mut().map(|lease| lease.settle(most)).unzip();
        let mut notes: Vec<Note> = notes.into_iter().flatten().collect();
        notes.sort_by_key(|note| note.at);
        let paid_at =
            notes.iter().fold(paid_at, |paid_at, note| note.at.max(paid_at) + note.charge);
        (paid_at, left.into_iter().map(u16::from).sum())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Whatever threads let in when, and in whatever turns they hear of each other.
        #[test]
        fn one_note_is_enough(
            millis in 1..40_u64,
            owed in 0..60_000_000_u64,
            lent in prop::collection::vec(0..40_u8, 1..5),
            steps in prop::collection::vec((0..40_usize, 0..30_u64, 1..4_u32), 1..120),
        ) {
            let quota = Quota::new(nonzero!(10), Duration::from_millis(millis)).unwrap();
            let id = Key::new([1, 2], DigestHash::default()).limit(3).id;
            let mut now = 1_000_000_000;
            let mut paid_at = now + owed;
            let mut settled = paid_at;
            let all: u16 = lent.iter().map(|left| u16::from(*left)).sum();
            let lease = |left: &u8| Lease::new(id, quota, *left, all - u16::from(*left), paid_at);
            let mut leases: Vec<_> = lent.iter().map(lease).collect();
            for (thread, wait, cost) in steps {
                if thread == 39 {
                    let most = u8::try_from(wait).unwrap();
                    let (collected, lent) = collect(&mut leases, most, settled);
                    prop_assert_eq!(collected, paid_at);
                    settled = collected;
                    for lease in &mut leases {
                        lease.tell(Settled { paid_at, lent });
                    }
                    continue;
                }
                // Mostly at the same time.
                now += wait.saturating_sub(15) * 1_000_000;
                let lease = &mut leases[thread % lent.len()];
                if let Some(owed) = lease.charge(cost, now) {
                    paid_at = now.max(paid_at) + quota.charge(cost);
                    prop_assert!(now + owed <= paid_at, "it knows of more than there is");
                }
            }
            prop_assert_eq!(collect(&mut leases, 0, settled).0, paid_at);
        }
    }
}
