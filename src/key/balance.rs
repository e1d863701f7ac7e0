//! [`Balance`]: the credits of a lineage, as stored.

use super::refill::Refill;
use crate::clock::Timestamp;

/// The credits of a lineage, as stored: the rest that can be given to nodes.
///
/// A node takes a few hundred at a time and spends them in memory, so `remaining` does not say what
/// nodes have taken and not spent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Balance {
    /// The credits that are left. At most `i64::MAX`, which is what databases count to.
    pub remaining: u64,
    /// How credits come back, if they do.
    pub refill: Option<Refill>,
    /// From when on refills are counted, by the store's clock.
    pub since: Timestamp,
    /// When credits come back next, by the store's clock.
    pub next_refill_at: Option<Timestamp>,
    /// The [period](Refill::period_at) since [`since`](Self::since) whose refill was granted last.
    /// Period 0 begins with the balance, which has what it begins with instead of a refill.
    pub granted: i64,
    /// How often the balance was set, and not only added to. What a node took before that is not
    /// spent, and not given back.
    pub epoch: u64,
    /// How often the balance was changed, so that no change is lost.
    pub revision: u64,
}

/// The most credits that there are: as databases count.
pub(crate) const MAX_CREDITS: u64 = i64::MAX.unsigned_abs();

impl Balance {
    /// A balance that begins `now`, by the [store's clock](crate::store::Balances::now).
    pub fn new(remaining: u64, refill: Option<Refill>, now: Timestamp) -> Self {
        Self {
            remaining: remaining.min(MAX_CREDITS),
            refill,
            since: now,
            next_refill_at: refill.map(|refill| refill.next_after(now, now)),
            granted: 0,
            epoch: 0,
            revision: 0,
        }
    }

