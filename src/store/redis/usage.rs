//! Usage: what is counted by the hour, and how it is read without keeping others waiting.

use super::{RedisStore, count, millis};
use crate::{
    clock::Timestamp,
    error::StoreError,
    key::{HourlyUsage, KeyId, OwnerId, UsageOutcome, UsageQuery},
    text::hex,
};

/// Hours of lineages that one run of a script reads or forgets: Redis does nothing else meanwhile.
const BATCH: usize = 500;

/// Where to go on, and the hours, lineages and counts that a script has found.
type Found = (String, String, Vec<i64>, Vec<String>, Vec<Option<String>>);

/// As in `usage_lines`: no owner is the beginning of another, and none is like no name.
fn member(owner: Option<&OwnerId>) -> String {
    owner.map_or_else(|| "-".to_owned(), |owner| format!("={}", hex(owner.as_str())))
}

impl RedisStore {
    pub(super) async fn add_usage(&self, usage: &[HourlyUsage]) -> Result<(), StoreError> {
        let lines = usage.iter().map(|usage| {
            let (hour, owner) = (millis(usage.hour), member(usage.owner.as_ref()));
            let HourlyUsage { lineage, outcome, .. } = usage;
            format!("{hour} {lineage} {owner} {outcome} {}\n", count(usage.count))
        });
        self.done(&self.scripts.record_usage, &[&lines.collect::<String>()]).await
    }

    /// Passes on what was asked for, hour by hour.
    pub(super) async fn read_usage(
        &self,
        query: &UsageQuery,
        mut each: impl FnMut(Timestamp, KeyId, UsageOutcome, u64) + Send,
    ) -> Result<(), StoreError> {
        let (mut since, mut after) = (millis(query.since), String::new());
        let (before, batch) = (millis(query.until), BATCH.to_string());
        let owner = query.owner.as_ref().map(|owner| member(Some(owner))).unwrap_or_default();
        let lineage = query.lineage.map(|lineage| lineage.to_string()).unwrap_or_default();
        let mut last = None;
        while !since.is_empty() {
            // Or else an hour that another program wrote may lead around in a circle.
            let place = Some(place(&since, &after)?);
            if place <= last {
                return Err(StoreError::corrupt("an hour of usage is listed as another"));
            }
            last = place;
            let args = [&*since, &*after, &*before, &*batch, &*owner, &*lineage];
            let found: Found = self.run(&self.scripts.usage, &args).await?;
            let (hours, lineages, values);
            (since, after, hours, lineages, values) = found;
            for ((hour, lineage), counts) in hours.into_iter().zip(lineages).zip(values) {
                let Some(counts) = counts else { continue };
                let hour = Timestamp::from_unix_millis(hour);
                let lineage = lineage.parse().map_err(StoreError::corrupt)?;
                for part in counts.split(' ') {
                    let (outcome, count) = read(part).ok_or_else(unreadable)?;
                    each(hour, lineage, outcome, count);
                }
            }
        }
        Ok(())
    }

    pub(super) async fn forget_hours(&self, before: Timestamp) -> Result<u64, StoreError> {
        let (before, batch) = (millis(before), BATCH.to_string());
        let mut forgotten = 0;
        loop {
            let (counts, is_more): (u64, bool) =
                self.run(&self.scripts.forget_usage, &[&before, &batch]).await?;
            forgotten += counts;
            if !is_more {
                return Ok(forgotten);
            }
        }
    }
}

/// How far a query has come: the hour, whether all of it was read, and else up to what.
fn place(since: &str, after: &str) -> Result<(i64, bool, String), StoreError> {
    let hour = since.trim_start_matches('(').parse().map_err(StoreError::corrupt)?;
    Ok((hour, since.starts_with('('), after.to_owned()))
}

/// One outcome, and how often it was.
fn read(part: &str) -> Option<(UsageOutcome, u64)> {
    let (outcome, count) = part.split_once('=')?;
    Some((UsageOutcome::from_name(outcome)?, count.parse().ok()?))
}

fn unreadable() -> StoreError {
    StoreError::corrupt("usage in Redis has an outcome or a count that cannot be read")
}
