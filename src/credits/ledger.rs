//! [`Ledger`]: takes credits from the store, and gives them back.

use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroU64,
    sync::Arc,
    time::Duration,
};

use tokio::time::timeout;

use super::{
    books::Books,
    call::{Call, Deposit, Returned},
    lease_size::LeaseSize,
};
use crate::{
    clock::{Clock, Timestamp},
    error::{StoreError, StoreErrorKind},
    key::{KeyId, MAX_CREDITS},
    observe,
    store::{ApplyOutcome, BalanceUpdate, Balances, Changes},
};

/// The store's side of a node's credits.
pub(super) struct Ledger {
    pub(super) books: Books,
    pub(super) clock: Arc<dyn Clock>,
    /// How many are held at most, unless callers want more.
    pub(super) most: NonZeroU64,
}

/// The answer of the store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// How many were taken.
    pub(super) amount: u64,
    /// How many are left there.
    pub(super) left: u64,
    pub(super) epoch: u64,
    /// The refill with which they end. `None` if there are so many that it brings none.
    pub(super) until: Option<Timestamp>,
    /// When there is a refill, and of how many.
    pub(super) refill: Option<(Timestamp, u64)>,
    /// When that was.
    pub(super) at: Timestamp,
}

/// The store did not say what became of it.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) error: StoreError,
    /// How many credits may have left the store, or not come back to it. They count as lost.
    pub(super) lost: u64,
}

/// How long one call of the store may take. Stores give up earlier, and callers as well; what is
/// given up here is lost.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);

/// How often others may be faster. Each time, one of them got on.
const TRIES: u32 = 200;

/// Lineages in one write.
const BATCH: usize = 100;

impl Ledger {
    /// A ledger of the same balances, of which it takes nothing.
    pub(super) fn apart(&self) -> Self {
        Self { books: self.books.apart(), clock: self.clock.clone(), most: self.most }
    }

    /// Takes what callers wait for, and says which.
    pub(super) async fn take(&self, call: Call) {
        let Some(account) = call.account() else { return };
        for tries in 0..TRIES {
            // Anew each time, since others have joined.
            let size = account.lease_size();
            match self.try_to_take(account.lineage, &size).await {
                Ok(Some(taken)) => return call.took(&size, &taken, self.most.get()),
                Ok(None) => let_others_go_first(tries).await,
                Err(trouble) => {
                    observe::credits_not_taken(account.lineage, trouble.lost, &trouble.error);
                    return call.took_not(trouble, self.clock.now());
                }
            }
        }
        let error = StoreError::new(StoreErrorKind::Overloaded);
        observe::credits_not_taken(account.lineage, 0, &error);
        call.took_not(Trouble { error, lost: 0 }, self.clock.now());
    }

    /// None if another writer has changed the balance meanwhile.
    async fn try_to_take(
        &self,
        lineage: KeyId,
        size: &LeaseSize,
    ) -> Result<Option<Taken>, Trouble> {
        let known = |error| Trouble { error, lost: 0 };
        let found = self.read(&[lineage]).await.map_err(known)?;
        let now = self.clock.now();
        let Some(old) = found.of(lineage) else {
            // No credits at all: the key says that it spends some.
            let none = Taken { amount: 0, left: 0, epoch: 0, until: None, refill: None, at: now };
            return Ok(Some(none));
        };
        let mut balance = old.at(found.now);
        let amount = size.amount(balance.remaining, self.most.get());
        balance.remaining -= amount.min(balance.remaining);
        let refill = balance.refill.zip(balance.next_refill_at);
        // By this node's clock, which only measures how long it takes until then.
        let here = |at: Timestamp| now.saturating_add(at.saturating_since(found.now));
        let refill = refill.map(|(refill, at)| (here(at), refill.amount.get()));
        let taken = Taken {
            amount,
            left: balance.remaining,
            epoch: balance.epoch,
            until: refill.filter(|(_, fill)| balance.remaining < *fill).map(|(at, _)| at),
            refill,
            at: now,
        };
        // Also where nothing is taken: a time that was repaired must not be found broken again.
        if balance == *old {
            return Ok(Some(taken));
        }
        let update = BalanceUpdate::of(lineage, old, balance);
        let changes = Changes { balances: vec![update], ..Changes::default() };
        match self.write(&changes).await {
            Ok(ApplyOutcome::Done) => Ok(Some(taken)),
            // The second answers a bound that is not set here.
            Ok(ApplyOutcome::Stale | ApplyOutcome::TooManyKeys) => Ok(None),
            Err(error) => Err(Trouble { error, lost: amount }),
        }
    }

