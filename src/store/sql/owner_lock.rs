//! Locks that keep the keys of an owner from being counted, or changed together, while another
//! node adds one.
//!
//! A transaction that adds keys takes the locks of their owners and shares them with others that
//! do the same. One that must know every key of an owner takes that owner's lock for itself, and
//! one that must know every key takes all of them. Only then does it read. The locks are the
//! database's and end with the transaction, also where a proxy gives each transaction another
//! connection.

use std::collections::BTreeSet;

use super::{
    dialect::Dialect, pooled_connection::PooledConnection, statements::Statements, store::SqlStore,
};
use crate::{
    key::{OwnerId, crc32},
    store::{repository::Changes, selection::Selection, watermark::WatermarkRecord},
};

/// The locks that a transaction takes before it reads or writes.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) struct OwnerLocks {
    /// Which, in the order in which every transaction takes them.
    pub(in crate::store) numbers: BTreeSet<u32>,
    /// Whether no other transaction may have them meanwhile.
    pub(in crate::store) exclusive: bool,
}

impl OwnerLocks {
    /// Those of some changes, where a database has `count` locks.
    pub(super) fn of(changes: &Changes, count: u32) -> Self {
        if let Some(WatermarkRecord { watermark, .. }) = &changes.watermark {
            // Keys that are being added, as by a rotation, are waited for; after it, none is rotated.
            let owner = watermark.owner.clone();
            return Self::of_selection(&Selection::Issued { owner, before: None }, count);
        }
        let owners = changes.inserts.iter().map(|record| record.owner.as_ref());
        let bound = changes.owner_bound.as_ref();
        let owners = owners.chain(bound.map(|bound| Some(&bound.owner)));
        let numbers = owners.map(|owner| number(owner, count)).collect();
        Self { numbers, exclusive: bound.is_some() }
    }

    /// Those of the keys of an owner, or of all keys, for a transaction that must know every one.
    /// Keys that are named by their ids are locked when they are read, and no others matter.
    pub(super) fn of_selection(selection: &Selection, count: u32) -> Self {
        let numbers = match selection {
            Selection::Ids(_) => BTreeSet::new(),
            Selection::Issued { owner: Some(owner), .. } => [number(Some(owner), count)].into(),
            Selection::Issued { owner: None, .. } => (0..count).collect(),
        };
        Self { numbers, exclusive: true }
    }
}

/// Owners share a number of locks, so that an import of the keys of many takes few. Every version
/// of this crate must come to the same number.
fn number(owner: Option<&OwnerId>, count: u32) -> u32 {
    owner.map_or(0, |owner| crc32(owner.as_str().as_bytes()) % count)
}

impl<DB: Dialect> SqlStore<DB> {
    /// Takes the locks, which the end of the transaction gives back.
    pub(super) async fn lock(
        &self,
        transaction: &mut PooledConnection<DB>,
        locks: &OwnerLocks,
    ) -> sqlx::Result<()> {
        if locks.numbers.is_empty() {
            return Ok(());
        }
        let Statements { owner_locks, .. } = &*self.statements;
        DB::lock_owners(transaction, owner_locks, locks).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        key::{KeyDigest, KeyId, KeyRecord},
        store::owner_bound::OwnerBound,
    };

    #[test]
    fn changes_share_the_locks_of_their_owners_unless_they_are_bound() {
        let now = Timestamp::from_unix_millis(1);
        let record = |owner: Option<&str>| KeyRecord {
            owner: owner.map(Into::into),
            ..KeyRecord::new(KeyId::from_bytes([0; 16]), KeyDigest::from_bytes([0; 32]), "", now)
        };
        let none = OwnerLocks::of(&Changes::default(), 64);
        assert_eq!(none, OwnerLocks { numbers: BTreeSet::new(), exclusive: false });
        let inserts = vec![record(None), record(Some("user-1")), record(Some("user-2"))];
        let mut changes = Changes { inserts, ..Changes::default() };
        let shared = OwnerLocks::of(&changes, 64);
        // Written down: nodes of several versions must agree.
        assert_eq!(shared.numbers, BTreeSet::from([0, 20, 46]));
        assert!(!shared.exclusive);
        changes.inserts.truncate(0);
        changes.owner_bound = Some(OwnerBound { owner: "user-1".into(), max_keys: 1, now });
        let bound = OwnerLocks::of(&changes, 64);
        assert_eq!(bound, OwnerLocks { numbers: BTreeSet::from([20]), exclusive: true });
    }
}
