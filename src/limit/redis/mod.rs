//! [`RedisLimiter`]: one count for all nodes, in Redis or Valkey.

mod buckets;
mod call;
mod lease;
#[cfg(test)]
mod lease_tests;
mod leases;
mod returns;
mod settings;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use tokio::runtime::Handle;

pub use self::settings::RedisLimiterBuilder;
use self::{
    buckets::{Buckets, give_back_args},
    call::Joined,
    leases::Leases,
};
use super::limiter::{LimitCheck, LimitDecision, RateLimiter};
use crate::{
    error::{ConfigError, StoreError},
    observe,
    redis::Client,
    runtime::async_methods,
};

/// Rate limits that all nodes of a service count together, in Redis 6.2 or later, or Valkey.
///
/// A limiter is *exact*, unless told otherwise: every request is one round trip, and counted by the
/// server's clock. However many nodes there are, together they let in what a
/// [`Quota`](crate::limit::Quota) says, and no request more. A bucket is a small hash that expires
/// when nothing is owed any more. A request that is given back is on its way to the server for a moment;
/// what comes back in that time may be let in once more.
///
/// Redis is waited for two seconds at most, and what it does not answer is an error: what happens
/// to the request is then the layer's to say. Clones share the same connection.
///
/// ```no_run
/// use tower_api_key::limit::RedisLimiter;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = RedisLimiter::connect("redis://127.0.0.1:6379").await?;
/// # let _ = limiter;
/// # Ok(())
/// # }
/// ```
///
/// # Leases
///
/// Built to be [`leased`](RedisLimiterBuilder::leased), it takes requests from the server in batches
/// and lets them in from memory, until they are used up or the lease ends, after half a second. A
/// batch is what the node's callers use in that time: for a quota of 1,000 a second that is used
/// up, one round trip is worth 50 requests or more, with up to eight nodes. The next batch is asked for
/// when an eighth of one is left, which goes on meanwhile: no request waits for it, unless callers use
/// that eighth faster than the server answers. What is not used is
/// given back when no caller asks for a while, and by [`close`](RateLimiter::close); of that, what
/// would have come back meanwhile is lost.
///
/// - Never more is let in than the quota says, by all nodes together, in any stretch of time. For
///   that, what comes back in the time of a lease is kept back from the burst: of 1,000 a second,
///   500 can be used at once, and all 1,000 in each second.
/// - Limits are not leased whose burst comes back in less than the time of two leases, or which
///   would be lent in batches of less than eight: a lease is what comes back while it lasts, or a
///   sixteenth of the burst. A bucket with such a limit is counted exactly.
/// - What is denied is denied from memory for as long as nothing can have come back, and half a
///   second at the most; where the quota is used up, also until asking is worth it.
/// - [`LimitState`](crate::limit::LimitState) is an estimate: what the server had when it was last
///   asked, and what the node has left.
/// - A request goes back into the batch that counted it. Once that has ended, or the next one is in
///   use, the request is lost to the caller.
/// - The clocks of nodes have to run as fast as the server's, but need not show the same time. A
///   node that is frozen as a whole, clock included, must not go on with the leases that it had.
///
/// Nodes that are exact and nodes with leases of any time may share a prefix, as they do while a
/// service is updated.
///
/// # Settings of Redis
///
/// Nothing about persistence, unless a restart must not give a caller a second burst. But what it
/// evicts is forgotten: with a `maxmemory-policy` other than `noeviction`, a full Redis lets in
/// more than the quota. TLS (`rediss://`) takes a feature of the crate `redis`, as for
/// `RedisStore`.
#[derive(Clone)]
pub struct RedisLimiter {
    buckets: Buckets,
    leases: Option<Arc<Leases>>,
}

/// How often a request waits for a lease. After that it asks for itself.
const LEASES_TO_WAIT_FOR: usize = 4;

