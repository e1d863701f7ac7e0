//! [`Refill`]: credits that come back by the calendar or the clock.

use std::{
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use jiff::{ToSpan, tz::TimeZone};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::Timestamp;

/// Credits that come back: so many, so often. What was not used until then does not add up: a
/// refill raises a balance to its `amount`, and leaves one alone that is higher.
///
/// As JSON `{"amount":1000,"interval_seconds":86400}`, or `{"amount":1000,"interval":"month"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// The first moment after `now` at which credits come back that were given at `since`.
    pub fn next_after(self, since: Timestamp, now: Timestamp) -> Timestamp {
        match self.interval {
            RefillInterval::Seconds(seconds) => {
                let interval = i64::from(seconds.get()) * 1_000;
                let elapsed = now.as_unix_millis() - since.as_unix_millis();
                let next = (elapsed.div_euclid(interval) + 1).max(1).saturating_mul(interval);
                since.saturating_add(Duration::from_millis(u64::try_from(next).unwrap_or(0)))
            }
            RefillInterval::Month => next_month(since, now).unwrap_or(Timestamp::LAST),
        }
    }
}

/// Whole months are counted from the first day on, so that the 31st comes back after February.
fn next_month(since: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let date = |time: Timestamp| {
        let time = jiff::Timestamp::from_millisecond(time.as_unix_millis()).ok()?;
        Some(time.to_zoned(TimeZone::UTC).datetime())
    };
    let (start, end) = (date(since)?, date(now.max(since))?);
    let years = i32::from(end.year()) - i32::from(start.year());
    let months = years * 12 + i32::from(end.month()) - i32::from(start.month());
    (months.max(1)..=months + 1).find_map(|months| {
        let next = start.checked_add(months.months()).ok()?;
        let next = next.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
        let next = Timestamp::from_unix_millis(next);
        (next > now).then_some(next)
    })
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    amount: NonZeroU64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interval_seconds: Option<NonZeroU32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interval: Option<Calendar>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Calendar {
    Month,
}

impl Serialize for Refill {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (interval_seconds, interval) = match self.interval {
            RefillInterval::Seconds(seconds) => (Some(seconds), None),
            RefillInterval::Month => (None, Some(Calendar::Month)),
        };
        Fields { amount: self.amount, interval_seconds, interval }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Refill {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Fields { amount, interval_seconds, interval } = Fields::deserialize(deserializer)?;
        let interval = match (interval_seconds, interval) {
            (Some(seconds), None) => RefillInterval::Seconds(seconds),
            (None, Some(Calendar::Month)) => RefillInterval::Month,
            _ => return Err(D::Error::custom("needs either interval_seconds or interval")),
        };
        Ok(Self { amount, interval })
    }
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
