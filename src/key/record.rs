//! [`KeyRecord`]: a key as stored, and whether it may be used.

use std::fmt;

use serde_json::{Map, Value};

use super::{
    details::Details,
    digest::KeyDigest,
    id::{KeyId, OwnerId},
    rejection_kind::RejectionKind,
    scope::Scopes,
    short_text::ShortText,
    use_counter::UseCounter,
};
use crate::{clock::Timestamp, text::Text};

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
// In this order: what decides on a request comes first, within two lines of the processor's cache.
#[repr(C)]
pub struct KeyRecord {
    /// The digest by which the key is looked up.
    pub digest: KeyDigest,
    /// Properties that most keys do not have: a beginning of their validity, a revocation, a list of
    /// addresses, a part in a rotation.
    pub details: Details,
    /// The key is refused from this moment on.
    pub expires_at: Option<Timestamp>,
    /// The scopes of the key. Without any it may do nothing, not everything.
    pub scopes: Scopes,
    /// Switched off for now. Can be switched on again, unlike a revoked key.
    pub disabled: bool,
    /// Uses that are not in `use_count` yet.
    pub(crate) uses: UseCounter,
    /// The public name of the key.
    pub id: KeyId,
    /// The owner of the key.
    pub owner: Option<OwnerId>,
    /// The purpose of the key, in its owner's words.
    pub name: Text,
    /// The first characters of the key, shown so that people can recognise it.
    pub start: ShortText,
    /// When the key was issued, by the clock of the repository where it tells the time.
    pub created_at: Timestamp,
    /// When the record was last changed.
    pub updated_at: Timestamp,
    /// When the key last let a request in, give or take the time between two flushes.
    pub last_used_at: Option<Timestamp>,
    /// How many requests the key has let in.
    pub use_count: u64,
    /// Grows with each change; what `update` compares so that no change is lost. The first one is the
    /// time of the record, in milliseconds since 1970, and each further one the time of the change, or
    /// one more than the one before, whichever is greater: so it never goes back for a digest, not even
    /// where a key is removed and imported again, and tells which of two answers is older.
    pub revision: u64,
}

impl KeyRecord {
    /// A record with no owner, no scopes, no end and no restrictions.
    pub fn new(id: KeyId, digest: KeyDigest, name: impl Into<Text>, now: Timestamp) -> Self {
        Self {
            id,
            digest,
            start: ShortText::default(),
            name: name.into(),
            owner: None,
            scopes: Scopes::default(),
            disabled: false,
            created_at: now,
            updated_at: now,
            expires_at: None,
            last_used_at: None,
            use_count: 0,
            revision: Self::first_revision(now),
            details: Details::default(),
            uses: UseCounter::default(),
        }
    }

    /// The [revision](Self::revision) of a record that is written at this time for the first time.
    pub(crate) fn first_revision(now: Timestamp) -> u64 {
        u64::try_from(now.as_unix_millis()).unwrap_or(0)
    }

    /// The revision after a change at this time.
    pub(crate) fn next_revision(&self, now: Timestamp) -> u64 {
        Self::first_revision(now).max(self.revision + 1)
    }

    /// The first key of the lineage of rotations that this key is in: its own id, if it was never
    /// rotated. Limits and usage belong to the lineage.
    #[inline]
    pub fn lineage(&self) -> KeyId {
        self.details.get().and_then(|details| details.rotation.lineage).unwrap_or(self.id)
    }

    /// Whether the key was deleted and is only kept for audit.
    #[inline]
    pub fn is_deleted(&self) -> bool {
        self.details.get().is_some_and(|details| details.deleted_at.is_some())
    }

    /// The moment from which on the key is refused: its end, or the end of its grace after a
    /// rotation, whichever comes first.
    #[inline]
    pub fn ends_at(&self) -> Option<Timestamp> {
        match (self.expires_at, self.details.get().and_then(|d| d.rotation.retires_at)) {
            (Some(expires), Some(retires)) => Some(expires.min(retires)),
            (expires, retires) => expires.or(retires),
        }
    }

