//! The bounds of an owner who manages keys.
//!
//! [`OwnerBounds`] holds them, [`authority`] compares with them, and `KeyManager` asks for every
//! change.

mod authority;
mod networks;

use std::sync::Arc;

use self::authority::Measured;
pub(super) use self::authority::{Authority, is_reduction};
use super::{KeyManager, create::NewKey, error::ManageError};
use crate::{
    clock::Timestamp,
    key::{KeyId, KeyRecord, KeyStatus, OwnerId, Scopes},
    store::{Changes, OwnerBound},
};

/// The bounds of an owner who manages keys, for [`KeyManager::within_bounds`].
///
/// Every owner sees the owner's keys and may [reduce](Self#reducing) those whose scopes are within
/// the owner's. To create or rotate keys, or to widen one, takes something to measure by: a key of
/// the owner's, [`bounded_by`](Self::bounded_by), or a [template](Self::with_template).
///
/// A key that an owner makes has the tier, the limits and the metadata of that key or template,
/// ends no later, starts no earlier and may be used from no other networks. It joins the
/// [lineage](KeyRecord::lineage), so that rate limits, credits and usage are those of all keys
/// together: many keys have one allowance, and a key that replaces a deleted one has the rest of
/// it.
///
/// Another key is rotated, widened or enabled only if it has the same tier and limits and, where the
/// own key or template has credits, if it shares them: the holder of a key that was sold less gets no
/// key that was sold more.
///
/// # Reducing
///
/// Revoking, disabling and deleting reduce a key. An owner switches on a key that an owner switched
/// off, and none that an administrator switched off.
#[derive(Clone, Debug)]
#[must_use]
pub struct OwnerBounds {
    owner: OwnerId,
    scopes: Scopes,
    measure: Option<Measure>,
    withheld: Scopes,
    shares_credits: bool,
}

#[derive(Clone, Debug)]
enum Measure {
    Key(KeyId),
    Template(Arc<NewKey>),
}

impl OwnerBounds {
    /// The keys of this owner, and no scopes beyond these.
    pub fn new(owner: impl Into<OwnerId>, scopes: Scopes) -> Self {
        Self {
            owner: owner.into(),
            scopes,
            measure: None,
            withheld: Scopes::default(),
            shares_credits: true,
        }
    }

    /// Measures keys by this one, a key of the same owner in the manager's repository. It is read
    /// again for every change: if it was narrowed, its owner may give less, and once it is disabled
    /// or has ended, nothing. That holds at the write: a change that was measured by it is written
    /// only while it has not changed since, and gives it another
    /// [revision](KeyRecord::revision).
    pub fn bounded_by(mut self, key: &impl AsRef<KeyRecord>) -> Self {
        self.measure = Some(Measure::Key(key.as_ref().id));
        self
    }

    /// Measures keys by the tier, limits, credits, metadata, networks, start and end of this
    /// template. Its other fields say nothing.
    ///
    /// All keys that are made this way for one owner share a lineage: the credits are given once.
    pub fn with_template(mut self, template: NewKey) -> Self {
        self.measure = Some(Measure::Template(Arc::new(template)));
        self
    }

    /// No key comes to have one of these scopes, also where the owner has them: scopes that manage
    /// keys, as a rule, so that a key which leaked makes no others that manage keys.
    pub fn withholding(mut self, scopes: Scopes) -> Self {
        self.withheld = scopes;
        self
    }

    /// Refuses to create keys where they would spend credits, instead of having them share the
    /// balance.
    pub const fn refusing_shared_credits(mut self) -> Self {
        self.shares_credits = false;
        self
    }

    pub(super) const fn owner(&self) -> &OwnerId {
        &self.owner
    }
}

impl AsRef<Self> for KeyRecord {
    fn as_ref(&self) -> &Self {
        self
    }
}

const fn beyond(field: &'static str) -> ManageError {
    ManageError::BeyondOwnKey { field }
}

