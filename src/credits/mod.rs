//! Credits: a balance that requests spend. [`Credits`] spends them; the other items are the balance
//! as it is stored, how credits come back, and what a key is created or changed with.

mod account;
mod accounts;
mod books;
mod call;
mod idle_sweep;
mod lease_size;
mod ledger;
mod parts;
mod settings;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use tokio::runtime::Handle;

pub use self::settings::CreditsBuilder;
use self::{
    account::Account,
    accounts::Accounts,
    call::{Call, Ended},
    ledger::Ledger,
    parts::Miss,
};
pub use crate::key::{
    balance::Balance,
    credits::{CreditsPatch, NewCredits, RefillPatch},
    refill::{Refill, RefillInterval},
};
use crate::{
    error::{ConfigError, StoreError},
    key::{KeyId, KeyRecord},
    request::RequestHead,
    runtime::{Apart, Background},
    store::KeyRepository,
};

/// Spends the credits of keys, in memory and never more than there are.
///
/// The balance of a lineage is in the store. A node takes some hundreds of credits at a time
/// out of it, and spends those without asking the store; the nearer the balance comes to its end,
/// the fewer. Unused credits are given back after some seconds, and everything by
/// [`close`](Self::close). A node that crashes loses what it holds: credits are lost, never spent
/// twice. So they are, too, if the store fails without saying whether it has given them.
///
/// - **What is set or topped up** by a [`KeyManager`](crate::KeyManager) counts as soon as the
///   changed key is seen here: a cache has to hear of it, as of every change.
/// - **What other nodes hold** cannot be spent here. A lineage is refused as exhausted once the
///   store has less than the request costs; it is asked again every second.
/// - **A refill ends what is held** of a balance that it fills up, within two seconds.
/// - **While the store fails**, what is held goes on being spent. After that, requests are told to
///   try again.
///
/// Clones share what they hold. Spending needs a tokio runtime with time enabled.
///
/// A handler that only knows afterwards what a request costs spends it itself:
///
/// ```
/// use tower_api_key::{
///     Credits, KeyManager, NewKey,
///     credits::{NewCredits, SpendOutcome},
///     store::{KeyStore, MemoryStore},
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let credits = Credits::new(store.clone())?;
/// let manager = KeyManager::new(store);
/// let new = NewCredits { remaining: 100, refill: None };
/// let key = manager.create(NewKey { credits: Some(new), ..NewKey::named("CI") }).await?.record;
///
/// assert_eq!(credits.spend(&key, 30).await?, SpendOutcome::Done { remaining: 70 });
/// let short = credits.spend(&key, 71).await?;
/// assert_eq!(short, SpendOutcome::Short { remaining: 70, retry_after: None });
///
/// // When the server has stopped:
/// credits.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Credits {
    inner: Arc<Inner>,
    cost: Option<Arc<Cost>>,
}

type Cost = dyn Fn(&RequestHead<'_>) -> u64 + Send + Sync;

struct Inner {
    ledger: Arc<Ledger>,
    accounts: Accounts,
    sweeps: Background,
    apart: Apart<Credits>,
}

impl Inner {
    fn new(ledger: Ledger) -> Self {
        let (accounts, sweeps) = (Accounts::new(), Background::default());
        Self { ledger: Arc::new(ledger), accounts, sweeps, apart: Apart::default() }
    }
}

/// The outcome of an attempt to spend credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpendOutcome {
    /// They are spent.
    Done {
        /// The credits left, as far as this node knows.
        remaining: u64,
    },
    /// There are not enough, and none were spent.
    Short {
        /// The credits left, as far as this node knows.
        remaining: u64,
        /// How long it takes until enough come back, if they do.
        retry_after: Option<Duration>,
    },
}

impl Credits {
    /// Whether the other, of a layer further out, has spent a request's credits already: it is the same, or
    /// spends in earnest where this one counts apart.
    pub(crate) fn are_spent_by(&self, outer: &Self) -> bool {
        let are = |other: &Self| Arc::ptr_eq(&self.inner, &other.inner);
        are(outer) || outer.inner.apart.get().is_some_and(are)
    }

    /// The same, which spends nothing: it counts in memory.
    pub(crate) fn apart(&self) -> &Self {
        let inner = || Arc::new(Inner::new(self.inner.ledger.apart()));
        self.inner.apart.get_or_make(|| Self { inner: inner(), cost: self.cost.clone() })
    }

