//! [`connect`]: a store by its URL.

use std::{error::Error, fmt, sync::Arc};

use super::{memory::MemoryStore, repository::KeyRepository};
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
    let (scheme, rest) = url.split_once(':').ok_or(NO_URL)?;
    // A text without `//` is no URL of a server, but may well be a password and more.
    if !rest.starts_with("//") && !matches!(scheme, "memory" | "sqlite") {
        return Err(NO_URL.into());
    }
    match scheme {
        "memory" if matches!(rest, "" | "//") => Ok(Arc::new(MemoryStore::new())),
        "memory" => Err(ConfigError::StoreUrl { expected: "`memory:` and nothing else" }.into()),

        #[cfg(feature = "sqlite")]
        "sqlite" => Ok(Arc::new(super::SqliteStore::open(sqlite_file(url, rest)?).await?)),
        #[cfg(not(feature = "sqlite"))]
        "sqlite" => Err(needs("sqlite")),

        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => {
            crate::url::postgres(url)?;
            Ok(Arc::new(super::PostgresStore::connect(url).await?))
        }
        #[cfg(not(feature = "postgres"))]
        "postgres" | "postgresql" => Err(needs("postgres")),

        #[cfg(feature = "mysql")]
        "mysql" | "mariadb" => {
            crate::url::mysql(url)?;
            Ok(Arc::new(super::MySqlStore::connect(url).await?))
        }
        #[cfg(not(feature = "mysql"))]
        "mysql" | "mariadb" => Err(needs("mysql")),

        #[cfg(feature = "redis")]
        scheme if crate::redis::is_scheme(scheme) => {
            let store = super::RedisStore::new(url)?;
            store.migrate().await?;
            Ok(Arc::new(store))
        }
        #[cfg(not(feature = "redis"))]
        "redis" | "rediss" | "valkey" | "valkeys" | "redis+cluster" | "rediss+cluster"
        | "valkey+cluster" | "valkeys+cluster" => Err(needs("redis")),

        scheme if is_scheme(scheme) => {
            Err(ConfigError::StoreScheme { scheme: scheme.to_owned() }.into())
        }
        _ => Err(NO_URL.into()),
    }
}

const NO_URL: ConfigError = ConfigError::StoreUrl {
    expected: "a URL like `postgres://user:password@host/database`, or `sqlite:keys.db` for a file",
};

/// RFC 3986 §3.1
fn is_scheme(text: &str) -> bool {
    let other = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(other)
}

#[allow(dead_code, reason = "with all features, none is missing")]
fn needs(feature: &'static str) -> ConnectError {
    ConfigError::StoreFeature { feature }.into()
}

/// The file of a SQLite URL, read as sqlx reads it, so that one variable can serve both.
#[cfg(feature = "sqlite")]
fn sqlite_file(url: &str, rest: &str) -> Result<std::path::PathBuf, ConfigError> {
    crate::url::check_sqlite(url)?;
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

/// Why [`connect`] gave no store.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL cannot be used, or not without another feature of this crate.
    Config(ConfigError),
    /// The store could not be opened.
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
