//! The configuration, from the environment.

use std::{
    env,
    error::Error,
    fmt, io,
    net::IpAddr,
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use ipnet::IpNet;
use tower_api_key::{
    KeyFormat, SecretKey,
    auth::ForwardedFor,
    store::{FixedStore, StoreKind},
};
use tower_api_key_serving::fitting_connections;

use crate::cors::Origins;

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
    /// How long a client may take to send a request's head, again for its body, and again to take
    /// a part of the answer.
    pub(crate) client_timeout: Duration,
    pub(crate) max_connections: usize,
    /// The networks of proxies, which may have any number of connections.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// Where those proxies say the client's address.
    pub(crate) forwarded: Option<ForwardedFor>,
    /// Of web pages that may call the business routes.
    pub(crate) origins: Origins,
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
        let origins = Origins::parse(&variable("CORS_ORIGINS", "*")?)
            .map_err(|error| format!("CORS_ORIGINS: {error}"))?;
        let failures: u32 = variable("FAILURES_PER_MINUTE", "0")?
            .parse()
            .map_err(|_| "FAILURES_PER_MINUTE is not a number")?;
        let redis = variable("REDIS_URL", "")?;
        let redis = (!redis.is_empty()).then_some(StoreUrl(redis));
        if redis.as_ref().is_some_and(|url| !url.is_redis()) {
            return Err("REDIS_URL is not a URL like `redis://host`".into());
        }
        let trusted_proxies = trusted_proxies()?;
        let forwarded = forwarded(&trusted_proxies)?;
        Ok(Self {
            address: variable("ADDR", "127.0.0.1:3000")?,
            database: StoreUrl(variable("DATABASE_URL", "sqlite://api-keys.db")?),
            redis,
            cache_ttl,
            failures_per_minute: NonZeroU32::new(failures),
            client_timeout,
            max_connections: max_connections()?,
            trusted_proxies,
            forwarded,
            origins,
            admin,
            generated_admin_key,
        })
    }
}

impl Config {
    /// Whether the administrator's key is good enough for the address where it is taken. The words
    /// that a person thinks up are found by who can try them, or find their digest in a copy.
    pub(crate) fn check_admin_key(&self, at: IpAddr) -> Result<(), Box<dyn Error>> {
        let is_local = at.to_canonical().is_loopback();
        if !is_local && self.generated_admin_key.is_some() {
            let error = format!(
                "{ADMIN_VARIABLE} is not set, and ADDR={} is not of this machine alone: set it to \
                 a key that `openssl rand -hex 32` makes",
                self.address
            );
            return Err(error.into());
        }
        match self.admin.clone().refusing_weak_keys() {
            Ok(_) => Ok(()),
            Err(weak) if is_local => {
                tracing::warn!("{weak}; at another ADDR than this machine's it is refused");
                Ok(())
            }
            Err(weak) => {
                Err(format!("{weak}; ADDR={} is not of this machine alone", self.address).into())
            }
        }
    }

    /// Why `ADDR` cannot be listened on, and how it is written.
    pub(crate) fn cannot_listen(&self, error: &io::Error) -> String {
        let form = match self.address.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => "",
            _ => " (write a host and a port, such as 127.0.0.1:3000; port 0 takes a free one)",
        };
        format!("cannot listen on ADDR={}{form}: {error}", self.address)
    }

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

/// As many as `MAX_CONNECTIONS` says, or as fit.
fn max_connections() -> Result<usize, String> {
    let fitting = fitting_connections();
    let chosen = variable("MAX_CONNECTIONS", "")?;
    if chosen.is_empty() {
        return Ok(fitting.min(1024));
    }
    let chosen: NonZeroUsize =
        chosen.parse().map_err(|_| "MAX_CONNECTIONS is not a number of connections")?;
    if chosen.get() > fitting {
        return Err(format!(
            "MAX_CONNECTIONS={chosen} is more than fit: with `ulimit -n`, {fitting} do"
        ));
    }
    Ok(chosen.get())
}

/// Networks with commas between; an address alone is one as well.
fn trusted_proxies() -> Result<Vec<IpNet>, String> {
    let list = variable("TRUSTED_PROXIES", "")?;
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let network = |text: &str| {
        let text = text.trim();
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map_err(|_| {
            format!(
                "TRUSTED_PROXIES: {text:?} is no network; write networks such as 10.0.0.0/8 or \
                 2001:db8::/32, or addresses, with commas between"
            )
        })
    };
    list.split(',').map(network).collect()
}

/// The header in which trusted proxies name their client. One without the other is a mistake: without
/// the header, all clients of the proxies would have one address, and without proxies, it would never be
/// read.
fn forwarded(proxies: &[IpNet]) -> Result<Option<ForwardedFor>, String> {
    let header = variable("TRUSTED_PROXY_HEADER", "")?;
    match (header.is_empty(), proxies.is_empty()) {
        (true, true) => Ok(None),
        (true, false) => Err("TRUSTED_PROXIES is set, and TRUSTED_PROXY_HEADER is not: name the \
             header in which your proxies write the client's address, such as X-Forwarded-For"
            .into()),
        (false, true) => Err("TRUSTED_PROXY_HEADER is set, and TRUSTED_PROXIES is not: name the \
             networks of the proxies that write it"
            .into()),
        (false, false) => ForwardedFor::new(&header, proxies.iter().copied())
            .map(Some)
            .map_err(|_| format!("TRUSTED_PROXY_HEADER: {header:?} is no name of a header")),
    }
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

/// Where something is kept. Shows no password.
pub(crate) struct StoreUrl(String);

impl StoreUrl {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// A server, or a cluster.
    pub(crate) fn is_redis(&self) -> bool {
        StoreKind::of_url(&self.0) == Ok(StoreKind::Redis)
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once(':').unwrap_or_default();
        let location = rest.strip_prefix("//").unwrap_or(rest);
        // Options may hold a password.
        let without_options = |text: &str| text.split('?').next().unwrap_or_default().to_owned();
        match StoreKind::of_url(&self.0) {
            Ok(StoreKind::Memory) => f.write_str("memory of this process (gone when it ends)"),
            Ok(StoreKind::Sqlite) => write!(f, "SQLite database {}", without_options(location)),
            // A user and a password stand before the last `@`.
            Ok(_) => {
                let public = location.rsplit('@').next().unwrap_or_default();
                write!(f, "{scheme}://{}", without_options(public))
            }
            Err(_) => f.write_str("this"),
        }
    }
}
