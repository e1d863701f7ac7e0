//! Usage by the hour, as rows.

use std::{collections::BTreeMap, fmt};

use serde_json::Value as Json;
use sqlx::{ColumnIndex, Decode, Row, Type};

use super::{
    call::{Call, Value},
    dialect::Dialect,
    row::{array, count, hex, json, unreadable, unsigned},
    store::SqlStore,
};
use crate::{
    clock::Timestamp,
    error::StoreError,
    key::{HourlyUsage, KeyId, LineageUsage, OwnerId, UsageCount, UsageOutcome, UsageQuery},
};

/// The counts as `[["<lineage in hex>", hour, "<outcome>", count, "<owner>"], …]`, without the last
/// where there is no owner; each lineage, hour and outcome once, in the order of the primary key: a
/// statement that adds to rows cannot add to one twice, and writers that take rows in one order do
/// not deadlock.
fn counts(usage: &[HourlyUsage]) -> String {
    let mut sums = BTreeMap::<(KeyId, Timestamp, &str), (u64, Option<&OwnerId>)>::new();
    for HourlyUsage { lineage, owner, hour, outcome, count } in usage {
        let place = (*lineage, *hour, outcome.as_str());
        let (sum, _) = sums.entry(place).or_insert((0, owner.as_ref()));
        *sum = sum.saturating_add(*count);
    }
    let rows = sums.into_iter().map(|((lineage, hour, outcome), (sum, owner))| {
        let row = [hex(lineage), hour.as_unix_millis().into(), outcome.into(), count(sum).into()];
        row.into_iter().chain(owner.map(|owner| owner.as_str().into())).collect::<Json>()
    });
    json(&rows.collect::<Vec<_>>())
}

/// Reads a sum of an hour and an outcome.
pub(super) fn read<'r, R>(row: &'r R) -> sqlx::Result<UsageCount>
where
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    &'r str: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    let outcome = row.try_get::<&str, _>("outcome")?;
    let outcome = UsageOutcome::from_name(outcome)
        .ok_or_else(|| unreadable("outcome", UnknownOutcome(outcome.to_owned())))?;
    let hour = Timestamp::from_unix_millis(row.try_get("hour")?);
    Ok(UsageCount { hour, outcome, count: unsigned("total", row.try_get("total")?)? })
}

/// Reads the sum of a lineage.
pub(super) fn read_lineage<'r, R>(row: &'r R) -> sqlx::Result<LineageUsage>
where
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    let lineage = KeyId::from_bytes(array("line", row.try_get("line")?)?);
    Ok(LineageUsage { lineage, count: unsigned("total", row.try_get("total")?)? })
}

/// A newer version of this crate may have written it.
#[derive(Debug)]
struct UnknownOutcome(String);

impl fmt::Display for UnknownOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the outcome {:?} is not known", self.0)
    }
}

impl std::error::Error for UnknownOutcome {}

impl<DB: Dialect> SqlStore<DB> {
    pub(in crate::store) async fn record_usage(
        &self,
        usage: &[HourlyUsage],
    ) -> Result<(), StoreError> {
        for usage in usage {
            DB::check(usage.owner.as_ref())?;
        }
        let call = Call::new(&self.statements.record_usage).with_all([Value::Made(counts(usage))]);
        self.write(DB::ANSWER, call).await.map(drop)
    }

    pub(in crate::store) async fn usage(
        &self,
        query: &UsageQuery,
    ) -> Result<Vec<UsageCount>, StoreError> {
        let call = self.statements.filters.usage::<DB>(query);
        self.rows(DB::SUM, call, DB::usage_count).await
    }

    pub(in crate::store) async fn busiest(
        &self,
        query: &UsageQuery,
        limit: usize,
    ) -> Result<Vec<LineageUsage>, StoreError> {
        let call = self.statements.filters.busiest::<DB>(query, limit);
        self.rows(DB::SUM, call, DB::lineage_usage).await
    }

    pub(in crate::store) async fn forget_usage(
        &self,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        // Of a year of many keys, that takes as long as it takes.
        self.write(None, Call::new(&self.statements.forget_usage).with(before)).await
    }
}
