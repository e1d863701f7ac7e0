//! How a key that an owner makes joins a lineage, whose keys all spend its credits or none.
//!
//! A key that joins a lineage is written only while a key of it is as it was read. A change
//! of the credits of all, which writes that key as well, either comes first and is seen, or finds the
//! new key.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{
    KeyManager, bounds::Authority, credits::has_ended_for_good, error::ManageError, once::spends,
    update::done,
};
use crate::{
    clock::Timestamp,
    key::{Balance, KeyRecord, NewCredits, validate},
    store::{ApplyOutcome, BalanceUpdate, Changes, KeyUpdate, Plan, Selection},
};

impl KeyManager {
    /// Has a new key spend the balance of its lineage, if its keys spend one, and returns that
    /// balance.
    pub(super) async fn join_lineage(
        &self,
        record: &mut KeyRecord,
        authority: &Authority<'_>,
        now: Timestamp,
        changes: &mut Changes,
    ) -> Result<Option<Balance>, ManageError> {
        if authority.key().is_some() {
            authority.hold(changes);
            return self.lineage_balance(record, None, now, &[], changes).await;
        }
        let siblings = self.keys_of_lineage(record.lineage()).await?.into_iter();
        let siblings: Vec<_> = siblings.filter(|key| !has_ended_for_good(key, now)).collect();
        record.details.credits = siblings.iter().filter_map(|key| key.details.credits).max();
        let credits = authority.template().and_then(|template| template.credits);
        let balance = self.lineage_balance(record, credits, now, &siblings, changes).await?;
        if let Some(sibling) = siblings.first() {
            changes.rely_on(sibling);
        }
        Ok(balance)
    }

    /// The balance that a new key spends. Where a template gives credits, it begins with them, if it
    /// has not yet, and the siblings spend it as well.
    async fn lineage_balance(
        &self,
        record: &mut KeyRecord,
        credits: Option<NewCredits>,
        now: Timestamp,
        siblings: &[Arc<KeyRecord>],
        changes: &mut Changes,
    ) -> Result<Option<Balance>, ManageError> {
        if credits.is_none() && record.details.credits.is_none() {
            return Ok(None);
        }
        credits.as_ref().map_or(Ok(()), validate::credits)?;
        let lineage = record.lineage();
        let found = self.balances(&[lineage]).await?;
        let old = found.of(lineage).map(|balance| balance.at(found.now));
        let Some(NewCredits { remaining, refill }) = credits else { return Ok(old) };
        let balance = old.unwrap_or_else(|| {
            let first = Balance::new(remaining, refill, found.now);
            changes.balances.push(BalanceUpdate::first(lineage, first.clone()));
            first
        });
        record.details.credits = Some(balance.epoch);
        for sibling in siblings.iter().filter(|sibling| !spends(sibling)) {
            let mut new = KeyRecord::clone(sibling);
            new.details.credits = Some(balance.epoch);
            changes.events.push(self.event(now, done(sibling, &new), Some(sibling))?);
            changes.updates.push(KeyUpdate::revised(sibling, new, now));
        }
        Ok(Some(balance))
    }

    /// Writes the changes that add a key. One that an owner makes and that relies on no other is the
    /// first of a template's lineage: it is `Stale` if the owner has another of it by now. A
    /// repository that cannot change many keys together does not look again.
    pub(super) async fn apply_joined(
        &self,
        record: &KeyRecord,
        changes: &Changes,
    ) -> Result<ApplyOutcome, ManageError> {
        let bound = changes.owner_bound.as_ref().filter(|_| changes.updates.is_empty());
        let bound = bound.filter(|_| self.repository.bounds_owners());
        let (Some(bound), Some(selected)) = (bound, self.repository.selected_changes()) else {
            return self.apply(changes).await;
        };
        let (lineage, now, is_first) =
            (record.lineage(), bound.now, Arc::new(AtomicBool::new(true)));
        let plan: Plan = {
            let (is_first, changes) = (is_first.clone(), changes.clone());
            Arc::new(move |keys| {
                let is_sibling =
                    |key: &KeyRecord| key.lineage() == lineage && !has_ended_for_good(key, now);
                let is_alone = !keys.iter().any(|key| is_sibling(key));
                is_first.store(is_alone, Ordering::Release);
                is_alone.then(|| changes.clone())
            })
        };
        let keys = Selection::Issued { owner: Some(bound.owner.clone()), before: None };
        let update = selected.apply_to(&keys, &plan).await?;
        if is_first.load(Ordering::Acquire) {
            self.applied(update, changes)
        } else {
            Ok(ApplyOutcome::Stale)
        }
    }
}
