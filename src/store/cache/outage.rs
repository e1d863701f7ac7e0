//! Whether the store, or another source, is known to be down.

use std::time::Duration;

use crate::{
    clock::Timestamp,
    runtime::sync::atomic::{AtomicI64, AtomicU64, Ordering},
};

/// While the store (or another source) is down, known things are answered from memory at once,
/// and one lookup a second, in the background, asks whether it is back: no request waits for a
/// store that does not answer.
///
/// Times are in Unix milliseconds.
#[derive(Default)]
pub(super) struct Outage {
    /// How long the last failure is believed in; zero while the store is up.
    until: AtomicI64,
    /// When to ask next.
    ask_at: AtomicI64,
    /// How often the store has answered.
    answers: AtomicU64,
}

/// Between two questions whether the store is back.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// After this long without a failure, for want of lookups, the state of the store is unknown.
const MEMORY: Duration = Duration::from_secs(3);

impl Outage {
    /// Whether the store is down, as far as is known.
    #[inline]
    pub(super) fn is_on(&self, now: Timestamp) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        // Further ahead it cannot be, unless the clock was set back.
        until != 0 && (until - millis(MEMORY)..until).contains(&now.as_unix_millis())
    }

    /// Whether the caller may ask: every caller while the store is up, one a second when it is not.
    pub(super) fn may_ask(&self, now: Timestamp) -> bool {
        if !self.is_on(now) {
            return true;
        }
        let ask_at = self.ask_at.load(Ordering::Relaxed);
        let next = now.as_unix_millis() + millis(PAUSE);
        ask_at <= now.as_unix_millis()
            && self
                .ask_at
                .compare_exchange(ask_at, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// How often the store has answered; for [`failed`](Self::failed).
    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// A lookup that began when there were so many answers has failed, or takes too long. If
    /// others were answered since, the store is not down.
    pub(super) fn failed(&self, now: Timestamp, answers: u64) {
        if self.answers() == answers {
            if !self.is_on(now) {
                self.ask_at.store(now.as_unix_millis() + millis(PAUSE), Ordering::Relaxed);
            }
            self.until.store(now.as_unix_millis() + millis(MEMORY), Ordering::Relaxed);
        }
    }

    /// The store has answered; true if it was down before.
    pub(super) fn answered(&self) -> bool {
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.until.load(Ordering::Relaxed) != 0 && self.until.swap(0, Ordering::Relaxed) != 0
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a few seconds")]
const fn millis(duration: Duration) -> i64 {
    duration.as_millis() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(1_000_000 + millis)
    }

    fn down_since(start: Timestamp) -> Outage {
        let outage = Outage::default();
        outage.failed(start, 0);
        outage
    }

    #[test]
    fn while_the_store_is_up_everybody_may_ask() {
        let outage = Outage::default();
        assert!(!outage.is_on(at(0)) && outage.may_ask(at(0)) && outage.may_ask(at(0)));
        assert!(!outage.answered());
    }

    #[test]
    fn while_it_is_down_one_a_second_may() {
        let outage = down_since(at(0));
        let may_ask = |range: std::ops::Range<i64>| {
            range.filter(|millis| outage.may_ask(at(*millis))).collect::<Vec<_>>()
        };
        assert_eq!(may_ask(0..1_500), [1_000]);
        // Failures neither put it off nor bring it forward.
        outage.failed(at(1_500), 0);
        assert_eq!(may_ask(1_500..2_500), [2_000]);
        outage.failed(at(3_000), 0);
        assert_eq!(may_ask(3_200..4_500), [3_200, 4_200]);
    }

    #[test]
    fn it_ends_with_an_answer() {
        let outage = down_since(at(0));
        assert!(outage.is_on(at(1)) && outage.answered() && !outage.is_on(at(1)));
        // A lookup that began before that answer says nothing any more.
        outage.failed(at(2), 0);
        assert!(!outage.is_on(at(2)));
        outage.failed(at(2), outage.answers());
        assert!(outage.is_on(at(2)));
    }

    #[test]
    fn where_nobody_asks_it_is_forgotten() {
        let outage = down_since(at(0));
        assert!(outage.is_on(at(2_999)) && !outage.is_on(at(3_000)));
        assert!(outage.may_ask(at(3_000)) && outage.may_ask(at(3_000)));
    }

    #[test]
    fn a_clock_that_is_set_back_ends_it() {
        let outage = down_since(at(3_600_000));
        assert!(!outage.is_on(at(0)) && outage.may_ask(at(0)));
    }
}
