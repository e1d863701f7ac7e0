//! [`Call`]: a call of the store on its way, and what comes of it.

use std::{mem, sync::Arc};

use super::{
    account::Account,
    lease_size::LeaseSize,
    ledger::{Taken, Trouble},
};
use crate::{clock::Timestamp, runtime::Waiter, store::StoreError};

/// A call of the store on its way. Ends also when its task panics or its runtime is shut down.
pub(super) struct Call(Option<Arc<Account>>);

impl Call {
    pub(super) fn of(account: &Arc<Account>) -> Self {
        Self(Some(account.clone()))
    }

    pub(super) fn account(&self) -> Option<&Account> {
        self.0.as_deref()
    }

    pub(super) fn took(mut self, size: &LeaseSize, taken: &Taken, most: u64) {
        if let Some(account) = mem::take(&mut self.0) {
            account.took(size, taken, most);
        }
    }

    pub(super) fn took_not(mut self, trouble: Trouble, now: Timestamp) {
        if let Some(account) = mem::take(&mut self.0) {
            account.took_not(trouble, now);
        }
    }

    pub(super) fn gave(mut self, deposit: Deposit, returned: Returned) {
        if let Some(account) = mem::take(&mut self.0) {
            account.gave(deposit, returned);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(account) = mem::take(&mut self.0) {
            account.gave_up();
        }
    }
}

/// How a call of the store ended.
#[derive(Clone, Debug)]
pub(super) enum Ended {
    /// The store was asked for credits, and answered or did not.
    Took(Result<(), StoreError>),
    /// It was not asked for any.
    Gave,
}

/// What a caller finds that wants to give back the held credits.
pub(super) enum Giving {
    Nothing,
    Busy(Waiter<Ended>),
    Off(Call, Deposit),
}

/// Credits on their way back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deposit {
    pub(super) amount: u64,
    pub(super) epoch: u64,
}

/// The outcome of giving credits back.
#[derive(Clone, Copy, Debug)]
pub(super) enum Returned {
    /// The store has them, unless its balance is another one by now; this is what it has left.
    Done { left: u64 },
    /// It surely has not got them.
    NotMade,
    /// It may have got them, so they are not held any longer.
    Unknown,
}
