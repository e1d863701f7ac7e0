//! Changing keys.

use std::sync::Arc;

use ipnet::IpNet;

use super::{KeyManager, ManageError, validate};
use crate::{KeyId, KeyRecord, Metadata, Scopes, Text, Timestamp};

/// What to change about a key. `None` leaves a field as it is; for fields that a key may lack,
/// `Some(None)` takes it away.
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
    /// Changes the key only if it still has this [`revision`](KeyRecord::revision), so that two
    /// people do not undo each other's changes.
    pub if_revision: Option<u64>,
    /// See [`NewKey::name`](super::NewKey::name).
    pub name: Option<String>,
    /// See [`NewKey::description`](super::NewKey::description).
    pub description: Option<Option<String>>,
    /// See [`NewKey::scopes`](super::NewKey::scopes).
    pub scopes: Option<Scopes>,
    /// See [`NewKey::tier`](super::NewKey::tier).
    pub tier: Option<Option<String>>,
    /// See [`NewKey::metadata`](super::NewKey::metadata). Replaces the whole object.
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
        self.change_revision(id, patch.if_revision, |record, _| {
            patch.apply(record);
            validate::record(record)
        })
        .await
    }
}

impl KeyPatch {
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
        set(&mut record.details.metadata, self.metadata.as_ref());
        set(&mut record.details.allowed_addresses, self.allowed_addresses.as_ref());
        set(&mut record.not_before, self.not_before.as_ref());
        set(&mut record.expires_at, self.expires_at.as_ref());
        set(&mut record.disabled, self.disabled.as_ref());
    }
}
