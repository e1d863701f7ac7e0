//! Keys that have ended where they come from, and are active here: from an earlier import.

use tower_api_key::{
    KeyId, KeyPatch, NewKey, Timestamp,
    key::KeyStatus,
    manage::{ImportKey, ManageError},
};

use super::{row::Key, state::State};
use crate::{database::Database, failure::Failure};

/// A key that is active here.
pub(super) struct Active {
    id: KeyId,
    /// Its state there.
    state: State,
}

/// The key here, if it is active and its row says that it is not.
pub(super) async fn find(
    key: &Key,
    state: State,
    now: Timestamp,
    database: &Database,
) -> Result<Option<Active>, Failure> {
    if state == State::Active {
        return Ok(None);
    }
    let found = match key {
        Key::New(key) => database.manager.find_imported(key).await?,
        Key::Stored(key) => match database.manager.get(key.record.id).await {
            Ok(record) => Some(record),
            Err(ManageError::NotFound) => {
                let other = ImportKey::from_digest(key.record.digest, NewKey::default());
                database.manager.find_imported(&other).await?
            }
            Err(error) => return Err(error.into()),
        },
    };
    let is_active = |status| matches!(status, KeyStatus::Active | KeyStatus::NotYetValid);
    let active = found.filter(|record| is_active(record.status(now)));
    Ok(active.map(|record| Active { id: record.id, state }))
}

/// Ends it here as it has ended there.
pub(super) async fn end(key: &Active, database: &Database) -> Result<(), Failure> {
    if key.state == State::Ended {
        let reason = Some("it has ended in the system that it was imported from");
        database.manager.revoke(key.id, reason).await?;
    } else {
        let patch = KeyPatch { disabled: Some(true), ..KeyPatch::default() };
        database.manager.update(key.id, patch).await?;
    }
    Ok(())
}
