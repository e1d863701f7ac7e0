//! Handles that may do less than the whole manager, and that name the actor.

use std::{net::IpAddr, sync::Arc};

use super::{KeyManager, bounds::OwnerBounds, error::ManageError};
use crate::{
    key::{KeyRecord, OwnerId, Scopes, characters::breaks_line},
    text::Text,
};

/// The limits of a handle, and its holder.
#[derive(Clone, Debug, Default)]
pub(super) struct Access {
    /// Only keys that belong to each of these exist: all keys if there is none, no key if two
    /// differ.
    pub(super) owners: Vec<OwnerId>,
    /// No key gets more than each of these allows.
    pub(super) ceilings: Vec<Scopes>,
    /// The bounds of the owner who holds the handle; `None`: an administrator or the application
    /// holds it.
    pub(super) bounds: Option<Arc<OwnerBounds>>,
    /// A key is changed only while it has this revision.
    pub(super) revision: Option<u64>,
    pub(super) actor: Option<Text>,
    pub(super) address: Option<IpAddr>,
}

/// The keys that a handle sees where the keys of an owner, or all keys, are asked for.
pub(super) enum OwnerFilter<'a> {
    Any,
    Only(&'a OwnerId),
    None,
}

impl KeyManager {
    /// A handle on the keys of one owner. Other owners' keys are
    /// [`NotFound`](ManageError::NotFound) to every method, and new keys belong to this owner.
    ///
    /// It is the application's own hand, bounded in the owner and in nothing else: it gives keys
    /// any tier, credits and end, and disables them as an administrator does. For a request of the
    /// owner's, see [`within_bounds`](Self::within_bounds).
    ///
    /// A handle of a handle sees the keys that both see. If their owners differ, it sees none.
    ///
    /// ```
    /// use tower_api_key::{KeyManager, NewKey, manage::ManageError, store::MemoryStore};
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
    pub fn for_owner(&self, owner: impl Into<crate::key::OwnerId>) -> Self {
        self.handle(|access| access.owners.push(owner.into()))
    }

    /// A handle that cannot grant a key more than these scopes: creating, rotating or giving
    /// scopes beyond them is [`BeyondCeiling`](ManageError::BeyondCeiling). Scopes that a key has
    /// already stay.
    ///
    /// A ceiling under a ceiling lifts nothing: granted scopes must be within both.
    pub fn within_scopes(&self, ceiling: Scopes) -> Self {
        self.handle(|access| access.ceilings.push(ceiling))
    }

    /// A handle whose changes are done in this name: an administrator's, a service's. At most 255
    /// characters are kept. Control characters, and those that change the direction of text, become
    /// `U+FFFD`: left out, they would make one actor look like another.
    pub fn acting_as(&self, actor: &str) -> Self {
        let shown = |c| if breaks_line(c) { char::REPLACEMENT_CHARACTER } else { c };
        let actor: String = actor.chars().take(255).map(shown).collect();
        self.handle(|access| access.actor = Some(actor.into()))
    }

    /// A handle whose changes are done from this address.
    pub fn from_address(&self, address: IpAddr) -> Self {
        self.handle(|access| access.address = Some(address.to_canonical()))
    }

    /// A handle that changes a key only while it has this [`revision`](KeyRecord::revision), so that
    /// two people do not undo each other's changes: any other is
    /// [`RevisionMismatch`](ManageError::RevisionMismatch), and nothing is written. It holds to the
    /// write itself, so that no change comes between reading and writing.
    ///
    /// It is for one change of one key: for [`update`](Self::update), [`disable`](Self::disable),
    /// [`enable`](Self::enable), [`revoke`](Self::revoke), [`delete`](Self::delete),
    /// [`rotate`](Self::rotate), [`top_up`](Self::top_up) and [`deduct`](Self::deduct). Everything
    /// else pays no attention to it.
    ///
    /// ```
    /// use tower_api_key::{KeyManager, NewKey, manage::ManageError, store::MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = KeyManager::new(MemoryStore::new());
    /// let seen = manager.create(NewKey::named("CI of the shop")).await?.record;
    /// // … and meanwhile, at another desk:
    /// manager.disable(seen.id).await?;
    ///
    /// let refused = manager.if_revision(seen.revision).revoke(seen.id, None).await;
    /// assert!(matches!(refused, Err(ManageError::RevisionMismatch)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn if_revision(&self, revision: u64) -> Self {
        self.handle(|access| access.revision = Some(revision))
    }

    pub(super) fn handle(&self, change: impl FnOnce(&mut Access)) -> Self {
        let mut handle = self.clone();
        change(&mut handle.access);
        handle
    }
}

impl Access {
    pub(super) fn sees(&self, record: &KeyRecord) -> bool {
        self.owners.iter().all(|owner| record.owner.as_ref() == Some(owner))
    }

    /// Whether this handle may change the key as it is. The write that follows must expect the
    /// revision of this very record.
    pub(super) fn check_revision(&self, record: &KeyRecord) -> Result<(), ManageError> {
        match self.revision {
            Some(expected) if expected != record.revision => Err(ManageError::RevisionMismatch),
            _ => Ok(()),
        }
    }

    /// The keys that are meant where those of `wanted` are asked for, or all that there are here.
    pub(super) fn owner_filter<'a>(&'a self, wanted: Option<&'a OwnerId>) -> OwnerFilter<'a> {
        let mut owners = self.owners.iter().chain(wanted);
        match owners.next() {
            None => OwnerFilter::Any,
            Some(owner) if owners.all(|other| other == owner) => OwnerFilter::Only(owner),
            Some(_) => OwnerFilter::None,
        }
    }

    /// The owner whose handle this is.
    pub(super) fn owner(&self) -> Option<&OwnerId> {
        self.owners.first()
    }

    /// Switches a key on or off, in the name of the handle's holder. An administrator's word
    /// stands above that of an owner.
    pub(super) fn switch(&self, record: &mut KeyRecord, disabled: bool) {
        let was_owners = !record.disabled || record.details.disabled_by_owner;
        let by_owner = disabled && self.bounds.is_some() && was_owners;
        record.disabled = disabled;
        if record.details.disabled_by_owner != by_owner {
            record.details.disabled_by_owner = by_owner;
        }
    }

    pub(super) fn check_scopes(&self, scopes: &Scopes) -> Result<(), ManageError> {
        let within = self.ceilings.iter().all(|ceiling| ceiling.allow_all(scopes));
        if within { Ok(()) } else { Err(ManageError::BeyondCeiling) }
    }
}
