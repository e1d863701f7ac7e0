//! Rate limits and credits, as people write them: `minute=100/60s,burst=20` and `1000/30d`.

use std::{
    fmt::Write as _,
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use tower_api_key::{
    credits::{CreditsPatch, NewCredits, Refill, RefillInterval, RefillPatch},
    limit::{Limit, Limits, Quota},
};

use crate::failure::Failure;

/// The options of `create` and `update` about credits.
#[derive(clap::Args)]
pub(crate) struct Credits {
    /// How many credits there are to spend
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(..=MAX))]
    credits: Option<u64>,
    /// How many credits there are at least again, and how often: such as 1000/30d or 1000/month
    ///
    /// Months are the calendar's, in UTC. A key that has no credits yet gets as many to begin with,
    /// unless --credits says how many. `update` takes half of it, such as 2000 or /month, and leaves
    /// the other half as it is.
    #[arg(long, value_name = "COUNT/TIME", value_parser = refill_patch)]
    refill: Option<RefillPatch>,
}

/// The largest number that databases store.
const MAX: u64 = i64::MAX.unsigned_abs();

impl Credits {
    /// Those of a new key.
    pub(crate) fn get(&self) -> Result<Option<NewCredits>, Failure> {
        let refill = self.refill.map(|RefillPatch { amount, interval }| {
            let refill =
                amount.zip(interval).map(|(amount, interval)| Refill::new(amount, interval));
            refill.ok_or_else(|| Failure::Usage(format!("--refill: {REFILL_FORM}")))
        });
        let refill = refill.transpose()?;
        let remaining = self.credits.or(refill.map(|refill| refill.amount.get()));
        Ok(remaining.map(|remaining| NewCredits { remaining, refill }))
    }

    /// The change of a key's credits; `None` if there is none.
    pub(crate) fn patch(&self, no_refill: bool) -> Option<CreditsPatch> {
        let refill = self.refill.map(Some).or(no_refill.then_some(None));
        let patch = CreditsPatch { remaining: self.credits, refill };
        Some(patch).filter(|patch| *patch != CreditsPatch::default())
    }
}

/// `NAME=REQUESTS/TIME[,burst=COUNT]`.
pub(crate) fn limit(text: &str) -> Result<Limit, String> {
    let must = || "must be like minute=100/60s, or minute=100/60s,burst=20".to_owned();
    let (name, rest) = text.split_once('=').ok_or_else(must)?;
    let (rate, burst) = match rest.split_once(',') {
        None => (rest, None),
        Some((rate, burst)) => (rate, Some(burst.strip_prefix("burst=").ok_or_else(must)?)),
    };
    let (requests, window) = rate.split_once('/').ok_or_else(must)?;
    let count = |text: &str| text.parse::<NonZeroU32>().map_err(|_| must());
    let window = duration(window).ok_or_else(must)?;
    let mut quota = Quota::new(count(requests)?, window).map_err(|error| error.to_string())?;
    if let Some(burst) = burst {
        quota = quota.with_burst(count(burst)?);
    }
    Limit::new(name, quota).map_err(|error| error.to_string())
}

/// All of them, which have to have different names.
pub(crate) fn limits(limits: Vec<Limit>) -> Result<Limits, Failure> {
    Limits::new(limits).map_err(|error| Failure::Usage(format!("--limit: {error}")))
}

const REFILL_FORM: &str = "must be like 1000/30d, or 1000/month";

/// `COUNT/TIME` or `COUNT/month`, or half of it: `COUNT`, `/TIME` or `/month`.
fn refill_patch(text: &str) -> Result<RefillPatch, String> {
    let must = || REFILL_FORM.to_owned();
    let (amount, interval) = match text.split_once('/') {
        None => (Some(text), None),
        Some(("", interval)) => (None, Some(interval)),
        Some((amount, interval)) => (Some(amount), Some(interval)),
    };
    let amount = amount.map(|amount| amount.parse::<NonZeroU64>().map_err(|_| must()));
    let amount = amount.transpose()?;
    if amount.is_some_and(|amount| amount.get() > MAX) {
        return Err(format!("there are at most {MAX} credits"));
    }
    let interval = interval.map(|interval| refill_interval(interval).ok_or_else(must));
    Ok(RefillPatch { amount, interval: interval.transpose()? })
}

