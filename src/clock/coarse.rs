//! [`CoarseClock`]: the time as a hit needs it.

use super::{Clock, SystemClock, Timestamp};

/// The operating system's clock as of its last tick, where there is such a thing; elsewhere the
/// exact one.
///
/// Reading the exact time costs more than the rest of a hit. A time to live does not need it: on
/// Linux this one is late by a tick at most, 1 to 10 milliseconds as the kernel was built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CoarseClock;

impl Clock for CoarseClock {
    #[inline]
    fn now(&self) -> Timestamp {
        at_last_tick().unwrap_or_else(|| SystemClock.now())
    }
}

#[cfg(target_os = "linux")]
#[inline]
fn at_last_tick() -> Option<Timestamp> {
    use nix::time::{ClockId, clock_gettime};

    let time = clock_gettime(ClockId::CLOCK_REALTIME_COARSE).ok()?;
    let millis = time.tv_sec().checked_mul(1_000)?.checked_add(time.tv_nsec() / 1_000_000)?;
    Some(Timestamp::from_unix_millis(millis))
}

#[cfg(not(target_os = "linux"))]
#[inline]
fn at_last_tick() -> Option<Timestamp> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half a second is no expectation, but rules out a clock that shows something else.
    #[test]
    fn it_shows_the_time() {
        let earlier = SystemClock.now().saturating_sub(std::time::Duration::from_millis(500));
        let coarse = CoarseClock.now();
        let later = SystemClock.now();
        assert!(earlier <= coarse && coarse <= later, "{earlier} {coarse} {later}");
    }
}
