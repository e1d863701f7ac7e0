//! Circuit breakers: a back end that is known to be down is asked once a second, not by each caller.

use std::time::Duration;

use super::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use crate::{clock::Timestamp, error::BackEnd};

/// While a back end is down, callers go on without it at once, and one call a second asks whether it
/// is back: no caller waits for a back end that does not answer.
///
/// Times are in Unix milliseconds.
pub(crate) struct Breaker {
    back_end: BackEnd,
    report: Report,
    /// How long the last failure is believed in; zero while the back end is up.
    until: AtomicI64,
    /// When to ask next.
    ask_at: AtomicI64,
    /// How often the back end has answered.
    answers: AtomicU64,
}

/// Tells the operator of a change.
pub(crate) type Report = fn(BackEnd, Change);

/// What a breaker has found out of its back end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Down,
    Up,
    /// It was down, and the breaker is gone.
    Unknown,
}

/// The part of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The back end is up, as far as is known.
    Up,
    /// It is down, and this caller finds out whether it is back.
    Probe,
    /// It is down.
    Down,
}

/// Between two questions whether the back end is back.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// After this long without a failure, for want of calls, the state of the back end is unknown.
pub(super) const MEMORY: Duration = Duration::from_secs(3);

impl Breaker {
    pub(crate) fn new(back_end: BackEnd, report: Report) -> Self {
        let (until, ask_at, answers) = Default::default();
        Self { back_end, report, until, ask_at, answers }
    }

    pub(super) const fn back_end(&self) -> BackEnd {
        self.back_end
    }

    /// Whether the back end is down, as far as is known.
    #[inline]
    pub(crate) fn is_open(&self, now: Timestamp) -> bool {
        self.is_open_by(|| now)
    }

    /// The same, with a clock that is only read where there was a failure.
    #[inline]
    fn is_open_by(&self, now: impl FnOnce() -> Timestamp) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        // Further ahead it cannot be, unless the clock was set back.
        until != 0 && (until - millis(MEMORY)..until).contains(&now().as_unix_millis())
    }

    /// The part of a caller: while the back end is down, one a second is to ask it.
    #[inline]
    pub(crate) fn turn(&self, now: impl Fn() -> Timestamp) -> Turn {
        if self.is_open_by(&now) { self.turn_while_open(now()) } else { Turn::Up }
    }

    #[cold]
    fn turn_while_open(&self, now: Timestamp) -> Turn {
        let ask_at = self.ask_at.load(Ordering::Relaxed);
        let next = now.as_unix_millis() + millis(PAUSE);
        let is_due = ask_at <= now.as_unix_millis()
            && self
                .ask_at
                .compare_exchange(ask_at, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_due { Turn::Probe } else { Turn::Down }
    }

    /// How often the back end has answered; for [`failed`](Self::failed).
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// A call that began when there were so many answers has failed, or takes too long. If others
    /// were answered since, the back end is not down.
    pub(crate) fn failed(&self, now: Timestamp, answers: u64) {
        if self.answers() == answers {
            if !self.is_open(now) {
                self.ask_at.store(now.as_unix_millis() + millis(PAUSE), Ordering::Relaxed);
            }
            let until = now.as_unix_millis() + millis(MEMORY);
            if self.until.swap(until, Ordering::Relaxed) == 0 {
                (self.report)(self.back_end, Change::Down);
            }
        }
    }

    /// The back end has answered.
    #[inline]
    pub(crate) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        if self.until.load(Ordering::Relaxed) != 0 && self.until.swap(0, Ordering::Relaxed) != 0 {
            (self.report)(self.back_end, Change::Up);
        }
    }
}

impl Drop for Breaker {
    fn drop(&mut self) {
        if self.until.load(Ordering::Relaxed) != 0 {
            (self.report)(self.back_end, Change::Unknown);
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a few seconds")]
pub(super) const fn millis(duration: Duration) -> i64 {
    duration.as_millis() as i64
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// How often a breaker of this thread said that its back end is down, and is up.
        static REPORTS: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
    }

    fn report(_: BackEnd, change: Change) {
        let (down, up) = REPORTS.get();
        REPORTS.set(match change {
            Change::Down => (down + 1, up),
            Change::Up | Change::Unknown => (down, up + 1),
        });
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(1_000_000 + millis)
    }

    fn up() -> Breaker {
        Breaker::new(BackEnd::KeyStore, report)
    }

    fn down_since(start: Timestamp) -> Breaker {
        let breaker = up();
        breaker.failed(start, 0);
        breaker
    }

    #[test]
    fn while_the_back_end_is_up_every_caller_may_ask() {
        let breaker = up();
        for _ in 0..3 {
            assert!(!breaker.is_open(at(0)));
            assert_eq!(breaker.turn(|| at(0)), Turn::Up);
            breaker.answered();
        }
        assert_eq!(REPORTS.get(), (0, 0));
    }

    #[test]
    fn while_it_is_down_one_a_second_may() {
        let breaker = down_since(at(0));
        let may_ask = |range: std::ops::Range<i64>| {
            let may_ask = |millis: &i64| breaker.turn(|| at(*millis)) == Turn::Probe;
            range.filter(may_ask).collect::<Vec<_>>()
        };
        assert_eq!(may_ask(0..1_500), [1_000]);
        // Failures neither put it off nor bring it forward.
        breaker.failed(at(1_500), 0);
        assert_eq!(may_ask(1_500..2_500), [2_000]);
        breaker.failed(at(3_000), 0);
        assert_eq!(may_ask(3_200..4_500), [3_200, 4_200]);
    }

    #[test]
    fn it_ends_with_an_answer() {
        let breaker = down_since(at(0));
        assert!(breaker.is_open(at(1)));
        breaker.answered();
        assert!(!breaker.is_open(at(1)));
        // A call that began before that answer says nothing any more.
        breaker.failed(at(2), 0);
        assert!(!breaker.is_open(at(2)));
        breaker.failed(at(2), breaker.answers());
        assert!(breaker.is_open(at(2)));
    }

    #[test]
    fn each_change_is_reported_once() {
        let breaker = down_since(at(0));
        for millis in 1..10 {
            breaker.failed(at(millis * 1_000), 0);
        }
        assert_eq!(REPORTS.get(), (1, 0));
        breaker.answered();
        breaker.answered();
        assert_eq!(REPORTS.get(), (1, 1));
        // One that is forgotten has not ended: no answer has come.
        breaker.failed(at(20_000), breaker.answers());
        breaker.failed(at(30_000), breaker.answers());
        assert_eq!(REPORTS.get(), (2, 1));
        drop(breaker);
        assert_eq!(REPORTS.get(), (2, 2));
    }

    #[test]
    fn where_no_caller_asks_it_is_forgotten() {
        let breaker = down_since(at(0));
        assert!(breaker.is_open(at(2_999)) && !breaker.is_open(at(3_000)));
        assert_eq!([(); 2].map(|()| breaker.turn(|| at(3_000))), [Turn::Up; 2]);
    }

    #[test]
    fn a_clock_that_is_set_back_ends_it() {
        let breaker = down_since(at(3_600_000));
        assert!(!breaker.is_open(at(0)));
        assert_eq!(breaker.turn(|| at(0)), Turn::Up);
    }
}
