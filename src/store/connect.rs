//! [`connect`] and [`connect_bus`]: a store and its bus by URL.

use std::{error::Error, fmt, sync::Arc};

use super::{bus::Invalidations, memory::MemoryStore, repository::KeyRepository};
use crate::error::{ConfigError, StoreError};

/// Opens the store of a URL, as it stands in an environment variable like `DATABASE_URL`, and
/// makes its tables if they are not there.
///
/// | URL | store | feature |
/// |---|---|---|
/// | `memory:` | [`MemoryStore`] | – |
/// | `sqlite:keys.db`, `sqlite://keys.db`, `sqlite:///var/lib/keys.db` | `SqliteStore` | `sqlite` |
/// | `postgres://user:password@host/database`, `postgresql://…` | `PostgresStore` | `postgres` |
/// | `mysql://user:password@host/database`, `mariadb://…` | `MySqlStore` | `mysql` |
/// | `redis://host`, `rediss://…`, `valkey://…`, `valkeys://…` | `RedisStore` | `redis` |
/// | `redis+cluster://user:password@host:port,host:port`, `rediss+cluster://…`, `valkey…` | `RedisStore` on a cluster | `redis-cluster` |
///
/// What follows the database's name is the driver's: for the SQL stores, the options of sqlx, such
/// as `?sslmode=verify-full`. An option that the driver would pass over is an
/// [error](ConfigError::StoreOption) that names it. PostgreSQL also takes `?schema=name`, as other
/// programs write it: the `search_path` is that schema. SQLite takes no options but `?mode=rwc`,
/// which is what happens anyway: a file that is not there is made.
///
/// A cluster is known by any of its nodes; name several, so that one may be down. User and password
/// are the same for all, as is what follows the last node. Characters that mean something in a URL,
/// commas included, are written in percent in a password.
///
/// A URL names the primary. Replicas are given to the builders of `PostgresStore` and `MySqlStore`.
///
/// No error shows the URL, which may hold a password.
///
/// ```
/// use tower_api_key::{KeyManager, store};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let url = std::env::var("KEYS_URL").unwrap_or_else(|_| "memory:".to_owned());
/// let manager = KeyManager::new(store::connect(&url).await?);
/// # let _ = manager;
/// # Ok(())
/// # }
/// ```
#[allow(clippy::unused_async, reason = "the features decide whether there is something to await")]
pub async fn connect(url: &str) -> Result<Arc<dyn KeyRepository>, ConnectError> {
    match checked(url)? {
        StoreKind::Memory => Ok(Arc::new(MemoryStore::new())),
        #[cfg(feature = "sqlite")]
        StoreKind::Sqlite => Ok(Arc::new(super::SqliteStore::open(sqlite_file(url)?).await?)),
        #[cfg(feature = "postgres")]
        StoreKind::Postgres => Ok(Arc::new(super::PostgresStore::connect(url).await?)),
        #[cfg(feature = "mysql")]
        StoreKind::MySql => Ok(Arc::new(super::MySqlStore::connect(url).await?)),
        #[cfg(feature = "redis")]
        StoreKind::Redis => {
            let store = super::RedisStore::new(url)?;
            store.migrate().await?;
            Ok(Arc::new(store))
        }
        #[allow(unreachable_patterns, reason = "with all features, none is missing")]
        kind => Err(kind.missing().into()),
    }
}

/// Connects to the bus that the store of a URL has itself, which tells the caches of all nodes what
/// was changed: for the [`CachedStore`](super::CachedStore) and the
/// [`KeyManager`](crate::KeyManager::with_invalidations) of each node.
///
/// | URL | bus | feature |
/// |---|---|---|
/// | `memory:` | `None`: no other process has these keys | – |
/// | `sqlite:keys.db`, … | `None`: a cache [watches](super::KeyStore::watch) the file | `sqlite` |
/// | `postgres://…`, `postgresql://…` | `PostgresInvalidations` | `postgres` |
/// | `mysql://…`, `mariadb://…` | `None`: give this function the URL of a Redis | `mysql` |
/// | `redis://…`, `rediss://…`, `valkey://…`, `valkeys://…` | `RedisInvalidations` | `redis` |
/// | `redis+cluster://…`, `rediss+cluster://…`, `valkey…` | `RedisInvalidations`, over the first node that answers | `redis` |
///
/// The URL is the one that [`connect`] takes, and is refused for the same reasons. The channel is
/// `tower_api_key`, and is the database's, or the server's: `?schema=` makes no difference to it.
///
/// No error shows the URL, which may hold a password.
///
/// ```
/// use tower_api_key::{KeyManager, store};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let url = std::env::var("KEYS_URL").unwrap_or_else(|_| "memory:".to_owned());
/// let mut manager = KeyManager::new(store::connect(&url).await?);
/// if let Some(bus) = store::connect_bus(&url).await? {
///     manager = manager.with_invalidations(bus);
/// }
/// # let _ = manager;
/// # Ok(())
/// # }
/// ```
#[allow(clippy::unused_async, reason = "the features decide whether there is something to await")]
pub async fn connect_bus(url: &str) -> Result<Option<Arc<dyn Invalidations>>, ConnectError> {
    match checked(url)? {
        StoreKind::Memory => Ok(None),
        #[cfg(feature = "sqlite")]
        StoreKind::Sqlite => Ok(None),
        #[cfg(feature = "postgres")]
        StoreKind::Postgres => {
            Ok(Some(Arc::new(super::PostgresInvalidations::connect(url).await?)))
        }
        #[cfg(feature = "mysql")]
        StoreKind::MySql => Ok(None),
        #[cfg(feature = "redis")]
        StoreKind::Redis => {
            let bus = super::RedisInvalidations::new(url)?;
            bus.check().await?;
            Ok(Some(Arc::new(bus)))
        }
        #[allow(unreachable_patterns, reason = "with all features, none is missing")]
        kind => Err(kind.missing().into()),
    }
}

