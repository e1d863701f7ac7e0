//! Changing keys.

use std::sync::Arc;

use ipnet::IpNet;

use super::{KeyManager, change::Done, error::ManageError};
use crate::{
    clock::Timestamp,
    key::{
        CreditsPatch, KeyAction, KeyId, KeyRecord, KeyStatus, Limits, Metadata, Scopes, validate,
    },
    text::Text,
};

/// A change of a key. `None` leaves a field as it is; for fields that a key may lack, `Some(None)`
/// takes it away. To change a key only if it is still as it was read, see
/// [`if_revision`](KeyManager::if_revision).
///
/// ```
/// use tower_api_key::KeyPatch;
///
/// // Disabled, and without an end.
/// let patch = KeyPatch { disabled: Some(true), expires_at: Some(None), ..KeyPatch::default() };
/// # let _ = patch;
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyPatch {
    /// See [`NewKey::name`](super::NewKey::name).
    pub name: Option<String>,
    /// See [`NewKey::description`](super::NewKey::description).
    pub description: Option<Option<String>>,
    /// See [`NewKey::scopes`](super::NewKey::scopes).
    pub scopes: Option<Scopes>,
    /// See [`NewKey::tier`](super::NewKey::tier).
    pub tier: Option<Option<String>>,
    /// See [`NewKey::limits`](super::NewKey::limits). None are those of the tier.
    pub limits: Option<Limits>,
    /// Changes the balance of all keys of the [lineage](KeyRecord::lineage); `Some(None)`: they
    /// spend no credits any more. To add to a balance, see [`top_up`](KeyManager::top_up), and to
    /// take from it, [`deduct`](KeyManager::deduct).
    pub credits: Option<Option<CreditsPatch>>,
    /// See [`NewKey::metadata`](super::NewKey::metadata). It is one value: this replaces the whole
    /// object, and members that are left out of it are gone.
    pub metadata: Option<Metadata>,
    /// See [`NewKey::allowed_addresses`](super::NewKey::allowed_addresses).
    pub allowed_addresses: Option<Vec<IpNet>>,
    /// See [`NewKey::not_before`](super::NewKey::not_before).
    pub not_before: Option<Option<Timestamp>>,
    /// See [`NewKey::expires_at`](super::NewKey::expires_at).
    pub expires_at: Option<Option<Timestamp>>,
    /// Switches the key off, or on again. A revoked key stays revoked.
    pub disabled: Option<bool>,
}

impl KeyManager {
    /// Changes a key and returns it as it is now.
    pub async fn update(&self, id: KeyId, patch: KeyPatch) -> Result<Arc<KeyRecord>, ManageError> {
        if let Some(credits) = patch.credits {
            return self.set_credits(id, &patch, credits).await;
        }
        self.change(id, |record, _| {
            let old = record.clone();
            self.patch(record, &patch)?;
            Ok(done(&old, record))
        })
        .await
    }

    /// Changes every field of a record but its credits.
    pub(super) fn patch(
        &self,
        record: &mut KeyRecord,
        patch: &KeyPatch,
    ) -> Result<(), ManageError> {
        let old = record.clone();
        patch.apply(record);
        if let Some(disabled) = patch.disabled {
            self.access.switch(record, disabled);
        }
        validate::change(&old, record)?;
        // An end that has come may be named again, by a client that sends all fields.
        if record.expires_at != old.expires_at {
            validate::end_is_ahead(record, self.clock.now())?;
        }
        if record.scopes != old.scopes {
            self.access.check_scopes(&record.scopes)?;
        }
        Ok(())
    }

    /// Switches a key off for now. A key that an administrator switched off, no
    /// [owner](Self::within_bounds) switches on again. Its other fields are not validated: those of
    /// a key that another program has written need not be valid.
    pub async fn disable(&self, id: KeyId) -> Result<Arc<KeyRecord>, ManageError> {
        self.change(id, |record, _| {
            self.access.switch(record, true);
            Ok(KeyAction::Disabled.into())
        })
        .await
    }

    /// Switches a key on again. A revoked one never returns:
    /// [`Ended`](ManageError::Ended).
    pub async fn enable(&self, id: KeyId) -> Result<Arc<KeyRecord>, ManageError> {
        self.change(id, |record, _| {
            if record.details.revoked_at.is_some() {
                return Err(ManageError::Ended(KeyStatus::Revoked));
            }
            self.access.switch(record, false);
            Ok(KeyAction::Enabled.into())
        })
        .await
    }
}

/// The action, and the fields that changed.
pub(super) fn done(old: &KeyRecord, new: &KeyRecord) -> Done {
    let action = match (old.disabled, new.disabled) {
        (false, true) => KeyAction::Disabled,
        (true, false) => KeyAction::Enabled,
        _ => KeyAction::Updated,
    };
    let changed = [
        ("name", old.name != new.name),
        ("description", old.details.description != new.details.description),
        ("scopes", old.scopes != new.scopes),
        ("tier", old.details.tier != new.details.tier),
        ("limits", old.details.limits != new.details.limits),
        ("credits", old.details.credits != new.details.credits),
        ("metadata", old.details.metadata != new.details.metadata),
        ("allowed_addresses", old.details.allowed_addresses != new.details.allowed_addresses),
        ("not_before", old.details.not_before != new.details.not_before),
        ("expires_at", old.expires_at != new.expires_at),
    ];
    let names: Vec<_> = changed.iter().filter(|(_, changed)| *changed).map(|(f, _)| *f).collect();
    let detail = Some(names.join(", ").into()).filter(|names: &Text| !names.is_empty());
    Done { action, detail }
}

impl KeyPatch {
    /// Sets every field but the credits and `disabled`.
    fn apply(&self, record: &mut KeyRecord) {
        fn set<T: Clone, U: From<T>>(field: &mut U, value: Option<&T>) {
            if let Some(value) = value {
                *field = value.clone().into();
            }
        }
        fn set_text(field: &mut Option<Text>, value: Option<&Option<String>>) {
            if let Some(value) = value {
                *field = value.as_deref().map(Into::into);
            }
        }
        set(&mut record.name, self.name.as_ref());
        set_text(&mut record.details.description, self.description.as_ref());
        set(&mut record.scopes, self.scopes.as_ref());
        set_text(&mut record.details.tier, self.tier.as_ref());
        set(&mut record.details.limits, self.limits.as_ref());
        set(&mut record.details.metadata, self.metadata.as_ref());
        set(&mut record.details.allowed_addresses, self.allowed_addresses.as_ref());
        set(&mut record.details.not_before, self.not_before.as_ref());
        let end = self.expires_at.map(|end| end.filter(|end| !end.is_never()));
        set(&mut record.expires_at, end.as_ref());
    }
}
