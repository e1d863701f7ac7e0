//! [`Counters`]: what a layer further out has counted already, of a request that has come through one.
//!
//! Two layers of one manager may both stand on a request's way. Each judges the key, and it counts once.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::Extensions;

use super::{attached::LayerId, authenticated::AuthenticatedKey, config::Config, revocation};
use crate::{credits::Credits, key::KeyId, limit::RateLimits, usage::UsageRecorder};

/// Some of what a layer counts with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) limits: bool,
    pub(crate) credits: bool,
    pub(crate) usage: bool,
}

impl Counters {
    /// Those of `config` with which a layer further out has counted this key.
    #[inline]
    pub(crate) fn used_outside(config: &Config, extensions: &Extensions, key: KeyId) -> Self {
        match extensions.get::<AuthenticatedKey>() {
            Some(outer) if outer.id() == key => Self::shared_with(config, outer.layer()),
            _ => Self::default(),
        }
    }

    #[cold]
    fn shared_with(config: &Config, outer: LayerId) -> Self {
        if let Some(shared) = config.outer.get(outer) {
            return shared;
        }
        let Some(other) = revocation::config_of(outer) else { return Self::default() };
        let shared = Self {
            limits: both(
                config.rate_limits.as_ref(),
                other.rate_limits.as_ref(),
                RateLimits::is_counted_by,
            ),
            credits: both(config.credits.as_ref(), other.credits.as_ref(), Credits::are_spent_by),
            usage: both(config.usage.as_ref(), other.usage.as_ref(), UsageRecorder::is),
        };
        config.outer.set(outer, shared);
        shared
    }
}

fn both<T>(one: Option<&T>, outer: Option<&T>, is: impl Fn(&T, &T) -> bool) -> bool {
    one.zip(outer).is_some_and(|(one, outer)| is(one, outer))
}

/// The counters that a layer shares with the one that stood outside of it last: nearly always the same one,
/// and asked for by each request.
#[derive(Debug, Default)]
pub(crate) struct OuterLayer(AtomicU64);

impl OuterLayer {
    fn get(&self, outer: LayerId) -> Option<Counters> {
        let known = self.0.load(Relaxed);
        (known >> 3 == outer.get()).then_some(Counters {
            limits: known & 1 != 0,
            credits: known & 2 != 0,
            usage: known & 4 != 0,
        })
    }

    fn set(&self, outer: LayerId, shared: Counters) {
        let bits = u64::from(shared.limits)
            | u64::from(shared.credits) << 1
            | u64::from(shared.usage) << 2;
        self.0.store(outer.get() << 3 | bits, Relaxed);
    }
}

/// A layer with other settings shares nothing yet.
impl Clone for OuterLayer {
    fn clone(&self) -> Self {
        Self::default()
    }
}
