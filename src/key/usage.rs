//! Usage by the hour: how it is written, and how it is asked for.

use std::{collections::BTreeMap, fmt};

use super::{
    id::{KeyId, OwnerId},
    record::KeyRecord,
    rejection_kind::RejectionKind,
};
use crate::clock::Timestamp;

/// The outcome of a request with a known key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UsageOutcome {
    /// It was let in by the layer for keys. A layer further in, such as
    /// [`RequireScopesLayer`](crate::RequireScopesLayer), or a handler may have denied it later: that
    /// denial is counted as well, so the request is in two counts.
    Accepted,
    /// It was denied.
    Denied(RejectionKind),
}

impl UsageOutcome {
    /// `accepted`, or the [`code`](RejectionKind::code) of the denial.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Denied(kind) => kind.code(),
        }
    }

    /// The outcome of this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        if name == Self::Accepted.as_str() {
            return Some(Self::Accepted);
        }
        RejectionKind::all().find(|kind| kind.code() == name).map(Self::Denied)
    }
}

impl fmt::Display for UsageOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many requests of a lineage had an outcome in an hour.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct HourlyUsage {
    /// The [lineage](crate::key::KeyRecord::lineage) of keys.
    pub lineage: KeyId,
    /// The owner of the keys.
    pub owner: Option<OwnerId>,
    /// When the hour began, in UTC.
    pub hour: Timestamp,
    /// The outcome of the requests.
    pub outcome: UsageOutcome,
    /// How many there were.
    pub count: u64,
}

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

fn start_of(time: Timestamp, length: i64) -> Timestamp {
    Timestamp::from_unix_millis(time.as_unix_millis().div_euclid(length) * length)
}

impl HourlyUsage {
    /// Of keys without an owner.
    pub const fn new(lineage: KeyId, hour: Timestamp, outcome: UsageOutcome, count: u64) -> Self {
        Self { lineage, owner: None, hour, outcome, count }
    }

    /// With the owner of the keys, if they have one.
    pub fn with_owner(self, owner: Option<OwnerId>) -> Self {
        Self { owner, ..self }
    }

    /// That of the lineage of this key.
    pub(crate) fn of(
        record: &KeyRecord,
        hour: Timestamp,
        outcome: UsageOutcome,
        count: u64,
    ) -> Self {
        // Databases keep no NUL, and one bad text must not hold up what is written along with it.
        let owner = record.owner.clone().filter(|owner| !owner.as_str().contains('\0'));
        Self { lineage: record.lineage(), owner, hour, outcome, count }
    }

    /// The hour that a moment is in.
    pub(crate) fn hour_of(time: Timestamp) -> Timestamp {
        start_of(time, HOUR)
    }
}

/// The keys and the time whose usage is asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct UsageQuery {
    /// Only of this lineage.
    pub lineage: Option<KeyId>,
    /// Only of keys of this owner.
    pub owner: Option<OwnerId>,
    /// Only hours that began at or after this moment.
    pub since: Timestamp,
    /// Only hours that began before this moment.
    pub until: Timestamp,
}

impl UsageQuery {
    /// The usage of all keys in a time.
    pub const fn new(since: Timestamp, until: Timestamp) -> Self {
        Self { lineage: None, owner: None, since, until }
    }

    /// Whether this is a part of what is asked for.
    pub fn matches(&self, usage: &HourlyUsage) -> bool {
        self.lineage.is_none_or(|lineage| usage.lineage == lineage)
            && self.owner.as_ref().is_none_or(|owner| usage.owner.as_ref() == Some(owner))
            && (self.since..self.until).contains(&usage.hour)
    }
}

/// How often requests had an outcome in an hour, of all the lineages that were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageCount {
    /// When the hour began, in UTC.
    pub hour: Timestamp,
    /// The outcome of the requests.
    pub outcome: UsageOutcome,
    /// How many there were.
    pub count: u64,
}

impl UsageCount {
    /// So many requests had this outcome in this hour.
    pub const fn new(hour: Timestamp, outcome: UsageOutcome, count: u64) -> Self {
        Self { hour, outcome, count }
    }

    /// The same by day, in UTC: `hour` is then when the day began. In the order of days and, within
    /// one, of the names of outcomes.
    ///
    /// ```
    /// use tower_api_key::usage::{UsageCount, UsageOutcome};
    ///
    /// let count = |hour: &str, count| {
    ///     UsageCount::new(hour.parse().unwrap(), UsageOutcome::Accepted, count)
    /// };
    /// let hours = [
    ///     count("2030-01-01T09:00:00Z", 2),
    ///     count("2030-01-01T23:00:00Z", 3),
    ///     count("2030-01-02T00:00:00Z", 7),
    /// ];
    /// let days = [count("2030-01-01T00:00:00Z", 5), count("2030-01-02T00:00:00Z", 7)];
    /// assert_eq!(UsageCount::by_day(&hours), days);
    /// ```
    pub fn by_day(hours: &[Self]) -> Vec<Self> {
        let mut days = BTreeMap::<(Timestamp, &str), Self>::new();
        for usage in hours {
            let day = start_of(usage.hour, DAY);
            let fresh = || Self { hour: day, count: 0, ..*usage };
            let sum = days.entry((day, usage.outcome.as_str())).or_insert_with(fresh);
            sum.count = sum.count.saturating_add(usage.count);
        }
        days.into_values().collect()
    }
}

/// How often a lineage was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LineageUsage {
    /// The first key of the lineage.
    pub lineage: KeyId,
    /// How many requests were let in.
    pub count: u64,
}

impl LineageUsage {
    /// The lineage was used so often.
    pub const fn new(lineage: KeyId, count: u64) -> Self {
        Self { lineage, count }
    }
}
