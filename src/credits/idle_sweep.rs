//! The background task that gives back unused credits, and the closing of a node's credits.

use std::{sync::Arc, time::Duration};

use tokio::runtime::Handle;

use super::{Inner, account::Account, call::Giving};
use crate::error::StoreError;

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(2);

impl Inner {
    /// Starts the background task, unless it runs.
    pub(super) fn start_idle_sweep(self: &Arc<Self>, runtime: &Handle) {
        let Some(mut running) = self.sweeps.begin() else { return };
        let inner = Arc::downgrade(self);
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                let Some(inner) = inner.upgrade() else { return };
                inner.sweep().await;
                if !inner.accounts.forget(inner.ledger.clock.now()) {
                    continue;
                }
                let Some(on) = running.unless(|| inner.accounts.is_empty()) else { return };
                running = on;
            }
        });
    }

    /// Gives back credits that were not used for some sweeps.
    async fn sweep(&self) {
        let now = self.ledger.clock.now();
        let mut deposits = Vec::new();
        for account in self.accounts.filter(|account| account.sweep(now)) {
            // What is on its way is in use.
            if let Giving::Off(call, deposit) = account.give(now) {
                deposits.push((call, deposit));
            }
        }
        // An error was reported. What is still held has its turn again.
        let _ = self.ledger.give_back(deposits).await;
    }

    /// Gives everything back.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        self.give_back(self.accounts.filter(|_| true)).await
    }

    /// Gives back all that these accounts hold.
    pub(super) async fn give_back(
        &self,
        mut accounts: Vec<Arc<Account>>,
    ) -> Result<(), StoreError> {
        while !accounts.is_empty() {
            let (mut deposits, mut busy) = (Vec::new(), Vec::new());
            let now = self.ledger.clock.now();
            for account in accounts.drain(..) {
                match account.give(now) {
                    Giving::Nothing => {}
                    Giving::Busy(waiter) => busy.push((account, waiter)),
                    Giving::Off(call, deposit) => deposits.push((call, deposit)),
                }
            }
            self.ledger.give_back(deposits).await?;
            for (account, mut waiter) in busy {
                // Whatever became of it, the account has its turn now.
                let _ = waiter.answer().await;
                accounts.push(account);
            }
        }
        Ok(())
    }
}
