//! [`Refill`]: credits that come back by the calendar or the clock.

use std::num::{NonZeroU32, NonZeroU64};

use jiff::{Span, civil::DateTime, tz::TimeZone};
use serde_core::{
    Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeStruct,
};

use crate::{clock::Timestamp, object::read_object};

/// Credits that come back: so many, so often. What was not used until then does not add up: a
/// refill raises a balance to its `amount`, and leaves one alone that is higher.
///
/// As JSON `{"amount":1000,"interval_seconds":86400}`, or `{"amount":1000,"interval":"month"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Refill {
    /// How many there are at least after a refill.
    pub amount: NonZeroU64,
    /// How often.
    pub interval: RefillInterval,
}

/// How often credits come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefillInterval {
    /// Every so many seconds.
    Seconds(NonZeroU32),
    /// Every calendar month in UTC, on the day and at the time of the first; on the last day of
    /// months that are too short.
    Month,
}

impl Refill {
    /// So many credits at least, so often.
    pub const fn new(amount: NonZeroU64, interval: RefillInterval) -> Self {
        Self { amount, interval }
    }

    /// The first moment after `now` at which credits come back that were given at `since`.
    pub fn next_after(self, since: Timestamp, now: Timestamp) -> Timestamp {
        self.begin_of(since, self.period_at(since, now.max(since)).saturating_add(1))
    }

    /// The number of the period that it is at `now`: 0 is the one that begins at `since`, and those
    /// before it are negative.
    pub fn period_at(self, since: Timestamp, now: Timestamp) -> i64 {
        match self.interval {
            RefillInterval::Seconds(seconds) => {
                let elapsed = now.as_unix_millis().saturating_sub(since.as_unix_millis());
                elapsed.div_euclid(i64::from(seconds.get()) * 1_000)
            }
            RefillInterval::Month => month_at(since, now).unwrap_or(i64::MAX),
        }
    }

    /// When the period with this number begins.
    pub fn begin_of(self, since: Timestamp, period: i64) -> Timestamp {
        match self.interval {
            RefillInterval::Seconds(seconds) => {
                let after = (i64::from(seconds.get()) * 1_000).saturating_mul(period);
                Timestamp::from_unix_millis(since.as_unix_millis().saturating_add(after))
            }
            RefillInterval::Month => month(since, period).unwrap_or(Timestamp::LAST),
        }
    }
}

/// In UTC.
fn date(time: Timestamp) -> Option<DateTime> {
    let time = jiff::Timestamp::from_millisecond(time.as_unix_millis()).ok()?;
    Some(time.to_zoned(TimeZone::UTC).datetime())
}

/// `since` and so many calendar months, always counted from `since`, so that the 31st comes back
/// after February.
fn month(since: Timestamp, months: i64) -> Option<Timestamp> {
    let time = date(since)?.checked_add(Span::new().try_months(months).ok()?).ok()?;
    let time = time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
    Some(Timestamp::from_unix_millis(time))
}

/// How many whole calendar months there are from `since` to `now`.
fn month_at(since: Timestamp, now: Timestamp) -> Option<i64> {
    let (start, end) = (date(since)?, date(now)?);
    let years = i64::from(end.year()) - i64::from(start.year());
    let months = years * 12 + i64::from(end.month()) - i64::from(start.month());
    // It may begin later in the month than it is now.
    let has_begun = month(since, months)? <= now;
    Some(if has_begun { months } else { months - 1 })
}

struct Fields {
    /// May be left out, and is never `null`.
    amount: Option<NonZeroU64>,
    interval_seconds: Option<NonZeroU32>,
    interval: Option<Calendar>,
}

read_object!(Fields { amount: sent, interval_seconds: default, interval: default });

enum Calendar {
    Month,
}

impl<'de> Deserialize<'de> for Calendar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match &*String::deserialize(deserializer)? {
            "month" => Ok(Self::Month),
            other => Err(D::Error::unknown_variant(other, &["month"])),
        }
    }
}

impl Serialize for Refill {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Refill", 2)?;
        fields.serialize_field("amount", &self.amount)?;
        match self.interval {
            RefillInterval::Seconds(seconds) => {
                fields.serialize_field("interval_seconds", &seconds)?;
            }
            RefillInterval::Month => fields.serialize_field("interval", "month")?,
        }
        fields.end()
    }
}

impl<'de> Deserialize<'de> for Refill {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (amount, interval) = halves(deserializer)?;
        let amount = amount.ok_or_else(|| D::Error::missing_field("amount"))?;
        let interval = interval.ok_or_else(|| D::Error::custom(ONE_INTERVAL))?;
        Ok(Self { amount, interval })
    }
}

const ONE_INTERVAL: &str = "needs either interval_seconds or interval";

