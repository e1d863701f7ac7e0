//! Usage: `GET /{id}/usage` and `GET /usage`, with `?since=&until=&by=`, and
//! `GET /usage/top?since=&until=&limit=`

use std::collections::BTreeMap;

use axum::response::Response;
use http::StatusCode;

use super::{
    body,
    fields::{Id, limit},
    guard::Admitted,
    parameters::{Asked, Filters, Parameters},
    problem,
    range::{Bounds, Range},
};
use crate::{
    clock::Timestamp,
    key::{KeyId, OwnerId, UsageCount, UsageQuery},
    object::write_object,
    rejection::Problem,
};

/// The unit by which counts are added up.
#[derive(Clone, Copy)]
enum By {
    Hour,
    Day,
}

impl By {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    const fn bounds(self) -> Bounds {
        match self {
            Self::Hour => Bounds::BY_HOUR,
            Self::Day => Bounds::BY_DAY,
        }
    }
}

/// A time, as it is asked for.
struct Time {
    since: Option<String>,
    until: Option<String>,
}

impl Filters for Time {
    fn take(from: &mut Parameters) -> Self {
        Self { since: from.take("since"), until: from.take("until") }
    }
}

/// Which counts of a key are asked for.
pub(super) struct OfOne {
    time: Time,
    by: Option<String>,
}

impl Filters for OfOne {
    fn take(from: &mut Parameters) -> Self {
        Self { time: Time::take(from), by: from.take("by") }
    }
}

/// Which counts of all keys are asked for.
pub(super) struct OfAll {
    owner: Option<String>,
    others: OfOne,
}

impl Filters for OfAll {
    fn take(from: &mut Parameters) -> Self {
        Self { owner: from.take("owner"), others: OfOne::take(from) }
    }
}

/// Which keys are asked for.
pub(super) struct OfTop {
    owner: Option<String>,
    time: Time,
    limit: Option<String>,
}

impl Filters for OfTop {
    fn take(from: &mut Parameters) -> Self {
        Self { owner: from.take("owner"), time: Time::take(from), limit: from.take("limit") }
    }
}

impl OfOne {
    fn by(&self) -> Result<By, Problem> {
        match self.by.as_deref() {
            None | Some("day") => Ok(By::Day),
            Some("hour") => Ok(By::Hour),
            Some(_) => Err(Problem::invalid_parameter("by", "by must be hour or day.")),
        }
    }
}

impl Time {
    fn range(&self, bounds: &Bounds, now: Timestamp) -> Result<Range, Problem> {
        Range::new(bounds, self.since.as_deref(), self.until.as_deref(), now)
    }
}

/// How often requests had an outcome in an hour or a day.
struct Item {
    /// When it began.
    at: Timestamp,
    outcome: &'static str,
    count: u64,
}

write_object!(Item { at, outcome, count });

struct Usage {
    since: Timestamp,
    until: Timestamp,
    by: &'static str,
    items: Vec<Item>,
    /// By outcome.
    total: BTreeMap<&'static str, u64>,
}

write_object!(Usage { since, until, by, items, total });

fn told(range: &Range, by: By, hours: Vec<UsageCount>) -> Response {
    let counts = match by {
        By::Hour => hours,
        By::Day => UsageCount::by_day(&hours),
    };
    let mut total = BTreeMap::new();
    for usage in &counts {
        let sum: &mut u64 = total.entry(usage.outcome.as_str()).or_default();
        *sum = sum.saturating_add(usage.count);
    }
    let item = |usage: UsageCount| Item {
        at: usage.hour,
        outcome: usage.outcome.as_str(),
        count: usage.count,
    };
    let items = counts.into_iter().map(item).collect();
    let Range { since, until } = *range;
    body::json(StatusCode::OK, &Usage { since, until, by: by.as_str(), items, total })
}

pub(super) async fn of_one(
    Asked(Admitted { keys, .. }, filters): Asked<OfOne>,
    Id(id): Id,
) -> Result<Response, Problem> {
    let by = filters.by()?;
    let range = filters.time.range(&by.bounds(), keys.now())?;
    let hours = keys.usage_of(id, range.since, range.until).await.map_err(problem::of_query)?;
    Ok(told(&range, by, hours))
}

pub(super) async fn of_all(
    Asked(Admitted { keys, .. }, filters): Asked<OfAll>,
) -> Result<Response, Problem> {
    let by = filters.others.by()?;
    let range = filters.others.time.range(&by.bounds(), keys.now())?;
    let hours = keys.usage(&range.query(filters.owner)).await.map_err(problem::of_query)?;
    Ok(told(&range, by, hours))
}

struct Busy {
    /// The first key of its lineage.
    key: KeyId,
    /// How many requests were let in.
    count: u64,
}

write_object!(Busy { key, count });

struct Top {
    since: Timestamp,
    until: Timestamp,
    items: Vec<Busy>,
}

write_object!(Top { since, until, items });

pub(super) async fn top(
    Asked(Admitted { keys, .. }, filters): Asked<OfTop>,
) -> Result<Response, Problem> {
    let limit = limit(filters.limit.as_deref())?;
    let range = filters.time.range(&Bounds::WHOLE, keys.now())?;
    let query = range.query(filters.owner);
    let lineages = keys.busiest(&query, limit).await.map_err(problem::of_query)?;
    let items = lineages.into_iter().map(|usage| Busy { key: usage.lineage, count: usage.count });
    let items = items.collect();
    Ok(body::json(StatusCode::OK, &Top { since: range.since, until: range.until, items }))
}

impl Range {
    fn query(&self, owner: Option<String>) -> UsageQuery {
        let owner = owner.map(OwnerId::from);
        UsageQuery { owner, ..UsageQuery::new(self.since, self.until) }
    }
}
