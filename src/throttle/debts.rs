//! [`Debts`]: how much each debtor owes, in bounded memory.

use crate::runtime::Mutex;
use std::sync::MutexGuard;

/// How much each debtor owes, by a hash of the debtor.
///
/// The hash says which set of a few debts one is in. A set that is full has the one make way that
/// is nearest to being paid off.
pub(super) struct Debts {
    sets: Box<[Mutex<Vec<Debt>>]>,
    /// The most debts in a set.
    ways: usize,
}

#[derive(Clone, Copy)]
struct Debt {
    who: u64,
    /// When nothing is owed any more, in nanoseconds.
    paid_at: u64,
}

/// As many are looked through in two or three cache lines, and so many that few sets of a table
/// are full before most are.
const WAYS: usize = 16;

impl Debts {
    /// Room for at most so many, but for one.
    pub(super) fn new(capacity: usize) -> Self {
        let ways = capacity.clamp(1, WAYS);
        let sets = (capacity / ways).max(1);
        Self { sets: (0..sets).map(|_| Mutex::default()).collect(), ways }
    }

    fn set(&self, who: u64) -> MutexGuard<'_, Vec<Debt>> {
        // Scales the hash to the number of sets, which is no power of two.
        let place = u128::from(who) * self.sets.len() as u128;
        let place = usize::try_from(place >> 64).unwrap_or(0);
        self.sets[place].lock()
    }

    /// When a debt is paid off, if there is one.
    pub(super) fn paid_at(&self, who: u64) -> u64 {
        let set = self.set(who);
        set.iter().find(|debt| debt.who == who).map_or(0, |debt| debt.paid_at)
    }

    /// Adds to a debt, but no more than makes it `most`, and returns the debt then.
    pub(super) fn add(&self, who: u64, now: u64, charge: u64, most: u64) -> u64 {
        let mut set = self.set(who);
        let owed = |debt: &Debt| debt.paid_at.saturating_sub(now);
        if let Some(debt) = set.iter_mut().find(|debt| debt.who == who) {
            let sum = owed(debt).saturating_add(charge).min(most);
            debt.paid_at = now.saturating_add(sum);
            return sum;
        }
        let sum = charge.min(most);
        let debt = Debt { who, paid_at: now.saturating_add(sum) };
        let has_room = set.len() < self.ways;
        match set.iter_mut().min_by_key(|debt| debt.paid_at) {
            Some(least) if least.paid_at <= now || !has_room => *least = debt,
            _ => set.push(debt),
        }
        sum
    }

    /// How many are kept, paid off or not.
    pub(super) fn len(&self) -> usize {
        let len = |set: &Mutex<Vec<Debt>>| set.lock().len();
        self.sets.iter().map(len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capacity_is_kept() {
        for capacity in [0, 1, 2, 15, 16, 17, 100, 1_000] {
            let debts = Debts::new(capacity);
            for who in 0..5_000_u64 {
                debts.add(who.wrapping_mul(0x9e37_79b9_7f4a_7c15), 0, 10, 100);
            }
            assert!((1..=capacity.max(1)).contains(&debts.len()), "{} of {capacity}", debts.len());
        }
        // What the documentation says about memory follows from this.
        assert_eq!(size_of::<Debt>(), 16);
    }

    #[test]
    fn what_is_paid_off_makes_way_first_and_then_what_is_nearest_to_it() {
        let debts = Debts::new(3);
        let kept = |known: [u64; 5]| known.map(|who| debts.paid_at(who) > 0);
        for (who, charge) in [(1, 30), (2, 10), (3, 20)] {
            assert_eq!(debts.add(who, 0, charge, 100), charge);
        }
        debts.add(4, 10, 15, 100);
        assert_eq!(kept([1, 2, 3, 4, 5]), [true, false, true, true, false]);
        debts.add(5, 10, 1, 100);
        assert_eq!(kept([1, 2, 3, 4, 5]), [true, false, false, true, true]);
    }

    #[test]
    fn debts_grow_up_to_the_most_and_are_paid_off_by_time() {
        let debts = Debts::new(3);
        assert_eq!(debts.add(1, 1_000, 60, 100), 60);
        assert_eq!(debts.add(1, 1_010, 60, 100), 100);
        assert_eq!(debts.paid_at(1), 1_110);
        assert_eq!(debts.add(1, 5_000, 60, 100), 60);
        assert_eq!(debts.add(1, u64::MAX, 60, 100), 60);
        assert_eq!(debts.paid_at(2), 0);
    }
}
