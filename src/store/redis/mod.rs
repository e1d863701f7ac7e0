//! [`RedisStore`]: keys in Redis or Valkey.

mod list;
mod record;
mod script;

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use self::script::{Keys, Scripts};
use super::{
    Changes, KeyRepository, KeyStore, KeyUpdate, KeyUse, ListQuery, Page, StoreError,
    StoreErrorKind, Update,
};
use crate::{
    ConfigError, KeyDigest, KeyId, KeyRecord, OwnerId, Timestamp,
    redis::{Client, Link, Script, check_prefix},
};

/// Keys in Redis 6.2 or later, or Valkey: for a service of several nodes that has no database.
///
/// A lookup is one round trip. Redis is waited for two seconds at most; a server that is lost,
/// loading, full or a replica is an error, and is used again as soon as it can be.
///
/// Clones share the same connection, which carries any number of calls at once.
///
/// ```no_run
/// use tower_api_key::{KeyManager, NewKey, store::RedisStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = RedisStore::connect("redis://127.0.0.1:6379").await?;
/// let issued = KeyManager::new(store).create(NewKey::named("CI of the shop")).await?;
/// # drop(issued);
/// # Ok(())
/// # }
/// ```
///
/// # What Redis has to be told
///
/// - **Persistence.** As it comes, Redis forgets the last minutes when it is killed. With
///   `appendonly yes` and `appendfsync always`, what a method has written when it returned `Ok`
///   survives that and the loss of power; `appendfsync everysec` may lose two seconds. A replica
///   that takes over may lack the last writes, since Redis does not wait for replicas.
/// - **Eviction.** `maxmemory-policy noeviction`, or a `volatile-` policy: keys have no time to
///   live. Then a full Redis refuses new keys, while lookups and revoking go on. An `allkeys-`
///   policy removes keys of any age. The store notices and calls itself
///   [`Corrupt`](StoreErrorKind::Corrupt), so that callers are told to try again and not that
///   their keys are unknown; what was evicted is lost all the same.
/// - **TLS** (`rediss://`) takes a feature of the crate `redis`, such as `tokio-rustls-comp`, and
///   a root store to go with it. This crate turns on none: which one is the application's choice.
///
/// # What there is not
///
/// - **An audit log.** [`events`](KeyRepository::events) is
///   [`Unsupported`](StoreErrorKind::Unsupported): a log that only grows does not belong in
///   memory. The SQL stores keep one; hooks are told of every event whatever the store.
/// - **Sentinel.** A URL names a server, and no sentinel is asked where it is. A name or a proxy that
///   always leads to the primary works: Sentinel closes the connections to a server that it makes a
///   replica, the name is then resolved anew, and replicas are refused.
/// - **Indexes for every filter.** [`list`](KeyRepository::list) finds keys by owner, by request
///   and those with a legacy hash. For a status, a scope or a prefix it reads through what is left
///   to choose from, a few hundred keys at a time, until the page is full.
///
/// # How keys are kept
///
/// As JSON in the hash `{api_keys}:keys`, with nine more keys to find them by; the head of
/// `src/store/redis/common.lua` lists them. All have the prefix in braces, which puts them on one
/// node of a cluster: a change is one script, and a script needs its keys in one place. A store
/// hence has the memory of one node, about 1 KB for each key.
///
/// Redis does nothing else while a script runs. [`apply`](KeyRepository::apply) takes it about 20
/// milliseconds for 500 keys; import them by the hundred, so that lookups do not wait for longer.
#[derive(Clone)]
pub struct RedisStore {
    link: Arc<Link>,
    scripts: Arc<Scripts>,
    keys: Arc<Keys>,
}

const DEFAULT_PREFIX: &str = "api_keys";

/// Keys that one run of a script lists or looks at to purge: Redis does nothing else meanwhile.
const BATCH: usize = 250;

