//! 10. Limits: how much a key may use the service.

mod headers;
mod limiter;
mod local;
mod rate;
#[cfg(feature = "redis")]
mod redis;
mod tier;

#[cfg(feature = "redis")]
pub use self::redis::RedisLimiter;
pub(crate) use self::{
    headers::{Consumption, LimitReport},
    rate::Limited,
};
pub use self::{
    limiter::{Bucket, Decision, LimitCheck, RateLimiter, Standing},
    local::LocalLimiter,
    rate::{LimiterOutage, RateLimits},
    tier::Tiers,
};
