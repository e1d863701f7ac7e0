//! How much owners do: so many acts a minute each.

use std::sync::Arc;

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
    pub(super) fn new() -> Self {
        // The name is a good one, as a test shows.
        let limits = Limit::new("acts", QUOTA).and_then(|limit| Limits::new([limit]));
        let limiter = LocalLimiter::new().with_capacity(OWNERS);
        Self { limiter, limits: limits.unwrap_or_default() }
    }

    pub(super) fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { limiter: self.limiter.with_clock(clock), ..self }
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

    #[test]
    fn there_is_a_limit() {
        assert_eq!(OwnerActs::new().limits.len(), 1);
    }
}
