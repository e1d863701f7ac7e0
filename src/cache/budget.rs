//! How many unknown things may be looked up.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicI64, Ordering},
};

use crate::Timestamp;

/// A token bucket that holds a second's worth, kept as the one moment at which it will be full
/// again (the "theoretical arrival time" of the generic cell rate algorithm).
pub(super) struct Budget {
    /// In nanoseconds since the Unix epoch.
    full_at: AtomicI64,
    nanos_per_lookup: i64,
    /// How far ahead `full_at` is when the bucket is empty.
    nanos_when_empty: i64,
}

const SECOND: i64 = 1_000_000_000;

impl Budget {
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        let per_second = i64::from(per_second.get());
        // Rounded up: rather a hair less than was allowed than a hair more.
        let nanos_per_lookup = (SECOND - 1) / per_second + 1;
        let nanos_when_empty = nanos_per_lookup * per_second;
        Self { full_at: AtomicI64::new(0), nanos_per_lookup, nanos_when_empty }
    }

    /// Takes one lookup from the budget, if there is one.
    pub(super) fn take(&self, now: Timestamp) -> bool {
        let now = now.as_unix_millis().saturating_mul(1_000_000);
        let spend = |full_at: i64| {
            // No spending goes as far ahead as this: the clock was set back, and the bucket must
            // not stay closed until it has caught up. A thread that read the clock just before
            // another one is not mistaken for that.
            let set_back = full_at - now > self.nanos_when_empty + SECOND;
            let full_at = if set_back { now } else { full_at.max(now) } + self.nanos_per_lookup;
            (full_at - now <= self.nanos_when_empty).then_some(full_at)
        };
        self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(1_000_000 + millis)
    }

    fn budget(per_second: u32) -> Budget {
        Budget::new(NonZeroU32::new(per_second).unwrap())
    }

    fn taken(budget: &Budget, now: Timestamp) -> usize {
        (0..2_000_000).take_while(|_| budget.take(now)).count()
    }

    #[test]
    fn a_seconds_worth_at_once_and_then_at_the_rate() {
        let budget = budget(100);
        assert_eq!(taken(&budget, at(0)), 100);
        assert_eq!(taken(&budget, at(9)), 0);
        assert_eq!(taken(&budget, at(10)), 1);
        assert_eq!(taken(&budget, at(510)), 50);
        assert_eq!(taken(&budget, at(60_000)), 100);
    }

    #[test]
    fn exact_for_rates_that_do_not_divide_a_second() {
        for per_second in [1, 3, 7, 999, 999_999] {
            let budget = budget(per_second);
            assert_eq!(taken(&budget, at(0)), per_second as usize, "{per_second} at once");
            let later: usize = (1..=10_000).map(|millis| taken(&budget, at(millis))).sum();
            // Ten seconds' worth, less what rounding takes away.
            let allowed = 10 * per_second as usize;
            let missing = allowed - later;
            assert!(missing <= 1 + allowed / 1_000, "{later} of {allowed}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_close_it() {
        let budget = budget(100);
        assert_eq!(taken(&budget, at(3_600_000)), 100);
        assert_eq!(taken(&budget, at(0)), 100);
        // By less than a second, it is closed for as long.
        assert_eq!(taken(&budget, at(-500)), 0);
        assert_eq!(taken(&budget, at(10)), 1);
    }
}
