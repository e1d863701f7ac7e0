//! How much owners do: so many acts a minute each.

use super::{KeyManager, error::ManageError};
use crate::{
    clock::Clock,
    key::{Limit, Limits, OwnerId, Quota},
    limit::{LimitCheck, LimitDecision, LimitSubject, LocalLimiter},
    nonzero,
};

/// Counts the acts of owners, in the memory of this node.
#[derive(Clone)]
pub(super) struct OwnerActs {
    limiter: LocalLimiter,
    limits: Limits,
}

const QUOTA: Quota = Quota::per_minute(nonzero!(30));

/// Owners that are counted at a time. With more of them, those that did the least are forgotten.
const OWNERS: usize = 10_000;

impl OwnerActs {
    /// Nothing is counted yet.
    pub(super) fn new(clock: impl Clock) -> Self {
        // The name is a good one, as a test shows.
        let limits = Limit::new("acts", QUOTA).and_then(|limit| Limits::new([limit]));
        let limiter = LocalLimiter::builder().with_capacity(OWNERS).with_clock(clock).build();
        Self { limiter, limits: limits.unwrap_or_default() }
    }

    fn count(&self, owner: &OwnerId) -> Result<(), ManageError> {
        match self.limiter.decide(&LimitCheck::new(LimitSubject::Owner(owner), &self.limits)) {
            LimitDecision::Allow(_) => Ok(()),
            LimitDecision::Deny { retry_after, .. } => {
                Err(ManageError::TooManyActs { retry_after })
            }
        }
    }
}

impl KeyManager {
    /// Counts an act, if an owner holds this handle.
    pub(super) fn count_act(&self) -> Result<(), ManageError> {
        match &self.access.bounds {
            Some(bounds) => self.acts.count(bounds.owner()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn there_is_a_limit() {
        assert_eq!(OwnerActs::new(SystemClock).limits.len(), 1);
    }
}
