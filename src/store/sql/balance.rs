//! Balances as rows.

use std::collections::BTreeSet;

use sqlx::{ColumnIndex, Decode, Type};

use super::{
    call::{Call, Value},
    dialect::Dialect,
    pooled_connection::{PooledConnection, answer},
    row::{array, count, from_json, hex, json, unsigned},
    store::{SqlStore, insert_all},
};
use crate::{
    clock::Timestamp,
    error::StoreError,
    key::{Balance, KeyId},
    store::{
        balances::{BalanceUpdate, Balances},
        repository::ApplyOutcome,
    },
};

/// The columns that an update of a balance writes, in the order of [`values`].
pub(in crate::store) const BALANCE: [&str; 7] =
    ["remaining", "refill", "since", "next_refill_at", "granted", "epoch", "revision"];

/// The values of [`BALANCE`].
fn values(balance: &Balance) -> [Value<'_>; BALANCE.len()] {
    [
        Value::from(count(balance.remaining)),
        balance.refill.as_ref().map_or(Value::Text(None), |refill| Value::Made(json(refill))),
        Value::from(balance.since),
        Value::from(balance.next_refill_at),
        Value::from(balance.granted),
        Value::from(count(balance.epoch)),
        Value::from(count(balance.revision)),
    ]
}

/// The lineage, and the values of [`BALANCE`].
fn row(update: &BalanceUpdate) -> impl Iterator<Item = Value<'_>> {
    [Value::from(&update.lineage.as_bytes()[..])].into_iter().chain(values(&update.balance))
}

/// When what is never due is due.
const ALWAYS: Timestamp = Timestamp::from_unix_millis(i64::MIN);

/// Lineages as `["<id in hex>", …]`, each once.
fn lineages(lineages: &[KeyId]) -> String {
    let lineages: BTreeSet<KeyId> = lineages.iter().copied().collect();
    json(&lineages.into_iter().map(hex).collect::<Vec<_>>())
}

/// A row of a read: the time by the server's clock, and a balance with its lineage, unless the row
/// has the time alone.
pub(in crate::store) type Row = (Timestamp, Option<(KeyId, Balance)>);

/// Reads a row with all columns and the time.
pub(super) fn read<'r, R>(row: &'r R) -> sqlx::Result<Row>
where
    R: sqlx::Row,
    for<'n> &'n str: ColumnIndex<R>,
    &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
    &'r str: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    let number = |column| row.try_get::<i64, _>(column);
    let now = Timestamp::from_unix_millis(number("now")?);
    let Some(lineage) = row.try_get::<Option<&[u8]>, _>("line")? else { return Ok((now, None)) };
    let refill = row.try_get::<Option<&str>, _>("refill")?;
    let refill = refill.map(|refill| from_json("refill", refill)).transpose()?;
    let since = Timestamp::from_unix_millis(number("since")?);
    let next_refill_at = row.try_get::<Option<i64>, _>("next_refill_at")?;
    let next_refill_at = next_refill_at.map(Timestamp::from_unix_millis);
    let granted = row.try_get::<Option<i64>, _>("granted")?;
    let balance = Balance {
        remaining: unsigned("remaining", number("remaining")?)?,
        refill,
        since,
        next_refill_at,
        granted: granted.unwrap_or_else(|| Balance::granted_before(since, refill, next_refill_at)),
        epoch: unsigned("epoch", number("epoch")?)?,
        revision: unsigned("revision", number("revision")?)?,
    };
    Ok((now, Some((KeyId::from_bytes(array("line", lineage)?), balance))))
}

impl<DB: Dialect> SqlStore<DB> {
    pub(in crate::store) async fn balances(&self, asked: &[KeyId]) -> Result<Balances, StoreError> {
        let asked = lineages(asked);
        let rows = self.unless_silent(
            |circuits| &circuits.balances,
            |this| async move {
                let call = Call::new(&this.statements.balances).with_all([Value::Made(asked)]);
                this.rows(DB::ANSWER, Some(call), DB::balance).await
            },
        );
        let rows = rows.await?;
        let missing = || StoreError::corrupt("the server did not say what time it is");
        let now = rows.first().map(|(now, _)| *now).ok_or_else(missing)?;
        Ok(Balances::new(now, rows.into_iter().filter_map(|(_, balance)| balance).collect()))
    }

    /// Writes balances, up to the first that has changed meanwhile.
    pub(super) async fn make_balances(
        &self,
        transaction: &mut PooledConnection<DB>,
        balances: &[BalanceUpdate],
    ) -> sqlx::Result<ApplyOutcome> {
        // Two nodes that write several must not wait for each other.
        let mut balances: Vec<&BalanceUpdate> = balances.iter().collect();
        balances.sort_by_key(|update| update.lineage);
        let (new, old): (Vec<_>, Vec<_>) =
            balances.into_iter().partition(|update| update.expected.is_none());
        let insert = &self.statements.insert_balance;
        if insert_all(transaction, insert, &new, row).await? != new.len() as u64 {
            return Ok(ApplyOutcome::Stale);
        }
        for BalanceUpdate { lineage, balance, expected, due } in old {
            let call = Call::new(&self.statements.update_balance).with_all(values(balance));
            let call = call.with(&lineage.as_bytes()[..]).with(count(expected.unwrap_or_default()));
            let call = call.with(due.unwrap_or(ALWAYS));
            let done = answer::<DB, _>(DB::execute(transaction, call)).await?;
            if DB::affected(&done) == 0 {
                return Ok(ApplyOutcome::Stale);
            }
        }
        Ok(ApplyOutcome::Done)
    }
}
