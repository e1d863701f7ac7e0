//! Changing selected keys together: they are read and written in one transaction.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    call::{Call, Value},
    dialect::Dialect,
    owner_lock::OwnerLocks,
    pooled_connection::{PooledConnection, answer},
    row::{hex, json},
    store::{Failed, SqlStore, Work},
};
use crate::{
    error::StoreError,
    key::{KeyId, KeyRecord},
    store::{
        repository::ApplyOutcome,
        selection::{Plan, Selection, planned},
    },
};

/// Keys that one statement reads.
const BATCH: usize = 1000;

impl<DB: Dialect> SqlStore<DB> {
    pub(in crate::store) async fn apply_to(
        &self,
        selection: &Selection,
        plan: &Plan,
    ) -> Result<ApplyOutcome, StoreError> {
        self.in_transaction(Work::Planned(selection, plan)).await
    }

    /// Reads the keys while none can be added to them or changed, and makes the changes that are
    /// planned.
    pub(super) async fn make_planned(
        &self,
        transaction: &mut PooledConnection<DB>,
        selection: &Selection,
        plan: &Plan,
    ) -> Result<ApplyOutcome, Failed> {
        self.lock(transaction, &OwnerLocks::of_selection(selection, DB::OWNER_LOCKS)).await?;
        let records = match selection {
            Selection::Ids(ids) => self.read_ids(transaction, ids).await?,
            Selection::Issued { .. } => self.read_issued(transaction, selection).await?,
        };
        match planned(plan, records).await.map_err(Failed::OfStore)? {
            Some(changes) => self.make(transaction, &changes).await,
            None => Ok(ApplyOutcome::Done),
        }
    }

    async fn read_ids(
        &self,
        transaction: &mut PooledConnection<DB>,
        ids: &[KeyId],
    ) -> sqlx::Result<Vec<Arc<KeyRecord>>> {
        // In one order, so that two that read several do not wait for each other.
        let ids: Vec<KeyId> = ids.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let mut records = Vec::with_capacity(ids.len());
        for ids in ids.chunks(BATCH) {
            let ids = json(&ids.iter().copied().map(hex).collect::<Vec<_>>());
            let call = Call::new(&self.statements.get_many).with_all([Value::Made(ids)]);
            let rows = answer::<DB, _>(DB::fetch_all(transaction, call)).await?;
            for row in &rows {
                records.push(Arc::new(DB::key(row)?));
            }
        }
        Ok(records)
    }

    async fn read_issued(
        &self,
        transaction: &mut PooledConnection<DB>,
        selection: &Selection,
    ) -> sqlx::Result<Vec<Arc<KeyRecord>>> {
        let mut records: Vec<Arc<KeyRecord>> = Vec::new();
        let mut first = Some([0; 16]);
        while let Some(from) = first
            && let Some(call) = self.statements.filters.selected::<DB>(selection, from, BATCH)
        {
            let rows = answer::<DB, _>(DB::fetch_all(transaction, call)).await?;
            for row in &rows {
                records.push(Arc::new(DB::key(row)?));
            }
            let last = records.last().filter(|_| rows.len() == BATCH);
            let next = |id: KeyId| u128::from_be_bytes(*id.as_bytes()).checked_add(1);
            first = last.and_then(|record| next(record.id)).map(u128::to_be_bytes);
        }
        Ok(records)
    }
}
