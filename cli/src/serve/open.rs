//! The store, the cache in front of it, the bus between nodes, and what counts requests.

use std::{sync::Arc, time::Duration};

use tower_api_key::{
    ConfigError, Credits, KeyHasher, KeyManager, RateLimits, UsageRecorder,
    limit::{self, Limit, LocalLimiter, RedisLimiter, Tiers},
    store::{
        self, CachedStore, ConnectError, Invalidations, KeyRepository, MySqlStore, PostgresStore,
        StoreKind,
    },
};

use super::{
    config::{Config, Named},
    values::{Bus, Counting, LimitText},
};
use crate::{
    database::{check_file, check_table, connect_to_table},
    failure::Failure,
};

impl Config {
    /// Opens everything that lasts as long as the sidecar does.
    pub(super) async fn open(&self, hasher: &KeyHasher) -> Result<KeyManager, Failure> {
        // Before the store, which may take long to refuse.
        let mut formats = self.formats(hasher)?;
        let tiers = self.tiers()?;
        let kind = self.kind()?;
        let buses = self.buses(kind).await?;
        let repository = self.cached(self.store(kind).await?, &buses);
        let mut keys = KeyManager::new(repository.clone())
            .with_format(formats.swap_remove(0))
            .with_hasher(hasher.clone())
            .with_rate_limits(self.rate_limits(kind).await?.with_tiers(tiers));
        for bus in buses {
            keys = keys.with_invalidations(bus);
        }
        if self.file.credits {
            let credits = Credits::new(repository.clone());
            keys = keys.with_credits(credits.map_err(|error| self.wrong("credits", error))?);
        }
        if self.file.usage {
            let usage = UsageRecorder::new(repository);
            keys = keys.with_usage(usage.map_err(|error| self.wrong("usage", error))?);
        }
        Ok(keys)
    }

    fn kind(&self) -> Result<StoreKind, Failure> {
        let Named { name, value } = &self.store_url;
        match StoreKind::of_url(value).map_err(|error| Failure::connect(name, error.into()))? {
            StoreKind::Memory => {
                Err(Failure::Usage(format!("{name}: no key would ever be in `memory:`")))
            }
            kind => Ok(kind),
        }
    }

    async fn store(&self, kind: StoreKind) -> Result<Arc<dyn KeyRepository>, Failure> {
        let Named { name, value: url } = &self.store_url;
        let failed = |error| Failure::connect(name, error);
        if kind == StoreKind::Sqlite {
            check_file(name, url)?;
        }
        let table = self.table.as_deref();
        if let Some(table) = table {
            check_table(kind, url, table).await?;
        }
        let replicas = &self.file.store.replicas;
        Ok(match (kind, table) {
            (StoreKind::Postgres, _) => {
                let mut builder = PostgresStore::builder(url);
                if let Some(table) = table {
                    builder = builder.with_table(table)?;
                }
                let builder = replicas.iter().fold(builder, |one, url| one.with_replica(&url.0));
                Arc::new(builder.connect().await.map_err(failed)?)
            }
            (StoreKind::MySql, _) => {
                let mut builder = MySqlStore::builder(url);
                if let Some(table) = table {
                    builder = builder.with_table(table)?;
                }
                let builder = replicas.iter().fold(builder, |one, url| one.with_replica(&url.0));
                Arc::new(builder.connect().await.map_err(failed)?)
            }
            _ if !replicas.is_empty() => {
                return Err(self.wrong("store.replicas", "are for PostgreSQL and MySQL"));
            }
            (kind, Some(table)) => connect_to_table(kind, url, table).await?,
            _ => store::connect(url).await.map_err(failed)?,
        })
    }

