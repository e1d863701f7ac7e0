//! The identity of a table.

use super::{
    pooled_connection::{PooledConnection, answer},
    schema::{Schema, bookkeeping_call},
    store::SqlStore,
};
use crate::{error::StoreError, store::StoreId};

impl<DB: Schema> SqlStore<DB> {
    /// From the time when the table was made, which is in the bookkeeping of its schema: a table of any
    /// version has one, and no node has to write it.
    pub(in crate::store) async fn identity(&self) -> Result<Option<StoreId>, StoreError> {
        let sql = "SELECT coalesce(max(applied_at), 0) FROM api_keys_schema WHERE version = 1";
        let table = &*self.statements.table;
        let call = bookkeeping_call::<DB>(sql, table);
        let mut connection = PooledConnection::of(&self.readers).await.map_err(DB::store_error)?;
        let made_at = answer::<DB, _>(DB::fetch_number(&mut connection, call)).await;
        let made_at = Some(made_at.map_err(DB::store_error)?).filter(|made_at| *made_at != 0);
        Ok(made_at.map(|made_at| StoreId::of_table(table, made_at)))
    }
}
