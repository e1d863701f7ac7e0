//! As `src/limit/mod.rs`, without what the layer needs of it.

#[path = "../../../src/limit/limiter.rs"]
mod limiter;
#[path = "../../../src/limit/local/mod.rs"]
mod local;

pub(crate) use self::{
    limiter::{LimitCheck, LimitDecision, LimitSubject, RateLimiter},
    local::LocalLimiter,
};
pub(crate) use crate::key::{
    limits::{Limit, Limits},
    quota::Quota,
};
