//! The configuration of `serve`: arguments, else the environment, else the file.

use std::{net::IpAddr, path::PathBuf};

use tower_api_key::{KeyFormat, KeyHasher, KeySource, store::FixedStore};
use zeroize::Zeroizing;

use super::{
    file::{self, File, IdentityNames},
    values::{Bus, KeyHeader, Secret, without_urls},
};
use crate::{environment::variable, failure::Failure, seals};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file with rules and settings, in TOML
    #[arg(long, env = "TOWER_API_KEY_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// Where to listen, such as 127.0.0.1:9000, which is the default; port 0 takes a free one
    #[arg(long, env = "ADDR", value_name = "HOST:PORT")]
    addr: Option<String>,
}

/// The administrator's key.
const ADMIN: &str = "ADMIN_API_KEY";

/// A secret, and the name of the setting that it is of, as errors have it.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) value: Zeroizing<String>,
}

pub(super) struct Config {
    /// As errors name it.
    pub(super) file_name: String,
    pub(super) file: File,
    pub(super) addr: String,
    pub(super) store_url: Named,
    pub(super) redis_url: Option<Named>,
    pub(super) table: Option<String>,
    is_table_of_file: bool,
    admin_key: Option<Named>,
}

impl Config {
    pub(super) fn load(args: Args, table: Option<String>) -> Result<Self, Failure> {
        let mut file = file::read(&args.config)?;
        let file_name = args.config.display().to_string();
        let in_file = |field: &str| format!("{file_name}: {field}");
        let store_url = named("DATABASE_URL", in_file("store.url"), file.store.url.take())?;
        let store_url = store_url.ok_or_else(|| {
            let text =
                "DATABASE_URL is not set, nor store.url: one of them says where the keys are";
            Failure::Usage(text.to_owned())
        })?;
        let redis_url = in_file("store.redis_url");
        let redis_url = named("REDIS_URL", redis_url, file.store.redis_url.take())?;
        let config = Self {
            file_name,
            addr: args
                .addr
                .or_else(|| file.addr.take())
                .unwrap_or_else(|| "127.0.0.1:9000".to_owned()),
            store_url,
            // Empty, it is none, as for the other commands.
            redis_url: redis_url.filter(|url| !url.value.is_empty()),
            is_table_of_file: table.is_none(),
            table: table.or_else(|| file.store.table.take()),
            admin_key: named(ADMIN, "admin_key", file.admin_key.take())?,
            file,
        };
        config.check_times()?;
        config.check_key_headers()?;
        Ok(config)
    }

    /// Refuses times in which nothing can be done, and settings of a cache that is not there.
    fn check_times(&self) -> Result<(), Failure> {
        let File { client_timeout, drain, store, cache, .. } = &self.file;
        for (field, time) in [
            ("client_timeout", Some(client_timeout)),
            ("drain", Some(drain)),
            ("store.lookup_timeout", store.lookup_timeout.as_ref()),
        ] {
            if time.is_some_and(|time| time.0.is_zero()) {
                return Err(self.wrong(field, "is no time at all"));
            }
        }
        if cache.ttl.is_some_and(|ttl| ttl.0.is_zero()) {
            for (field, is_set) in [
                ("cache.capacity", cache.capacity.is_some()),
                ("cache.stale_if_error", cache.stale_if_error.is_some()),
                ("cache.bus", cache.bus.is_some_and(|bus| bus != Bus::None)),
            ] {
                if is_set {
                    return Err(self.wrong(field, "there is no cache: cache.ttl is \"0s\""));
                }
            }
        }
        Ok(())
    }

    /// Refuses keys in a header that the sidecar writes or the proxy does.
    fn check_key_headers(&self) -> Result<(), Failure> {
        let set = &self.file.forward_auth;
        let IdentityNames { id, owner, scopes } = &set.identity_headers;
        let headers = set.key_headers.iter().flatten();
        for name in [id, owner, scopes, &set.client_address_header].into_iter().flatten() {
            let is_taken =
                |header: &KeyHeader| KeySource::header(name).is_ok_and(|own| own == header.0);
            if headers.clone().any(is_taken) {
                let problem = format!("{name:?} is the header of another setting");
                return Err(self.wrong("forward_auth.key_headers", problem));
            }
        }
        Ok(())
    }

    /// A setting of the file that cannot be used.
    pub(super) fn wrong(&self, field: &str, problem: impl std::fmt::Display) -> Failure {
        let problem = without_urls(&format!("{field}: {problem}"));
        Failure::Usage(format!("{}: {problem}", self.file_name))
    }

    /// A failure that would name the argument for a table that the file names.
    pub(super) fn in_own_words(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Table(problem) if self.is_table_of_file => self.wrong("store.table", problem),
            failure => failure,
        }
    }

    /// The formats of keys that are accepted, that of the service first.
    pub(super) fn formats(&self, hasher: &KeyHasher) -> Result<Vec<KeyFormat>, Failure> {
        const PREFIX: &str = "TOWER_API_KEY_PREFIX";
        let keys = &self.file.keys;
        let prefix = match variable(PREFIX)? {
            Some(prefix) => {
                let format = KeyFormat::new(&prefix);
                format.map_err(|error| Failure::Usage(format!("{PREFIX}: {error}")))?
            }
            None => KeyFormat::new(keys.prefix.as_deref().unwrap_or("key"))
                .map_err(|error| self.wrong("keys.prefix", error))?,
        };
        let mut formats = vec![seals::of_environment(prefix, hasher)?];
        if keys.other_formats || keys.legacy_hashes {
            formats.push(KeyFormat::opaque());
        }
        Ok(formats)
    }

    /// The store of the administrator's key, if there is one. Metrics tell of the traffic, so elsewhere
    /// than on an address of this machine alone they need one; and there, one that can be guessed is
    /// refused. Nothing else is behind it.
    pub(super) fn admin(&self, at: IpAddr) -> Result<Option<FixedStore>, Failure> {
        if !self.file.metrics {
            return Ok(None);
        }
        let is_local = at.to_canonical().is_loopback();
        let Some(Named { name, value }) = &self.admin_key else {
            if is_local {
                return Ok(None);
            }
            return Err(Failure::Usage(format!(
                "{ADMIN} is not set, and {} is not of this machine alone: set it to a key that \
                 `openssl rand -hex 32` makes, or `metrics = false`",
                self.addr
            )));
        };
        let store = FixedStore::new().with_key(name, value)?;
        match store.clone().refusing_weak_keys() {
            Ok(_) => {}
            Err(weak) if is_local => {
                tracing::warn!("{weak}; at another address than this machine's it is refused");
            }
            Err(weak) => {
                let text = format!("{weak}; {} is not of this machine alone", self.addr);
                return Err(Failure::Usage(text));
            }
        }
        Ok(Some(store))
    }
}

/// A secret of the environment, or else of the file. A variable that is set and cannot be used is a mistake,
/// and not the wish for the file.
fn named(
    name: &str,
    field: impl Into<String>,
    of_file: Option<Secret>,
) -> Result<Option<Named>, Failure> {
    Ok(match (variable(name)?, of_file) {
        (Some(value), _) => Some(Named { name: name.to_owned(), value }),
        (None, Some(Secret(value))) => Some(Named { name: field.into(), value }),
        (None, None) => None,
    })
}
