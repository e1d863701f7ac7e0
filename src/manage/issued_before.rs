//! Revoking keys by the time when they were created: one write, however many there are.

use std::{collections::HashMap, time::Duration};

use tokio::runtime::Handle;

use super::{
    KeyManager,
    change::Done,
    end::mark_revoked,
    error::ManageError,
    sets::{KeySet, SetReport},
};
use crate::{
    clock::Timestamp,
    error::StoreError,
    key::{InvalidField, KeyAction, KeyId, KeyRecord, OwnerId},
    observe,
    runtime::Backoff,
    store::{ApplyOutcome, Changes, KeyUpdate, Selection, Watermark, WatermarkRecord, Watermarks},
};

/// Rows that are written together, and how many of them an act writes before it returns.
const BATCH: usize = 1_000;

/// Between attempts to write the rows, and how often that is tried.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1));
const ATTEMPTS: usize = 20;

impl KeyManager {
    /// Withdraws all keys that were created before a moment, of all owners, or on a [handle of an
    /// owner](Self::for_owner) that owner's: the same as [`revoke_all`](Self::revoke_all) of
    /// [`KeySet::issued_before`].
    ///
    /// That is one write, however many keys there are: a [watermark](crate::store::Watermark). When this has
    /// returned `Ok`, the keys are revoked, and caches that listen to the
    /// [bus](Self::with_invalidations) refuse them as soon as they hear of it. The rows of up to 1,000 of them
    /// were written as well; those of the others follow in the background, and where that is interrupted,
    /// with [`finish_revocations`](Self::finish_revocations).
    ///
    /// The moment has come, by this node's clock and by the repository's. Keys have the time of the node that
    /// created them: where clocks differ, one that was created just before the moment may have a time after it.
    /// Keys of a [`FixedStore`](crate::store::FixedStore) or a file are not touched.
    ///
    /// A repository without [`watermarks`](crate::store::KeyRepository::watermarks), or a handle with a
    /// [ceiling of scopes](Self::within_scopes) or [bounds](Self::within_bounds), changes the keys themselves
    /// instead, in one.
    ///
    /// ```
    /// use tower_api_key::{KeyManager, NewKey, Timestamp, store::MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = KeyManager::new(MemoryStore::new());
    /// let leaked = manager.create(NewKey::named("CI of the shop")).await?.record;
    ///
    /// let moment = Timestamp::from_unix_millis(leaked.created_at.as_unix_millis() + 1);
    /// # tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    /// let report = manager.revoke_issued_before(moment, Some("a backup was stolen")).await?;
    /// assert_eq!(report.changed, [leaked.id]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn revoke_issued_before(
        &self,
        moment: Timestamp,
        reason: Option<&str>,
    ) -> Result<SetReport, ManageError> {
        self.revoke_all(KeySet::default().issued_before(moment), reason).await
    }

    /// Writes the rows of keys that were [revoked by the time of their creation](Self::revoke_issued_before)
    /// where that was interrupted, as by the end of a program, and returns how many there were. The keys are
    /// revoked either way; until then, each lookup looks for what revoked them.
    ///
    /// For the start of a program. Several nodes may do it at once. On a [handle of an owner](Self::for_owner),
    /// of that owner's keys alone.
    pub async fn finish_revocations(&self) -> Result<u64, ManageError> {
        let Some(watermarks) = self.repository.watermarks() else { return Ok(0) };
        let mut written = 0;
        for mark in watermarks.current().await? {
            if !self.access.owners.iter().all(|owner| mark.watermark.owner.as_ref() == Some(owner))
            {
                continue;
            }
            let mut rows = Rows::new(self, &mark);
            while !rows.write_some(watermarks).await? {}
            written += rows.written.len() as u64;
        }
        Ok(written)
    }

    /// The watermark that does the same as revoking this set, if there is one.
    pub(super) fn watermark_of(&self, set: &KeySet, owner: Option<&OwnerId>) -> Option<Watermark> {
        let sees_scopes = !self.access.ceilings.is_empty() || self.access.bounds.is_some();
        if set.ids.is_some() || sees_scopes || self.repository.watermarks().is_none() {
            return None;
        }
        let issued_before = set.issued_before?;
        Some(Watermark { owner: owner.cloned(), issued_before })
    }

    pub(super) async fn set_watermark(
        &self,
        watermark: Watermark,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<SetReport, ManageError> {
        let watermarks = self.repository.watermarks().ok_or_else(StoreError::unsupported)?;
        let detail = format!("keys that were created before {}", watermark.issued_before);
        let detail = reason.map_or(detail.clone(), |reason| format!("{detail}: {reason}"));
        let done = Done { action: KeyAction::Revoked, detail: Some(detail.into()) };
        let mut event = self.event(now, done, None)?;
        event.owner.clone_from(&watermark.owner);
        let mut mark = WatermarkRecord::new(watermark, now);
        mark.reason = reason.map(Into::into);
        let changes = Changes { events: vec![event], ..Changes::default() };
        let changes = changes.with_watermark(Some(mark.clone()));
        if self.apply(&changes).await? != ApplyOutcome::Done {
            // By the clock of the repository.
            return Err(InvalidField::new("issued_before", "must not be in the future").into());
        }
        let mut rows = Rows::new(self, &mark);
        let is_done = rows.write_some(watermarks).await.unwrap_or_else(|error| {
            observe::management_failed(&error);
            false
        });
        let mut report = SetReport { changed: rows.written, ..SetReport::default() };
        if !is_done {
            report.is_pending = true;
            self.finish_later(mark);
        }
        Ok(report)
    }

    fn finish_later(&self, mark: WatermarkRecord) {
        let Ok(runtime) = Handle::try_current() else { return };
        let manager = self.clone();
        runtime.spawn(async move {
            let mut backoff = BACKOFF;
            let mut attempts = 0;
            let Some(watermarks) = manager.repository.watermarks() else { return };
            let mut rows = Rows::new(&manager, &mark);
            while attempts < ATTEMPTS {
                match rows.write_some(watermarks).await {
                    Ok(true) => return,
                    Ok(false) => {
                        backoff.reset();
                        attempts = 0;
                    }
                    Err(error) => {
                        observe::management_failed(&error);
                        attempts += 1;
                        tokio::time::sleep(backoff.pause()).await;
                    }
                }
                rows.written.clear();
            }
        });
    }
}

