//! [`Quota`]: so many requests in so much time, and the arithmetic of it (GCRA).

use std::{
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use crate::error::ConfigError;

/// A number that is not zero, checked when the program is compiled.
///
/// ```
/// use tower_api_key::{limit::Quota, nonzero};
///
/// const QUOTA: Quota = Quota::per_minute(nonzero!(60));
/// ```
///
/// ```compile_fail
/// tower_api_key::nonzero!(0);
/// ```
#[macro_export]
macro_rules! nonzero {
    ($number:expr) => {
        const {
            match ::core::num::NonZeroU32::new($number) {
                Some(number) => number,
                None => panic!("zero"),
            }
        }
    };
}

/// So many requests in so much time.
///
/// A quota is a rate and a burst, as in the generic cell rate algorithm (GCRA, ITU-T I.371): the
/// `burst` is what may be used at once, and comes back evenly, all `requests` of it in one
/// `window`. Unless told otherwise, the burst is the whole quota. So however a caller spreads its
/// requests, in any stretch of time no more than the burst, and what comes back meanwhile, is let
/// in; see [`most_within`](Self::most_within).
///
/// ```
/// use std::time::Duration;
/// use tower_api_key::{limit::Quota, nonzero};
///
/// // 100 a minute, of which 20 may come at once; then one every 0.6 seconds.
/// let quota = Quota::per_minute(nonzero!(100)).with_burst(nonzero!(20));
/// assert_eq!(quota.most_within(Duration::ZERO), 20);
/// assert_eq!(quota.most_within(Duration::from_secs(60)), 120);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Quota {
    requests: NonZeroU32,
    burst: NonZeroU32,
    window_millis: NonZeroU64,
    /// In how many nanoseconds one request comes back, rounded up: never too soon.
    interval: NonZeroU64,
}

/// Times of a limiter are nanoseconds that fit into a double without loss, which is what Lua, and
/// so a script in Redis, counts in. That is 104 days.
const MOST_NANOS: u64 = 1 << 53;

/// The longest window. Four bursts of the longest still count exactly.
const LONGEST_WINDOW: Duration = Duration::from_hours(24 * 31);

const SECOND: u64 = 1_000;

impl Quota {
    /// So many requests a second.
    pub const fn per_second(requests: NonZeroU32) -> Self {
        Self::of(requests, SECOND)
    }

    /// So many requests a minute.
    pub const fn per_minute(requests: NonZeroU32) -> Self {
        Self::of(requests, 60 * SECOND)
    }

    /// So many requests an hour.
    pub const fn per_hour(requests: NonZeroU32) -> Self {
        Self::of(requests, 3_600 * SECOND)
    }

    /// So many requests in 24 hours.
    pub const fn per_day(requests: NonZeroU32) -> Self {
        Self::of(requests, 86_400 * SECOND)
    }

    /// So many requests in a window of whole milliseconds, at most 31 days.
    pub fn new(requests: NonZeroU32, window: Duration) -> Result<Self, ConfigError> {
        let is_whole = window.subsec_nanos().is_multiple_of(1_000_000);
        if window.is_zero() || window > LONGEST_WINDOW || !is_whole {
            return Err(ConfigError::QuotaWindow);
        }
        u64::try_from(window.as_millis())
            .map(|millis| Self::of(requests, millis))
            .map_err(|_| ConfigError::QuotaWindow)
    }

    const fn of(requests: NonZeroU32, window_millis: u64) -> Self {
        let window = window_millis * 1_000_000;
        // A quota of more requests than there are nanoseconds is one a nanosecond.
        let interval = window.div_ceil(requests.get() as u64);
        match (NonZeroU64::new(window_millis), NonZeroU64::new(interval)) {
            (Some(window_millis), Some(interval)) => {
                Self { requests, burst: requests, window_millis, interval }
            }
            // No window is zero, and what is divided up is none of them.
            _ => Self {
                requests,
                burst: requests,
                window_millis: NonZeroU64::MIN,
                interval: NonZeroU64::MIN,
            },
        }
    }

    /// Lets in this many at once, instead of the whole quota. More than what comes back in 104
    /// days is no more than that.
    pub const fn with_burst(mut self, burst: NonZeroU32) -> Self {
        self.burst = burst;
        self
    }

