//! Ending many keys at once: those of an owner, those that are named, those issued before a time.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use super::{KeyManager, access::OwnerFilter, change::Done, end::mark_revoked, error::ManageError};
use crate::{
    clock::Timestamp,
    error::StoreError,
    key::{InvalidField, KeyAction, KeyId, KeyRecord, OwnerId, Scopes, validate},
    runtime::Mutex,
    store::{ApplyOutcome, Changes, KeyUpdate, Plan, Selection},
    text::Text,
};

/// Which keys to [revoke](KeyManager::revoke_all), [disable](KeyManager::disable_all) or
/// [delete](KeyManager::delete_all) together. Every condition that is set must be met; a set
/// without any is refused, and is not all keys.
///
/// ```
/// use tower_api_key::manage::KeySet;
///
/// let leaked_in_may = KeySet::of_owner("user-1").issued_before("2026-06-01T00:00:00Z".parse()?);
/// # let _ = leaked_in_may;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct KeySet {
    /// Only keys of this owner.
    pub owner: Option<OwnerId>,
    /// Only these keys.
    pub ids: Option<Vec<KeyId>>,
    /// Only keys that were created before this moment, which has come.
    pub issued_before: Option<Timestamp>,
}

impl KeySet {
    /// The keys of this owner.
    pub fn of_owner(owner: impl Into<OwnerId>) -> Self {
        Self { owner: Some(owner.into()), ..Self::default() }
    }

    /// These keys.
    pub fn of_ids(ids: impl IntoIterator<Item = KeyId>) -> Self {
        Self { ids: Some(ids.into_iter().collect()), ..Self::default() }
    }

    /// Of these keys, those that were created before this moment. Of all keys, where nothing else
    /// is set: `KeySet::default().issued_before(time)`.
    pub const fn issued_before(mut self, moment: Timestamp) -> Self {
        self.issued_before = Some(moment);
        self
    }

    fn check(&self, now: Timestamp) -> Result<(), InvalidField> {
        let is_named = *self != Self::default();
        InvalidField::unless(is_named, "set", "must name an owner, ids or issued_before")?;
        let has_ids = self.ids.as_ref().is_none_or(|ids| !ids.is_empty());
        InvalidField::unless(has_ids, "ids", "must name at least one key")?;
        // Keys that are created until then would be left out.
        let has_come = self.issued_before.is_none_or(|moment| moment <= now);
        InvalidField::unless(has_come, "issued_before", "must not be in the future")
    }
}

/// The outcome of an act on a [`KeySet`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetReport {
    /// The keys that were changed.
    pub changed: Vec<KeyId>,
    /// Keys of the set that had come to their end before: those that were revoked, unless keys are
    /// deleted, and those named ones that were deleted.
    pub already_ended: Vec<KeyId>,
    /// The ids of the set that no key has.
    pub unknown: Vec<KeyId>,
    /// Whether there are further keys that were revoked and whose rows are yet to be written, as
    /// [`revoke_issued_before`](KeyManager::revoke_issued_before) does in the background. They are not among
    /// those that were changed.
    pub is_pending: bool,
}

/// The act on each key of a set.
#[derive(Clone, Copy)]
enum Act {
    Revoke,
    Disable,
    Delete,
}

