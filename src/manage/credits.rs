//! Credits: setting and reading a balance.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    KeyManager,
    error::ManageError,
    once::spends,
    update::{KeyPatch, done},
};
use crate::{
    clock::Timestamp,
    error::StoreError,
    key::{Balance, CreditsPatch, InvalidField, KeyId, KeyRecord, validate},
    store::{ApplyOutcome, BalanceUpdate, Balances, Changes, KeyQuery, KeyUpdate},
};

/// Keys of a lineage that are written to tell nodes that its balance changed: the one in question,
/// the first, and then the youngest. The others spend the same balance; nodes notice the change when
/// their cached records of those expire.
pub(super) const MOST_KEYS: usize = 256;

/// Keys of a lineage that are read at a time.
const PAGE: usize = 256;

impl KeyManager {
    /// The balance of a key's lineage, as it is now; `None` for a key that spends no credits.
    ///
    /// Credits that other nodes have taken and not spent are not in it: some hundreds each at most,
    /// which they give back after some seconds. Those of this node are, if the manager knows its
    /// [`Credits`](Self::with_credits).
    pub async fn balance(&self, id: KeyId) -> Result<Option<Balance>, ManageError> {
        let key = self.get(id).await?;
        Ok(self.balances_of(&[key]).await?.pop().flatten())
    }

    /// The [balances](Self::balance) of the lineages of many keys, in the order of the keys.
    pub async fn balances_of(
        &self,
        keys: &[Arc<KeyRecord>],
    ) -> Result<Vec<Option<Balance>>, ManageError> {
        let lineage = |key: &Arc<KeyRecord>| key.details.credits.map(|_| key.lineage());
        let lineages: HashSet<KeyId> = keys.iter().filter_map(lineage).collect();
        if lineages.is_empty() {
            return Ok(vec![None; keys.len()]);
        }
        let lineages: Vec<_> = lineages.into_iter().collect();
        let found = self.balances(&lineages).await?;
        let (now, balances): (_, HashMap<_, _>) = (found.now, found.items.into_iter().collect());
        let balance = |key| {
            let lineage = lineage(key)?;
            let mut balance = balances.get(&lineage)?.at(now);
            let held = self.held_of(lineage, balance.epoch);
            balance.remaining = balance.remaining.saturating_add(held);
            Some(balance)
        };
        Ok(keys.iter().map(balance).collect())
    }

    /// The balances in the store of these lineages, and the time by its clock.
    pub(super) async fn balances(&self, lineages: &[KeyId]) -> Result<Balances, StoreError> {
        let balances = self.repository.balance_store().ok_or_else(StoreError::unsupported)?;
        balances.balances(lineages).await
    }

    /// The credits that this node holds of a balance of this epoch.
    pub(super) fn held_of(&self, lineage: KeyId, epoch: u64) -> u64 {
        self.credits.as_ref().map_or(0, |own| own.held_of(lineage, epoch))
    }

    /// An update that changes the balance of the key's lineage or takes it away, beside what else
    /// it changes about the key.
    pub(super) async fn set_credits(
        &self,
        id: KeyId,
        patch: &KeyPatch,
        credits: Option<CreditsPatch>,
    ) -> Result<Arc<KeyRecord>, ManageError> {
        self.refuse_owners("credits")?;
        credits.as_ref().map_or(Ok(()), validate::credits_patch)?;
        loop {
            let keys = self.lineage_of(id).await?;
            let Some(key) = keys.first() else { return Err(ManageError::NotFound) };
            self.access.check_revision(key)?;
            let now = self.clock.now();
            let mut changes = Changes::default();
            let mut epoch = None;
            if let Some(credits) = credits {
                let balances = self.balances(&[key.lineage()]).await?;
                let last = keys.iter().filter_map(|key| key.details.credits).max();
                let update = changed(key, last, credits, &balances)?;
                epoch = update.as_ref().map_or(key.details.credits, |new| Some(new.balance.epoch));
                changes.balances.extend(update);
            }
            let has_changed = !changes.balances.is_empty();
            for (index, old) in keys.iter().enumerate() {
                // A key that began or ceased to spend must be written, however many there are: one
                // that is left out would be free.
                if index >= MOST_KEYS && old.details.credits.is_some() == epoch.is_some() {
                    continue;
                }
                let mut new = KeyRecord::clone(old);
                if old.id == id {
                    self.patch(&mut new, patch)?;
                }
                if old.details.credits != epoch {
                    new.details.credits = epoch;
                }
                // A key whose credits changed gets another revision, by which nodes learn of it.
                if new != **old || (has_changed && spends(old)) {
                    let mut done = done(old, &new);
                    if has_changed && done.detail.is_none() {
                        done.detail = Some("credits".into());
                    }
                    changes.events.push(self.event(now, done, Some(old))?);
                    changes.updates.push(KeyUpdate::revised(old, new, now));
                }
            }
            if changes.updates.is_empty() {
                return Ok(key.clone());
            }
            let written = changes.updates.iter().find(|update| update.record.id == id);
            let written = written.map_or(key.clone(), |update| Arc::new(update.record.clone()));
            // As every write of several keys does, so that no two wait for each other.
            changes.updates.sort_by_key(|update| update.record.id);
            if self.apply(&changes).await? == ApplyOutcome::Done {
                return Ok(written);
            }
        }
    }