    /// Gives credits back, of many lineages at once. The first error ends it: what was not written
    /// until then is held again.
    pub(super) async fn give_back(&self, deposits: Vec<(Call, Deposit)>) -> Result<(), StoreError> {
        let mut batches = in_batches(deposits, BATCH);
        let (mut result, mut tries) = (Ok(()), 0);
        while let Some(batch) = batches.pop() {
            if result.is_err() {
                finish(batch, &|_| Returned::NotMade);
                continue;
            }
            match self.try_to_give_back(batch).await {
                Ok(stale) if stale.is_empty() => {}
                Ok(stale) => {
                    // Others have changed one of them.
                    batches.extend(in_batches(stale, 1));
                    tries += 1;
                    if tries == TRIES {
                        result = Err(StoreError::new(StoreErrorKind::Overloaded));
                    }
                    let_others_go_first(tries).await;
                }
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// Those that were not given back, because others were faster.
    async fn try_to_give_back(
        &self,
        batch: Vec<(Call, Deposit)>,
    ) -> Result<Vec<(Call, Deposit)>, StoreError> {
        let lineages: Vec<_> = batch.iter().filter_map(|(call, _)| lineage(call)).collect();
        let found = match self.read(&lineages).await {
            Ok(found) => found,
            Err(error) => {
                report(&batch, 0, &error);
                finish(batch, &|_| Returned::NotMade);
                return Err(error);
            }
        };
        let balance_of = |call: &Call| found.of(lineage(call)?);
        let mut changes = Changes::default();
        for (call, deposit) in &batch {
            // What was taken from a balance that was set anew since is not given back.
            let old = balance_of(call).filter(|balance| balance.epoch == deposit.epoch);
            if let (Some(lineage), Some(old)) = (lineage(call), old) {
                let mut balance = old.at(found.now);
                balance.remaining =
                    balance.remaining.saturating_add(deposit.amount).min(MAX_CREDITS);
                changes.balances.push(BalanceUpdate::of(lineage, old, balance));
            }
        }
        let written = if changes.balances.is_empty() {
            Ok(ApplyOutcome::Done)
        } else {
            self.write(&changes).await
        };
        match written {
            Ok(ApplyOutcome::Stale | ApplyOutcome::TooManyKeys) => Ok(batch),
            Ok(ApplyOutcome::Done) => {
                let left = |call: &Call| {
                    let lineage = lineage(call)?;
                    let written = changes.balances.iter().find(|update| update.lineage == lineage);
                    let written = written.map(|update| update.balance.remaining);
                    written
                        .or_else(|| balance_of(call).map(|balance| balance.at(found.now).remaining))
                };
                finish(batch, &|call| Returned::Done { left: left(call).unwrap_or_default() });
                Ok(Vec::new())
            }
            Err(error) => {
                let lost = batch.iter().map(|(_, deposit)| deposit.amount).sum();
                report(&batch, lost, &error);
                finish(batch, &|_| Returned::Unknown);
                Err(error)
            }
        }
    }

    async fn read(&self, lineages: &[KeyId]) -> Result<Balances, StoreError> {
        let answer = timeout(CALL_TIMEOUT, self.books.read(lineages)).await;
        answer.unwrap_or_else(|_| Err(StoreError::timeout()))
    }

    async fn write(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
        let answer = timeout(CALL_TIMEOUT, self.books.write(changes)).await;
        answer.unwrap_or_else(|_| Err(StoreError::timeout()))
    }
}

/// Another writer was faster, so that one got on. Many nodes that try again all at once would
/// mostly be in each other's way.
async fn let_others_go_first(tries: u32) {
    let most = 1_u64 << tries.min(6);
    match RandomState::new().hash_one(tries) % most {
        0 => tokio::task::yield_now().await,
        millis => tokio::time::sleep(Duration::from_millis(millis)).await,
    }
}

fn lineage(call: &Call) -> Option<KeyId> {
    call.account().map(|account| account.lineage)
}

fn in_batches<T>(mut items: Vec<T>, size: usize) -> Vec<Vec<T>> {
    let mut batches = Vec::with_capacity(items.len().div_ceil(size));
    while items.len() > size {
        batches.push(items.split_off(items.len() - size));
    }
    batches.extend((!items.is_empty()).then_some(items));
    batches
}

fn finish(batch: Vec<(Call, Deposit)>, returned: &dyn Fn(&Call) -> Returned) {
    for (call, deposit) in batch {
        let returned = returned(&call);
        call.gave(deposit, returned);
    }
}

fn report(batch: &[(Call, Deposit)], lost: u64, error: &StoreError) {
    if let Some(lineage) = batch.first().and_then(|(call, _)| lineage(call)) {
        observe::credits_not_given_back(lineage, lost, error);
    }
}
