//! [`MonotonicClock`]: time that never goes back.

use std::{sync::LazyLock, time::Instant};

use super::{Clock, SystemClock, Timestamp};

/// The time that has passed since it was made, counted from what the operating system's clock
/// showed then: what the system's time is set to afterwards does not matter.
///
/// For what counts in durations. A limiter on the system's own clock would lock all callers out
/// for an hour when that is set back by one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MonotonicClock {
    /// What the operating system's clock showed when its monotonic one showed zero, in
    /// milliseconds.
    zero: i64,
}

impl MonotonicClock {
    pub(crate) fn new() -> Self {
        Self { zero: SystemClock.now().as_unix_millis() - millis() }
    }
}

impl Clock for MonotonicClock {
    #[inline]
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.zero.saturating_add(millis()))
    }
}

/// Milliseconds since some moment. As of the last tick, like [`CoarseClock`](super::CoarseClock) and
/// for the same reason.
#[cfg(all(feature = "cache", target_os = "linux"))]
#[inline]
fn millis() -> i64 {
    use nix::time::{ClockId, clock_gettime};

    match clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE) {
        Ok(time) => time.tv_sec().saturating_mul(1_000).saturating_add(time.tv_nsec() / 1_000_000),
        // Linux has this clock since version 2.6.32. One that stands still would let every caller
        // wait for ever, so there is another way.
        Err(_) => exact_millis(),
    }
}

#[cfg(not(all(feature = "cache", target_os = "linux")))]
fn millis() -> i64 {
    exact_millis()
}

#[cold]
fn exact_millis() -> i64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    i64::try_from(START.elapsed().as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