/// The rows of a watermark that are written by themselves.
struct Rows<'w> {
    manager: &'w KeyManager,
    mark: &'w WatermarkRecord,
    after: Option<KeyId>,
    written: Vec<KeyId>,
}

impl<'w> Rows<'w> {
    const fn new(manager: &'w KeyManager, mark: &'w WatermarkRecord) -> Self {
        Self { manager, mark, after: None, written: Vec::new() }
    }

    /// Writes some more, and removes the watermark when there are none. Whether it is gone.
    async fn write_some(&mut self, watermarks: &dyn Watermarks) -> Result<bool, ManageError> {
        let watermark = &self.mark.watermark;
        let rows = watermarks.unwritten(watermark, self.after, BATCH).await?;
        if !rows.is_empty() {
            let last = rows.last().map(|(id, _)| *id);
            let written = self.write(&rows).await?;
            self.written.extend(written);
            self.after = last;
            if rows.len() == BATCH {
                return Ok(false);
            }
        }
        // Keys that were added meanwhile may have smaller ids.
        self.after = None;
        Ok(watermarks.remove(watermark).await?)
    }

    /// Writes those that still have these revisions. Whatever reads them finds them revoked before and after.
    async fn write(&self, rows: &[(KeyId, u64)]) -> Result<Vec<KeyId>, ManageError> {
        let (manager, reason) = (self.manager.clone(), self.mark.reason.clone());
        let mark = self.mark.clone();
        let now = manager.clock.now();
        let selection = Selection::Ids(rows.iter().map(|(id, _)| *id).collect());
        let revisions: HashMap<KeyId, u64> = rows.iter().copied().collect();
        self.manager
            .apply_planned(&selection, move |records| {
                let mut changes = Changes { is_silent: true, ..Changes::default() };
                let mut written = Vec::new();
                for old in records {
                    let is_meant = mark.watermark.covers(old);
                    if !is_meant || revisions.get(&old.id) != Some(&old.revision) {
                        continue;
                    }
                    let mut new = KeyRecord::clone(old);
                    new.details.revoked_at = None;
                    mark_revoked(
                        &mut new,
                        reason.as_deref(),
                        old.details.revoked_at.unwrap_or(now),
                    );
                    let done = Done { action: KeyAction::Revoked, detail: reason.clone() };
                    changes.events.push(manager.event(now, done, Some(old))?);
                    changes.updates.push(KeyUpdate::revised(old, new, now));
                    written.push(old.id);
                }
                Ok((changes, written))
            })
            .await
    }
}
