//! Moments and durations, as people write them.

use std::time::Duration;

use jiff::{
    Span, Timestamp as Moment,
    civil::{Date, DateTime},
    tz::TimeZone,
};
use tower_api_key::{
    Timestamp,
    clock::{Clock, SystemClock},
};

const MOMENT: &str = "a date and time such as 2030-01-31T12:00:00Z";
const SPAN: &str = "a duration such as 30d, 12h or 1y";

/// An RFC 3339 date and time. One without an offset is in UTC, as other systems write it into
/// databases; one without a time is midnight.
pub(crate) fn moment(text: &str) -> Option<Timestamp> {
    if let Ok(moment) = text.parse() {
        return Some(moment);
    }
    let zoned = text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?;
    Some(Timestamp::from_unix_millis(zoned.timestamp().as_millisecond()))
}

/// A moment, or how long it is until then.
pub(crate) fn ahead(text: &str) -> Result<Timestamp, String> {
    match moment(text) {
        Some(moment) => Ok(moment),
        None => shifted(text, 1),
    }
}

/// When a key ends: like [`ahead`], or `never`; a date alone is the end of that day.
pub(crate) fn end(text: &str) -> Result<OrNever, String> {
    // A date without dashes is one as well.
    let day = if text.len() == 8 { text.parse::<Date>().ok() } else { None };
    let day = day.map(|day| day.to_string());
    match Timestamp::parse_end(day.as_deref().unwrap_or(text)) {
        Ok(end) => Ok(OrNever(end)),
        Err(error) if error.is_out_of_range() => Err(format!("is {error}")),
        Err(_) => or_never(text),
    }
}

/// A moment, or `never`. A type of its own: an argument's `Option` says whether it was given.
#[derive(Clone, Copy)]
pub(crate) struct OrNever(Option<Timestamp>);

impl From<OrNever> for Option<Timestamp> {
    fn from(moment: OrNever) -> Self {
        moment.0
    }
}

/// Like [`ahead`], or `never`.
pub(crate) fn or_never(text: &str) -> Result<OrNever, String> {
    if text == "never" { Ok(OrNever(None)) } else { ahead(text).map(|at| OrNever(Some(at))) }
}

/// A moment, or how long ago it was.
pub(crate) fn ago(text: &str) -> Result<Timestamp, String> {
    match moment(text) {
        Some(moment) => Ok(moment),
        None => shifted(text, -1),
    }
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let now = SystemClock.now();
    let end = shifted(text, 1).map_err(|_| format!("must be {SPAN}"))?;
    Ok(end.saturating_since(now))
}

/// By the calendar: a month from now is on the same day.
fn shifted(text: &str, direction: i64) -> Result<Timestamp, String> {
    let error = || format!("must be {MOMENT}, or {SPAN}");
    let span: Span = text.parse().map_err(|_| error())?;
    if span.is_negative() {
        return Err(error());
    }
    let now = Moment::now().to_zoned(TimeZone::UTC);
    let then = now.checked_add(span * direction).map_err(|_| error())?;
    Ok(Timestamp::from_unix_millis(then.timestamp().as_millisecond()))
}
