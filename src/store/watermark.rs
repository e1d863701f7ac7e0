//! [`Watermark`]: keys that ended by the time when they were created.

use std::sync::Arc;

use crate::{
    clock::Timestamp,
    key::{KeyRecord, OwnerId},
    text::Text,
};

/// Keys that were revoked by one write, however many there are: all that were created before a time, or those
/// of one owner.
///
/// While a watermark stands in a [repository](super::Watermarks), every key that it covers is read as
/// revoked. It stands until each of their rows says so by itself.
///
/// ```
/// use tower_api_key::{Timestamp, store::Watermark};
///
/// let all = Watermark::new("2026-06-01T00:00:00Z".parse::<Timestamp>()?);
/// let theirs = Watermark { owner: Some("user-1".into()), ..all.clone() };
/// assert_eq!(all.issued_before, theirs.issued_before);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Watermark {
    /// The owner of the keys; without one, all keys are meant.
    pub owner: Option<OwnerId>,
    /// Keys that were created before this moment are meant.
    pub issued_before: Timestamp,
}

impl Watermark {
    /// The watermark of all keys that were created before this moment.
    pub const fn new(issued_before: Timestamp) -> Self {
        Self { owner: None, issued_before }
    }

    /// Whether a key is meant. Deleted keys are not: they have ended already.
    pub fn covers(&self, record: &KeyRecord) -> bool {
        record.created_at < self.issued_before
            && self.owner.as_ref().is_none_or(|owner| record.owner.as_ref() == Some(owner))
            && !record.is_deleted()
    }

    /// Whether a key is meant that is not revoked by itself.
    pub(super) fn ends(&self, record: &KeyRecord) -> bool {
        record.details.revoked_at.is_none() && self.covers(record)
    }

    /// What tells the keys from those of other owners: `*`, or `=` and the owner.
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "redis", feature = "sqlite"))]
    pub(super) fn subject(&self) -> String {
        self.owner.as_ref().map_or_else(|| "*".to_owned(), |owner| format!("={owner}"))
    }

    /// Reads a [subject](Self::subject).
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "redis", feature = "sqlite"))]
    pub(super) fn of_subject(subject: &str, issued_before: Timestamp) -> Option<Self> {
        let owner = match subject {
            "*" => None,
            owner => Some(OwnerId::from(owner.strip_prefix('=')?)),
        };
        Some(Self { owner, issued_before })
    }
}

/// A watermark that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatermarkRecord {
    /// The keys.
    pub watermark: Watermark,
    /// When they were revoked, by the clock of the repository.
    pub revoked_at: Timestamp,
    /// The reason that was given.
    pub reason: Option<Text>,
}

impl WatermarkRecord {
    /// The watermark, as it was set.
    pub fn new(watermark: Watermark, revoked_at: Timestamp) -> Self {
        Self { watermark, revoked_at, reason: None }
    }
}

/// A key as it is read while these watermarks stand.
pub(super) fn read_below(mark: &[WatermarkRecord], record: &Arc<KeyRecord>) -> Arc<KeyRecord> {
    let Some(revoked_at) = revoked_at(mark, record) else { return record.clone() };
    let mut record = KeyRecord::clone(record);
    record.details.revoked_at = Some(revoked_at);
    Arc::new(record)
}

/// The time at which a key was revoked by these watermarks, if one of them means it.
fn revoked_at(mark: &[WatermarkRecord], record: &KeyRecord) -> Option<Timestamp> {
    let ends = mark.iter().filter(|mark| mark.watermark.ends(record));
    ends.map(|mark| mark.revoked_at).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyDigest, KeyId};

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    #[cfg(any(feature = "mysql", feature = "postgres", feature = "redis", feature = "sqlite"))]
    #[test]
    fn a_subject_is_read_as_it_was_written() {
        for (owner, subject) in [(None, "*"), (Some("*"), "=*"), (Some("=ada"), "==ada")] {
            let watermark = Watermark { owner: owner.map(Into::into), ..Watermark::new(at(1)) };
            assert_eq!(watermark.subject(), subject);
            assert_eq!(Watermark::of_subject(subject, at(1)), Some(watermark));
        }
        for subject in ["", "ada", "**"] {
            assert_eq!(Watermark::of_subject(subject, at(1)), None);
        }
    }

    fn record(owner: Option<&str>, created_at: i64) -> KeyRecord {
        let (id, digest) = (KeyId::from_bytes([1; 16]), KeyDigest::from_bytes([1; 32]));
        let record = KeyRecord::new(id, digest, "a key", at(created_at));
        KeyRecord { owner: owner.map(Into::into), ..record }
    }

    #[test]
    fn keys_are_meant_by_their_owner_and_the_time_of_their_creation() {
        let all = Watermark::new(at(10));
        let of = |owner: &str| Watermark { owner: Some(owner.into()), ..all.clone() };
        for (watermark, owner, created_at, covered) in [
            (&all, None, 9, true),
            (&all, None, 10, false),
            (&all, Some("anna"), i64::MIN, true),
            (&of("anna"), Some("anna"), 9, true),
            (&of("anna"), Some("anna"), 10, false),
            (&of("anna"), Some("anna "), 9, false),
            (&of("anna"), None, 9, false),
        ] {
            let record = record(owner, created_at);
            assert_eq!(watermark.covers(&record), covered, "{watermark:?} {record:?}");
        }
        let mut deleted = record(None, 9);
        deleted.details.deleted_at = Some(at(9));
        assert!(!all.covers(&deleted));
        let mut revoked = record(None, 9);
        revoked.details.revoked_at = Some(at(9));
        assert!(all.covers(&revoked) && !all.ends(&revoked));
    }

    #[test]
    fn the_first_that_means_a_key_revoked_it() {
        let mark = |before, revoked| WatermarkRecord::new(Watermark::new(at(before)), at(revoked));
        let mark = [mark(5, 100), mark(10, 300), mark(20, 200)];
        let revoked = |created_at| revoked_at(&mark, &record(None, created_at));
        assert_eq!(
            [revoked(4), revoked(9), revoked(19), revoked(20)],
            [Some(at(100)), Some(at(200)), Some(at(200)), None]
        );
    }

    #[cfg(any(feature = "mysql", feature = "postgres", feature = "redis", feature = "sqlite"))]
    #[test]
    fn subjects_are_read_as_they_are_written() {
        let all = Watermark::new(at(10));
        for owner in [None, Some(""), Some("*"), Some("="), Some("anna")] {
            let watermark = Watermark { owner: owner.map(Into::into), ..all.clone() };
            assert_eq!(Watermark::of_subject(&watermark.subject(), at(10)), Some(watermark));
        }
        assert_eq!(Watermark::of_subject("anna", at(10)), None);
    }
}
