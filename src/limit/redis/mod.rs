//! [`RedisLimiter`]: one count for all nodes, in Redis or Valkey.

mod buckets;
#[cfg(test)]
mod tests;

use std::fmt;

use async_trait::async_trait;
use tokio::runtime::Handle;

use self::buckets::{Buckets, give_back_args};
use super::{Decision, LimitCheck, RateLimiter};
use crate::{
    ConfigError, observe,
    redis::{Client, check_prefix},
    store::StoreError,
};

/// Rate limits that all nodes of a service count together, in Redis 6.2 or later, or Valkey.
///
/// Every request is one round trip, and counted by the server's clock: however many nodes there
/// are, together they let in what a [`Quota`](crate::Quota) says, and no request more. A bucket is
/// a small hash that expires when nothing is owed any more.
///
/// Redis is waited for two seconds at most, and what it does not answer is an error: what happens
/// to the request is then the layer's to say. Clones share the same connection.
///
/// ```no_run
/// use tower_api_key::RedisLimiter;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = RedisLimiter::connect("redis://127.0.0.1:6379").await?;
/// # let _ = limiter;
/// # Ok(())
/// # }
/// ```
///
/// # What Redis has to be told
///
/// Nothing about persistence, unless a restart must not give anybody a second burst. But what it
/// evicts is forgotten: with a `maxmemory-policy` other than `noeviction`, a full Redis lets in
/// more than the quota. TLS (`rediss://`) takes a feature of the crate `redis`, as for
/// `RedisStore`.
#[derive(Clone)]
pub struct RedisLimiter {
    buckets: Buckets,
}

const DEFAULT_PREFIX: &str = "api_limits";

impl RedisLimiter {
    /// Connects to a server, and finds out whether it is there.
    ///
    /// The URL has the form `redis://user:password@host:port/database`, or `unix:///path`.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let limiter = Self::new(url).map_err(StoreError::unavailable)?;
        limiter.buckets.probe().await?;
        Ok(limiter)
    }

    /// Will connect when it is first used, and does not mind if there is no server yet.
    pub fn new(url: &str) -> Result<Self, ConfigError> {
        Client::server(url).map(Self::from_client)
    }

    /// Like [`new`](Self::new), for a cluster. Each bucket is on some node of it.
    ///
    /// Any node leads to the others; name several, so that one may be down.
    #[cfg(feature = "redis-cluster")]
    #[cfg_attr(docsrs, doc(cfg(feature = "redis-cluster")))]
    pub fn new_cluster<'u>(urls: impl IntoIterator<Item = &'u str>) -> Result<Self, ConfigError> {
        Client::cluster(urls).map(Self::from_client)
    }

    /// Like [`connect`](Self::connect), for a [cluster](Self::new_cluster).
    #[cfg(feature = "redis-cluster")]
    #[cfg_attr(docsrs, doc(cfg(feature = "redis-cluster")))]
    pub async fn connect_cluster<'u>(
        urls: impl IntoIterator<Item = &'u str>,
    ) -> Result<Self, StoreError> {
        let limiter = Self::new_cluster(urls).map_err(StoreError::unavailable)?;
        limiter.buckets.probe().await?;
        Ok(limiter)
    }

    fn from_client(client: Client) -> Self {
        Self { buckets: Buckets::new(client, DEFAULT_PREFIX) }
    }

    /// Counts under `name:` instead of `api_limits:`: a count of its own. The name has 1 to 64
    /// ASCII letters, digits and `_-.:/`.
    pub fn with_prefix(mut self, name: &str) -> Result<Self, ConfigError> {
        check_prefix(name)?;
        self.buckets.prefix = name.into();
        Ok(self)
    }
}

#[async_trait]
impl RateLimiter for RedisLimiter {
    async fn check(&self, check: &LimitCheck<'_>) -> Result<Decision, StoreError> {
        self.buckets.take(check).await
    }

    /// Without a tokio runtime, nothing is given back.
    fn give_back(&self, check: &LimitCheck<'_>) {
        let Ok(runtime) = Handle::try_current() else { return };
        let (key, args) = (self.buckets.key(&check.bucket), give_back_args(check));
        let buckets = self.buckets.clone();
        runtime.spawn(async move {
            if let Err(error) = buckets.give_back(key, &args).await {
                observe::not_given_back(&error);
            }
        });
    }
}

impl fmt::Debug for RedisLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisLimiter({})", self.buckets.prefix)
    }
}