/// What of a refill was sent.
pub(crate) fn halves<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<(Option<NonZeroU64>, Option<RefillInterval>), D::Error> {
    let Fields { amount, interval_seconds, interval } = Fields::deserialize(deserializer)?;
    let interval = match (interval_seconds, interval) {
        (Some(_), Some(_)) => return Err(D::Error::custom(ONE_INTERVAL)),
        (Some(seconds), None) => Some(RefillInterval::Seconds(seconds)),
        (None, Some(Calendar::Month)) => Some(RefillInterval::Month),
        (None, None) => None,
    };
    Ok((amount, interval))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn refill(interval: RefillInterval) -> Refill {
        Refill { amount: NonZeroU64::MIN, interval }
    }

    #[test]
    fn months_are_the_calendars() {
        let month = refill(RefillInterval::Month);
        let since = at("2028-01-31T10:00:00Z");
        for (now, next) in [
            ("2028-01-31T10:00:00Z", "2028-02-29T10:00:00Z"),
            ("2028-02-29T09:59:59.999Z", "2028-02-29T10:00:00Z"),
            ("2028-02-29T10:00:00Z", "2028-03-31T10:00:00Z"),
            ("2028-12-31T10:00:00Z", "2029-01-31T10:00:00Z"),
            ("2031-06-30T23:00:00Z", "2031-07-31T10:00:00Z"),
            // A clock that went back.
            ("2027-05-01T00:00:00Z", "2028-02-29T10:00:00Z"),
        ] {
            assert_eq!(month.next_after(since, at(now)), at(next), "{now}");
        }
        assert_eq!(month.next_after(since, Timestamp::LAST), Timestamp::LAST);
    }

    #[test]
    fn seconds_are_counted_from_the_start() {
        let daily = refill(RefillInterval::Seconds(NonZeroU32::new(86_400).unwrap()));
        let since = at("2028-01-31T10:00:00Z");
        for (now, next) in [
            ("2028-01-31T10:00:00Z", "2028-02-01T10:00:00Z"),
            ("2028-02-01T09:59:59.999Z", "2028-02-01T10:00:00Z"),
            ("2028-02-01T10:00:00Z", "2028-02-02T10:00:00Z"),
            ("2027-01-01T00:00:00Z", "2028-02-01T10:00:00Z"),
        ] {
            assert_eq!(daily.next_after(since, at(now)), at(next), "{now}");
        }
    }

    #[test]
    fn periods_are_numbered_from_the_start_in_both_directions() {
        let since = at("2028-01-31T10:00:00Z");
        let daily = RefillInterval::Seconds(NonZeroU32::new(86_400).unwrap());
        for (interval, now, period) in [
            (daily, "2028-01-31T10:00:00Z", 0),
            (daily, "2028-01-31T09:59:59.999Z", -1),
            (daily, "2028-02-01T10:00:00Z", 1),
            (RefillInterval::Month, "2028-02-29T09:59:59.999Z", 0),
            (RefillInterval::Month, "2028-02-29T10:00:00Z", 1),
            (RefillInterval::Month, "2028-03-30T10:00:00Z", 1),
            (RefillInterval::Month, "2028-01-31T09:00:00Z", -1),
            (RefillInterval::Month, "2027-02-28T10:00:00Z", -11),
            (RefillInterval::Month, "2027-01-31T10:00:00Z", -12),
        ] {
            let refill = refill(interval);
            assert_eq!(refill.period_at(since, at(now)), period, "{now}");
            assert!(refill.begin_of(since, period) <= at(now), "{now}");
            assert!(refill.begin_of(since, period + 1) > at(now), "{now}");
        }
        // At the ends of time nothing panics.
        for interval in [daily, RefillInterval::Month] {
            for time in [i64::MIN, i64::MAX].map(Timestamp::from_unix_millis) {
                refill(interval).period_at(since, time);
                refill(interval).period_at(time, since);
                refill(interval).next_after(time, time);
                refill(interval).begin_of(time, i64::MIN);
                refill(interval).begin_of(time, i64::MAX);
            }
        }
    }

    #[test]
    fn json_names_one_interval() {
        for (json, good) in [
            (r#"{"amount":1000,"interval_seconds":86400}"#, true),
            (r#"{"amount":1000,"interval":"month"}"#, true),
            (r#"{"amount":1000}"#, false),
            (r#"{"amount":1000,"interval":"month","interval_seconds":1}"#, false),
            (r#"{"amount":0,"interval":"month"}"#, false),
            (r#"{"amount":1,"interval":"year"}"#, false),
            (r#"{"amount":1,"interval":"month","of":1}"#, false),
        ] {
            let read = serde_json::from_str::<Refill>(json);
            assert_eq!(read.is_ok(), good, "{json}");
            if let Ok(read) = read {
                assert_eq!(serde_json::to_string(&read).unwrap(), json);
            }
        }
    }
}