    /// How many requests come back in a window.
    pub const fn requests(self) -> NonZeroU32 {
        self.requests
    }

    /// The window, in whole milliseconds.
    pub const fn window(self) -> Duration {
        Duration::from_millis(self.window_millis.get())
    }

    /// How many requests may be used at once.
    pub const fn burst(self) -> NonZeroU32 {
        self.burst
    }

    /// How long it takes until one more request may be made, once none is left.
    pub const fn interval(self) -> Duration {
        Duration::from_nanos(self.interval.get())
    }

    /// The same in nanoseconds.
    #[inline]
    pub(crate) const fn interval_nanos(self) -> NonZeroU64 {
        self.interval
    }

    /// How many requests, at a cost of one each, can be let in within a stretch of time, whatever
    /// came before it.
    pub fn most_within(self, time: Duration) -> u64 {
        let back = time.as_nanos() / u128::from(self.interval.get());
        u64::from(self.burst.get()).saturating_add(u64::try_from(back).unwrap_or(u64::MAX))
    }

    /// What so many requests cost, in nanoseconds.
    #[inline]
    pub(crate) const fn charge(self, cost: u32) -> u64 {
        let charge = self.interval.get().saturating_mul(cost as u64);
        if charge < MOST_NANOS { charge } else { MOST_NANOS }
    }

    /// How much may be owed, in nanoseconds.
    #[inline]
    pub(crate) const fn room(self) -> u64 {
        self.charge(self.burst.get())
    }

    /// Whether a request is let in that costs so much, where so much is owed (both in
    /// nanoseconds). If not, after how long it would be.
    ///
    /// One that costs more than the burst is let in when nothing is owed, and paid off after.
    #[inline]
    pub(crate) const fn admit(self, owed: u64, charge: u64) -> Result<u64, u64> {
        let room = self.room();
        let room = if charge > room { charge } else { room };
        let after = owed + charge;
        if after <= room { Ok(after) } else { Err(after - room) }
    }

    /// How many requests may be made at once, where so much is owed.
    #[inline]
    pub(crate) fn remaining(self, owed: u64) -> u32 {
        let free = self.room().saturating_sub(owed);
        u32::try_from(free / self.interval.get()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_bounded_and_whole() {
        let one = nonzero!(1);
        for bad in [
            Duration::ZERO,
            Duration::from_micros(1),
            Duration::from_micros(1_500),
            LONGEST_WINDOW + Duration::from_millis(1),
            Duration::MAX,
        ] {
            assert_eq!(Quota::new(one, bad), Err(ConfigError::QuotaWindow), "{bad:?}");
        }
        for good in [Duration::from_millis(1), LONGEST_WINDOW] {
            assert_eq!(Quota::new(one, good).unwrap().window(), good);
        }
        assert_eq!(Quota::new(one, Duration::from_mins(1)), Ok(Quota::per_minute(one)));
    }

    #[test]
    fn one_comes_back_never_too_soon() {
        assert_eq!(Quota::per_second(nonzero!(3)).interval(), Duration::from_nanos(333_333_334));
        assert_eq!(Quota::per_second(nonzero!(u32::MAX)).interval(), Duration::from_nanos(1));
    }

    #[test]
    fn extremes_do_not_overflow() {
        let slow = Quota::new(nonzero!(1), LONGEST_WINDOW).unwrap().with_burst(nonzero!(u32::MAX));
        assert_eq!(slow.room(), MOST_NANOS);
        assert_eq!(slow.admit(MOST_NANOS, MOST_NANOS), Err(MOST_NANOS));
        assert_eq!(slow.admit(0, slow.charge(u32::MAX)), Ok(MOST_NANOS));
        assert_eq!(slow.remaining(u64::MAX), 0);
    }

    #[test]
    fn a_cost_over_the_burst_waits_until_nothing_is_owed() {
        let quota = Quota::per_second(nonzero!(10)).with_burst(nonzero!(2));
        let charge = quota.charge(5);
        assert_eq!(quota.admit(0, charge), Ok(charge));
        assert_eq!(quota.admit(7, charge), Err(7));
    }
}
