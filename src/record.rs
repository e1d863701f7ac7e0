//! [`KeyRecord`]: a key as stored, and whether it may be used.

use std::{fmt, str::FromStr, sync::Arc};

use ipnet::IpNet;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{GenerateError, KeyDigest, RejectionKind, Scopes, Timestamp, usage::UseCounter};

/// The public name of a key: a UUID version 7, so that ids sort by time of creation.
///
/// Safe to log. Prints and parses as a hyphenated UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Uuid);

impl KeyId {
    /// A new id for a key created at `now`.
    pub fn generate(now: Timestamp) -> Result<Self, GenerateError> {
        let mut random = [0; 10];
        getrandom::fill(&mut random).map_err(GenerateError)?;
        let millis = u64::try_from(now.as_unix_millis()).unwrap_or(0);
        Ok(Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()))
    }

    /// From the 16 bytes that stores keep.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The 16 bytes that stores keep.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// An id made from a digest, for keys that nobody issued: the same key has the same id after
    /// every start. Version 8 (RFC 9562 §5.8); the digest cannot be told from it.
    pub(crate) fn from_digest(digest: &KeyDigest) -> Self {
        use sha2::{Digest, Sha256};
        let hash = Sha256::new().chain_update(b"tower-api-key id").chain_update(digest.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = ParseKeyIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| ParseKeyIdError(()))
    }
}

/// The text is not a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseKeyIdError(());

impl fmt::Display for ParseKeyIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a key id (a UUID)")
    }
}

impl std::error::Error for ParseKeyIdError {}

crate::text::serde_as_text!(KeyId, "a key id (a UUID)");

/// Who a key belongs to, in the words of the application: a user id, a tenant, an e-mail address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(Arc<str>);

impl OwnerId {
    /// Any text. [`KeyManager`](crate::KeyManager) accepts 1 to 255 characters.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The id as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for OwnerId {
    fn from(id: &str) -> Self {
        Self::new(id)
    }
}

impl From<String> for OwnerId {
    fn from(id: String) -> Self {
        Self::new(id)
    }
}

impl FromStr for OwnerId {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}

crate::text::serde_as_text!(OwnerId, "an owner id");

/// The application's own data about a key: a JSON object.
pub type Metadata = Map<String, Value>;

/// A key as stored: everything about it but its secret.
///
/// Stores fill one with [`new`](Self::new) and then set fields. What changes by use
/// (`last_used_at`, `use_count`) is written by
/// [`KeyRepository::record_uses`](crate::store::KeyRepository::record_uses) alone; everything
/// else by [`update`](crate::store::KeyRepository::update), which raises `revision`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
// Texts are `Box<str>` and not `String`: a cache holds records by the million.
pub struct KeyRecord {
    /// The public name of the key.
    pub id: KeyId,
    /// What the key is looked up by.
    pub digest: KeyDigest,
    /// The first characters of the key, shown so that people can recognise it.
    pub start: Box<str>,
    /// What the key is for, in its owner's words.
    pub name: Box<str>,
    /// A longer explanation.
    pub description: Option<Box<str>>,
    /// Who the key belongs to.
    pub owner: Option<OwnerId>,
    /// What the key may do. None is nothing, not everything.
    pub scopes: Scopes,
    /// The name of a set of limits, resolved by configuration.
    pub tier: Option<Box<str>>,
    /// The application's own data.
    pub metadata: Metadata,
    /// Networks the key may be used from. Empty: from anywhere.
    pub allowed_addresses: Box<[IpNet]>,
    /// Switched off for now. Can be switched on again, unlike a revoked key.
    pub disabled: bool,
    /// When the key was issued.
    pub created_at: Timestamp,
    /// When the record was last changed.
    pub updated_at: Timestamp,
    /// The key is refused before this moment.
    pub not_before: Option<Timestamp>,
    /// The key is refused from this moment on.
    pub expires_at: Option<Timestamp>,
    /// When the key was revoked, for good.
    pub revoked_at: Option<Timestamp>,
    /// Why it was revoked.
    pub revoked_reason: Option<Box<str>>,
    /// When the key was deleted. Its row is kept for audit until it is purged; nothing finds it.
    pub deleted_at: Option<Timestamp>,
    /// When the key last let a request in, give or take the time between two flushes.
    pub last_used_at: Option<Timestamp>,
    /// How many requests the key has let in.
    pub use_count: u64,
    /// How often the record was changed; what `update` compares so that no change is lost.
    pub revision: u64,
    /// Uses that are not in `use_count` yet.
    pub(crate) uses: UseCounter,
}

