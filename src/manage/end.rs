//! The ways in which a key comes to its end.

use std::sync::Arc;

use super::{KeyManager, access::OwnerFilter, change::Done, error::ManageError};
use crate::{
    clock::Timestamp,
    key::{KeyAction, KeyId, KeyRecord, validate},
    store::Changes,
};

/// The first time and reason stay.
pub(super) fn mark_revoked(record: &mut KeyRecord, reason: Option<&str>, now: Timestamp) {
    if record.details.revoked_at.is_none() {
        record.details.revoked_at = Some(now);
        if let Some(reason) = reason {
            record.details.revoked_reason = Some(reason.into());
        }
    }
}

impl KeyManager {
    /// Withdraws a key for good. Revoking it again changes nothing: the first time and reason
    /// stay. A key that it [replaced](Self::rotate) lives on through its grace.
    pub async fn revoke(
        &self,
        id: KeyId,
        reason: Option<&str>,
    ) -> Result<Arc<KeyRecord>, ManageError> {
        reason.map_or(Ok(()), |reason| validate::text("reason", reason))?;
        self.change(id, |record, now| {
            mark_revoked(record, reason, now);
            Ok(Done { action: KeyAction::Revoked, detail: reason.map(Into::into) })
        })
        .await
    }

    /// Deletes a key: from now on nothing finds it. Its row stays for audit until it is purged.
    pub async fn delete(&self, id: KeyId) -> Result<(), ManageError> {
        self.change(id, |record, now| {
            record.details.deleted_at = Some(now);
            Ok(KeyAction::Deleted.into())
        })
        .await
        .map(drop)
    }

    /// Removes the rows of keys that were revoked or deleted before this moment, and returns how
    /// many there were.
    pub async fn purge(&self, before: Timestamp) -> Result<u64, ManageError> {
        self.refuse_owners("purge")?;
        let owner = match self.access.owner_filter(None) {
            OwnerFilter::Any => None,
            OwnerFilter::Only(owner) => Some(owner),
            OwnerFilter::None => return Ok(0),
        };
        let count = self.repository.purge(before, owner).await?;
        if count > 0 {
            let detail = Some(format!("{count} keys that had ended before {before}").into());
            let done = Done { action: KeyAction::Purged, detail };
            let events = vec![self.event(self.clock.now(), done, None)?];
            self.apply(&Changes { events, ..Changes::default() }).await?;
        }
        Ok(count)
    }
}