impl RedisStore {
    /// Connects to a server, and [migrates](Self::migrate) it.
    ///
    /// The URL has the form `redis://user:password@host:port/database`, or `unix:///path`.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let store = Self::new(url).map_err(StoreError::unavailable)?;
        store.migrate().await?;
        Ok(store)
    }

    /// Will connect when it is first used, and does not mind if there is no server yet.
    ///
    /// Call [`migrate`](Self::migrate) before anything else.
    ///
    /// ```no_run
    /// # use tower_api_key::store::RedisStore;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = RedisStore::new("redis://127.0.0.1:6379")?.with_prefix("partner_keys")?;
    /// store.migrate().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(url: &str) -> Result<Self, ConfigError> {
        Client::server(url).map(Self::from_client)
    }

    /// Like [`new`](Self::new), for a cluster.
    ///
    /// Any node leads to the others; name several, so that one may be down. While the cluster
    /// moves the slot with the keys to another node, the store is unavailable.
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
        let store = Self::new_cluster(urls).map_err(StoreError::unavailable)?;
        store.migrate().await?;
        Ok(store)
    }

    fn from_client(client: Client) -> Self {
        Self {
            link: Link::new(client),
            scripts: Arc::new(Scripts::new()),
            keys: Arc::new(Keys::new(DEFAULT_PREFIX)),
        }
    }

    /// Keeps everything under `{name}:` instead of `{api_keys}:`. Call [`migrate`](Self::migrate)
    /// afterwards.
    pub fn with_prefix(mut self, name: &str) -> Result<Self, ConfigError> {
        check_prefix(name)?;
        self.keys = Arc::new(Keys::new(name));
        Ok(self)
    }

    /// Begins an empty store, brings one that an older version of this crate made up to date, or
    /// checks the version of the one that is there.
    ///
    /// An older version of this crate does not use a store that was brought up to date: what still
    /// runs then is unavailable until it is replaced. Doing it again changes nothing, and several processes may do it at once.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let answer: String = self.link.run(&self.scripts.migrate, &self.keys, &[]).await?;
        match answer.as_str() {
            "done" => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// The keys that `script` finds.
    async fn rows(
        &self,
        script: &Script,
        args: &[&str],
    ) -> Result<Vec<Arc<KeyRecord>>, StoreError> {
        type Column = Vec<Option<String>>;
        let (keys, uses, last_used): (Column, Column, Column) =
            self.link.run(script, &self.keys, args).await?;
        let rows = keys.iter().zip(&uses).zip(&last_used).map(|((json, uses), last_used)| {
            let json = json.as_deref().ok_or_else(|| StoreError::corrupt(MISSING))?;
            let record = record::read(json, uses.as_deref(), last_used.as_deref());
            record.map(Arc::new).map_err(StoreError::corrupt)
        });
        rows.collect()
    }
}

const MISSING: &str = "a key is missing: evicted, or removed by another program";

fn unexpected() -> StoreError {
    StoreError::corrupt("a script returned what it never returns")
}

/// As Redis counts, with a sign. No key is used 2⁶³ times.
fn count(count: u64) -> String {
    count.min(i64::MAX.unsigned_abs()).to_string()
}

fn millis(time: Timestamp) -> String {
    time.as_unix_millis().to_string()
}

#[async_trait]
impl KeyStore for RedisStore {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let found = self.rows(&self.scripts.find, &["digests", &digest.to_hex()]).await?.pop();
        if found.as_ref().is_some_and(|record| record.digest != *digest) {
            return Err(StoreError::corrupt("a digest leads to another key"));
        }
        Ok(found.filter(|record| record.details.deleted_at.is_none()))
    }
}

#[async_trait]
impl KeyRepository for RedisStore {
    async fn apply(&self, changes: &Changes) -> Result<Update, StoreError> {
        if changes.inserts.is_empty() && changes.updates.is_empty() {
            return Ok(Update::Done);
        }
        let mut args = vec![changes.inserts.len().to_string()];
        for record in &changes.inserts {
            args.extend([
                record.id.to_string(),
                record::write(record),
                millis(record.created_at),
                count(record.use_count),
                record.last_used_at.map(millis).unwrap_or_default(),
            ]);
        }
        for KeyUpdate { record, expected } in &changes.updates {
            args.extend([record.id.to_string(), record::write(record), expected.to_string()]);
        }
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let answer: String = self.link.run(&self.scripts.apply, &self.keys, &args).await?;
        match answer.as_str() {
            "done" => Ok(Update::Done),
            "stale" => Ok(Update::Stale),
            "duplicate" => Err(StoreError::new(StoreErrorKind::Duplicate)),
            _ => Err(unexpected()),
        }
    }

    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        Ok(self.rows(&self.scripts.get, &[&id.to_string()]).await?.pop())
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        match &query.request {
            Some(request) => self.list_request(request, query).await,
            None => self.list_range(query).await,
        }
    }

    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        let lines = uses.iter().map(|key_use| {
            let (count, at) = (count(key_use.count), millis(key_use.last_used_at));
            format!("{} {count} {at}\n", key_use.id)
        });
        let lines: String = lines.collect();
        let answer: String =
            self.link.run(&self.scripts.record_uses, &self.keys, &[&lines]).await?;
        match answer.as_str() {
            "done" => Ok(()),
            _ => Err(unexpected()),
        }
    }

    async fn purge(&self, before: Timestamp, owner: Option<&OwnerId>) -> Result<u64, StoreError> {
        let (before, batch) = (millis(before), BATCH.to_string());
        let (mut purged, mut after) = (0, String::new());
        loop {
            let args = [&*before, &*batch, &*after];
            let args: Vec<_> = args.into_iter().chain(owner.map(OwnerId::as_str)).collect();
            let (seen, gone, last): (usize, u64, String) =
                self.link.run(&self.scripts.purge, &self.keys, &args).await?;
            purged += gone;
            after = last;
            if seen < BATCH {
                return Ok(purged);
            }
        }
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisStore({})", self.keys.prefix)
    }
}
