//! 10. Limits: how much a key may use the service.

mod credits;
mod limiter;
mod limits;
mod quota;
#[cfg(feature = "redis")]
mod redis;
mod tier;

#[cfg(feature = "redis")]
pub use self::redis::RedisLimiter;
pub use self::{
    credits::{Balance, Refill, RefillInterval},
    limiter::{Bucket, Decision, LimitCheck, RateLimiter, Standing},
    limits::{Limit, Limits},
    quota::Quota,
    tier::Tiers,
};