impl KeyManager {
    /// Withdraws all keys of a set for good, in one: all of them or, after an error, none.
    ///
    /// No key of the set gets away, also not one that is created or that replaces another while this
    /// goes on: either it is revoked, or it is created afterwards. To keep an owner from creating
    /// others, refuse the owner, with an [`OwnerLayer`](crate::OwnerLayer).
    ///
    /// Keys that were [issued before a time](KeySet::issued_before), and are not named, are revoked by [one
    /// write](Self::revoke_issued_before). Then nothing is said of those that had ended before, and they are
    /// announced together.
    ///
    /// Ids that no key has, and keys that were revoked or deleted before, are reported and stop
    /// nothing. An id of another owner's key, on a handle or in a set of an [owner](KeySet::owner),
    /// stops everything: nothing is changed. On the handle of an owner with a [ceiling of
    /// scopes](Self::within_scopes), so does a key whose scopes are beyond it, which is
    /// [`BeyondCeiling`](ManageError::BeyondCeiling), and on one [within
    /// bounds](Self::within_bounds) [`BeyondOwnKey`](ManageError::BeyondOwnKey).
    ///
    /// Each key has its event in the audit log, and is announced to the caches. A repository that
    /// cannot do this is [`Unsupported`](crate::store::StoreErrorKind::Unsupported).
    ///
    /// ```
    /// use tower_api_key::{KeyManager, NewKey, manage::KeySet, store::MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = KeyManager::new(MemoryStore::new());
    /// let theirs = NewKey { owner: Some("user-1".into()), ..NewKey::named("CI of the shop") };
    /// let id = manager.create(theirs).await?.record.id;
    ///
    /// let report = manager.revoke_all(KeySet::of_owner("user-1"), Some("account closed")).await?;
    /// assert_eq!(report.changed, [id]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn revoke_all(
        &self,
        set: KeySet,
        reason: Option<&str>,
    ) -> Result<SetReport, ManageError> {
        self.act_on(set, Act::Revoke, reason).await
    }

    /// Switches all keys of a set off for now, as [`revoke_all`](Self::revoke_all) withdraws them.
    /// The reason is for the audit log. Keys that are off already stay off; where an administrator
    /// does this, those that an owner switched off are no longer an owner's to switch on.
    pub async fn disable_all(
        &self,
        set: KeySet,
        reason: Option<&str>,
    ) -> Result<SetReport, ManageError> {
        self.act_on(set, Act::Disable, reason).await
    }

    /// Deletes all keys of a set, as [`revoke_all`](Self::revoke_all) withdraws them. The reason is
    /// for the audit log.
    pub async fn delete_all(
        &self,
        set: KeySet,
        reason: Option<&str>,
    ) -> Result<SetReport, ManageError> {
        self.act_on(set, Act::Delete, reason).await
    }

    async fn act_on(
        &self,
        set: KeySet,
        act: Act,
        reason: Option<&str>,
    ) -> Result<SetReport, ManageError> {
        reason.map_or(Ok(()), |reason| validate::text("reason", reason))?;
        let now = self.clock.now();
        set.check(now)?;
        let owner = match self.access.owner_filter(set.owner.as_ref()) {
            OwnerFilter::Any => None,
            OwnerFilter::Only(owner) => Some(owner.clone()),
            OwnerFilter::None => return Err(ManageError::NotFound),
        };
        if matches!(act, Act::Revoke)
            && let Some(watermark) = self.watermark_of(&set, owner.as_ref())
        {
            return self.set_watermark(watermark, reason, now).await;
        }
        let selection = match &set.ids {
            Some(ids) => Selection::Ids(ids.clone()),
            None => Selection::Issued { owner, before: set.issued_before },
        };
        let ceilings = self.authority(now).await?.map_or_else(Vec::new, |own| own.ceilings());
        let (manager, reason) = (self.clone(), reason.map(Into::into));
        let work = Work { manager, set, act, reason, ceilings, now };
        let (report, ended) =
            self.apply_planned(&selection, move |records| work.plan(records)).await?;
        if !ended.is_empty() {
            self.repository.announce_again(&ended).await;
        }
        Ok(report)
    }

    /// Makes the changes that are planned from selected keys, tells the hook, and returns what the plan says
    /// besides.
    pub(super) async fn apply_planned<T: Send + 'static>(
        &self,
        selection: &Selection,
        plan: impl Fn(&[Arc<KeyRecord>]) -> Result<(Changes, T), ManageError> + Send + Sync + 'static,
    ) -> Result<T, ManageError> {
        let outcome = Arc::new(Mutex::new(None));
        let has_hook = self.hook.is_some();
        let plan: Plan = {
            let outcome = outcome.clone();
            Arc::new(move |records| {
                let mut slot = outcome.lock();
                match plan(records) {
                    Ok((changes, report)) => {
                        let heard = if has_hook { changes.events.clone() } else { Vec::new() };
                        *slot = Some(Ok((heard, report)));
                        Some(changes)
                    }
                    Err(error) => {
                        *slot = Some(Err(error));
                        None
                    }
                }
            })
        };
        let selected = self.repository.selected_changes().ok_or_else(StoreError::unsupported)?;
        // Each `Stale` means that another change was written, so this cannot go round for ever.
        while selected.apply_to(selection, &plan).await? != ApplyOutcome::Done {}
        let planned = outcome.lock().take();
        let unplanned = || StoreError::corrupt("the store did not ask what to change");
        let (events, report) = planned.ok_or_else(unplanned)??;
        if let Some(hook) = &self.hook {
            for event in &events {
                hook(event);
            }
        }
        Ok(report)
    }
}