    fn cached(
        &self,
        store: Arc<dyn KeyRepository>,
        buses: &[Arc<dyn Invalidations>],
    ) -> Arc<dyn KeyRepository> {
        let cache = &self.file.cache;
        if cache.ttl.is_some_and(|ttl| ttl.0.is_zero()) {
            return store;
        }
        let mut builder = CachedStore::builder(store);
        if let Some(ttl) = cache.ttl {
            builder = builder.with_ttl(ttl.0);
        }
        if let Some(capacity) = cache.capacity {
            builder = builder.with_capacity(capacity.get());
        }
        if let Some(time) = cache.stale_if_error {
            builder = builder.with_stale_if_error(time.0);
        }
        if let Some(timeout) = self.lookup_timeout() {
            builder = builder.with_lookup_timeout(timeout);
        }
        for bus in buses {
            builder = builder.with_invalidations(bus.clone());
        }
        Arc::new(builder.build())
    }

    /// How long a check waits for the store.
    pub(super) fn lookup_timeout(&self) -> Option<Duration> {
        self.file.store.lookup_timeout.map(|time| time.0)
    }

    /// By default the store where it has one, and the Redis that is named: what changes a key may tell either.
    async fn buses(&self, kind: StoreKind) -> Result<Vec<Arc<dyn Invalidations>>, Failure> {
        self.check_redis()?;
        let has_own = matches!(kind, StoreKind::Postgres | StoreKind::Redis);
        let (own, redis) = (has_own.then_some(&self.store_url), self.redis_url.as_ref());
        let (own, redis) = match self.file.cache.bus {
            Some(Bus::None) => (None, None),
            Some(Bus::Redis) if redis.is_none() => {
                return Err(self.wrong("cache.bus", "neither REDIS_URL nor store.redis_url is set"));
            }
            Some(Bus::Redis) => (None, redis),
            Some(Bus::Store) if own.is_none() => {
                let problem = "this store carries no changes: name a Redis";
                return Err(self.wrong("cache.bus", problem));
            }
            Some(Bus::Store) => (own, None),
            None => (own, redis.filter(|redis| *redis.value != *self.store_url.value)),
        };
        let mut buses = Vec::new();
        for Named { name, value } in own.into_iter().chain(redis) {
            let bus = store::connect_bus(value).await;
            buses.extend(bus.map_err(|error| Failure::connect(name, error))?);
        }
        Ok(buses)
    }

    fn check_redis(&self) -> Result<(), Failure> {
        match &self.redis_url {
            Some(Named { name, value }) if StoreKind::of_url(value) != Ok(StoreKind::Redis) => {
                Err(Failure::Usage(format!("{name} must be like redis://host:port")))
            }
            _ => Ok(()),
        }
    }

    /// By default in a Redis, which all nodes share, where there is one.
    async fn rate_limits(&self, kind: StoreKind) -> Result<RateLimits, Failure> {
        self.check_redis()?;
        let redis = self.redis_url.as_ref();
        let redis = redis.or((kind == StoreKind::Redis).then_some(&self.store_url));
        let Named { name, value } = match (self.file.limits.counted_in, redis) {
            (Some(Counting::Memory), _) | (None, None) => {
                return Ok(RateLimits::new(LocalLimiter::new()));
            }
            (Some(Counting::Redis), None) => {
                let problem = "neither REDIS_URL nor store.redis_url is set";
                return Err(self.wrong("limits.counted_in", problem));
            }
            (Some(Counting::Redis) | None, Some(redis)) => redis,
        };
        let limiter = RedisLimiter::connect(value).await;
        let failed = |error| Failure::connect(name, ConnectError::Store(error));
        Ok(RateLimits::new(limiter.map_err(failed)?))
    }

    fn tiers(&self) -> Result<Tiers, Failure> {
        let limits = |field: &str, texts: &[LimitText]| {
            let limits: Vec<Limit> = texts.iter().map(|text| text.0.clone()).collect();
            let limits: Result<_, ConfigError> = limit::Limits::new(limits);
            limits.map_err(|error| self.wrong(field, error))
        };
        let set = &self.file.limits;
        let mut tiers = Tiers::new();
        if !set.default.is_empty() {
            tiers = tiers.with_default(limits("limits.default", &set.default)?);
        }
        for (name, texts) in &set.tiers {
            tiers = tiers.with_tier(name.as_str(), limits(&format!("limits.tiers.{name}"), texts)?);
        }
        Ok(tiers)
    }
}
