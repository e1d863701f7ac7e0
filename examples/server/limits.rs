//! How much keys may use the server: the tiers, and the limiter that counts.

use tower_api_key::{
    ConfigError, RateLimits,
    auth::FailureThrottle,
    limit::{Limit, Limits, LocalLimiter, Quota, RedisLimiter, Tiers},
    nonzero,
};

use crate::{config::Config, logs::causes};

/// Keys have these limits by the name of their tier, or limits of their own, or none.
fn tiers() -> Result<Tiers, ConfigError> {
    let minute = |requests| Limits::new([Limit::new("minute", Quota::per_minute(requests))?]);
    Ok(Tiers::new()
        .with_tier("basic", minute(nonzero!(100))?)
        .with_tier("pro", minute(nonzero!(1_000))?))
}

/// Nodes that have a Redis in common count together; others count for themselves.
pub(crate) async fn open(config: &Config) -> Result<RateLimits, String> {
    let limits = match config.shared_redis() {
        Some((variable, url)) => {
            let limiter = RedisLimiter::connect(url.as_str()).await.map_err(|error| {
                format!("{variable}: cannot count requests in {url}: {}", causes(&error))
            })?;
            tracing::info!("rate limits are counted in {url}");
            RateLimits::new(limiter)
        }
        None => RateLimits::new(LocalLimiter::new()),
    };
    Ok(limits.with_tiers(tiers().map_err(|error| error.to_string())?))
}

/// Has clients wait that have failed too often.
pub(crate) fn throttle(config: &Config) -> Option<FailureThrottle> {
    Some(FailureThrottle::new(Quota::per_minute(config.failures_per_minute?)))
}
