//! 10. Limits: a key's restrictions and its credits.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};

use crate::{
    auth::config::Config,
    clock::TICK,
    credits::{Credits, SpendOutcome},
    error::{StoreError, StoreErrorKind},
    key::KeyRecord,
    limit::Rated,
    observe,
    rejection::Rejection,
    request::RequestHead,
};

/// The denial of a key with a restriction that this layer cannot enforce.
#[cold]
pub(super) fn unenforceable(config: &Config, record: &Arc<KeyRecord>) -> Rejection {
    let needs = record.details.needs().without(config.enforced);
    observe::unenforceable(record.id, needs);
    let error = StoreError::new(StoreErrorKind::Unsupported)
        .with_source(format!("the key needs {needs}, which this layer does not enforce"));
    Rejection::from_store_error(error).with_record(record)
}

/// The credits that a request costs; `None` if it costs none, or its key has none to spend.
pub(super) fn price<'c>(
    config: &'c Config,
    request: &RequestHead<'_>,
    record: &KeyRecord,
) -> Option<(&'c Credits, u64)> {
    let credits = config.credits.as_ref()?;
    record.details.get()?.credits.as_ref()?;
    let cost = credits.cost(request);
    (cost > 0).then_some((credits, cost))
}

/// How the credits of a request were spent, or were not, and how long that took.
pub(crate) struct Spend {
    outcome: Result<SpendOutcome, StoreError>,
    took: Duration,
}

impl Spend {
    /// Without waiting.
    pub(super) const fn at_once(outcome: Result<SpendOutcome, StoreError>) -> Self {
        Self { outcome, took: Duration::ZERO }
    }
}

/// Spends credits that could not be spent at once.
pub(super) fn spend(
    config: &Config,
    credits: &Credits,
    record: Arc<KeyRecord>,
    cost: u64,
) -> impl Future<Output = Spend> + Send + use<> {
    let (credits, deadline) = (credits.clone(), Instant::now() + config.lookup_timeout);
    // The clock of limits that are counted here, where it is set for both.
    let (clock, began) = (config.clock.clone(), config.clock.now());
    async move {
        let spend = timeout_at(deadline, credits.spend(&record, cost)).await;
        let outcome = spend.unwrap_or_else(|_| Err(StoreError::timeout()));
        Spend { outcome, took: clock.now().saturating_since(began).saturating_sub(TICK) }
    }
}

/// The credits that are left, or why they could not be spent. Then the rate limits get back what
/// they have counted.
pub(super) fn remaining(
    config: &Config,
    request: &RequestHead<'_>,
    record: &Arc<KeyRecord>,
    rated: &Rated,
    spend: Spend,
) -> Result<u64, Rejection> {
    let rejection = match spend.outcome {
        Ok(SpendOutcome::Done { remaining }) => return Ok(remaining),
        Ok(SpendOutcome::Short { remaining, retry_after }) => {
            Rejection::credits_exhausted(remaining, retry_after)
        }
        Err(error) => Rejection::from_store_error(error),
    };
    if let Some(limits) = &config.rate_limits {
        limits.give_back(request, record, rated, spend.took);
    }
    Err(rejection.with_record(record))
}
