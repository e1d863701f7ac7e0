//! From when to when usage is asked for.

use std::time::Duration;

use super::fields::parsed;
use crate::{clock::Timestamp, rejection::Problem};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Which ranges there are.
pub(super) struct Bounds {
    /// Where a range may begin and end.
    step: Duration,
    /// How long a range is without `since`.
    usual: Duration,
    /// How long it may be, so that an answer is not too long either.
    longest: Duration,
    too_long: &'static str,
}

impl Bounds {
    pub(super) const BY_HOUR: Self = Self {
        step: HOUR,
        usual: DAY,
        longest: Duration::from_hours(24 * 31),
        too_long: "since must be at most 31 days before until, where by is hour.",
    };

    pub(super) const BY_DAY: Self = Self {
        step: DAY,
        usual: Duration::from_hours(24 * 30),
        longest: Duration::from_hours(24 * 366),
        too_long: "since must be at most 366 days before until.",
    };

    /// Where all of it is one sum.
    pub(super) const WHOLE: Self = Self { step: HOUR, ..Self::BY_DAY };
}

/// Whole hours or days, in UTC.
pub(super) struct Range {
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
}

impl Range {
    /// The range that is asked for, moved outward to where hours or days begin.
    pub(super) fn new(
        bounds: &Bounds,
        since: Option<&str>,
        until: Option<&str>,
        now: Timestamp,
    ) -> Result<Self, Problem> {
        let expected = "since must be a date and time such as 2030-01-31T12:00:00Z.";
        let since = parsed("since", since, expected)?;
        let expected = "until must be a date and time such as 2030-01-31T12:00:00Z.";
        let until: Option<Timestamp> = parsed("until", until, expected)?;
        let start = |time| start_of(time, bounds.step);
        // The hour or day that it is now, to its end.
        let end = until.map_or_else(
            || start(now).saturating_add(bounds.step),
            |until| {
                if start(until) < until { start(until).saturating_add(bounds.step) } else { until }
            },
        );
        let Some(since) = since else {
            return Self { since: end.saturating_sub(bounds.usual), until: end }.in_order();
        };
        // As it was asked for: moved outward, it may be longer.
        if until.unwrap_or(now).saturating_since(since) > bounds.longest {
            return Err(Problem::invalid_parameter("since", bounds.too_long));
        }
        if until.is_some_and(|until| since >= until) {
            return Err(not_before());
        }
        Self { since: start(since), until: end }.in_order()
    }

    fn in_order(self) -> Result<Self, Problem> {
        if self.since < self.until { Ok(self) } else { Err(not_before()) }
    }
}

fn not_before() -> Problem {
    Problem::invalid_parameter("since", "since must be before until.")
}

/// When the hour or day began that a moment is in.
fn start_of(time: Timestamp, step: Duration) -> Timestamp {
    let step = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_millis(time.as_unix_millis().div_euclid(step) * step)
}