impl KeyManager {
    /// A handle for an owner: on this owner's keys, and within the owner's bounds.
    ///
    /// A change beyond them is [`BeyondOwnKey`](ManageError::BeyondOwnKey), which names the field.
    /// Creations and changes that do not merely [reduce](OwnerBounds#reducing) are counted, 30 a
    /// minute an owner on this node; more are [`TooManyActs`](ManageError::TooManyActs). An owner
    /// imports, restores and purges no keys and sets no credits.
    ///
    /// Further bounds on a handle within bounds leave only the acts that reduce keys.
    ///
    /// ```
    /// use tower_api_key::{
    ///     KeyManager, KeyPatch, NewKey, Scopes,
    ///     manage::{ManageError, OwnerBounds},
    ///     store::MemoryStore,
    /// };
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = KeyManager::new(MemoryStore::new());
    /// let scopes = Scopes::parse(["orders:*"])?;
    /// let tier = Some("basic".to_owned());
    /// let new = NewKey { scopes: scopes.clone(), tier, ..NewKey::named("first") };
    /// let key = manager.for_owner("user-1").create(new).await?.record;
    ///
    /// let own = manager.within_bounds(OwnerBounds::new("user-1", scopes).bounded_by(&*key));
    /// let second = own.create(NewKey::named("second")).await?.record;
    /// assert_eq!(second.details.tier, key.details.tier);
    /// assert_eq!(second.lineage(), key.id);
    ///
    /// manager.disable(second.id).await?;
    /// let refused = own.enable(second.id).await;
    /// assert!(matches!(refused, Err(ManageError::BeyondOwnKey { field: "disabled" })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn within_bounds(&self, bounds: OwnerBounds) -> Self {
        let owner = bounds.owner.clone();
        self.handle(|access| {
            access.owners.push(owner);
            if let Some(before) = access.bounds.take() {
                access.ceilings.push(before.scopes.clone());
                access.bounds = Some(Arc::new(OwnerBounds { measure: None, ..bounds }));
            } else {
                access.bounds = Some(Arc::new(bounds));
            }
        })
    }

    /// The authority of the owner who holds this handle, as of now; `None` where no owner does.
    pub(super) async fn authority(
        &self,
        now: Timestamp,
    ) -> Result<Option<Authority<'_>>, ManageError> {
        let Some(bounds) = self.access.bounds.as_deref() else { return Ok(None) };
        let measured = match &bounds.measure {
            None => Measured::Not,
            Some(Measure::Template(template)) => Measured::Template(template),
            Some(Measure::Key(id)) => match self.repository.get(*id).await? {
                Some(key) if can_measure(&key, now) && self.access.sees(&key) => Measured::Key(key),
                _ => Measured::Ended,
            },
        };
        Ok(Some(Authority { bounds, measured }))
    }

    /// Refuses a change that goes beyond the bounds of the owner who holds this handle, if an owner
    /// does. A change that widens the key is written only while the key that it was compared with
    /// is as it was; one that makes another key live, only within the number that the owner may have.
    pub(super) async fn bound_change(
        &self,
        old: &KeyRecord,
        new: &KeyRecord,
        now: Timestamp,
        changes: &mut Changes,
    ) -> Result<(), ManageError> {
        let Some(authority) = self.authority(now).await? else { return Ok(()) };
        if authority.check_change(old, new)? {
            authority.hold(changes);
        }
        if new.is_live(now) && !old.is_live(now) {
            changes.owner_bound = self.owner_bound(now);
        }
        Ok(())
    }

    /// How many keys the owner who holds this handle may have, if an owner does.
    pub(super) fn owner_bound(&self, now: Timestamp) -> Option<OwnerBound> {
        let owner = self.access.bounds.as_ref()?.owner.clone();
        Some(OwnerBound { owner, max_keys: self.max_keys_per_owner, now })
    }

    /// Refuses to have another key live on through a grace, where an owner has as many of the
    /// lineage do so as it may have keys.
    pub(super) async fn check_grace(
        &self,
        old: &KeyRecord,
        now: Timestamp,
    ) -> Result<(), ManageError> {
        if self.access.bounds.is_none() {
            return Ok(());
        }
        let lives_on = |key: &Arc<KeyRecord>| key.details.rotation.to.is_some() && key.is_live(now);
        let keys = self.keys_of_lineage(old.lineage()).await?;
        if keys.iter().filter(|key| lives_on(key)).count() < self.max_keys_per_owner as usize {
            return Ok(());
        }
        Err(ManageError::TooManyKeys)
    }

    /// Refuses an act that is no owner's.
    pub(super) fn refuse_owners(&self, field: &'static str) -> Result<(), ManageError> {
        if self.access.bounds.is_some() { Err(beyond(field)) } else { Ok(()) }
    }
}

/// Whether a key can measure others. One that was replaced, and waits for the first use of the key
/// that replaced it, cannot: its end is not known yet, and keys made with it could outlive it.
fn can_measure(key: &KeyRecord, now: Timestamp) -> bool {
    !key.is_deleted()
        && matches!(key.status(now), KeyStatus::Active | KeyStatus::NotYetValid)
        && key.details.rotation.grace_after_use.is_none()
}
