//! [`RedisStore`]: keys in Redis or Valkey.

mod apply;
pub(crate) mod balance;
mod list;
pub(crate) mod record;
mod repository;
pub(crate) mod request;
mod script;
mod usage;
mod watermarks;

use std::{fmt, sync::Arc};

use redis::FromRedisValue;

use self::script::{Keys, Scripts};
use crate::{
    clock::Timestamp,
    error::{ConfigError, StoreError},
    key::KeyRecord,
    redis::{Client, Link, Script, check_prefix},
    store::silence::Circuits,
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
///   live. Then a full Redis refuses new keys, new balances and counts of uses and usage, while
///   lookups and revoking go on, and credits that are there are given out. An `allkeys-` policy
///   removes keys of any age. The store notices and calls itself
///   [`Corrupt`](super::StoreErrorKind::Corrupt), so that callers are told to try again and not
///   that their keys are unknown; what was evicted is lost all the same.
/// - **To forget usage.** What was counted of a lineage in an hour takes about 300 bytes of
///   memory, and 25 more for each outcome but the first: 7 MB a day for every thousand lineages
///   that are used around the clock. Nothing of it ever goes by itself: call
///   [`forget_usage`](super::UsageLog::forget_usage) once a day, with the time before which the
///   application asks for it no more.
/// - **TLS** (`rediss://`) takes a feature of the crate `redis`, such as `tokio-rustls-comp`, and
///   a root store to go with it. This crate turns on none: which one is the application's choice.
///
/// # What there is not
///
/// - **An audit log.** [`audit_log`](super::KeyRepository::audit_log) is `None`: a log that only
///   grows does not belong in memory. The SQL stores keep one; hooks are told of every event whatever the store.
/// - **Sentinel.** A URL names a server, and no sentinel is asked where it is. A name or a proxy
///   that always leads to the primary works: Sentinel closes the connections to a server that it
///   makes a replica, the name is then resolved anew, and replicas are refused.
/// - **Indexes for every filter.** [`list`](super::KeyRepository::list) finds keys by owner, by
///   request and those with a legacy hash. For a status, a scope or a prefix it reads through what
///   is left to choose from, a few hundred keys at a time, until the page is full.
///
/// # How keys are kept
///
/// As JSON in the hash `{api_keys}:keys`, with sixteen more keys to find them by and for balances,
/// usage and requests; the head of `src/store/redis/common.lua` lists them. All have the prefix in braces,
/// which puts them on one node of a cluster: a change is one script, and a script needs its keys in
/// one place. A store hence has the memory of one node, about 1 KB for each key.
///
/// Redis does nothing else while a script runs. [`apply`](super::KeyRepository::apply) takes it
/// about 20 milliseconds for 500 keys; import them by the hundred, so that lookups do not wait for
/// longer. [`record_usage`](super::UsageLog::record_usage) takes it 7 milliseconds for a
/// thousand counts, and 15 for those of a new hour. What reads, purges or forgets much goes in
/// steps of a few milliseconds: one that fails or is given up may have done a part.
#[derive(Clone)]
pub struct RedisStore {
    link: Arc<Link>,
    scripts: Arc<Scripts>,
    keys: Arc<Keys>,
    circuits: Circuits,
}

const DEFAULT_PREFIX: &str = "api_keys";

/// Keys or balances that one run of a script lists, or looks at to purge: Redis does nothing else
/// meanwhile.
const BATCH: usize = 250;

impl RedisStore {
    /// Connects to a server, and [migrates](Self::migrate) it.
    ///
    /// The URL has the form `redis://user:password@host:port/database`, or `unix:///path`; of a
    /// cluster, `redis+cluster://user:password@host:port,host:port`, see
    /// [`connect`](super::connect).
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
        Client::of(url).map(Self::from_client)
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
            circuits: Circuits::new(),
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
    /// runs then is unavailable until it is replaced. Doing it again changes nothing, and several
    /// processes may do it at once.
    ///
    /// Many keys are brought up to date a few at a time. They can be used meanwhile, but not
    /// [purged](super::KeyRepository::purge); if it is given up halfway, the next call goes on with
    /// it.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        loop {
            match self.run::<String>(&self.scripts.migrate, &[]).await?.as_str() {
                "done" => return Ok(()),
                "more" => {}
                _ => return Err(unexpected()),
            }
        }
    }

    async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        args: &[&str],
    ) -> Result<T, StoreError> {
        let answer = self.link.run(script, &self.keys, args).await;
        if answer.is_ok() {
            self.circuits.answered();
        }
        answer
    }

    /// Runs a script that has nothing to say.
    async fn done(&self, script: &Script, args: &[&str]) -> Result<(), StoreError> {
        match self.run::<String>(script, args).await?.as_str() {
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
        let (keys, uses, last_used): (Column, Column, Column) = self.run(script, args).await?;
        read_rows(&keys, &uses, &last_used).collect()
    }
}

/// What scripts return of keys: as JSON, use counts, times of last use.
type Column = Vec<Option<String>>;

fn read_rows<'c>(
    keys: &'c Column,
    uses: &'c Column,
    last_used: &'c Column,
) -> impl Iterator<Item = Result<Arc<KeyRecord>, StoreError>> + 'c {
    keys.iter().zip(uses).zip(last_used).map(|((json, uses), last_used)| {
        let json = json.as_deref().ok_or_else(|| StoreError::corrupt(MISSING))?;
        let record = record::read(json, uses.as_deref(), last_used.as_deref());
        record.map(Arc::new).map_err(StoreError::corrupt)
    })
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

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisStore({})", self.keys.prefix)
    }
}
