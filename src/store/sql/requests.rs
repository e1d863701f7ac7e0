//! Requests that were done once, as rows.

use sqlx::{ColumnIndex, Decode, Type};

use super::{
    call::{Call, Value},
    dialect::Dialect,
    pooled_connection::{PooledConnection, answer},
    row::{array, count, id, unsigned},
    store::{SqlStore, insert_all},
};
use crate::{
    clock::Timestamp,
    error::StoreError,
    key::{KeyDigest, KeyId},
    store::{
        repository::ApplyOutcome,
        requests::{KEPT, RequestRecord},
    },
};

/// Every column but `at`, in the order of [`values`].
pub(in crate::store) const REQUEST: [&str; 7] =
    ["line", "request", "act", "key_id", "amount", "actor", "result"];

/// The values of [`REQUEST`].
fn values(request: &RequestRecord) -> [Value<'_>; REQUEST.len()] {
    [
        id(Some(&request.lineage)),
        Value::from(&request.request.as_bytes()[..]),
        Value::from(&*request.act),
        id(Some(&request.key)),
        Value::from(count(request.amount)),
        Value::Text(request.actor.as_deref()),
        Value::from(&*request.result),
    ]
}

/// Reads a row with all columns.
pub(super) fn read<'r, R>(row: &'r R) -> sqlx::Result<RequestRecord>
where
    R: sqlx::Row,
    for<'n> &'n str: ColumnIndex<R>,
    &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
    &'r str: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    let key_id = |column| array(column, row.try_get(column)?).map(KeyId::from_bytes);
    let request = KeyDigest::from_bytes(array("request", row.try_get("request")?)?);
    let act = row.try_get::<&str, _>("act")?;
    let mut record = RequestRecord::new(key_id("line")?, request, act, key_id("key_id")?);
    record.at = Timestamp::from_unix_millis(row.try_get("at")?);
    record.amount = unsigned("amount", row.try_get("amount")?)?;
    record.actor = row.try_get::<Option<&str>, _>("actor")?.map(Into::into);
    record.result = row.try_get::<&str, _>("result")?.into();
    Ok(record)
}

impl<DB: Dialect> SqlStore<DB> {
    pub(in crate::store) async fn request(
        &self,
        lineage: KeyId,
        request: &KeyDigest,
    ) -> Result<Option<RequestRecord>, StoreError> {
        let call = Call::new(&self.statements.requests.find).with(&lineage.as_bytes()[..]);
        let call = call.with(&request.as_bytes()[..]);
        Ok(self.rows(DB::ANSWER, Some(call), DB::request).await?.pop())
    }

    /// Writes requests. One that is there already undoes everything.
    pub(super) async fn make_requests(
        &self,
        transaction: &mut PooledConnection<DB>,
        requests: &[RequestRecord],
    ) -> sqlx::Result<ApplyOutcome> {
        let requests: Vec<&RequestRecord> = requests.iter().collect();
        let insert = &self.statements.requests.insert;
        let row = |request| values(request).into_iter();
        let written = insert_all(transaction, insert, &requests, row).await?;
        Ok(if written == requests.len() as u64 { ApplyOutcome::Done } else { ApplyOutcome::Stale })
    }

    /// Forgets those from before this moment that were kept for long enough.
    pub(super) async fn purge_requests(
        &self,
        transaction: &mut PooledConnection<DB>,
        before: Timestamp,
    ) -> sqlx::Result<()> {
        let kept = i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX);
        let call = Call::new(&self.statements.requests.purge).with(before).with(kept);
        answer::<DB, _>(DB::execute(transaction, call)).await.map(drop)
    }
}
