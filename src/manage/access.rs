//! Handles that may do less than the whole manager, and that say who is acting.

use std::net::IpAddr;

use super::{KeyManager, ManageError};
use crate::{KeyRecord, OwnerId, Scopes, Text};

/// What a handle may do, and who holds it.
#[derive(Clone, Debug, Default)]
pub(super) struct Access {
    /// Only this owner's keys exist.
    pub(super) owner: Option<OwnerId>,
    /// No key gets more than this.
    ceiling: Option<Scopes>,
    pub(super) actor: Option<Text>,
    pub(super) address: Option<IpAddr>,
}

impl KeyManager {
    /// A handle on the keys of one owner. Other owners' keys are
    /// [`NotFound`](ManageError::NotFound), whatever is done with them, and new keys belong to
    /// this owner.
    ///
    /// ```
    /// use tower_api_key::{KeyManager, ManageError, NewKey, store::MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = KeyManager::new(MemoryStore::new());
    /// let theirs = manager.for_owner("user-2").create(NewKey::named("theirs")).await?;
    ///
    /// let mine = manager.for_owner("user-1");
    /// let refused = mine.revoke(theirs.record.id, None).await;
    /// assert!(matches!(refused, Err(ManageError::NotFound)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn for_owner(&self, owner: impl Into<crate::OwnerId>) -> Self {
        let owner = owner.into();
        // A handle of a handle sees what both see: nothing, if they differ.
        let sees_nothing = self.access.owner.as_ref().is_some_and(|own| *own != owner);
        let owner = if sees_nothing { self.access.owner.clone() } else { Some(owner) };
        self.handle(|access| access.owner = owner)
    }

    /// A handle that cannot grant a key more than these scopes: creating, rotating or giving
    /// scopes beyond them is [`BeyondCeiling`](ManageError::BeyondCeiling).
    pub fn with_scope_ceiling(&self, ceiling: Scopes) -> Self {
        self.handle(|access| {
            // Never higher than it was.
            let higher = access.ceiling.as_ref().is_some_and(|own| !own.allow_all(&ceiling));
            if !higher {
                access.ceiling = Some(ceiling);
            }
        })
    }

    /// A handle whose changes are done in this name: an administrator's, a service's. At most 255
    /// characters are kept.
    pub fn with_actor(&self, actor: &str) -> Self {
        let actor: String = actor.chars().filter(|c| *c != '\0').take(255).collect();
        self.handle(|access| access.actor = Some(actor.into()))
    }

    /// A handle whose changes are done from this address.
    pub fn with_client_address(&self, address: IpAddr) -> Self {
        self.handle(|access| access.address = Some(address.to_canonical()))
    }

    fn handle(&self, change: impl FnOnce(&mut Access)) -> Self {
        let mut handle = self.clone();
        change(&mut handle.access);
        handle
    }
}

impl Access {
    pub(super) fn sees(&self, record: &KeyRecord) -> bool {
        self.owner.as_ref().is_none_or(|owner| record.owner.as_ref() == Some(owner))
    }

    pub(super) fn check_scopes(&self, scopes: &Scopes) -> Result<(), ManageError> {
        match &self.ceiling {
            Some(ceiling) if !ceiling.allow_all(scopes) => Err(ManageError::BeyondCeiling),
            _ => Ok(()),
        }
    }
}
