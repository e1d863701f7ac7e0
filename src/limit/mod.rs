//! 10. Limits: how much a key may use the service.

mod credits;
mod limiter;
mod limits;
mod quota;
mod throttle;
mod tier;

pub use self::{
    credits::{Balance, Refill, RefillInterval},
    limiter::{Bucket, Decision, LimitCheck, RateLimiter, Standing},
    limits::{Limit, Limits},
    quota::Quota,
    throttle::FailureThrottle,
    tier::Tiers,
};