/// The changes of an act; its report, and the keys that were named and have come to their end already.
type Planned = (Changes, (SetReport, Vec<Arc<KeyRecord>>));

/// An act on a set, by the holder of a handle.
struct Work {
    manager: KeyManager,
    set: KeySet,
    act: Act,
    reason: Option<Text>,
    /// Of an owner within bounds: no key whose scopes are beyond one of these is ended.
    ceilings: Vec<Scopes>,
    now: Timestamp,
}

impl Work {
    fn plan(&self, records: &[Arc<KeyRecord>]) -> Result<Planned, ManageError> {
        let (mut changes, mut report) = (Changes::default(), SetReport::default());
        let mut ended = Vec::new();
        let mut found = HashSet::with_capacity(records.len());
        for old in records {
            found.insert(old.id);
            self.check_owner(old)?;
            if self.set.issued_before.is_some_and(|moment| old.created_at >= moment) {
                continue;
            }
            let is_revoked = old.details.revoked_at.is_some() && !matches!(self.act, Act::Delete);
            if old.is_deleted() || is_revoked {
                report.already_ended.push(old.id);
                // Of all others there may be any number.
                if self.set.ids.is_some() {
                    ended.push(old.clone());
                }
                continue;
            }
            let mut new = KeyRecord::clone(old);
            let action = self.change(&mut new);
            if new == **old {
                continue;
            }
            if self.manager.access.owner().is_some() {
                self.manager.access.check_scopes(&old.scopes)?;
            }
            if !self.ceilings.iter().all(|ceiling| ceiling.allow_all(&old.scopes)) {
                return Err(ManageError::BeyondOwnKey { field: "scopes" });
            }
            let done = Done { action, detail: self.reason.clone() };
            changes.events.push(self.manager.event(self.now, done, Some(old))?);
            changes.updates.push(KeyUpdate::revised(old, new, self.now));
            report.changed.push(old.id);
        }
        let asked: BTreeSet<KeyId> = self.set.ids.iter().flatten().copied().collect();
        report.unknown.extend(asked.iter().filter(|id| !found.contains(id)));
        Ok((changes, (report, ended)))
    }

    /// Refuses a key that was named and is another owner's.
    fn check_owner(&self, record: &KeyRecord) -> Result<(), ManageError> {
        if !self.manager.access.sees(record) {
            return Err(ManageError::NotFound);
        }
        match &self.set.owner {
            Some(owner) if record.owner.as_ref() != Some(owner) => {
                Err(InvalidField::new("ids", "must all be of keys of the owner").into())
            }
            _ => Ok(()),
        }
    }

    fn change(&self, record: &mut KeyRecord) -> KeyAction {
        match self.act {
            Act::Revoke => {
                mark_revoked(record, self.reason.as_deref(), self.now);
                KeyAction::Revoked
            }
            Act::Disable => {
                self.manager.access.switch(record, true);
                KeyAction::Disabled
            }
            Act::Delete => {
                record.details.deleted_at = Some(self.now);
                KeyAction::Deleted
            }
        }
    }
}