fn refill_interval(text: &str) -> Option<RefillInterval> {
    if text == "month" {
        return Some(RefillInterval::Month);
    }
    let interval = duration(text).filter(|time| time.subsec_nanos() == 0)?;
    let seconds = u32::try_from(interval.as_secs()).ok().and_then(NonZeroU32::new);
    seconds.map(RefillInterval::Seconds)
}

/// The units, from the longest, in milliseconds.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A whole number of one unit, or the unit alone: not by the calendar, as moments are.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let number: u64 = if number.is_empty() { 1 } else { number.parse().ok()? };
    number.checked_mul(*millis).map(Duration::from_millis)
}

/// The same back, in the longest unit that it is a whole number of.
fn written(time: Duration) -> String {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let unit = UNITS.iter().find(|(_, unit)| millis > 0 && millis.is_multiple_of(*unit));
    unit.map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", millis / unit))
}

/// As it is written.
pub(crate) fn limit_text(limit: &Limit) -> String {
    let quota = limit.quota();
    let mut text = format!("{}={}/{}", limit.name(), quota.requests(), written(quota.window()));
    if quota.burst() != quota.requests() {
        // Writing to a `String` cannot fail.
        let _ = write!(text, ",burst={}", quota.burst());
    }
    text
}

/// As it is written.
pub(crate) fn refill_text(refill: &Refill) -> String {
    let interval = match refill.interval {
        RefillInterval::Seconds(seconds) => written(Duration::from_secs(seconds.get().into())),
        RefillInterval::Month => "month".to_owned(),
        // None that could be written here.
        _ => "?".to_owned(),
    };
    format!("{}/{interval}", refill.amount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_read_back_as_they_are_written() {
        for (text, again) in [
            ("minute=100/60s,burst=20", "minute=100/1m,burst=20"),
            ("minute=100/m", "minute=100/1m"),
            ("a=1/500ms", "a=1/500ms"),
            ("a=1/90s", "a=1/90s"),
            ("a=7/7d,burst=7", "a=7/7d"),
            ("h=5/24h", "h=5/1d"),
        ] {
            let read = limit(text).unwrap();
            assert_eq!(limit_text(&read), again);
            assert_eq!(limit(again).unwrap(), read);
        }
        for bad in [
            "",
            "minute",
            "100/60s",
            "a=100",
            "a=0/1m",
            "a=-1/1m",
            "a=1/",
            "a=1/0s",
            "a=1/1w",
            "a=1/1.5s",
            "a=1/32d",
            "a=1/1m,20",
            "a=1/1m,burst=0",
            "a=1/1m,burst=1,b",
            " a=1/1m",
            "=1/1m",
            "a=1/99999999999999999999d",
        ] {
            assert!(limit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn refills_read_back_as_they_are_written() {
        for (text, again) in [
            ("1000/month", "1000/month"),
            ("1000/30d", "1000/30d"),
            ("5/90m", "5/90m"),
            ("5/d", "5/1d"),
            ("5/86400s", "5/1d"),
        ] {
            let read = refill_patch(text).unwrap();
            let (amount, interval) = (read.amount.unwrap(), read.interval.unwrap());
            assert_eq!(refill_text(&Refill::new(amount, interval)), again);
            assert_eq!(refill_patch(again).unwrap(), read);
        }
        let whole = refill_patch("5/1d").unwrap();
        assert_eq!(refill_patch("5").unwrap(), RefillPatch { interval: None, ..whole });
        assert_eq!(refill_patch("/1d").unwrap(), RefillPatch { amount: None, ..whole });
        for bad in ["", "/", "0/1d", "5/", "5/months", "5/1500ms", "5/0s", "5/99999d", "-5/1d"] {
            assert!(refill_patch(bad).is_err(), "{bad}");
        }
    }
}
