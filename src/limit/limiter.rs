//! [`RateLimiter`]: what counts requests, in this process or for all nodes together.

use std::{sync::Arc, time::Duration};

use super::local::LocalLimiter;
use crate::{
    error::StoreError,
    key::{KeyId, Limits, OwnerId},
    runtime::async_methods,
};

/// The subject whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitSubject<'b> {
    /// Those of a lineage, by its [first one](crate::key::KeyRecord::lineage): a rotation does not
    /// begin anew.
    Lineage(KeyId),
    /// Those of all keys of an owner.
    Owner(&'b OwnerId),
}

/// The question to a limiter.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
#[must_use]
pub struct LimitCheck<'c> {
    /// The subject whose requests are counted. Each of its limits is counted by its name.
    pub subject: LimitSubject<'c>,
    /// All of them have to let the request in. There is at least one.
    pub limits: &'c Limits,
    /// How many requests this one counts for: at least one.
    pub cost: u32,
}

impl<'c> LimitCheck<'c> {
    /// A question about a request that costs one.
    pub const fn new(subject: LimitSubject<'c>, limits: &'c Limits) -> Self {
        Self { subject, limits, cost: 1 }
    }

    /// The same about one that costs as many; no less than one.
    pub const fn with_cost(mut self, cost: u32) -> Self {
        self.cost = if cost == 0 { 1 } else { cost };
        self
    }
}

/// The answer of a limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitDecision {
    /// The request is let in, and counted by every limit.
    Allow(LimitState),
    /// It is not, and no limit counts it.
    Deny {
        /// The limit that the request has to wait for the longest.
        state: LimitState,
        /// How long that is, at least.
        retry_after: Duration,
    },
}

/// How one limit stands after a request: of those that let it in the one that is nearest to
/// exhaustion, of those that did not the one that takes the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitState {
    /// Which one, counted from 0 in [`LimitCheck::limits`].
    pub limit: usize,
    /// How many requests may still be made at once.
    pub remaining: u32,
    /// After how long without a request the whole burst is there again.
    pub reset: Duration,
}

impl LimitState {
    /// This limit, with so many requests left, and whole again after that time.
    pub const fn from_parts(limit: usize, remaining: u32, reset: Duration) -> Self {
        Self { limit, remaining, reset }
    }

    /// How the limit at this place stands, where so many nanoseconds are owed.
    #[inline]
    pub(crate) fn new(limits: &Limits, limit: usize, owed: u64) -> Self {
        let remaining = limits.get(limit).map_or(0, |limit| limit.quota().remaining(owed));
        Self { limit, remaining, reset: Duration::from_nanos(owed) }
    }

    /// Of the debts of all limits, the one that is nearest to what its limit admits.
    #[inline]
    pub(crate) fn nearest(limits: &Limits, owed: impl Iterator<Item = u64>) -> Self {
        let mut nearest = (0, 0, 1);
        for (place, (limit, owed)) in limits.iter().zip(owed).enumerate() {
            let room = limit.quota().room();
            // The greatest fraction: owed / room.
            if u128::from(owed) * u128::from(nearest.2) > u128::from(nearest.1) * u128::from(room)
                || place == 0
            {
                nearest = (place, owed, room);
            }
        }
        Self::new(limits, nearest.0, nearest.1)
    }
}

/// Counts requests, and says which are too many.
///
/// # Contract
///
/// - A request is let in by all limits, which then count it, or by none of them, and none counts
///   it. What a request costs is counted whole.
/// - A limit counts as its [`Quota`](crate::limit::Quota) says. Limits of one bucket with the same
///   name are one, also when its quota has changed in between: what was used stays used.
/// - An error means that it could not be found out; what then happens to the request is the
///   [layer's](super::OutagePolicy) to say.
/// - [`check`](Self::check) may be dropped at any await point, when its caller goes away.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a rate limiter",
    note = "use `LocalLimiter` or `RedisLimiter`, or implement `RateLimiter` for it"
)]
pub trait RateLimiter: Send + Sync + 'static {
    /// A decision that needs no waiting, or `None` when [`check`](Self::check) must be asked.
    ///
    /// Called on every request, on the thread that serves it: it must not block.
    fn check_now(&self, check: &LimitCheck<'_>) -> Option<LimitDecision> {
        let _ = check;
        None
    }

    async_methods! {
        /// Decides, and counts the request if it is let in.
        async fn check(&self, check: &LimitCheck<'_>) -> Result<LimitDecision, StoreError>;
    }

    /// Takes back a request that was let in, and was denied so long `after` that for another reason.
    /// It does not wait, and may come too late to help any caller.
    ///
    /// What has come back by itself in the meantime must not be given back once more: of the request's
    /// charge, the part that was paid off `after` that time stays counted.
    fn give_back(&self, check: &LimitCheck<'_>, after: Duration);

    async_methods! {
        /// Gives back what this node has taken and not used, before the program ends.
        async fn close(&self) {}
    }

    /// A limiter that has counted nothing yet, for a layer
    /// [in shadow](crate::ApiKeyLayer::shadow_until), in the memory of this node. A limiter with a clock or
    /// around another limiter should hand that on.
    fn apart(&self) -> LocalLimiter {
        LocalLimiter::new()
    }
}

impl<L: RateLimiter + ?Sized> RateLimiter for Arc<L> {
    fn check_now(&self, check: &LimitCheck<'_>) -> Option<LimitDecision> {
        (**self).check_now(check)
    }

    async_methods! {
        async fn check(&self, check: &LimitCheck<'_>) -> Result<LimitDecision, StoreError> {
            (**self).check(check).await
        }
    }

    fn give_back(&self, check: &LimitCheck<'_>, after: Duration) {
        (**self).give_back(check, after);
    }

    async_methods! {
        async fn close(&self) {
            (**self).close().await;
        }
    }

    fn apart(&self) -> LocalLimiter {
        (**self).apart()
    }
}
