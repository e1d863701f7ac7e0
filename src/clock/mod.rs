//! Time: millisecond [`Timestamp`]s and the [`Clock`] they are read from, with one for production
//! and one that tests set.

#[cfg(feature = "cache")]
mod coarse;
mod monotonic;
mod parse;

use std::{
    fmt,
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Rounded up: a caller that waits too long is late, one that waits too short is denied again.
pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Clocks may be late by as much: those that are read cheaply move in ticks.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// At most some 584 years.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A moment in UTC, in whole milliseconds since the Unix epoch.
///
/// Milliseconds are what every store keeps, so a record reads back equal to what was written.
/// Converts from and to [`SystemTime`]; parses RFC 3339, and prints it with exactly three digits of
/// a second's fraction (`2026-11-23T09:30:00.000Z`). Years 0 to 9999; anything outside is clamped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
// Milliseconds with the sign bit flipped: orders like the signed number and is never zero within
// the clamped range, so `Option<Timestamp>` takes 8 bytes. A record holds five of them and a
// cache holds a million records.
pub struct Timestamp(NonZeroU64);

const SIGN: u64 = 1 << 63;

impl Timestamp {
    /// The Unix epoch.
    pub const UNIX_EPOCH: Self = Self::from_unix_millis(0);

    /// The last moment that there is here.
    pub(crate) const LAST: Self = Self::from_unix_millis(i64::MAX);

    /// 0000-01-01T00:00:00Z, the first moment of RFC 3339.
    const MIN_MILLIS: i64 = -62_167_219_200_000;
    /// 9999-12-30T22:00:00Z, the last that still has a local time everywhere in year 9999.
    const MAX_MILLIS: i64 = 253_402_207_200_000;

    /// 9999-01-01T00:00:00Z. The year from here on stands for "never" in ends of validity.
    const NEVER_MILLIS: i64 = 253_370_764_800_000;

    /// From signed milliseconds since the Unix epoch.
    pub const fn from_unix_millis(millis: i64) -> Self {
        let clamped = if millis < Self::MIN_MILLIS {
            Self::MIN_MILLIS
        } else if millis > Self::MAX_MILLIS {
            Self::MAX_MILLIS
        } else {
            millis
        };
        match NonZeroU64::new(clamped.cast_unsigned() ^ SIGN) {
            Some(bits) => Self(bits),
            // Only `i64::MIN` maps to zero, and it was clamped away.
            None => Self(NonZeroU64::MIN),
        }
    }

    /// Signed milliseconds since the Unix epoch.
    pub const fn as_unix_millis(self) -> i64 {
        (self.0.get() ^ SIGN).cast_signed()
    }

    /// Whether this is in the year 9999, which as an end of validity means that there is none.
    pub(crate) const fn is_never(self) -> bool {
        self.as_unix_millis() >= Self::NEVER_MILLIS
    }

    /// This moment moved forward, clamped at the end of the range.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self::from_unix_millis(self.as_unix_millis().saturating_add(millis))
    }

    /// This moment moved back, clamped at the start of the range.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self::from_unix_millis(self.as_unix_millis().saturating_sub(millis))
    }

    /// How long after `earlier` this is; zero when it is not after.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        let millis = self.as_unix_millis() - earlier.as_unix_millis();
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }
}

impl From<SystemTime> for Timestamp {
    #[inline]
    fn from(time: SystemTime) -> Self {
        // Every lookup in a cache comes by here: no 128-bit arithmetic.
        let millis = |d: Duration| {
            let seconds = i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
            seconds.saturating_mul(1_000).saturating_add(d.subsec_millis().into())
        };
        Self::from_unix_millis(match time.duration_since(UNIX_EPOCH) {
            Ok(after) => millis(after),
            Err(before) => -millis(before.duration()),
        })
    }
}

impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> Self {
        let millis = timestamp.as_unix_millis();
        let distance = Duration::from_millis(millis.unsigned_abs());
        if millis < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
    }
}

impl Timestamp {
    /// As header fields have it (RFC 9110 §5.6.7), in whole seconds.
    pub(crate) fn http_date(self) -> Option<String> {
        let time = jiff::Timestamp::from_second(self.as_unix_millis().div_euclid(1000)).ok()?;
        jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.as_unix_millis()) {
            Ok(timestamp) => write!(f, "{timestamp:.3}"),
            // Clamping keeps every value inside jiff's range; printing must not fail regardless.
            Err(_) => write!(f, "{}ms", self.as_unix_millis()),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

crate::text::serde_as_text!(Timestamp, "an RFC 3339 date and time");

#[cfg(feature = "cache")]
pub(crate) use self::coarse::CoarseClock;
pub(crate) use self::monotonic::MonotonicClock;
#[cfg(any(feature = "axum", feature = "file"))]
pub(crate) use self::parse::End;
pub use self::parse::ParseTimestampError;

/// Where the layer, the manager and the stores read the time.
pub trait Clock: Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> Timestamp;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }
}

/// The operating system's clock, and the default everywhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

/// A clock that stands still until it is moved: for tests of expiry, not-before and the like.
///
/// Clones share the same hands.
///
/// ```
/// use std::time::Duration;
/// use tower_api_key::{
///     Timestamp,
///     clock::{Clock, SettableClock},
/// };
///
/// let clock = SettableClock::new("2030-01-01T00:00:00Z".parse().unwrap());
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().to_string(), "2030-01-01T00:01:00.000Z");
/// ```
#[derive(Clone, Debug)]
pub struct SettableClock(Arc<AtomicI64>);

impl SettableClock {
    /// A clock that shows `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(now.as_unix_millis())))
    }

    /// Sets the time, forward or back.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_unix_millis(), Ordering::SeqCst);
    }

    /// Moves the time forward.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().saturating_add(by));
    }
}

impl Clock for SettableClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_are_clamped_print_and_parse_back() {
        for millis in [i64::MIN, -1, 0, 1, 1_763_860_000_123, i64::MAX] {
            let timestamp = Timestamp::from_unix_millis(millis);
            assert_eq!(timestamp.to_string().parse(), Ok(timestamp), "{millis}");
            assert_eq!(Timestamp::from(SystemTime::from(timestamp)), timestamp);
        }
        assert!(Timestamp::from_unix_millis(-1) < Timestamp::from_unix_millis(0));
        assert_eq!(size_of::<Option<Timestamp>>(), 8);
    }
}
