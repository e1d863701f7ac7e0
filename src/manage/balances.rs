//! Balances, as views show them.

use std::{collections::HashMap, sync::Arc};

use super::{KeyManager, ManageError};
use crate::{Balance, KeyId, KeyRecord};

impl KeyManager {
    /// The balance of a key's line, if it spends credits.
    pub(crate) async fn balance_of(
        &self,
        record: &KeyRecord,
    ) -> Result<Option<Balance>, ManageError> {
        if record.details.credits.is_none() {
            return Ok(None);
        }
        let balances = self.repository.balances(&[record.lineage()]).await?;
        Ok(balances.into_iter().next().map(|(_, balance)| balance))
    }

    /// The balances of the lines of those of these keys that spend credits: one question.
    pub(crate) async fn balances_by_line(
        &self,
        records: &[Arc<KeyRecord>],
    ) -> Result<HashMap<KeyId, Balance>, ManageError> {
        let spending = records.iter().filter(|record| record.details.credits.is_some());
        let lines: Vec<KeyId> = spending.map(|record| record.lineage()).collect();
        if lines.is_empty() {
            return Ok(HashMap::new());
        }
        Ok(self.repository.balances(&lines).await?.into_iter().collect())
    }

    /// TEMPORARY
    pub async fn top_up(&self, id: KeyId, amount: u64) -> Result<(), ManageError> {
        use crate::store::{BalanceUpdate, Changes, Update};
        loop {
            let record = self.get(id).await?;
            let Some(old) = self.balance_of(&record).await? else {
                return Err(super::InvalidField::new("credits", "are not spent by this key").into());
            };
            let mut balance = old.at(self.clock.now());
            balance.remaining =
                balance.remaining.saturating_add(amount).min(crate::limit::MOST_CREDITS);
            balance.revision += 1;
            let update =
                BalanceUpdate { line: record.lineage(), expected: Some(old.revision), balance };
            let changes = Changes { balances: vec![update], ..Changes::default() };
            if self.apply(&changes).await? == Update::Done {
                return Ok(());
            }
        }
    }
}