impl KeyRecord {
    /// A record with no owner, no scopes, no end and no restrictions.
    pub fn new(id: KeyId, digest: KeyDigest, name: impl Into<Box<str>>, now: Timestamp) -> Self {
        Self {
            id,
            digest,
            start: Box::default(),
            name: name.into(),
            description: None,
            owner: None,
            scopes: Scopes::default(),
            tier: None,
            metadata: Metadata::new(),
            allowed_addresses: Box::default(),
            disabled: false,
            created_at: now,
            updated_at: now,
            not_before: None,
            expires_at: None,
            revoked_at: None,
            revoked_reason: None,
            deleted_at: None,
            last_used_at: None,
            use_count: 0,
            revision: 0,
            uses: UseCounter::default(),
        }
    }

    /// Whether the key may be used at `now`, and if not, why.
    pub fn status(&self, now: Timestamp) -> KeyStatus {
        if self.revoked_at.is_some() {
            KeyStatus::Revoked
        } else if self.disabled {
            KeyStatus::Disabled
        } else if self.not_before.is_some_and(|start| now < start) {
            KeyStatus::NotYetValid
        } else if self.expires_at.is_some_and(|end| now >= end) {
            KeyStatus::Expired
        } else {
            KeyStatus::Active
        }
    }

    /// Whether [`status`](Self::status) depends on the time at all.
    #[inline]
    pub(crate) fn is_timed(&self) -> bool {
        self.not_before.is_some() || self.expires_at.is_some()
    }
}

/// Whether a key may be used. Listed in the order in which the reasons are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyStatus {
    /// Withdrawn for good.
    Revoked,
    /// Switched off for now.
    Disabled,
    /// Its `not_before` is still to come.
    NotYetValid,
    /// Its `expires_at` has come.
    Expired,
    /// Usable.
    Active,
}

impl KeyStatus {
    /// `revoked`, `disabled`, `not_yet_valid`, `expired` or `active`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Disabled => "disabled",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
            Self::Active => "active",
        }
    }

    /// Why a key of this status is denied; `None` for an active one.
    pub const fn rejection(self) -> Option<RejectionKind> {
        match self {
            Self::Revoked => Some(RejectionKind::Revoked),
            Self::Disabled => Some(RejectionKind::Disabled),
            Self::NotYetValid => Some(RejectionKind::NotYetValid),
            Self::Expired => Some(RejectionKind::Expired),
            Self::Active => None,
        }
    }
}

impl fmt::Display for KeyStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    fn record() -> KeyRecord {
        let digest = KeyDigest::from_bytes([1; 32]);
        KeyRecord::new(KeyId::generate(at(0)).unwrap(), digest, "test", at(0))
    }

    #[test]
    fn bounds_are_exact() {
        let mut record = record();
        record.not_before = Some(at(100));
        record.expires_at = Some(at(200));
        assert_eq!(record.status(at(99)), KeyStatus::NotYetValid);
        assert_eq!(record.status(at(100)), KeyStatus::Active);
        assert_eq!(record.status(at(199)), KeyStatus::Active);
        assert_eq!(record.status(at(200)), KeyStatus::Expired);
    }

    #[test]
    fn the_graver_reason_comes_first() {
        let mut record = record();
        record.expires_at = Some(at(0));
        assert_eq!(record.status(at(1)), KeyStatus::Expired);
        record.disabled = true;
        assert_eq!(record.status(at(1)), KeyStatus::Disabled);
        record.revoked_at = Some(at(0));
        assert_eq!(record.status(at(1)), KeyStatus::Revoked);
    }

    #[test]
    fn ids_sort_by_creation_and_parse_back() {
        let early = KeyId::generate(at(1_000)).unwrap();
        let late = KeyId::generate(at(2_000)).unwrap();
        assert!(early < late);
        assert_eq!(early.to_string().parse(), Ok(early));
        assert_eq!(early.to_string().as_bytes()[14], b'7');
        assert!("not-an-id".parse::<KeyId>().is_err());
    }

    #[test]
    fn ids_from_digests_are_stable_and_tell_nothing() {
        let digest = KeyDigest::from_bytes([1; 32]);
        assert_eq!(KeyId::from_digest(&digest), KeyId::from_digest(&digest));
        assert!(
            !digest.to_hex().contains(&KeyId::from_digest(&digest).to_string().replace('-', ""))
        );
    }
}
