//! [`Details`]: what most keys do not have.

use std::{
    fmt,
    net::IpAddr,
    ops::{Deref, DerefMut},
    sync::LazyLock,
};

use ipnet::IpNet;
use sha2::{Digest, Sha256};

use super::{digest::KeyDigest, id::KeyId, limits::Limits, needs::Needs, record::Metadata};
use crate::{clock::Timestamp, text::Text};

/// The fields that most keys leave empty. Reads and writes like [`KeyDetails`].
///
/// A cache holds records by the million, so these take up memory only once one of them is
/// written. Where none was, reading gives the defaults.
///
/// ```
/// use tower_api_key::{
///     KeyId, Timestamp,
///     key::{KeyDigest, KeyRecord},
/// };
///
/// let now = Timestamp::from(std::time::SystemTime::now());
/// let id = KeyId::generate(now)?;
/// let mut record = KeyRecord::new(id, KeyDigest::from_bytes([0; 32]), "CI of the shop", now);
/// assert_eq!(record.details.description, None);
/// record.details.description = Some("builds and tests".into());
/// # Ok::<(), tower_api_key::key::GenerateError>(())
/// ```
#[derive(Clone, Default)]
pub struct Details(Option<Box<KeyDetails>>);

/// The content of [`Details`].
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct KeyDetails {
    /// A longer explanation.
    pub description: Option<Text>,
    /// The name of a set of limits, resolved by configuration; see [`Tiers`](crate::limit::Tiers).
    pub tier: Option<Text>,
    /// Rate limits of this key's own, in place of those of its tier.
    pub limits: Limits,
    /// The key spends credits: the [epoch](crate::credits::Balance::epoch) of its lineage's
    /// balance. `None`: it spends none.
    pub credits: Option<u64>,
    /// The restrictions of the key by a later version of this crate, which this one does not know.
    /// What [is known](Self::needs) follows from the other fields.
    pub unknown_needs: Needs,
    /// The application's own data.
    pub metadata: Metadata,
    /// Networks the key may be used from. Empty: from anywhere.
    pub allowed_addresses: Box<[IpNet]>,
    /// The key is refused before this moment.
    pub not_before: Option<Timestamp>,
    /// When the key was revoked, for good.
    pub revoked_at: Option<Timestamp>,
    /// Why the key was revoked.
    pub revoked_reason: Option<Text>,
    /// When the key was deleted. Its row is kept for audit until it is purged; nothing finds it.
    pub deleted_at: Option<Timestamp>,
    /// The client address that the key was last used from, where that is recorded.
    pub last_used_from: Option<IpAddr>,
    /// How the key takes part in a rotation, if it does.
    pub rotation: Rotation,
    /// What the caller's id of the request that created the key hashes to; unique.
    pub request: Option<KeyDigest>,
    /// The key whose holder issued this one, where an owner did. A key that replaces another one
    /// has the other's, or that of the key whose holder replaced it.
    pub created_by: Option<KeyId>,
    /// Whether an owner switched the key off: an owner may switch it on again. A key that is
    /// disabled without this mark was disabled by an administrator.
    ///
    /// A store keeps the mark for the [revision](super::KeyRecord::revision) that it was written
    /// with. A program that does not know it raises the revision and leaves the mark behind, so
    /// the key then counts as disabled by an administrator.
    pub disabled_by_owner: bool,
    /// The slow hash of a key that was imported with one and was not used since. Until then its
    /// `digest` is that of no key.
    pub legacy_hash: Option<LegacyHash>,
}

/// How a key takes part in a rotation: as the one that is replaced, as the one that replaces it,
/// or as both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rotation {
    /// The first key of the lineage, which limits and usage belong to. `None`: this key itself.
    pub lineage: Option<KeyId>,
    /// The key that this one replaces.
    pub from: Option<KeyId>,
    /// The key that replaces this one.
    pub to: Option<KeyId>,
    /// When this key was replaced.
    pub rotated_at: Option<Timestamp>,
    /// This key is refused from this moment on, because it was replaced.
    pub retires_at: Option<Timestamp>,
    /// How many milliseconds this key lives on once its replacement is first used. `None` when it
    /// was not replaced, or when [`retires_at`](Self::retires_at) is already known.
    pub grace_after_use: Option<u64>,
    /// Whether keys before this one wait for its first use.
    pub is_awaited: bool,
}

impl KeyDetails {
    /// The restrictions that a program must be able to enforce to let the key in.
    #[inline]
    pub fn needs(&self) -> Needs {
        let limits = if self.limits.is_empty() { Needs::NONE } else { Needs::LIMITS };
        let credits = if self.credits.is_some() { Needs::CREDITS } else { Needs::NONE };
        self.unknown_needs.and(limits).and(credits)
    }
}

impl Details {
    /// Gives the memory back if nothing is in it any more.
    pub(crate) fn shrink(&mut self) {
        if self.get().is_some_and(|details| *details == KeyDetails::default()) {
            self.0 = None;
        }
    }

    /// What there is, if there is anything.
    #[inline]
    pub(crate) fn get(&self) -> Option<&KeyDetails> {
        self.0.as_deref()
    }
}

impl Deref for Details {
    type Target = KeyDetails;

    #[inline]
    fn deref(&self) -> &KeyDetails {
        static NONE: LazyLock<KeyDetails> = LazyLock::new(KeyDetails::default);
        self.get().unwrap_or_else(|| &NONE)
    }
}

impl DerefMut for Details {
    fn deref_mut(&mut self) -> &mut KeyDetails {
        self.0.get_or_insert_default()
    }
}

impl From<KeyDetails> for Details {
    /// Takes up no memory when all fields are empty.
    fn from(details: KeyDetails) -> Self {
        Self(Some(details).filter(|details| *details != KeyDetails::default()).map(Box::new))
    }
}

impl PartialEq for Details {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// A slow hash of a key, bcrypt or argon2, in the modular crypt or PHC format.
///
/// `Debug` shows nothing: such a hash does not belong in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct LegacyHash(Text);

impl LegacyHash {
    /// From the text that the other system kept, as it is.
    pub fn new(hash: impl Into<Text>) -> Self {
        Self(hash.into())
    }

    /// A digest for the record of such a key, until its own is known. No key hashes to it, and the
    /// same hash always has the same, so that nothing is imported twice.
    pub(crate) fn stand_in(&self) -> KeyDigest {
        let hash = Sha256::new().chain_update(b"tower-api-key legacy hash\0");
        KeyDigest::from_bytes(hash.chain_update(self.expose()).finalize().into())
    }

    /// The text, for a store to keep.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for LegacyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LegacyHash(..)")
    }
}
