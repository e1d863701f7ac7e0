//! The digests of all keys, for caches.

use sqlx::{ColumnIndex, Decode, Row, Type};

use super::{
    call::Call,
    dialect::Dialect,
    pooled_connection::{PooledConnection, within},
    row::{array, unsigned},
    store::SqlStore,
};
use crate::{
    error::StoreError,
    key::{KeyDigest, KeyId},
    store::capabilities::DigestCursor,
};

/// Reads a row with a digest.
pub(super) fn digest<'r, R>(row: &'r R) -> sqlx::Result<KeyDigest>
where
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
{
    Ok(KeyDigest::from_bytes(array("digest", row.try_get("digest")?)?))
}

/// Reads a row with an id and a digest.
pub(super) fn added<'r, R>(row: &'r R) -> sqlx::Result<(KeyId, KeyDigest)>
where
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
{
    Ok((KeyId::from_bytes(array("id", row.try_get("id")?)?), digest(row)?))
}

fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

impl<DB: Dialect> SqlStore<DB> {
    pub(in crate::store) async fn count_known(&self) -> Result<u64, StoreError> {
        let mut connection = PooledConnection::of(&self.readers).await.map_err(DB::store_error)?;
        let call = Call::new(&self.statements.known.count);
        let count = within(DB::SUM, DB::fetch_number(&mut connection, call)).await;
        count.and_then(|count| unsigned("count", count)).map_err(DB::store_error)
    }

    pub(in crate::store) async fn known(
        &self,
        after: Option<DigestCursor>,
        rows: usize,
    ) -> Result<(Vec<KeyDigest>, Option<DigestCursor>), StoreError> {
        // Nothing comes before a digest of no bytes.
        let after = after.as_ref().map_or(&[][..], DigestCursor::as_bytes);
        let call = Call::new(&self.statements.known.page).with(after).with(limit(rows));
        let digests = self.rows(DB::ANSWER, Some(call), DB::digest).await?;
        let last = digests.last().filter(|_| digests.len() == rows);
        let last = last.map(|digest| DigestCursor::new(*digest.as_bytes()));
        Ok((digests, last))
    }

    pub(in crate::store) async fn added(
        &self,
        after: KeyId,
        rows: usize,
    ) -> Result<Vec<(KeyId, KeyDigest)>, StoreError> {
        let call = Call::new(&self.statements.known.added);
        let call = call.with(&after.as_bytes()[..]).with(limit(rows));
        self.rows(DB::ANSWER, Some(call), DB::added).await
    }
}
