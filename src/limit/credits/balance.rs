//! [`Balance`]: the credits of a line of keys, as stored.

use super::Refill;
use crate::Timestamp;

/// The credits of a line of keys, as stored: what is left to be given to nodes.
///
/// A node takes a few hundred at a time and spends them in memory, so `remaining` does not say what
/// nodes have taken and not spent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Balance {
    /// What is left. At most `i64::MAX`, which is what databases count to.
    pub remaining: u64,
    /// How credits come back, if they do.
    pub refill: Option<Refill>,
    /// From when on refills are counted.
    pub since: Timestamp,
    /// When credits come back next.
    pub next_refill_at: Option<Timestamp>,
    /// How often the balance was set, and not only added to. What a node took before that is not
    /// spent, and not given back.
    pub epoch: u64,
    /// How often the balance was changed, so that no change is lost.
    pub revision: u64,
}

/// The most credits that there are: as databases count.
pub(crate) const MOST: u64 = i64::MAX.unsigned_abs();

impl Balance {
    /// A balance that begins `now`.
    pub fn new(remaining: u64, refill: Option<Refill>, now: Timestamp) -> Self {
        Self {
            remaining: remaining.min(MOST),
            refill,
            since: now,
            next_refill_at: refill.map(|refill| refill.next_after(now, now)),
            epoch: 0,
            revision: 0,
        }
    }

    /// As it is at `now`: with what has come back until then.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Self {
        let due = self.next_refill_at.is_some_and(|next| next <= now);
        let Some(refill) = self.refill.filter(|_| due) else { return self.clone() };
        Self {
            remaining: self.remaining.max(refill.amount.get()).min(MOST),
            next_refill_at: Some(refill.next_after(self.since, now)),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        num::{NonZeroU32, NonZeroU64},
        time::Duration,
    };

    use super::*;
    use crate::RefillInterval;

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
}