    /// The same balances, spent by requests that cost this much.
    #[cfg(feature = "axum")]
    pub(crate) fn at_cost(
        &self,
        cost: impl Fn(&RequestHead<'_>) -> u64 + Send + Sync + 'static,
    ) -> Self {
        Self { inner: self.inner.clone(), cost: Some(Arc::new(cost)) }
    }

    /// Credits whose balances are in `repository`. A request costs one, and a node takes 512 at a
    /// time at most.
    ///
    /// A repository without a [`balance_store`](KeyRepository::balance_store) is a
    /// [`StoreCapability`](ConfigError::StoreCapability) error.
    pub fn new(repository: impl KeyRepository) -> Result<Self, ConfigError> {
        Self::builder(repository).build()
    }

    /// Like [`new`](Self::new), with other settings than the defaults.
    pub fn builder(repository: impl KeyRepository) -> CreditsBuilder {
        CreditsBuilder::new(repository)
    }

    /// The cost of a request.
    #[inline]
    pub(crate) fn cost(&self, request: &RequestHead<'_>) -> u64 {
        self.cost.as_ref().map_or(1, |cost| cost(request))
    }

    /// Spends credits of a key's lineage, if that needs no waiting; `None` when
    /// [`spend`](Self::spend) must be asked.
    ///
    /// A cost of 0 is always done, and so is any cost of a key that spends no credits: of those,
    /// `u64::MAX` remain.
    #[inline]
    pub fn spend_now(&self, record: &KeyRecord, cost: u64) -> Option<SpendOutcome> {
        let Some(epoch) = record.details.get().and_then(|details| details.credits) else {
            return Some(SpendOutcome::Done { remaining: u64::MAX });
        };
        let lineage = record.lineage();
        match self.inner.accounts.parts.spend(lineage, epoch, cost) {
            Ok(remaining) => Some(SpendOutcome::Done { remaining }),
            Err(miss) => self.spend_held(record, lineage, epoch, cost, miss),
        }
    }

    /// The same, where the calling thread has not enough of its own.
    fn spend_held(
        &self,
        record: &KeyRecord,
        lineage: KeyId,
        epoch: u64,
        cost: u64,
        miss: Miss,
    ) -> Option<SpendOutcome> {
        let answer =
            self.inner.accounts.with(lineage, |account| match account.spend(epoch, cost, miss) {
                Some((spend, is_low)) => {
                    if is_low {
                        self.take_in_advance(account);
                    }
                    Some(spend)
                }
                None if cost == 0 => Some(SpendOutcome::Done { remaining: account.remaining() }),
                None => account.refuse(record, epoch, cost, self.inner.ledger.clock.now()),
            });
        match answer {
            Some(answer) => answer,
            None if cost == 0 => Some(SpendOutcome::Done { remaining: 0 }),
            None => None,
        }
    }

    /// Spends credits of a key's lineage, and takes more from the store where this node has not
    /// enough.
    ///
    /// Credits that are taken are held by this node also when the caller goes away. An error means
    /// that nothing was spent, and that it is unknown whether there is enough.
    pub async fn spend(&self, record: &KeyRecord, cost: u64) -> Result<SpendOutcome, StoreError> {
        loop {
            if let Some(spend) = self.spend_now(record, cost) {
                return Ok(spend);
            }
            let runtime = Handle::try_current()
                .map_err(|_| StoreError::unavailable("there is no tokio runtime"))?;
            let epoch = record.details.credits.unwrap_or_default();
            let account = self.inner.accounts.open(record.lineage());
            let now = self.inner.ledger.clock.now();
            let (mut waiter, call) = account.join(record, epoch, cost, now)?;
            if let Some(call) = call {
                self.make(&runtime, call);
            }
            match waiter.answer().await {
                // Others may have been faster with what was taken.
                Some(Ended::Took(Ok(())) | Ended::Gave) => {}
                Some(Ended::Took(Err(error))) => return Err(error),
                None => return Err(StoreError::unavailable("the store gave no answer")),
            }
        }
    }

    /// Puts back what was spent by a request that was then denied for another reason, or cost
    /// nothing after all. Does not wait; credits that this node has no room for are lost.
    pub fn give_back(&self, record: &KeyRecord, cost: u64) {
        if let Some(epoch) = record.details.credits {
            let _ =
                self.inner.accounts.with(record.lineage(), |account| account.put_back(epoch, cost));
        }
    }

    /// Gives back what this node holds of a lineage, for a caller that is about to take it.
    pub(crate) async fn recall(&self, lineage: KeyId) -> Result<(), StoreError> {
        let held = self.inner.accounts.with(lineage, Arc::clone);
        self.inner.give_back(held.into_iter().collect()).await
    }

    /// What this node [holds](Self::held) of a balance of this epoch.
    pub(crate) fn held_of(&self, lineage: KeyId, epoch: u64) -> u64 {
        self.inner.accounts.with(lineage, |account| account.held_of(epoch)).unwrap_or_default()
    }

    /// How many credits of a [lineage](KeyRecord::lineage) of keys this node holds and has not
    /// spent.
    pub fn held(&self, lineage: KeyId) -> u64 {
        self.inner.accounts.with(lineage, |account| account.held()).unwrap_or_default()
    }

    /// Gives everything back that this node holds, before the program ends: when nothing is spent
    /// any more.
    ///
    /// After an error, it can be done again. Credits of which it is not known whether the store got
    /// them count as lost.
    pub async fn close(&self) -> Result<(), StoreError> {
        let Ok(runtime) = Handle::try_current() else { return self.inner.close().await };
        // In a task of its own, so that nothing is lost on the way when the caller goes away.
        let inner = self.inner.clone();
        runtime.spawn(async move { inner.close().await }).await.map_err(StoreError::unavailable)?
    }

    #[cold]
    fn take_in_advance(&self, account: &Arc<Account>) {
        let Ok(runtime) = Handle::try_current() else { return };
        if let Some(call) = account.join_in_advance(self.inner.ledger.clock.now()) {
            self.make(&runtime, call);
        }
    }

    /// In a task of its own: a caller who goes away takes no other caller's credits along.
    fn make(&self, runtime: &Handle, call: Call) {
        self.inner.start_idle_sweep(runtime);
        let ledger = self.inner.ledger.clone();
        runtime.spawn(async move { ledger.take(call).await });
    }
}

impl fmt::Debug for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credits")
            .field("lease", &self.inner.ledger.most)
            .field("cost", &self.cost.is_some())
            .finish_non_exhaustive()
    }
}
