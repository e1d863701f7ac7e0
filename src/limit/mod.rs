//! 10. Limits: how much a key may use the service.

mod charge;
mod credits;
mod headers;
mod limiter;
mod limits;
mod local;
mod quota;
mod rate;
#[cfg(feature = "redis")]
mod redis;
mod throttle;
mod tier;

#[cfg(feature = "redis")]
pub use self::redis::RedisLimiter;
pub use self::{
    charge::{Charge, ChargeGate, ChargeLayer},
    credits::{Balance, Credits, Refill, RefillInterval, Spend},
    limiter::{Bucket, Decision, LimitCheck, RateLimiter, Standing},
    limits::{Limit, Limits},
    local::LocalLimiter,
    quota::Quota,
    rate::{LimiterOutage, RateLimits},
    throttle::FailureThrottle,
    tier::Tiers,
};
pub(crate) use self::{
    credits::{MOST as MOST_CREDITS, refill_halves},
    headers::{Consumption, LimitReport, tells_of_limits},
    rate::Limited,
};