impl RedisLimiter {
    /// Connects to a server, and finds out whether it is there.
    ///
    /// The URL has the form `redis://user:password@host:port/database`, or `unix:///path`; of a
    /// cluster, `redis+cluster://user:password@host:port,host:port`, see
    /// [`connect`](crate::store::connect).
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::builder(url).connect().await
    }

    /// Will connect when it is first used, and does not mind if there is no server yet.
    pub fn new(url: &str) -> Result<Self, ConfigError> {
        Self::builder(url).build()
    }

    /// Like [`new`](Self::new) or [`connect`](Self::connect), with other settings than the defaults.
    ///
    /// ```
    /// use tower_api_key::limit::RedisLimiter;
    ///
    /// let limiter = RedisLimiter::builder("redis://127.0.0.1:6379")
    ///     .with_prefix("shop_limits")
    ///     .leased()
    ///     .build()?;
    /// # let _ = limiter;
    /// # Ok::<(), tower_api_key::ConfigError>(())
    /// ```
    pub fn builder(url: &str) -> RedisLimiterBuilder {
        RedisLimiterBuilder::new(Client::of(url))
    }

    /// Like [`new`](Self::new), for a cluster. Each bucket is on some node of it.
    ///
    /// Any node leads to the others; name several, so that one may be down.
    #[cfg(feature = "redis-cluster")]
    #[cfg_attr(docsrs, doc(cfg(feature = "redis-cluster")))]
    pub fn new_cluster<'u>(urls: impl IntoIterator<Item = &'u str>) -> Result<Self, ConfigError> {
        Self::builder_cluster(urls).build()
    }

    /// Like [`connect`](Self::connect), for a [cluster](Self::new_cluster).
    #[cfg(feature = "redis-cluster")]
    #[cfg_attr(docsrs, doc(cfg(feature = "redis-cluster")))]
    pub async fn connect_cluster<'u>(
        urls: impl IntoIterator<Item = &'u str>,
    ) -> Result<Self, StoreError> {
        Self::builder_cluster(urls).connect().await
    }

    /// Like [`builder`](Self::builder), for a [cluster](Self::new_cluster).
    #[cfg(feature = "redis-cluster")]
    #[cfg_attr(docsrs, doc(cfg(feature = "redis-cluster")))]
    pub fn builder_cluster<'u>(urls: impl IntoIterator<Item = &'u str>) -> RedisLimiterBuilder {
        RedisLimiterBuilder::new(Client::cluster(urls))
    }
}

impl RateLimiter for RedisLimiter {
    #[inline]
    fn check_now(&self, check: &LimitCheck<'_>) -> Option<LimitDecision> {
        let leases = self.leases.as_ref()?;
        let (decision, is_low) = leases.decide(check)?;
        if is_low {
            leases.ask_ahead(&self.buckets, check);
        }
        Some(decision)
    }

    async_methods! {
        async fn check(&self, check: &LimitCheck<'_>) -> Result<LimitDecision, StoreError> {
            if let Some(leases) = &self.leases {
                for _ in 0..LEASES_TO_WAIT_FOR {
                    let mut call = match leases.join(&self.buckets, check) {
                        Joined::Decided(decision) => return Ok(decision),
                        Joined::Waiting(call) => call,
                        Joined::NotLeased => break,
                    };
                    // Without an answer, the lease was forgotten meanwhile.
                    call.answer().await.transpose()?;
                }
            }
            let decision = self.buckets.take(check).await?;
            if let Some(leases) = &self.leases
                && let LimitDecision::Deny { .. } = &decision
            {
                leases.denied(check, &decision, &self.buckets);
            }
            Ok(decision)
        }
    }

    /// Without a tokio runtime, nothing is given back.
    fn give_back(&self, check: &LimitCheck<'_>, after: Duration) {
        if self.leases.as_ref().is_some_and(|leases| leases.give_back(check, after)) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let (key, args) = (self.buckets.key(&check.subject), give_back_args(check, after));
        let buckets = self.buckets.clone();
        runtime.spawn(async move {
            if let Err(error) = buckets.give_back(key, &args).await {
                observe::not_given_back(&error);
            }
        });
    }

    async_methods! {
        async fn close(&self) {
            if let Some(leases) = &self.leases {
                leases.close(&self.buckets).await;
            }
        }
    }
}

impl fmt::Debug for RedisLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisLimiter({})", self.buckets.prefix)
    }
}