/// The kind of store that a URL names, whichever features this program has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreKind {
    /// `memory:`
    Memory,
    /// A file of SQLite.
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
    /// A MySQL or MariaDB server.
    MySql,
    /// A Redis or Valkey server, or a cluster of them.
    Redis,
}

impl StoreKind {
    /// The kind of store that the scheme of a URL names. Whether [`connect`] takes the rest of the
    /// URL is not checked, but for the `//` before the address of a server.
    ///
    /// ```
    /// use tower_api_key::store::StoreKind;
    ///
    /// assert_eq!(StoreKind::of_url("mariadb://db/app"), Ok(StoreKind::MySql));
    /// assert!(StoreKind::of_url("mongodb://db/app").is_err());
    /// ```
    pub fn of_url(url: &str) -> Result<Self, ConfigError> {
        let (scheme, rest) = url.split_once(':').ok_or(NO_URL)?;
        // A text without `//` is no URL of a server, but may well be a password and more.
        if !rest.starts_with("//") && !matches!(scheme, "memory" | "sqlite") {
            return Err(NO_URL);
        }
        match scheme {
            "memory" => Ok(Self::Memory),
            "sqlite" => Ok(Self::Sqlite),
            "postgres" | "postgresql" => Ok(Self::Postgres),
            "mysql" | "mariadb" => Ok(Self::MySql),
            "redis" | "rediss" | "valkey" | "valkeys" | "redis+cluster" | "rediss+cluster"
            | "valkey+cluster" | "valkeys+cluster" => Ok(Self::Redis),
            scheme if is_scheme(scheme) => {
                Err(ConfigError::StoreScheme { scheme: scheme.to_owned() })
            }
            _ => Err(NO_URL),
        }
    }

    /// The feature that this program was built without. Memory is never missing.
    #[allow(dead_code, reason = "with all features, none is missing")]
    fn missing(self) -> ConfigError {
        let feature = match self {
            Self::Memory | Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
            Self::Redis => "redis",
        };
        ConfigError::StoreFeature { feature }
    }
}

/// The kind of a URL without a mistake that shows before a connection is made.
fn checked(url: &str) -> Result<StoreKind, ConfigError> {
    let kind = StoreKind::of_url(url)?;
    match kind {
        StoreKind::Memory if !matches!(url, "memory:" | "memory://") => {
            return Err(ConfigError::StoreUrl { expected: "`memory:` and nothing else" });
        }
        #[cfg(feature = "sqlite")]
        StoreKind::Sqlite => drop(sqlite_file(url)?),
        #[cfg(feature = "postgres")]
        StoreKind::Postgres => drop(crate::url::postgres(url)?),
        #[cfg(feature = "mysql")]
        StoreKind::MySql => drop(crate::url::mysql(url)?),
        // `RedisStore` and `RedisInvalidations` check theirs.
        _ => {}
    }
    Ok(kind)
}

const NO_URL: ConfigError = ConfigError::StoreUrl {
    expected: "a URL like `postgres://user:password@host/database`, or `sqlite:keys.db` for a file",
};

/// RFC 3986 §3.1
fn is_scheme(text: &str) -> bool {
    let other = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(other)
}

/// The file of a SQLite URL, read as sqlx reads it, so that one variable can serve both.
#[cfg(feature = "sqlite")]
fn sqlite_file(url: &str) -> Result<std::path::PathBuf, ConfigError> {
    crate::url::check_sqlite(url)?;
    let rest = url.strip_prefix("sqlite:").unwrap_or(url);
    let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
    match path.trim_start_matches("//") {
        ":memory:" if options.is_empty() => return Ok(":memory:".into()),
        path if !path.is_empty() && matches!(options, "" | "mode=rwc") => {
            if let Ok(options) = url.parse::<sqlx::sqlite::SqliteConnectOptions>() {
                return Ok(options.get_filename().into());
            }
        }
        _ => {}
    }
    Err(ConfigError::StoreUrl { expected: "a URL like `sqlite:keys.db`" })
}

/// Why [`connect`] gave no store, or [`connect_bus`] no bus.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL cannot be used, or not without another feature of this crate.
    Config(ConfigError),
    /// The store could not be opened, or the bus not reached.
    Store(StoreError),
}

impl From<ConfigError> for ConnectError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<StoreError> for ConnectError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Config(error) => error.source(),
            Self::Store(error) => error.source(),
        }
    }
}
