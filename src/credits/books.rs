//! [`Books`]: where the balances are that a ledger takes credits out of.

use std::{collections::HashMap, sync::Arc};

use crate::{
    clock::Timestamp,
    credits::Balance,
    error::StoreError,
    key::{KeyId, MAX_CREDITS},
    runtime::Mutex,
    store::{ApplyOutcome, BalanceUpdate, Balances, Changes, KeyRepository},
};

/// The balances of a store, or copies of them.
pub(super) enum Books {
    Store(Arc<dyn KeyRepository>),
    /// For a layer in shadow: the store is read and never written.
    Apart(Arc<dyn KeyRepository>, Copies),
}

impl Books {
    /// The same balances, of which nothing is taken.
    pub(super) fn apart(&self) -> Self {
        let (Self::Store(repository) | Self::Apart(repository, _)) = self;
        Self::Apart(repository.clone(), Copies::default())
    }

    pub(super) fn has_balances(&self) -> bool {
        self.repository().balance_store().is_some()
    }

    fn repository(&self) -> &Arc<dyn KeyRepository> {
        let (Self::Store(repository) | Self::Apart(repository, _)) = self;
        repository
    }

    pub(super) async fn read(&self, lineages: &[KeyId]) -> Result<Balances, StoreError> {
        let store = self.repository().balance_store().ok_or_else(StoreError::unsupported)?;
        let balances = store.balances(lineages).await?;
        Ok(match self {
            Self::Store(_) => balances,
            Self::Apart(_, copies) => copies.read(balances),
        })
    }

    pub(super) async fn write(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
        match self {
            Self::Store(repository) => repository.apply(changes).await,
            Self::Apart(_, copies) => Ok(copies.write(&changes.balances)),
        }
    }
}

/// Balances as they would be if the requests of this node had spent them.
#[derive(Default)]
pub(super) struct Copies(Mutex<HashMap<KeyId, Copy>>);

struct Copy {
    balance: Balance,
    /// The store's when it was last read.
    seen: Balance,
}

/// About 20 MB. For one more, another one begins anew.
const MAX_COPIES: usize = 100_000;

impl Copies {
    fn read(&self, stored: Balances) -> Balances {
        let mut copies = self.0.lock();
        let now = stored.now;
        let items = stored.items.into_iter().map(|(lineage, stored)| {
            if copies.len() >= MAX_COPIES && !copies.contains_key(&lineage) {
                let other = copies.keys().next().copied();
                other.and_then(|other| copies.remove(&other));
            }
            let new = || Copy { balance: stored.clone(), seen: stored.clone() };
            let copy = copies.entry(lineage).or_insert_with(new);
            copy.follow(stored, now);
            (lineage, copy.balance.clone())
        });
        Balances::new(now, items.collect())
    }

    fn write(&self, updates: &[BalanceUpdate]) -> ApplyOutcome {
        let mut copies = self.0.lock();
        let is_current = |update: &BalanceUpdate| {
            let revision = copies.get(&update.lineage).map(|copy| copy.balance.revision);
            revision == update.expected
        };
        if !updates.iter().all(is_current) {
            return ApplyOutcome::Stale;
        }
        for update in updates {
            if let Some(copy) = copies.get_mut(&update.lineage) {
                copy.balance = update.balance.clone();
            }
        }
        ApplyOutcome::Done
    }
}

impl Copy {
    /// Takes over the changes of the balance in the store since it was last read.
    fn follow(&mut self, stored: Balance, now: Timestamp) {
        let revision = self.balance.revision + 1;
        if stored.epoch != self.seen.epoch {
            // Set anew.
            self.balance = Balance { revision, ..stored.clone() };
        } else if stored.revision != self.seen.revision {
            // Topped up or taken from, or with other refills.
            let (before, after) = (self.seen.at(now).remaining, stored.at(now).remaining);
            let remaining = self.balance.at(now).remaining;
            let remaining = remaining.saturating_add(after).saturating_sub(before).min(MAX_CREDITS);
            let schedule =
                if stored.since == self.seen.since { self.balance.at(now) } else { stored.at(now) };
            self.balance = Balance { remaining, revision, ..schedule };
        }
        self.seen = stored;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        num::{NonZeroU32, NonZeroU64},
        time::Duration,
    };

    use super::*;
    use crate::credits::{Refill, RefillInterval};

