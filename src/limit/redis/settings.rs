//! The builder of a [`RedisLimiter`].

use std::{fmt, ops::RangeInclusive, sync::Arc, time::Duration};

use super::{
    RedisLimiter,
    buckets::{Buckets, unavailable},
    leases::Leases,
};
use crate::{
    error::{ConfigError, StoreError},
    redis::{Client, check_prefix},
};

const DEFAULT_PREFIX: &str = "api_limits";

/// How long a lease is, unless told otherwise.
const LEASE_TIME: Duration = Duration::from_millis(500);
const LEASE_TIMES: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_mins(1);

/// Makes a [`RedisLimiter`]: [`RedisLimiter::builder`] begins, [`build`](Self::build) or
/// [`connect`](Self::connect) ends.
#[must_use]
pub struct RedisLimiterBuilder {
    /// Or why there is none.
    client: Result<Client, ConfigError>,
    prefix: Box<str>,
    /// None: every request is counted by the server.
    lease_time: Option<Duration>,
}

impl RedisLimiterBuilder {
    pub(super) fn new(client: Result<Client, ConfigError>) -> Self {
        Self { client, prefix: DEFAULT_PREFIX.into(), lease_time: None }
    }

    /// Counts under `name:` instead of `api_limits:`: a count of its own. The name has 1 to 64
    /// ASCII letters, digits and `_-.:/`.
    pub fn with_prefix(mut self, name: &str) -> Self {
        self.prefix = name.into();
        self
    }

    /// Takes requests from the server in batches, and lets them in from memory, instead of asking
    /// for each. See [leases](RedisLimiter#leases).
    pub fn leased(self) -> Self {
        self.with_lease_time(LEASE_TIME)
    }

    /// Like [`leased`](Self::leased), with leases that end after this time instead of half a
    /// second: from 10 milliseconds to a minute.
    ///
    /// Nodes with longer ones ask less often, and keep more of a burst back. Limits whose burst
    /// comes back in less than the time of two leases are not leased.
    pub fn with_lease_time(mut self, time: Duration) -> Self {
        self.lease_time = Some(time.clamp(*LEASE_TIMES.start(), *LEASE_TIMES.end()));
        self
    }

    /// The limiter. It will connect when it is first used, and does not mind if there is no server
    /// yet.
    ///
    /// A URL or a prefix that cannot be used is an error.
    pub fn build(self) -> Result<RedisLimiter, ConfigError> {
        let client = self.client?;
        check_prefix(&self.prefix)?;
        let leases = self.lease_time.map(|time| Arc::new(Leases::new(time)));
        #[cfg(feature = "metrics")]
        if let Some(leases) = &leases {
            crate::observe::register(leases);
        }
        Ok(RedisLimiter { buckets: Buckets::new(client, &self.prefix), leases })
    }

    /// Like [`build`](Self::build), and finds out whether the server is there.
    pub async fn connect(self) -> Result<RedisLimiter, StoreError> {
        let limiter = self.build().map_err(unavailable)?;
        limiter.buckets.probe().await?;
        Ok(limiter)
    }
}

/// Without the URL, which may hold a password.
impl fmt::Debug for RedisLimiterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLimiterBuilder")
            .field("prefix", &self.prefix)
            .field("lease_time", &self.lease_time)
            .finish_non_exhaustive()
    }
}