    /// Whether the key is there and has not come to its end by `now`: it is neither deleted nor
    /// revoked nor past [`ends_at`](Self::ends_at). One that is disabled or not valid yet is live,
    /// since it can be used one day.
    pub fn is_live(&self, now: Timestamp) -> bool {
        let has_ended = self.ends_at().is_some_and(|end| now >= end);
        !self.is_deleted() && self.details.revoked_at.is_none() && !has_ended
    }

    /// Whether the key may be used at `now`, and if not, why.
    pub fn status(&self, now: Timestamp) -> KeyStatus {
        self.status_by(|| now)
    }

    /// The [status](Self::status), by a clock that is read only if the time matters.
    #[inline]
    pub(crate) fn status_by(&self, now: impl FnOnce() -> Timestamp) -> KeyStatus {
        let details = self.details.get();
        if details.is_some_and(|details| details.revoked_at.is_some()) {
            return KeyStatus::Revoked;
        }
        if self.disabled {
            return KeyStatus::Disabled;
        }
        let (start, end) = (details.and_then(|details| details.not_before), self.ends_at());
        if start.is_none() && end.is_none() {
            return KeyStatus::Active;
        }
        let now = now();
        if start.is_some_and(|start| now < start) {
            KeyStatus::NotYetValid
        } else if end.is_some_and(|end| now >= end) {
            KeyStatus::Expired
        } else {
            KeyStatus::Active
        }
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
    /// Its [`not_before`](super::KeyDetails::not_before) is still to come.
    NotYetValid,
    /// Its [`ends_at`](KeyRecord::ends_at) has come.
    Expired,
    /// Usable.
    Active,
}

impl KeyStatus {
    /// Every status.
    #[cfg(any(feature = "axum", feature = "testing"))]
    pub(crate) const ALL: [Self; 5] =
        [Self::Active, Self::NotYetValid, Self::Expired, Self::Disabled, Self::Revoked];

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
    use std::mem::offset_of;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    fn record() -> KeyRecord {
        let digest = KeyDigest::from_bytes([1; 32]);
        KeyRecord::new(KeyId::generate(at(0)).unwrap(), digest, "test", at(0))
    }

    /// The two counts of an `Arc`, before its content.
    const COUNTS: usize = 16;

    /// A cache holds a million: with the counts of an `Arc` and the allocator's own word, each takes a
    /// block of 208 bytes. `benches/cache_memory.rs` measures the whole.
    #[test]
    fn a_record_is_small() {
        assert_eq!(size_of::<KeyRecord>(), 184);
        assert_eq!((COUNTS + size_of::<KeyRecord>() + 8) % 16, 0, "no byte of the block is unused");
        let texts = [size_of::<Text>(), size_of::<Option<OwnerId>>(), size_of::<Scopes>()];
        assert_eq!(texts, [24, 24, 8]);
        assert_eq!([size_of::<Option<Timestamp>>(), size_of::<Details>()], [8, 8]);
    }

    /// What steps 7 to 10 of a request read of a key without details is on two lines of 64 bytes,
    /// wherever an allocator places the record; a multiple of 16 is all that it promises.
    #[test]
    fn what_decides_on_a_request_is_on_two_lines() {
        let ends = [
            offset_of!(KeyRecord, digest) + size_of::<KeyDigest>(),
            offset_of!(KeyRecord, details) + size_of::<Details>(),
            offset_of!(KeyRecord, expires_at) + size_of::<Option<Timestamp>>(),
            offset_of!(KeyRecord, scopes) + size_of::<Scopes>(),
            offset_of!(KeyRecord, disabled) + size_of::<bool>(),
            offset_of!(KeyRecord, uses) + size_of::<UseCounter>(),
        ];
        let bytes = COUNTS + ends.into_iter().max().unwrap();
        for place in (0..64).step_by(16) {
            let lines = (place + bytes).div_ceil(64);
            assert!(lines <= 2, "{lines} lines of a block that begins at byte {place} of one");
        }
    }

    #[test]
    fn bounds_are_exact() {
        let mut record = record();
        record.details.not_before = Some(at(100));
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
        record.details.revoked_at = Some(at(0));
        assert_eq!(record.status(at(1)), KeyStatus::Revoked);
    }
}
