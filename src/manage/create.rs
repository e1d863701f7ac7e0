//! Creating keys.

use std::{fmt, sync::Arc};

use ipnet::IpNet;

use super::{KeyManager, ManageError, validate};
use crate::{
    Details, KeyDetails, KeyId, KeyRecord, Metadata, OwnerId, Scopes, SecretKey, Timestamp,
};

/// What a new key is to be.
///
/// ```
/// use tower_api_key::NewKey;
///
/// let new = NewKey { owner: Some("user-1".into()), ..NewKey::named("CI of the shop") };
/// # let _ = new;
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewKey {
    /// What the key is for: 1 to 100 characters.
    pub name: String,
    /// A longer explanation: at most 1000 characters.
    pub description: Option<String>,
    /// Who the key belongs to: 1 to 255 characters.
    pub owner: Option<OwnerId>,
    /// What the key may do: at most 100 scopes. None is nothing.
    pub scopes: Scopes,
    /// The name of a set of limits: 1 to 100 characters.
    pub tier: Option<String>,
    /// The application's own data: at most 16 KiB as JSON.
    pub metadata: Metadata,
    /// Networks the key may be used from, at most 100. Empty: from anywhere.
    pub allowed_addresses: Vec<IpNet>,
    /// The key is refused before this moment.
    pub not_before: Option<Timestamp>,
    /// The key is refused from this moment on.
    pub expires_at: Option<Timestamp>,
}

impl NewKey {
    /// A key with this name, and otherwise the defaults: no owner, no scopes, no end.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// A key that was just created. The secret exists here and nowhere else.
pub struct IssuedKey {
    /// The key itself. Hand it to its owner; it cannot be had again.
    pub secret: SecretKey,
    /// The key as stored.
    pub record: Arc<KeyRecord>,
}

impl fmt::Debug for IssuedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedKey").field("record", &self.record).finish_non_exhaustive()
    }
}

impl KeyManager {
    /// Creates a key. Once this returned, the key is stored.
    pub async fn create(&self, new: NewKey) -> Result<IssuedKey, ManageError> {
        let now = self.clock.now();
        let secret = self.format.generate()?;
        let mut record = KeyRecord::new(
            KeyId::generate(now)?,
            self.hasher.digest(secret.expose()),
            new.name,
            now,
        );
        record.start = self.format.start(secret.expose()).into();
        record.owner = new.owner;
        record.scopes = new.scopes;
        record.not_before = new.not_before;
        record.expires_at = new.expires_at;
        record.details = Details::from(KeyDetails {
            description: new.description.map(Into::into),
            tier: new.tier.map(Into::into),
            metadata: new.metadata,
            allowed_addresses: new.allowed_addresses.into(),
            ..KeyDetails::default()
        });
        validate::record(&record)?;
        self.repository.insert(&record).await?;
        Ok(IssuedKey { secret, record: Arc::new(record) })
    }
}
