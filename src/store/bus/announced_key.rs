//! [`AnnouncedKey`]: a key that was changed, and the result.

use std::str::FromStr;

use crate::key::{KeyDigest, KeyRecord};

/// A key in an [`Announcement`](super::Announcement).
///
/// With a [revision](Self::revision) it leaves a floor: a cache uses no answer about the digest that is
/// older, such as that of a replica that lags. Without one, as from an earlier version of this crate, the
/// digest is forgotten, and asked of the authority for a while.
///
/// ```
/// use tower_api_key::{key::KeyDigest, store::{AnnouncedKey, AnnouncedState, Announcement}};
///
/// let digest = KeyDigest::from_bytes([0xa5; 32]);
/// let revoked = AnnouncedKey::new(digest).with_change(1_900_000_000_000, AnnouncedState::Revoked);
/// let text = Announcement::new([revoked]).to_text();
/// assert_eq!(text, format!("{}:1900000000000:revoked", "a5".repeat(32)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnouncedKey {
    digest: KeyDigest,
    change: Option<(u64, AnnouncedState)>,
}

/// The state of a key after a change, as far as its announcement says.
///
/// No request is answered by it: it says which answers of a store are older than the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AnnouncedState {
    /// It can be used, now or one day. A store that does not find it is behind.
    Live,
    /// It has another digest from now on.
    Moved,
    /// Withdrawn for good.
    Revoked,
    /// Switched off for now.
    Disabled,
    /// Its end has come.
    Expired,
    /// Deleted.
    Deleted,
    /// Not known: the store did not say whether the change was written. Also every state that a later
    /// version of this crate writes and this one does not know.
    Unsure,
}

impl AnnouncedState {
    pub(super) const ALL: [Self; 7] = [
        Self::Live,
        Self::Moved,
        Self::Revoked,
        Self::Disabled,
        Self::Expired,
        Self::Deleted,
        Self::Unsure,
    ];

    /// The state in which a change leaves this record, by the time of the change.
    pub(in crate::store) fn of(record: &KeyRecord) -> Self {
        if record.is_deleted() {
            Self::Deleted
        } else if record.details.revoked_at.is_some() {
            Self::Revoked
        } else if record.disabled {
            Self::Disabled
        } else if record.ends_at().is_some_and(|end| end <= record.updated_at) {
            Self::Expired
        } else {
            Self::Live
        }
    }

    /// `live`, `moved`, `revoked`, `disabled`, `expired`, `deleted` or `unsure`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Moved => "moved",
            Self::Revoked => "revoked",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::Deleted => "deleted",
            Self::Unsure => "unsure",
        }
    }
}

impl AnnouncedKey {
    /// The key that has, had or will have this digest.
    pub const fn new(digest: KeyDigest) -> Self {
        Self { digest, change: None }
    }

    /// The same, with the [revision](crate::key::KeyRecord::revision) that the key has at least from now
    /// on, and its state then.
    pub const fn with_change(self, revision: u64, state: AnnouncedState) -> Self {
        Self { change: Some((revision, state)), ..self }
    }

    /// The digest to forget.
    pub const fn digest(&self) -> &KeyDigest {
        &self.digest
    }

    /// The least revision of an answer that knows of the change, if that is said.
    pub fn revision(&self) -> Option<u64> {
        self.change.map(|(revision, _)| revision)
    }

    /// The state of the key after the change, if that is said.
    pub fn state(&self) -> Option<AnnouncedState> {
        self.change.map(|(_, state)| state)
    }

    /// `<digest>`, or `<digest>:<revision>:<state>`.
    pub(super) fn to_text(self) -> String {
        let digest = self.digest.to_hex();
        match self.change {
            Some((revision, state)) => format!("{digest}:{revision}:{}", state.as_str()),
            None => digest,
        }
    }

    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut fields = text.split(|byte| *byte == b':').map(|field| str::from_utf8(field).ok());
        let key = Self::new(KeyDigest::from_hex(fields.next()??)?);
        let Some(revision) = fields.next().flatten().and_then(number) else { return Some(key) };
        let state = fields.next().flatten();
        let known = AnnouncedState::ALL.into_iter().find(|known| Some(known.as_str()) == state);
        Some(key.with_change(revision, known.unwrap_or(AnnouncedState::Unsure)))
    }
}

/// Digits alone: no sign, as `parse` takes one.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| u64::from_str(text).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Timestamp, key::KeyId};

    const DIGEST: KeyDigest = KeyDigest::from_bytes([0xa5; 32]);

    /// Each text, with the fields of versions to come, and what it says.
    #[test]
    fn fields() {
        let key = AnnouncedKey::new(DIGEST);
        for (fields, expected) in [
            ("", key),
            (":7:live", key.with_change(7, AnnouncedState::Live)),
            (
                ":18446744073709551615:deleted:more",
                key.with_change(u64::MAX, AnnouncedState::Deleted),
            ),
            (":7", key.with_change(7, AnnouncedState::Unsure)),
            (":7:", key.with_change(7, AnnouncedState::Unsure)),
            (":7:of a later version", key.with_change(7, AnnouncedState::Unsure)),
            (":", key),
            (":+7:live", key),
            (":-7:live", key),
            (":7.0:live", key),
            (":18446744073709551616:live", key),
            (":live:7", key),
        ] {
            let text = format!("{}{fields}", DIGEST.to_hex());
            assert_eq!(AnnouncedKey::parse(text.as_bytes()), Some(expected), "{fields}");
        }
        let not_text = [DIGEST.to_hex().as_bytes(), &b":7:\xff"[..]].concat();
        let expected = key.with_change(7, AnnouncedState::Unsure);
        assert_eq!(AnnouncedKey::parse(&not_text), Some(expected));
    }

    #[test]
    fn every_state_is_read_as_it_is_written() {
        for state in AnnouncedState::ALL {
            let key = AnnouncedKey::new(DIGEST).with_change(1_900_000_000_000, state);
            assert_eq!(AnnouncedKey::parse(key.to_text().as_bytes()), Some(key));
        }
    }

    #[test]
    fn states_of_records() {
        let at = Timestamp::from_unix_millis;
        let record = KeyRecord::new(KeyId::from_bytes([1; 16]), DIGEST, "a key", at(100));
        let states = |change: &dyn Fn(&mut KeyRecord)| {
            let mut changed = record.clone();
            change(&mut changed);
            AnnouncedState::of(&changed)
        };
        assert_eq!(states(&|_| {}), AnnouncedState::Live);
        assert_eq!(states(&|record| record.disabled = true), AnnouncedState::Disabled);
        assert_eq!(states(&|record| record.expires_at = Some(at(101))), AnnouncedState::Live);
        assert_eq!(states(&|record| record.expires_at = Some(at(100))), AnnouncedState::Expired);
        assert_eq!(
            states(&|record| {
                record.disabled = true;
                record.details.revoked_at = Some(at(100));
            }),
            AnnouncedState::Revoked
        );
        assert_eq!(
            states(&|record| {
                record.details.revoked_at = Some(at(100));
                record.details.deleted_at = Some(at(100));
            }),
            AnnouncedState::Deleted
        );
    }
}
