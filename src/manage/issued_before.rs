//! Revoking keys by the time when they were created: one write, however many there are.

use std::{collections::HashMap, slice, time::Duration};

use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

use super::{
    KeyManager,
    change::Done,
    end::mark_revoked,
    error::ManageError,
    sets::{KeySet, SetReport},
};
use crate::{
    clock::Timestamp,
    error::{StoreError, StoreErrorKind},
    key::{InvalidField, KeyAction, KeyId, KeyRecord, OwnerId},
    observe,
    runtime::Backoff,
    store::{ApplyOutcome, Changes, KeyUpdate, Selection, Watermark, WatermarkRecord, Watermarks},
};

/// Rows that are written together, and how many of them an act writes before it returns.
const BATCH: usize = 250;
const FIRST: usize = 1_000;

/// Between attempts to write the rows, and how many may fail one after the other: a manager that was closed does
/// not try for ever.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1));
const ATTEMPTS: u32 = 20;

/// Between attempts to remove the watermark, which is there for as long at least.
const REMOVED_EVERY: Duration = Duration::from_mins(1);

/// The clock of the repository may be behind that of this node: how often, and after which time, it is asked
/// again whether a moment has come.
const CLOCK_TRIES: usize = 20;
const CLOCK_PAUSE: Duration = Duration::from_millis(100);

