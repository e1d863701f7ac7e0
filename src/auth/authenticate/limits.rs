//! Step 10: rate limits, then credits. What was denied before has consumed nothing, and what is
//! denied here consumes nothing either.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::{Answer, Attempt, Outcome, admit};
use crate::{
    auth::config::Config,
    credits::SpendOutcome,
    error::{StoreError, StoreErrorKind},
    key::KeyRecord,
    limit::{Consumption, LimitReport, Limited},
    observe,
    rejection::Rejection,
    request::RequestHead,
};

/// The denial of a key with a restriction that this layer cannot enforce.
#[cold]
pub(super) fn unenforceable(config: &Config, record: &Arc<KeyRecord>) -> Outcome {
    let needs = record.details.needs().without(config.enforced);
    observe::unenforceable(record.id, needs);
    let error = StoreError::new(StoreErrorKind::Unsupported)
        .with_source(format!("the key needs {needs}, which this layer does not enforce"));
    Outcome::Reject(Rejection::from_store_error(error).with_record(record))
}

/// Whether the rate limits let a request in, and then the rest.
pub(super) fn check(
    config: &Config,
    request: &RequestHead<'_>,
    attempt: Attempt,
    record: Arc<KeyRecord>,
) -> Outcome {
    match &config.rate_limits {
        None => pay(config, request, attempt, record, None),
        Some(limits) => {
            let limited = limits.check(request, &record);
            counted(config, request, attempt, record, limited)
        }
    }
}

/// Goes on with what the rate limits say.
pub(super) fn counted(
    config: &Config,
    request: &RequestHead<'_>,
    attempt: Attempt,
    record: Arc<KeyRecord>,
    limited: Limited,
) -> Outcome {
    match limited {
        Limited::Admitted(report) => pay(config, request, attempt, record, report),
        Limited::Denied(rejection) => Outcome::Reject(rejection),
        Limited::Waiting(limited) => {
            Outcome::Wait(Box::pin(
                async move { (attempt, Answer::Limited(record, limited.await)) },
            ))
        }
    }
}

/// Spends the key's credits, if it has any to spend.
fn pay(
    config: &Config,
    request: &RequestHead<'_>,
    attempt: Attempt,
    record: Arc<KeyRecord>,
    rate: Option<LimitReport>,
) -> Outcome {
    let spends = record.details.get().is_some_and(|details| details.credits.is_some());
    let Some(credits) = config.credits.as_ref().filter(|_| spends) else {
        return admit(config, request, attempt, record, Consumption::new(rate, None));
    };
    let cost = credits.cost(request);
    if cost == 0 {
        return admit(config, request, attempt, record, Consumption::new(rate, None));
    }
    if let Some(spend) = credits.spend_now(&record, cost) {
        return paid(config, request, attempt, record, rate, Ok(spend));
    }
    let (credits, deadline) = (credits.clone(), Instant::now() + config.lookup_timeout);
    Outcome::Wait(Box::pin(async move {
        let spend = timeout_at(deadline, credits.spend(&record, cost)).await;
        let spend = spend.unwrap_or_else(|_| Err(StoreError::timeout()));
        (attempt, Answer::Paid(record, rate, spend))
    }))
}

/// Goes on once the credits are spent, or are not.
pub(super) fn paid(
    config: &Config,
    request: &RequestHead<'_>,
    attempt: Attempt,
    record: Arc<KeyRecord>,
    rate: Option<LimitReport>,
    spend: Result<SpendOutcome, StoreError>,
) -> Outcome {
    let rejection = match spend {
        Ok(SpendOutcome::Done { remaining }) => {
            let consumed = Consumption::new(rate, Some(remaining));
            return admit(config, request, attempt, record, consumed);
        }
        Ok(SpendOutcome::Short { remaining, retry_after }) => {
            Rejection::credits_exhausted(remaining, retry_after)
        }
        Err(error) => Rejection::from_store_error(error),
    };
    if let Some(limits) = &config.rate_limits {
        limits.give_back(request, &record);
    }
    Outcome::Reject(rejection.with_record(&record))
}
