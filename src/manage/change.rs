//! How the manager writes: changes and the events that tell of them, in one.

use std::sync::Arc;

use super::{KeyManager, bounds::is_reduction, error::ManageError};
use crate::{
    clock::Timestamp,
    error::StoreError,
    key::{EventId, KeyAction, KeyEvent, KeyId, KeyRecord},
    store::{ApplyOutcome, Changes, KeyUpdate},
    text::Text,
};

/// The description of a change, for its event.
pub(super) struct Done {
    pub(super) action: KeyAction,
    pub(super) detail: Option<Text>,
}

impl From<KeyAction> for Done {
    fn from(action: KeyAction) -> Self {
        Self { action, detail: None }
    }
}

impl KeyManager {
    /// Reads a key, changes it and writes it back, again if it was changed elsewhere meanwhile; but
    /// only from the revision of this handle, if it has one.
    pub(super) async fn change(
        &self,
        id: KeyId,
        change: impl Fn(&mut KeyRecord, Timestamp) -> Result<Done, ManageError>,
    ) -> Result<Arc<KeyRecord>, ManageError> {
        let mut is_counted = false;
        loop {
            let old = self.get(id).await?;
            self.access.check_revision(&old)?;
            let now = self.clock.now();
            let mut new = KeyRecord::clone(&old);
            let done = change(&mut new, now)?;
            if new == *old {
                // The act that ended it may not have been heard.
                if old.status(now).rejection().is_some() {
                    self.repository.announce_again(std::slice::from_ref(&old)).await;
                }
                return Ok(old);
            }
            let mut changes = Changes {
                updates: vec![KeyUpdate::revised(&old, new.clone(), now)],
                events: vec![self.event(now, done, Some(&old))?],
                ..Changes::default()
            };
            self.bound_change(&old, &new, now, &mut changes).await?;
            if !is_counted && !is_reduction(&old, &new) {
                self.count_act()?;
                is_counted = true;
            }
            // Each `Stale` means that another change was written, so this cannot go round for ever.
            if self.apply(&changes).await? == ApplyOutcome::Done {
                let mut written = changes.updates.into_iter().map(|update| update.record);
                return Ok(Arc::new(written.find(|record| record.id == id).unwrap_or(new)));
            }
        }
    }

    /// Writes changes, and tells the hook when they are done. An owner who would have too many
    /// keys is an error here, so that a loop that tries stale changes again stops.
    pub(super) async fn apply(&self, changes: &Changes) -> Result<ApplyOutcome, ManageError> {
        // A store that cannot count would pass the bound over.
        if changes.owner_bound.is_some() && !self.repository.bounds_owners() {
            return Err(StoreError::unsupported().into());
        }
        let update = self.repository.apply(changes).await?;
        self.applied(update, changes)
    }

    /// Tells the hook of changes that were written; too many keys are an error.
    pub(super) fn applied(
        &self,
        update: ApplyOutcome,
        changes: &Changes,
    ) -> Result<ApplyOutcome, ManageError> {
        match (update, &self.hook) {
            (ApplyOutcome::Done, Some(hook)) => changes.events.iter().for_each(|event| hook(event)),
            (ApplyOutcome::TooManyKeys, _) => return Err(ManageError::TooManyKeys),
            _ => {}
        }
        Ok(update)
    }

    /// An event of now, in the name of the handle's holder.
    pub(super) fn event(
        &self,
        now: Timestamp,
        done: impl Into<Done>,
        record: Option<&KeyRecord>,
    ) -> Result<KeyEvent, ManageError> {
        let Done { action, detail } = done.into();
        Ok(KeyEvent {
            key: record.map(|record| record.id),
            owner: record.map_or(self.access.owner(), |record| record.owner.as_ref()).cloned(),
            actor: self.access.actor.clone(),
            address: self.access.address,
            detail,
            ..KeyEvent::new(EventId::generate(now)?, now, action)
        })
    }
}
