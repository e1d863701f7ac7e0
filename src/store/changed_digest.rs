//! [`ChangedDigest`]: a digest whose answer is another after a change.

use super::{
    ApplyOutcome, StoreError, StoreErrorKind,
    bus::{AnnouncedKey, AnnouncedState},
    repository::KeyUpdate,
};
use crate::key::{KeyDigest, KeyRecord};

/// A digest that led, or leads from now on, to a key which a change writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChangedDigest {
    pub(super) digest: KeyDigest,
    /// The revision of the key before the change: of one that was not there, none is less.
    before: u64,
    after: (u64, AnnouncedState),
}

/// Whether changes were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Yes,
    No,
    /// The store did not say.
    Unsure,
}

impl Written {
    pub(super) fn by(result: &Result<ApplyOutcome, StoreError>) -> Self {
        match result {
            Ok(ApplyOutcome::Done) => Self::Yes,
            Ok(ApplyOutcome::Stale | ApplyOutcome::TooManyKeys) => Self::No,
            Err(error) => match error.kind() {
                StoreErrorKind::Duplicate | StoreErrorKind::Unsupported => Self::No,
                _ => Self::Unsure,
            },
        }
    }
}

impl ChangedDigest {
    pub(super) fn inserted(record: &KeyRecord) -> Self {
        let after = (record.revision, AnnouncedState::of(record));
        Self { digest: record.digest, before: 0, after }
    }

    /// What is announced of a key that has not changed.
    pub(super) fn as_it_is(record: &KeyRecord) -> AnnouncedKey {
        Self::inserted(record).announced(Written::Yes)
    }

    /// The digest before the update, and the one after it, if that is another.
    pub(super) fn updated(update: &KeyUpdate) -> impl Iterator<Item = Self> + use<> {
        let KeyUpdate { record, expected, old_digest } = update;
        let after = (record.revision, AnnouncedState::of(record));
        let new = Self { digest: record.digest, before: *expected, after };
        let moved = (record.revision, AnnouncedState::Moved);
        let old = Self { digest: *old_digest, after: moved, ..new };
        let old = Some(old).filter(|old| old.digest != new.digest);
        old.into_iter().chain([new])
    }

    pub(super) fn announced(&self, written: Written) -> AnnouncedKey {
        let key = AnnouncedKey::new(self.digest);
        match written {
            Written::Yes => key.with_change(self.after.0, self.after.1),
            Written::No => key,
            Written::Unsure => key.with_change(self.before, AnnouncedState::Unsure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Timestamp, key::KeyId};

    fn record(revision: u64, digest: u8) -> KeyRecord {
        let (id, digest) = (KeyId::from_bytes([1; 16]), KeyDigest::from_bytes([digest; 32]));
        let now = Timestamp::from_unix_millis(revision.try_into().unwrap());
        KeyRecord::new(id, digest, "a key", now)
    }

    fn said(changed: impl IntoIterator<Item = ChangedDigest>, written: Written) -> Vec<String> {
        let said = |changed: ChangedDigest| {
            let key = changed.announced(written);
            let change = key.revision().map(|revision| (revision, key.state().unwrap().as_str()));
            format!("{}: {change:?}", key.digest().as_bytes()[0])
        };
        changed.into_iter().map(said).collect()
    }

    /// A change of which it is not known whether it was written leaves both revisions possible: an
    /// answer with the one before is no older than what is known.
    #[test]
    fn a_change_is_announced_as_what_is_known_of_it() {
        let update = KeyUpdate::new(&record(5, 1), record(7, 2));
        let changed = || ChangedDigest::updated(&update);
        let moved = ["1: Some((7, \"moved\"))", "2: Some((7, \"live\"))"];
        assert_eq!(said(changed(), Written::Yes), moved);
        assert_eq!(said(changed(), Written::No), ["1: None", "2: None"]);
        let unsure = ["1: Some((5, \"unsure\"))", "2: Some((5, \"unsure\"))"];
        assert_eq!(said(changed(), Written::Unsure), unsure);

        let insert = || [ChangedDigest::inserted(&record(7, 3))];
        assert_eq!(said(insert(), Written::Yes), ["3: Some((7, \"live\"))"]);
        assert_eq!(said(insert(), Written::Unsure), ["3: Some((0, \"unsure\"))"]);
    }

    #[test]
    fn outcomes() {
        let error = |kind| Err(StoreError::new(kind));
        for (result, written) in [
            (Ok(ApplyOutcome::Done), Written::Yes),
            (Ok(ApplyOutcome::Stale), Written::No),
            (Ok(ApplyOutcome::TooManyKeys), Written::No),
            (error(StoreErrorKind::Duplicate), Written::No),
            (error(StoreErrorKind::Unsupported), Written::No),
            (error(StoreErrorKind::Unavailable), Written::Unsure),
            (error(StoreErrorKind::Timeout), Written::Unsure),
            (error(StoreErrorKind::Overloaded), Written::Unsure),
            (error(StoreErrorKind::Corrupt), Written::Unsure),
        ] {
            assert_eq!(Written::by(&result), written, "{result:?}");
        }
    }
}
