//! Writing keys back as they were exported.

use std::collections::HashSet;

use super::{KeyManager, error::ManageError, import::ImportReport};
use crate::{
    clock::Timestamp,
    error::StoreErrorKind,
    key::{Balance, InvalidField, KeyId, KeyRecord, LegacyHash, validate},
    store::{ApplyOutcome, BalanceUpdate},
};

/// A key as a store kept it, to be written as it is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RestoreKey {
    /// The key. The digest of one with a slow hash is passed over: the hash determines it.
    pub record: KeyRecord,
    /// The balance of its [lineage](KeyRecord::lineage), if it spends credits.
    pub balance: Option<Balance>,
}

impl RestoreKey {
    /// A key that is to be as `record` says.
    pub const fn new(record: KeyRecord) -> Self {
        Self { record, balance: None }
    }
}

impl KeyManager {
    /// Writes keys back that this or another store exported, but for those that are there already:
    /// keys with the same id, digest or request.
    ///
    /// Unlike an [import](Self::import), this changes nothing about them: ids, times, counts, parts
    /// in rotations and balances stay, and a key that is disabled, revoked or expired comes back as
    /// such. Keys of a lineage share its balance, which is written with the first of them; a
    /// balance that is there already stays as it is.
    ///
    /// Every key is checked before any is written. Only bounds that stores rely on are checked: a
    /// key that was made under older rules can be restored. When all are new, they are written at
    /// once; otherwise one by one, as in an [import](Self::import).
    ///
    /// Its revision is what it was: where nodes have heard of a later change of the key, requests with it are
    /// told to try again for up to a minute and a half.
    ///
    /// A key whose row was purged since comes back as well. Restore a backup into an empty store, or
    /// end the keys afterwards that were ended since.
    pub async fn restore(&self, keys: &[RestoreKey]) -> Result<ImportReport, ManageError> {
        self.refuse_owners("restore")?;
        let keys = keys.iter().map(|key| self.restored(key));
        let keys = keys.collect::<Result<Vec<_>, ManageError>>()?;
        let now = self.clock.now();
        let mut report = ImportReport::default();
        if keys.is_empty() {
            return Ok(report);
        }
        match self.insert_restored(&keys, now).await {
            Ok(()) => {
                report.imported = keys.iter().map(|key| key.record.id).collect();
                return Ok(report);
            }
            Err(error) if is_duplicate(&error) => {}
            Err(error) => return Err(error),
        }
        // Some are there already, and only one by one says which.
        for (place, key) in keys.iter().enumerate() {
            match self.insert_restored(std::slice::from_ref(key), now).await {
                Ok(()) => report.imported.push(key.record.id),
                Err(error) if is_duplicate(&error) => report.duplicates.push(place),
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }

    fn restored(&self, key: &RestoreKey) -> Result<RestoreKey, ManageError> {
        let mut key = key.clone();
        if !self.access.sees(&key.record) {
            return Err(InvalidField::new("owner", "is another than this handle's").into());
        }
        self.access.check_scopes(&key.record.scopes)?;
        validate::stored(&key.record)?;
        key.balance.as_ref().map_or(Ok(()), validate::balance)?;
        if let Some(hash) = &key.record.details.legacy_hash {
            key.record.digest = LegacyHash::stand_in(hash);
        }
        Ok(key)
    }

    async fn insert_restored(
        &self,
        keys: &[RestoreKey],
        now: Timestamp,
    ) -> Result<(), ManageError> {
        loop {
            let mut lineages = self.lineages_with_balance(keys).await?;
            let mut rows = Vec::with_capacity(keys.len());
            for RestoreKey { record, balance } in keys {
                let lineage = record.lineage();
                let balance = balance.clone().filter(|_| lineages.insert(lineage));
                let balance = balance.map(|balance| BalanceUpdate::first(lineage, balance));
                rows.push((record.clone(), balance));
            }
            // Stale: another program has written a balance since.
            if self.insert_all(&rows, now).await? != ApplyOutcome::Stale {
                return Ok(());
            }
        }
    }

    /// The lineages of these keys that have a balance in the store.
    async fn lineages_with_balance(
        &self,
        keys: &[RestoreKey],
    ) -> Result<HashSet<KeyId>, ManageError> {
        let lineages = keys.iter().filter(|key| key.balance.is_some());
        let lineages: HashSet<_> = lineages.map(|key| key.record.lineage()).collect();
        if lineages.is_empty() {
            return Ok(lineages);
        }
        let lineages: Vec<_> = lineages.into_iter().collect();
        let balances = self.balances(&lineages).await?;
        Ok(balances.items.into_iter().map(|(lineage, _)| lineage).collect())
    }
}

fn is_duplicate(error: &ManageError) -> bool {
    matches!(error, ManageError::Store(error) if error.kind() == StoreErrorKind::Duplicate)
}
