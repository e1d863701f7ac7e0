//! 10. Limits: how much a key may use the service.

mod credits;
mod limiter;
mod limits;
mod quota;
mod tier;

pub(crate) use self::credits::MOST as MOST_CREDITS;
pub use self::{
    credits::{Balance, Credits, Refill, RefillInterval, Spend},
    limiter::{Bucket, Decision, LimitCheck, RateLimiter, Standing},
    limits::{Limit, Limits},
    quota::Quota,
    tier::Tiers,
};
