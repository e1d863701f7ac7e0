//! What the environment says.

use std::{env, error::Error, fmt, num::NonZeroU32, time::Duration};

use tower_api_key::{KeyFormat, SecretKey, store::FixedStore};

/// The administrator's key.
pub(crate) const ADMIN_VARIABLE: &str = "ADMIN_API_KEY";

pub(crate) struct Config {
    pub(crate) address: String,
    pub(crate) database: StoreUrl,
    /// Carries changes to other nodes.
    pub(crate) redis: Option<StoreUrl>,
    /// How long a key is cached; zero for not at all.
    pub(crate) cache_ttl: Duration,
    /// How many bad keys an address may send a minute; `None` for any number.
    pub(crate) failures_per_minute: Option<NonZeroU32>,
    /// How long a client may take to send a request's head, and again for its body.
    pub(crate) client_timeout: Duration,
    /// Holds the administrator's key, as a digest.
    pub(crate) admin: FixedStore,
    /// The administrator's key, if it was made for this run and has to be shown.
    pub(crate) generated_admin_key: Option<SecretKey>,
}

impl Config {
    pub(crate) fn from_env() -> Result<Self, Box<dyn Error>> {
        let (admin, generated_admin_key) = admin_key()?;
        let cache_ttl = seconds("CACHE_TTL", "30")?;
        let client_timeout = seconds("CLIENT_TIMEOUT", "10")?;
        if client_timeout.is_zero() {
            return Err("CLIENT_TIMEOUT is no time at all".into());
        }
        let failures: u32 = variable("FAILURES_PER_MINUTE", "0")?
            .parse()
            .map_err(|_| "FAILURES_PER_MINUTE is not a number")?;
        let redis = variable("REDIS_URL", "")?;
        let redis = (!redis.is_empty()).then_some(StoreUrl(redis));
        if redis.as_ref().is_some_and(|url| !url.is_redis()) {
            return Err("REDIS_URL is not a URL like `redis://host`".into());
        }
        Ok(Self {
            address: variable("ADDR", "127.0.0.1:3000")?,
            database: StoreUrl(variable("DATABASE_URL", "sqlite://api-keys.db")?),
            redis,
            cache_ttl,
            failures_per_minute: NonZeroU32::new(failures),
            client_timeout,
            admin,
            generated_admin_key,
        })
    }
}

impl Config {
    /// A Redis that all nodes have, and the variable that names it.
    pub(crate) fn shared_redis(&self) -> Option<(&'static str, &StoreUrl)> {
        let named = [("REDIS_URL", self.redis.as_ref()), ("DATABASE_URL", Some(&self.database))];
        let named = named.into_iter().filter_map(|(variable, url)| Some((variable, url?)));
        named.into_iter().find(|(_, url)| url.is_redis())
    }
}

/// Without a key of the administrator's choice one is made: there is never none, and never a
/// known one.
fn admin_key() -> Result<(FixedStore, Option<SecretKey>), Box<dyn Error>> {
    // A variable that is set but cannot be used is a mistake, and not the wish for another key.
    if env::var_os(ADMIN_VARIABLE).is_some() {
        return Ok((FixedStore::from_env(ADMIN_VARIABLE)?, None));
    }
    let key = KeyFormat::new("admin")?.generate()?;
    Ok((FixedStore::new().with_key(ADMIN_VARIABLE, key.expose())?, Some(key)))
}

fn variable(name: &str, default: &str) -> Result<String, String> {
    match env::var(name) {
        Ok(value) => Ok(value),
        Err(env::VarError::NotPresent) => Ok(default.to_owned()),
        Err(env::VarError::NotUnicode(_)) => Err(format!("{name} is not Unicode")),
    }
}

fn seconds(name: &str, default: &str) -> Result<Duration, String> {
    // At most some 136 years: times are added to others.
    let seconds: u32 = variable(name, default)?
        .parse()
        .map_err(|_| format!("{name} is not a number of seconds"))?;
    Ok(Duration::from_secs(seconds.into()))
}

/// Schemes of databases that are reached over a network.
const POSTGRES: [&str; 2] = ["postgres", "postgresql"];
const MYSQL: [&str; 2] = ["mysql", "mariadb"];
const REDIS: [&str; 4] = ["redis", "rediss", "valkey", "valkeys"];

/// Where something is kept. Shows no password.
pub(crate) struct StoreUrl(String);

impl StoreUrl {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Before the first colon; empty if there is none.
    fn scheme(&self) -> &str {
        self.0.split_once(':').map_or("", |(scheme, _)| scheme)
    }

    pub(crate) fn is_postgres(&self) -> bool {
        POSTGRES.contains(&self.scheme())
    }

    pub(crate) fn is_redis(&self) -> bool {
        REDIS.contains(&self.scheme())
    }

    fn is_server(&self) -> bool {
        self.is_postgres() || self.is_redis() || MYSQL.contains(&self.scheme())
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = |rest: &'_ str| rest.strip_prefix("//").unwrap_or(rest).to_owned();
        match self.0.split_once(':') {
            Some(("memory", _)) => f.write_str("memory of this process (gone when it ends)"),
            Some(("sqlite", path)) => {
                let path = location(path);
                let file = path.split('?').next().unwrap_or_default();
                write!(f, "SQLite database {file}")
            }
            // A user and a password stand before the last `@`, and more may in the options.
            Some((scheme, rest)) if self.is_server() => {
                let rest = location(rest);
                let public = rest.rsplit('@').next().unwrap_or_default();
                write!(f, "{scheme}://{}", public.split('?').next().unwrap_or_default())
            }
            _ => f.write_str("this"),
        }
    }
}
