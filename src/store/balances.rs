//! [`Balances`]: what a repository knows of credits, and [`BalanceUpdate`], how they change.

use crate::{
    clock::Timestamp,
    key::{Balance, KeyId},
};

/// Balances as a repository has them, with the time by its own clock, read in one statement.
///
/// What comes back of a balance is decided by that clock alone: clocks of nodes differ, and the one
/// that is ahead would grant the refills of all the others.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Balances {
    /// The time of the database server; of stores without a server, that of their machine.
    pub now: Timestamp,
    /// The balances as stored, by the first key of their lineage. [`Balance::at`] adds what has come
    /// back since.
    pub items: Vec<(KeyId, Balance)>,
}

impl Balances {
    /// Balances that were read at `now`, by the clock of the repository.
    pub fn new(now: Timestamp, items: Vec<(KeyId, Balance)>) -> Self {
        Self { now, items }
    }

    /// The balance of a lineage as stored, if it has one.
    pub fn of(&self, lineage: KeyId) -> Option<&Balance> {
        self.items.iter().find(|(found, _)| *found == lineage).map(|(_, balance)| balance)
    }
}

/// A balance as it is to be, if it still has the revision it was read with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalanceUpdate {
    /// The lineage that it belongs to, by its first key.
    pub lineage: KeyId,
    /// The balance. Its revision is greater than the expected one.
    pub balance: Balance,
    /// The revision that it must have in the store; `None` where there must be none yet.
    pub expected: Option<u64>,
    /// When the period began whose refill this update grants, if it grants one. While the clock of
    /// the repository has not come to it, nothing is written.
    pub due: Option<Timestamp>,
}

impl BalanceUpdate {
    /// The first balance of a lineage.
    pub(crate) fn first(lineage: KeyId, balance: Balance) -> Self {
        Self { lineage, balance, expected: None, due: None }
    }

    /// The update from `old` to `balance`, with the next revision.
    pub(crate) fn of(lineage: KeyId, old: &Balance, mut balance: Balance) -> Self {
        balance.revision = old.revision + 1;
        let grants = balance.since == old.since && balance.granted != old.granted;
        let due = grants.then(|| balance.granted_at());
        Self { lineage, balance, expected: Some(old.revision), due }
    }
}