    /// A key, and the others of its lineage that may still be used or come back.
    pub(super) async fn lineage_of(&self, id: KeyId) -> Result<Vec<Arc<KeyRecord>>, ManageError> {
        let key = self.get(id).await?;
        let (lineage, now) = (key.lineage(), self.clock.now());
        let mut keys = vec![key];
        let others = self.keys_of_lineage(lineage).await?.into_iter();
        keys.extend(others.filter(|other| other.id != id && !has_ended_for_good(other, now)));
        Ok(keys)
    }

    /// All keys of a lineage that are not deleted, its first before the others.
    pub(super) async fn keys_of_lineage(
        &self,
        lineage: KeyId,
    ) -> Result<Vec<Arc<KeyRecord>>, ManageError> {
        let first = self.repository.get(lineage).await?;
        let mut keys: Vec<_> = first.into_iter().filter(|first| !first.is_deleted()).collect();
        let mut query = KeyQuery::new(PAGE);
        query.lineage = Some(lineage);
        loop {
            let page = self.repository.list(&query).await?;
            // Also from a store that does not know the filter.
            let others = page.items.into_iter();
            keys.extend(others.filter(|key| key.id != lineage && key.lineage() == lineage));
            match page.next {
                Some(next) => query = query.after(next),
                None => return Ok(keys),
            }
        }
    }
}

/// The update that a patch makes to the balance of a key's lineage, if any. `last` is the latest
/// epoch that a key of the lineage has.
fn changed(
    key: &KeyRecord,
    last: Option<u64>,
    patch: CreditsPatch,
    balances: &Balances,
) -> Result<Option<BalanceUpdate>, InvalidField> {
    let (lineage, now) = (key.lineage(), balances.now);
    let old = balances.of(lineage);
    let next_epoch = || {
        let last = last.into_iter().chain(old.map(|old| old.epoch)).max();
        last.map_or(0, |last| last + 1)
    };
    let Some(old) = old.filter(|_| spends(key)) else {
        // It spends none yet.
        let refill = patch.refill.flatten().map_or(Ok(None), |refill| refill.applied(None))?;
        let remaining = patch.remaining.or(refill.map(|refill| refill.amount.get()));
        let Some(remaining) = remaining else { return Ok(None) };
        let balance = Balance { epoch: next_epoch(), ..Balance::new(remaining, refill, now) };
        return Ok(Some(match old {
            Some(old) => BalanceUpdate::of(lineage, old, balance),
            None => BalanceUpdate::first(lineage, balance),
        }));
    };
    let current = old.at(now);
    let mut balance = current.clone();
    match patch.refill {
        Some(Some(refill)) => {
            let new = refill.applied(current.refill)?;
            balance = match refill.interval {
                Some(_) => balance.with_refill(new, now),
                // The days on which they come back stay.
                None => Balance { refill: new, ..balance },
            };
        }
        Some(None) => balance = balance.with_refill(None, now),
        None => {}
    }
    if let Some(remaining) = patch.remaining {
        // Credits that nodes have taken of it are forgotten.
        (balance.remaining, balance.epoch) = (remaining, next_epoch());
    }
    Ok((balance != current).then(|| BalanceUpdate::of(lineage, old, balance)))
}

/// An expired key may get another end; one that was replaced, not.
pub(super) fn has_ended_for_good(key: &KeyRecord, now: Timestamp) -> bool {
    key.is_deleted()
        || key.details.revoked_at.is_some()
        || key.details.rotation.retires_at.is_some_and(|end| end <= now)
}
