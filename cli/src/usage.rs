//! `usage`.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use tower_api_key::{
    KeyId, OwnerId, Timestamp,
    clock::{Clock, SystemClock},
    key::KeyRecord,
    usage::UsageCount,
};

use crate::{
    database::Database,
    failure::Failure,
    list::Pages,
    output::{Output, plain, table},
    view::time_or_never,
    when,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The key whose requests to count, with those that it was rotated from or to; without it, all
    /// keys are listed
    id: Option<KeyId>,
    /// Only keys of this owner
    #[arg(long, conflicts_with = "id")]
    owner: Option<OwnerId>,
    /// From when on: a moment, or how long ago; 30d if not given, or 24h by the hour
    #[arg(long, value_name = "WHEN", value_parser = when::ago, requires = "id")]
    since: Option<Timestamp>,
    /// Until when: a moment, or how long ago; now if not given
    #[arg(long, value_name = "WHEN", value_parser = when::ago, requires = "id")]
    until: Option<Timestamp>,
    /// The unit to count by, in UTC; day if not given
    #[arg(long, value_enum, requires = "id")]
    by: Option<By>,
}

#[derive(Clone, Copy, Default, clap::ValueEnum)]
enum By {
    Hour,
    #[default]
    Day,
}

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

pub(crate) async fn run(args: Args, database: &Database, out: &mut Output) -> Result<(), Failure> {
    if let Some(id) = args.id {
        return one(id, &args, database, out).await;
    }
    let mut pages = Pages::all(args.owner);
    let mut header: &[&str] = &["ID", "NAME", "USES", "LAST USED"];
    let mut widths = None;
    while let Some(records) = pages.next(database).await? {
        tell(&records, header, &mut widths, out)?;
        header = &[];
    }
    Ok(())
}

async fn one(id: KeyId, args: &Args, database: &Database, out: &mut Output) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Row {
        /// When the hour or the day began.
        at: Timestamp,
        outcome: &'static str,
        count: u64,
    }
    let by = args.by.unwrap_or_default();
    let (step, usual) = match by {
        By::Hour => (HOUR, DAY),
        By::Day => (DAY, 30 * DAY),
    };
    let until = args.until.unwrap_or_else(|| SystemClock.now());
    let since = args.since.unwrap_or_else(|| until.saturating_sub(usual));
    // Of the first hour or day, all of it.
    let hours = database.manager.usage_of(id, start_of(since, step), until).await?;
    let counts = match by {
        By::Hour => hours,
        By::Day => UsageCount::by_day(&hours),
    };
    if out.is_json() {
        return out.objects(counts.into_iter().map(|usage| {
            let UsageCount { hour: at, outcome, count, .. } = usage;
            Row { at, outcome: outcome.as_str(), count }
        }));
    }
    if counts.is_empty() {
        return out.say("There were no requests.");
    }
    let row = |usage: UsageCount| {
        [usage.hour.to_string(), usage.outcome.to_string(), usage.count.to_string()]
    };
    out.table(&table(&["FROM", "OUTCOME", "REQUESTS"], counts.into_iter().map(row)))
}

/// When the hour or day began that a moment is in.
fn start_of(time: Timestamp, step: Duration) -> Timestamp {
    let step = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_millis(time.as_unix_millis().div_euclid(step) * step)
}

fn tell(
    records: &[Arc<KeyRecord>],
    header: &[&str],
    widths: &mut Option<Vec<usize>>,
    out: &mut Output,
) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Used<'r> {
        id: KeyId,
        name: &'r str,
        use_count: u64,
        last_used_at: Option<Timestamp>,
    }
    if !out.is_json() {
        let rows = records.iter().map(|record| {
            let last = time_or_never(record.last_used_at);
            [record.id.to_string(), plain(&record.name), record.use_count.to_string(), last]
        });
        return out.table(&table(header, rows).below(widths));
    }
    out.objects(records.iter().map(|record| Used {
        id: record.id,
        name: &record.name,
        use_count: record.use_count,
        last_used_at: record.last_used_at,
    }))
}