    /// As it is at `now`, by the [store's clock](crate::store::Balances::now): with what has come
    /// back until then.
    ///
    /// Each period grants one refill. The period that was granted last is not granted again, even
    /// if the clock was set back and comes to it a second time. A `next_refill_at` beyond the end of
    /// the current period was written by a clock that was ahead: it moves back to that end, and
    /// nothing is granted for it. Earlier periods that a clock comes to again take their time again,
    /// and grant again: in all, there is at most one refill for each period of true time, and two
    /// for each time that the clock is set.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Self {
        let Some((refill, due)) = self.refill.zip(self.next_refill_at) else { return self.clone() };
        let period = refill.period_at(self.since, now);
        let end = refill.begin_of(self.since, period.saturating_add(1));
        if due > now {
            return Self { next_refill_at: Some(due.min(end)), ..self.clone() };
        }
        let mut balance = Self { next_refill_at: Some(end), ..self.clone() };
        if period != self.granted {
            balance.granted = period;
            balance.remaining = self.remaining.max(refill.amount.get()).min(MAX_CREDITS);
        }
        balance
    }

    /// The same balance with another refill, which begins `now`. The remaining credits stay.
    pub(crate) fn with_refill(self, refill: Option<Refill>, now: Timestamp) -> Self {
        let (epoch, revision) = (self.epoch, self.revision);
        Self { epoch, revision, ..Self::new(self.remaining, refill, now) }
    }

    /// The period that was granted last, where an older version of this crate did not write it
    /// down: the one before the next refill.
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "redis", feature = "sqlite"))]
    pub(crate) fn granted_before(
        since: Timestamp,
        refill: Option<Refill>,
        next_refill_at: Option<Timestamp>,
    ) -> i64 {
        let next = refill.zip(next_refill_at);
        next.map_or(0, |(refill, next)| refill.period_at(since, next).saturating_sub(1))
    }

    /// When the period began that was granted last.
    pub(crate) fn granted_at(&self) -> Timestamp {
        self.refill.map_or(self.since, |refill| refill.begin_of(self.since, self.granted))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        num::{NonZeroU32, NonZeroU64},
        time::Duration,
    };

    use proptest::{collection::vec, option, prelude::*};

    use super::super::refill::RefillInterval;
    use super::*;

    #[test]
    fn credits_come_back_once_and_do_not_add_up() {
        let hour = Duration::from_hours(1);
        let refill = Refill {
            amount: NonZeroU64::new(10).unwrap(),
            interval: RefillInterval::Seconds(NonZeroU32::new(3_600).unwrap()),
        };
        let start = Timestamp::from_unix_millis(0);
        let at = |hours: u32| start.saturating_add(hour * hours);
        let balance = Balance { remaining: 3, ..Balance::new(5, Some(refill), start) };
        assert_eq!(balance.at(start), balance);
        let refilled = balance.at(at(1));
        assert_eq!((refilled.remaining, refilled.next_refill_at), (10, Some(at(2))));
        assert_eq!(balance.at(at(7)).remaining, 10);
        assert_eq!(balance.at(at(7)).next_refill_at, Some(at(8)));
        // What was bought on top stays.
        let rich = Balance { remaining: 25, ..balance };
        assert_eq!(rich.at(at(1)).remaining, 25);
    }

    /// A spent balance that is refilled every hour, begun at 1970-01-01T00:00Z.
    fn hourly() -> Balance {
        let interval = RefillInterval::Seconds(NonZeroU32::new(3_600).unwrap());
        let refill = Refill { amount: NonZeroU64::new(10).unwrap(), interval };
        Balance { remaining: 0, ..Balance::new(10, Some(refill), Timestamp::UNIX_EPOCH) }
    }

    fn hour(hours: i64) -> Timestamp {
        Timestamp::from_unix_millis(hours * 3_600_000)
    }

    #[test]
    fn a_time_too_far_ahead_is_repaired_without_a_grant() {
        let year = 24 * 365;
        // Written by a clock a year ahead, with or without the grant of that period.
        for granted in [0, year - 1] {
            let ahead = Balance { next_refill_at: Some(hour(year)), granted, ..hourly() };
            let repaired = ahead.at(hour(2));
            assert_eq!((repaired.remaining, repaired.next_refill_at), (0, Some(hour(3))));
            let refilled = repaired.at(hour(3));
            assert_eq!((refilled.remaining, refilled.next_refill_at), (10, Some(hour(4))));
        }
        // Begun by a clock a year ahead.
        let ahead = Balance { since: hour(year), next_refill_at: Some(hour(year + 1)), ..hourly() };
        let repaired = ahead.at(hour(2));
        assert_eq!((repaired.remaining, repaired.next_refill_at), (0, Some(hour(3))));
        assert_eq!(repaired.at(hour(3)).remaining, 10);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_grant_the_last_period_again() {
        let refilled = hourly().at(hour(5));
        assert_eq!((refilled.remaining, refilled.granted), (10, 5));
        let mut spent = Balance { remaining: 0, ..refilled };
        for back in [hour(5), hour(4), hour(1), hour(-40_000)] {
            spent = spent.at(back);
            assert_eq!(spent.remaining, 0, "{back}");
            spent = spent.at(hour(5));
            assert_eq!((spent.remaining, spent.next_refill_at), (0, Some(hour(6))), "{back}");
        }
        assert_eq!(spent.at(hour(6)).remaining, 10);
    }

    proptest! {
        /// Neither a clock that is set back by many periods nor one that goes to and fro grants more
        /// than the time that has truly gone by, and for each time that it is set, one at once and one
        /// at the end of a period that is cut short.
        #[test]
        fn clocks_that_are_set_grant_two_refills_each_time_at_most(
            steps in vec((0..200_i64, option::weighted(0.2, -500_000..500_000_i64)), 1..200),
        ) {
            const MINUTE: i64 = 60_000;
            let (mut balance, mut grants, mut changes) = (hourly(), 0, 0);
            let (mut gone_by, mut ahead) = (0, 0);
            for (minutes, set) in steps {
                // Looked at each minute, so that no refill is missed.
                for _ in 0..minutes {
                    gone_by += 1;
                    balance = balance.at(Timestamp::from_unix_millis((gone_by + ahead) * MINUTE));
                    grants += i64::from(balance.remaining > 0);
                    balance.remaining = 0;
                }
                if let Some(set) = set {
                    ahead = set;
                    changes += 1;
                }
                prop_assert!(grants <= gone_by / 60 + 2 * changes, "{grants} after {gone_by} min");
            }
        }
    }
}
