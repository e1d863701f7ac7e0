//! [`MonotonicClock`]: time that never goes back.

use std::time::Duration;
#[cfg(not(all(feature = "cache", target_os = "linux")))]
use std::time::Instant;

use crate::{Clock, SystemClock, Timestamp};

/// The time that has passed since it was made, counted from what the operating system's clock
/// showed then: what the system's time is set to afterwards does not matter.
///
/// For what counts in durations. A limiter on the system's own clock would lock everybody out for
/// an hour when that is set back by one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MonotonicClock {
    made_at: Timestamp,
    since: Beginning,
}

impl MonotonicClock {
    pub(crate) fn new() -> Self {
        Self { made_at: SystemClock.now(), since: Beginning::now() }
    }
}

impl Clock for MonotonicClock {
    #[inline]
    fn now(&self) -> Timestamp {
        self.made_at.saturating_add(self.since.elapsed())
    }
}

/// As of the last tick, like [`CoarseClock`](super::CoarseClock) and for the same reason.
#[cfg(all(feature = "cache", target_os = "linux"))]
#[derive(Clone, Copy, Debug)]
struct Beginning(Duration);

#[cfg(all(feature = "cache", target_os = "linux"))]
impl Beginning {
    #[inline]
    fn now() -> Self {
        use nix::time::{ClockId, clock_gettime};

        // Linux has this clock since version 2.6.32. One that stands still would let everybody
        // wait for ever, so there is another way.
        let Ok(time) = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE) else { return Self::exact() };
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        let millis = u64::try_from(time.tv_nsec() / 1_000_000).unwrap_or(0);
        Self(Duration::from_millis(seconds.saturating_mul(1_000).saturating_add(millis)))
    }

    #[cold]
    fn exact() -> Self {
        use std::{sync::LazyLock, time::Instant};

        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        Self(START.elapsed())
    }

    #[inline]
    fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

#[cfg(not(all(feature = "cache", target_os = "linux")))]
#[derive(Clone, Copy, Debug)]
struct Beginning(Instant);

#[cfg(not(all(feature = "cache", target_os = "linux")))]
impl Beginning {
    fn now() -> Self {
        Self(Instant::now())
    }

    #[inline]
    fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half a second is no expectation, but rules out a clock that shows something else.
    #[test]
    fn it_begins_with_the_time_and_goes_on() {
        let clock = MonotonicClock::new();
        let first = clock.now();
        let difference = SystemClock.now().saturating_since(first);
        assert!(difference < Duration::from_millis(500), "{difference:?}");
        let mut last = first;
        while last == first {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
    }
}