impl KeyManager {
    /// Withdraws all keys that were created before a moment, of all owners, or on a [handle of an
    /// owner](Self::for_owner) that owner's: the same as [`revoke_all`](Self::revoke_all) of
    /// [`KeySet::issued_before`].
    ///
    /// That is one write, however many keys there are: a [watermark](crate::store::Watermark). When this has
    /// returned `Ok`, the keys are revoked, and caches that listen to the
    /// [bus](Self::with_invalidations) refuse them as soon as they hear of it. The rows of up to 1,000 of them
    /// were written as well; those of the others follow in the background, on a tokio runtime with time enabled,
    /// and where that is interrupted, with [`finish_revocations`](Self::finish_revocations).
    ///
    /// The moment has come, by this node's clock and by the repository's, which times of creation are by as well,
    /// whatever the clocks of nodes show. One that keeps no [balances](crate::store::KeyRepository::balance_store)
    /// tells no time: keys in it have that of the node that created them. Keys that are [imported](Self::import)
    /// with such a time while the rows are being written, and for a minute at least, are revoked from their
    /// beginning.
    /// Nodes of an earlier version of this crate see a revocation when its row is written. Keys of a
    /// [`FixedStore`](crate::store::FixedStore) or a file are not touched.
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
    /// For the start of a program, and for now and then where the command line is used as well. Several nodes may
    /// do it at once. On a [handle of an owner](Self::for_owner), of that owner's keys alone.
    pub async fn finish_revocations(&self) -> Result<u64, ManageError> {
        let Some(watermarks) = self.repository.watermarks() else { return Ok(0) };
        let mut written = 0;
        for mark in watermarks.current().await? {
            let owner = mark.watermark.owner.as_ref();
            if !self.access.owners.iter().all(|own| owner == Some(own)) {
                continue;
            }
            let mut rows = Rows::new(self, &mark);
            while !rows.write_some(watermarks).await? {}
            written += rows.written.len() as u64;
            watermarks.remove(&mark.watermark).await?;
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

    /// Goes on when the caller goes away: the rows of what was revoked have to follow.
    pub(super) async fn set_watermark(
        &self,
        watermark: Watermark,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<SetReport, ManageError> {
        let (manager, mut mark) = (self.clone(), WatermarkRecord::new(watermark, now));
        mark.reason = reason.map(Into::into);
        let act = async move { manager.set_and_write(mark).await };
        match Handle::try_current() {
            Ok(runtime) => runtime.spawn(act).await.map_err(StoreError::unavailable)?,
            Err(_) => act.await,
        }
    }

    async fn set_and_write(self, mark: WatermarkRecord) -> Result<SetReport, ManageError> {
        let watermarks = self.repository.watermarks().ok_or_else(StoreError::unsupported)?;
        let detail = format!("keys that were created before {}", mark.watermark.issued_before);
        let detail = match &mark.reason {
            Some(reason) => format!("{detail}: {reason}"),
            None => detail,
        };
        let done = Done { action: KeyAction::Revoked, detail: Some(detail.into()) };
        let mut event = self.event(mark.revoked_at, done, None)?;
        event.owner.clone_from(&mark.watermark.owner);
        let changes = Changes { events: vec![event], ..Changes::default() };
        let changes = changes.with_watermark(Some(mark.clone()));
        let mut tries = 0;
        while self.apply(&changes).await? != ApplyOutcome::Done {
            tries += 1;
            if tries == CLOCK_TRIES || Handle::try_current().is_err() {
                let text = "must not be in the future by the clock of the repository";
                return Err(InvalidField::new("issued_before", text).into());
            }
            sleep(CLOCK_PAUSE).await;
        }
        let mut rows = Rows::new(&self, &mark);
        let is_pending = match rows.write_first(watermarks).await {
            Ok(are_written) => !are_written,
            Err(error) => {
                observe::management_failed(&error);
                true
            }
        };
        let report = SetReport { changed: rows.written, is_pending, ..SetReport::default() };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { self.finish(mark).await });
        }
        Ok(report)
    }

    /// Writes the rows that are left, and removes the watermark, unless another node has done so.
    async fn finish(self, mark: WatermarkRecord) {
        let Some(watermarks) = self.repository.watermarks() else { return };
        let (mut backoff, mut failures) = (BACKOFF, 0);
        while failures < ATTEMPTS {
            let mut rows = Rows::new(&self, &mark);
            let result = async {
                loop {
                    let began = Instant::now();
                    if rows.write_some(watermarks).await? {
                        break;
                    }
                    // The store has others to answer.
                    sleep(began.elapsed()).await;
                }
                let is_removed = watermarks.remove(&mark.watermark).await?;
                Ok::<_, ManageError>(is_removed || !is_there(watermarks, &mark.watermark).await?)
            };
            match result.await {
                Ok(true) => return,
                Ok(false) => {
                    backoff.reset();
                    failures = 0;
                    sleep(REMOVED_EVERY).await;
                }
                Err(error) => {
                    observe::management_failed(&error);
                    failures += 1;
                    sleep(backoff.pause()).await;
                }
            }
        }
    }
}

async fn is_there(watermarks: &dyn Watermarks, watermark: &Watermark) -> Result<bool, ManageError> {
    Ok(watermarks.current().await?.iter().any(|mark| mark.watermark == *watermark))
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

    /// Writes as many as an act does. Whether that was all.
    async fn write_first(&mut self, watermarks: &dyn Watermarks) -> Result<bool, ManageError> {
        for _ in 0..FIRST / BATCH {
            if self.write_some(watermarks).await? {
                return Ok(true);
            }
        }
        let left = watermarks.unwritten(&self.mark.watermark, self.after, 1).await?;
        Ok(left.is_empty())
    }

    /// Writes some more. Whether those were the last.
    async fn write_some(&mut self, watermarks: &dyn Watermarks) -> Result<bool, ManageError> {
        let rows = watermarks.unwritten(&self.mark.watermark, self.after, BATCH).await?;
        let Some((last, _)) = rows.last() else { return Ok(true) };
        let written = match self.write(&rows).await {
            Err(error) if is_corrupt(&error) => self.write_each(&rows).await?,
            written => written?,
        };
        self.written.extend(written);
        self.after = Some(*last);
        Ok(rows.len() < BATCH)
    }

    /// One by one: a row that cannot be read keeps none of the others from being written. Its key is refused as
    /// it is.
    async fn write_each(&self, rows: &[(KeyId, u64)]) -> Result<Vec<KeyId>, ManageError> {
        let mut written = Vec::new();
        for row in rows {
            match self.write(slice::from_ref(row)).await {
                Err(error) if is_corrupt(&error) => observe::management_failed(&error),
                one => written.extend(one?),
            }
        }
        Ok(written)
    }

    /// Writes those that still have these revisions, and are read as revoked: so the watermark is there.
    /// What reads them finds them revoked before and after.
    async fn write(&self, rows: &[(KeyId, u64)]) -> Result<Vec<KeyId>, ManageError> {
        let (manager, reason) = (self.manager.clone(), self.mark.reason.clone());
        let watermark = self.mark.watermark.clone();
        let now = manager.clock.now();
        let selection = Selection::Ids(rows.iter().map(|(id, _)| *id).collect());
        let revisions: HashMap<KeyId, u64> = rows.iter().copied().collect();
        self.manager
            .apply_planned(&selection, move |records| {
                let mut changes = Changes { is_silent: true, ..Changes::default() };
                let mut written = Vec::new();
                for old in records {
                    let is_meant = watermark.covers(old);
                    let Some(revoked_at) = old.details.revoked_at.filter(|_| is_meant) else {
                        continue;
                    };
                    if revisions.get(&old.id) != Some(&old.revision) {
                        continue;
                    }
                    let mut new = KeyRecord::clone(old);
                    new.details.revoked_at = None;
                    mark_revoked(&mut new, reason.as_deref(), revoked_at);
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

fn is_corrupt(error: &ManageError) -> bool {
    matches!(error, ManageError::Store(error) if error.kind() == StoreErrorKind::Corrupt)
}
