//! Watermarks as rows.

use sqlx::{ColumnIndex, Decode, Type};

use super::{
    call::{Call, Value},
    dialect::Dialect,
    pooled_connection::{PooledConnection, answer},
    row::{array, unreadable, unsigned},
    store::SqlStore,
};
use crate::{
    clock::Timestamp,
    error::StoreError,
    key::KeyId,
    store::{
        capabilities::WATERMARK_LASTS,
        repository::ApplyOutcome,
        watermark::{Watermark, WatermarkRecord},
    },
};

/// When a key was revoked by a watermark in this table.
///
/// No column of watermarks is named as one of keys, so that none of these is ambiguous. Subjects are bytes:
/// `bytes` makes them of a text.
pub(in crate::store) fn ended_at(
    watermarks: &str,
    bytes: fn(&str) -> String,
    of_owner: &str,
) -> String {
    let (all, of_owner) = (bytes("'*'"), bytes(of_owner));
    format!(
        "(SELECT min(ended_at) FROM {watermarks} \
             WHERE issued_before > created_at AND deleted_at IS NULL \
             AND (subject = {all} OR subject = {of_owner}))"
    )
}

/// When a key was revoked: by its row, or [by a watermark](ended_at).
pub(in crate::store) fn revoked_at(ended_at: &str) -> String {
    format!("coalesce(revoked_at, {ended_at})")
}

/// Reads a row with all columns.
pub(super) fn read<'r, R>(row: &'r R) -> sqlx::Result<WatermarkRecord>
where
    R: sqlx::Row,
    for<'n> &'n str: ColumnIndex<R>,
    &'r str: Decode<'r, R::Database> + Type<R::Database>,
    &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    let issued_before = Timestamp::from_unix_millis(row.try_get("issued_before")?);
    let subject =
        str::from_utf8(row.try_get("subject")?).map_err(|error| unreadable("subject", error))?;
    let watermark = Watermark::of_subject(subject, issued_before);
    let watermark = watermark.ok_or_else(|| {
        unreadable("subject", std::io::Error::other("it is neither * nor an owner"))
    })?;
    let revoked_at = Timestamp::from_unix_millis(row.try_get("ended_at")?);
    let mut mark = WatermarkRecord::new(watermark, revoked_at);
    mark.reason = row.try_get::<Option<&str>, _>("reason")?.map(Into::into);
    Ok(mark)
}

/// Reads the id and the revision of a key.
pub(super) fn revision<'r, R>(row: &'r R) -> sqlx::Result<(KeyId, u64)>
where
    R: sqlx::Row,
    usize: ColumnIndex<R>,
    &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    let id = KeyId::from_bytes(array("id", row.try_get(0)?)?);
    Ok((id, unsigned("revision", row.try_get(1)?)?))
}

impl<DB: Dialect> SqlStore<DB> {
    pub(in crate::store) async fn current(&self) -> Result<Vec<WatermarkRecord>, StoreError> {
        let call = Call::new(&self.statements.watermarks.current);
        self.rows(DB::ANSWER, Some(call), DB::watermark).await
    }

    /// May read many rows that are written already.
    pub(in crate::store) async fn unwritten(
        &self,
        watermark: &Watermark,
        after: Option<KeyId>,
        limit: usize,
    ) -> Result<Vec<(KeyId, u64)>, StoreError> {
        let first =
            after.map_or(Some(0), |after| u128::from_be_bytes(*after.as_bytes()).checked_add(1));
        let Some(first) = first.map(u128::to_be_bytes) else { return Ok(Vec::new()) };
        let call = self.statements.filters.unwritten::<DB>(watermark, first, limit);
        self.rows(None, call, DB::revision).await
    }

    /// Writes a watermark, unless its time has not come yet.
    pub(super) async fn make_watermark(
        &self,
        transaction: &mut PooledConnection<DB>,
        new: &WatermarkRecord,
    ) -> sqlx::Result<ApplyOutcome> {
        let statements = &self.statements.watermarks;
        let now = Call::new(&statements.clock);
        let now = answer::<DB, _>(DB::fetch_number(transaction, now)).await?;
        if new.watermark.issued_before.as_unix_millis() > now {
            return Ok(ApplyOutcome::Stale);
        }
        let subject = new.watermark.subject();
        let call = Call::new(&statements.insert)
            .with(&*subject)
            .with(new.watermark.issued_before)
            .with(Timestamp::from_unix_millis(now))
            .with(Value::Text(new.reason.as_deref()));
        answer::<DB, _>(DB::execute(transaction, call)).await?;
        Ok(ApplyOutcome::Done)
    }

    /// Without locks: keys that were being added when it was written are there by now.
    pub(in crate::store) async fn remove_watermark(
        &self,
        watermark: &Watermark,
    ) -> Result<bool, StoreError> {
        if !self.unwritten(watermark, None, 1).await?.is_empty() {
            return Ok(false);
        }
        let subject = watermark.subject();
        let call = Call::new(&self.statements.watermarks.remove)
            .with(&*subject)
            .with(watermark.issued_before)
            .with(i64::try_from(WATERMARK_LASTS.as_millis()).unwrap_or(i64::MAX));
        Ok(self.write(DB::ANSWER, call).await? > 0)
    }
}
