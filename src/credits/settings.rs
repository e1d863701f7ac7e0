//! The settings of [`Credits`], and their builder.

use std::{fmt, num::NonZeroU64, sync::Arc};

use super::{Cost, Credits, Inner, books::Books, ledger::Ledger};
use crate::{
    clock::{Clock, SystemClock},
    error::ConfigError,
    request::RequestHead,
    store::KeyRepository,
};

const MAX_LEASE: NonZeroU64 = NonZeroU64::MIN.saturating_add(511);

/// Makes [`Credits`]: [`Credits::builder`] begins, [`build`](Self::build) ends.
#[must_use]
pub struct CreditsBuilder {
    ledger: Ledger,
    cost: Option<Arc<Cost>>,
}

impl CreditsBuilder {
    pub(super) fn new(repository: impl KeyRepository) -> Self {
        let (books, clock) = (Books::Store(Arc::new(repository)), Arc::new(SystemClock));
        Self { ledger: Ledger { books, clock, most: MAX_LEASE }, cost: None }
    }

    /// Reads the time from this clock.
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.ledger.clock = Arc::new(clock);
        self
    }

    /// How many credits of a lineage a node takes at a time at most, unless requests cost more:
    /// what a crash can lose, against how often the store is asked. 512 by default.
    pub fn with_lease(mut self, most: NonZeroU64) -> Self {
        self.ledger.most = most;
        self
    }

    /// Sets the cost of a request; 0 is free, also for a key without any credits left. One by
    /// default.
    ///
    /// ```
    /// use tower_api_key::{Credits, store::MemoryStore};
    ///
    /// let credits = Credits::builder(MemoryStore::new())
    ///     .with_cost(|request| if request.uri.path() == "/export" { 50 } else { 1 })
    ///     .build()?;
    /// # let _ = credits;
    /// # Ok::<(), tower_api_key::ConfigError>(())
    /// ```
    pub fn with_cost(
        mut self,
        cost: impl Fn(&RequestHead<'_>) -> u64 + Send + Sync + 'static,
    ) -> Self {
        self.cost = Some(Arc::new(cost));
        self
    }

    /// The credits. This node holds none yet.
    ///
    /// A repository without a [`balance_store`](KeyRepository::balance_store) is a
    /// [`StoreCapability`](ConfigError::StoreCapability) error.
    pub fn build(self) -> Result<Credits, ConfigError> {
        if !self.ledger.books.has_balances() {
            return Err(ConfigError::StoreCapability {
                setting: "Credits",
                lacks: "keeps no balances (`balance_store`)",
                remedy: "leave credits out, or use a store that keeps them",
            });
        }
        Ok(Credits { inner: Arc::new(Inner::new(self.ledger)), cost: self.cost })
    }
}

impl fmt::Debug for CreditsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreditsBuilder")
            .field("lease", &self.ledger.most)
            .field("cost", &self.cost.is_some())
            .finish_non_exhaustive()
    }
}
