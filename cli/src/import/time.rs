//! Times, as other systems write them.

use std::ops::Range;

use jiff::{
    civil::{Date, DateTime},
    tz::TimeZone,
};
use serde_json::Value;
use tower_api_key::Timestamp;

use super::row::Bad;
use crate::when;

/// How times are to be read.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    /// Zero and less stand for a time that never comes.
    pub(super) zero_is_never: bool,
    pub(super) now: Timestamp,
}

/// The reading of a value.
pub(super) enum Time {
    Nothing,
    /// Zero, a negative number, or a time before 1970: `0000-00-00`, the first moment of a program's
    /// type, or -1. Some systems write these for "never", and others for a key that has ended.
    Zero,
    /// In the year 9999, or `infinity`.
    Never,
    At(Timestamp),
    /// A date without a time.
    Day(Date),
}

impl Time {
    fn of_day(day: Date) -> Self {
        match day.year() {
            9999 => Self::Never,
            1970.. => Self::Day(day),
            _ => Self::Zero,
        }
    }

    /// Whether both are the same moment, or never.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Never, Self::Never) => true,
            _ => self.moment().is_some_and(|at| Some(at) == other.moment()),
        }
    }

    fn moment(&self) -> Option<Timestamp> {
        match self {
            Self::At(at) => Some(*at),
            Self::Day(day) => Some(start_of((*day).into())),
            Self::Nothing | Self::Zero | Self::Never => None,
        }
    }
}

/// `None` for a value that is no time.
pub(super) fn read(value: &Value) -> Option<Time> {
    let number;
    let text = match value {
        Value::Null => return Some(Time::Nothing),
        Value::Number(value) => {
            number = value.to_string();
            &number
        }
        Value::String(text) => text.trim(),
        _ => return None,
    };
    if text.is_empty() {
        return Some(Time::Nothing);
    }
    if let Some(time) = compact(text) {
        return time;
    }
    if let Ok(number) = text.parse::<f64>() {
        // CSV has no numbers. `infinity` is one to Rust.
        return if number == f64::INFINITY { Some(Time::Never) } else { since_1970(number) };
    }
    let date = text.get(..10);
    let day = date.and_then(|date| date.parse::<Date>().ok());
    if date == Some("0000-00-00") {
        return Some(Time::Zero);
    }
    match day {
        Some(day) if text.len() == 10 || day.year() == 9999 => Some(Time::of_day(day)),
        _ => when::moment(text).map(known),
    }
}

/// A date in digits alone, with or without a time: `20300131`, `203001311200`, `20300131120000`.
///
/// The outer `None` is a number: as one, these would be a moment of the year 1970, 1976, or 2572 and
/// later. A text that begins with a year and is no date stays unread, rather than end a key in 2613, and so
/// does one that a spreadsheet has made a number of: `20300131.0`, `2.03E+13`.
#[expect(clippy::option_option, reason = "a number, no time and a time are three things")]
fn compact(text: &str) -> Option<Option<Time>> {
    // Of twelve digits, some are seconds of the year 9999.
    const LAST_YEARS: [(usize, i16); 3] = [(8, 2999), (12, 2200), (14, 2999)];
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite())?;
    let whole = format!("{:.0}", number.trunc());
    let (_, last) = LAST_YEARS.into_iter().find(|(length, _)| *length == whole.len())?;
    let year = whole.get(..4)?.parse::<i16>().ok()?;
    if !(1900..=last).contains(&year) && year != 9999 {
        return None;
    }
    let digits = |range: Range<usize>| text.get(range)?.parse::<i8>().ok();
    let read = || {
        if text != whole {
            return None;
        }
        let day = Date::new(year, digits(4..6)?, digits(6..8)?).ok()?;
        if text.len() == 8 {
            return Some(Time::of_day(day));
        }
        let second = if text.len() == 14 { digits(12..14)? } else { 0 };
        let time = jiff::civil::Time::new(digits(8..10)?, digits(10..12)?, second, 0).ok()?;
        Some(if year == 9999 { Time::Never } else { known(start_of(day.to_datetime(time))) })
    };
    Some(read())
}

fn known(at: Timestamp) -> Time {
    if at <= Timestamp::UNIX_EPOCH { Time::Zero } else { Time::At(at) }
}

/// Seconds, or milliseconds where that many seconds would lie beyond the year 5000. But those of the
/// year 9999 are seconds, which as milliseconds would lie in 1978.
fn since_1970(number: f64) -> Option<Time> {
    const AS_SECONDS: f64 = 1e11;
    const YEAR_9999: Range<f64> = 253_370_764_800.0..253_402_300_800.0;
    if !number.is_finite() {
        return None;
    }
    if number <= 0.0 {
        return Some(Time::Zero);
    }
    if YEAR_9999.contains(&number) || YEAR_9999.contains(&(number / 1000.0)) {
        return Some(Time::Never);
    }
    let millis = if number < AS_SECONDS { number * 1000.0 } else { number };
    #[allow(clippy::cast_possible_truncation, reason = "within the bounds, there is no more")]
    let whole = millis.round() as i64;
    (millis < YEAR_9999.start * 1000.0).then(|| known(Timestamp::from_unix_millis(whole)))
}

/// A moment: a date without a time is its beginning.
pub(super) fn moment(
    column: &str,
    value: &Value,
    reading: &Reading,
) -> Result<Option<Timestamp>, Bad> {
    match read(value).ok_or_else(|| no_time(column))? {
        Time::Nothing => Ok(None),
        Time::Zero if reading.zero_is_never => Ok(None),
        Time::Zero => Err(zero(column)),
        Time::Never => Err(Bad::new(format!("{column} must be before the year 9999"))),
        Time::At(at) => Ok(Some(at)),
        Time::Day(day) => Ok(Some(start_of(day.into()))),
    }
}

/// The end of a validity: a date without a time is the end of that day, and the year 9999 is never.
pub(super) fn end(
    column: &str,
    value: &Value,
    reading: &Reading,
) -> Result<Option<Timestamp>, Bad> {
    match read(value).ok_or_else(|| no_time(column))? {
        Time::Never => Ok(None),
        Time::Day(day) => Timestamp::parse_end(&day.to_string()).map_err(|_| no_time(column)),
        _ => moment(column, value, reading),
    }
}

/// In UTC; of a date without a time, its beginning.
pub(super) fn start_of(time: DateTime) -> Timestamp {
    let zoned = time.to_zoned(TimeZone::UTC);
    let millis = zoned.map_or(i64::MAX, |zoned| zoned.timestamp().as_millisecond());
    Timestamp::from_unix_millis(millis)
}

pub(super) fn zero(column: &str) -> Bad {
    Bad::new(format!(
        "{column} is zero or before 1970; if that stands for never, say --zero-is-never"
    ))
}

fn no_time(column: &str) -> Bad {
    Bad::new(format!("{column} must be a date and time, or seconds since 1970"))
}