    const T: Timestamp = Timestamp::from_unix_millis(1_795_392_000_000);

    fn lineage(number: u64) -> KeyId {
        KeyId::from_bytes(u128::from(number).to_be_bytes())
    }

    fn balance(remaining: u64, refill: Option<Refill>) -> Balance {
        Balance::new(remaining, refill, T)
    }

    fn refill(amount: u64) -> Refill {
        let a_day = RefillInterval::Seconds(NonZeroU32::new(86_400).unwrap());
        Refill::new(NonZeroU64::new(amount).unwrap(), a_day)
    }

    /// What a node would see of this balance of the store.
    fn read(copies: &Copies, stored: &Balance, now: Timestamp) -> Balance {
        let stored = vec![(lineage(1), stored.clone())];
        copies.read(Balances::new(now, stored)).of(lineage(1)).unwrap().at(now)
    }

    /// Spends from the copy.
    fn spend(copies: &Copies, stored: &Balance, amount: u64, now: Timestamp) -> ApplyOutcome {
        let old = read(copies, stored, now);
        let balance = Balance { remaining: old.remaining - amount, ..old.clone() };
        copies.write(&[BalanceUpdate::of(lineage(1), &old, balance)])
    }

    #[test]
    fn what_is_spent_is_spent_from_the_copy() {
        let (copies, stored) = (Copies::default(), balance(300, None));
        assert_eq!(spend(&copies, &stored, 299, T), ApplyOutcome::Done);
        assert_eq!(read(&copies, &stored, T).remaining, 1);
        let old = read(&copies, &stored, T);
        let update = BalanceUpdate::of(lineage(1), &old, old.clone());
        assert_eq!(copies.write(std::slice::from_ref(&update)), ApplyOutcome::Done);
        assert_eq!(copies.write(&[update]), ApplyOutcome::Stale, "of a revision that has gone");
    }

    #[test]
    fn what_was_read_before_a_change_of_the_store_is_stale() {
        for epochs in [0, 1] {
            let (copies, stored) = (Copies::default(), balance(300, None));
            spend(&copies, &stored, 1, T);
            let old = read(&copies, &stored, T);
            let update = BalanceUpdate::of(lineage(1), &old, old.clone());
            // Topped up, or set anew.
            let (revision, epoch) = (stored.revision + 1, stored.epoch + epochs);
            read(&copies, &Balance { remaining: 350, revision, epoch, ..stored }, T);
            assert_eq!(copies.write(&[update]), ApplyOutcome::Stale);
        }
    }

    #[test]
    fn changes_of_the_store_reach_the_copy() {
        let (copies, mut stored) = (Copies::default(), balance(300, None));
        spend(&copies, &stored, 299, T);
        // Topped up.
        stored = Balance { remaining: 350, revision: stored.revision + 1, ..stored };
        assert_eq!(read(&copies, &stored, T).remaining, 51);
        // Another node takes some.
        stored = Balance { remaining: 340, revision: stored.revision + 1, ..stored };
        assert_eq!(read(&copies, &stored, T).remaining, 41);
        // Other refills, which begin now.
        let later = T.saturating_add(Duration::from_hours(1));
        stored = Balance {
            refill: Some(refill(500)),
            since: later,
            next_refill_at: Some(refill(500).next_after(later, later)),
            revision: stored.revision + 1,
            ..stored
        };
        let copy = read(&copies, &stored, later);
        assert_eq!((copy.remaining, copy.refill), (41, Some(refill(500))));
        // Set anew.
        stored = Balance { epoch: stored.epoch + 1, revision: stored.revision + 1, ..stored };
        assert_eq!(read(&copies, &stored, later).remaining, 340);
    }

    #[test]
    fn refills_fill_the_copy() {
        let (copies, stored) = (Copies::default(), balance(300, Some(refill(300))));
        spend(&copies, &stored, 300, T);
        assert_eq!(read(&copies, &stored, T).remaining, 0);
        let next_day = T.saturating_add(Duration::from_hours(25));
        assert_eq!(read(&copies, &stored, next_day).remaining, 300);
    }

    #[test]
    fn copies_are_bounded() {
        let copies = Copies::default();
        for number in 0..=MAX_COPIES as u64 + 10 {
            let stored = vec![(lineage(number), balance(1, None))];
            copies.read(Balances::new(T, stored));
        }
        assert_eq!(copies.0.lock().len(), MAX_COPIES);
    }
}
