//! Limits: how much a key may use the service, and the [`RateLimiter`] that counts. [`RateLimits`]
//! is what a layer is given; all that a limiter of your own needs can be imported from here.

mod headers;
mod limiter;
mod local;
mod rate;
#[cfg(feature = "redis")]
mod redis;
mod tier;

#[cfg(any(fuzzing, test))]
pub(crate) use self::headers::Fields;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use self::redis::{RedisLimiter, RedisLimiterBuilder};
pub(crate) use self::{
    headers::{Consumption, LimitReport},
    rate::{Limited, Rated},
};
pub use self::{
    limiter::{LimitCheck, LimitDecision, LimitState, LimitSubject, RateLimiter},
    local::{LocalLimiter, LocalLimiterBuilder},
    rate::{OutagePolicy, RateLimits},
    tier::Tiers,
};
pub use crate::key::{
    limits::{Limit, Limits},
    quota::Quota,
};
/// What the signatures of [`RateLimiter`] name.
#[doc(no_inline)]
pub use crate::{
    error::{BackEnd, StoreError, StoreErrorKind},
    key::{KeyId, OwnerId},
};
