//! What the environment says.

use std::{env, error::Error, fmt, path::PathBuf};

use tower_api_key::{KeyFormat, SecretKey, store::FixedStore};

/// The administrator's key.
pub(crate) const ADMIN_VARIABLE: &str = "ADMIN_API_KEY";

pub(crate) struct Config {
    pub(crate) address: String,
    pub(crate) database: DatabaseUrl,
    /// Holds the administrator's key, as a digest.
    pub(crate) admin: FixedStore,
    /// The administrator's key, if it was made for this run and has to be shown.
    pub(crate) generated_admin_key: Option<SecretKey>,
}

impl Config {
    pub(crate) fn from_env() -> Result<Self, Box<dyn Error>> {
        let (admin, generated_admin_key) = admin_key()?;
        Ok(Self {
            address: variable("ADDR", "127.0.0.1:3000")?,
            database: DatabaseUrl::parse(&variable("DATABASE_URL", "sqlite://api-keys.db")?)?,
            admin,
            generated_admin_key,
        })
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

/// Where the keys are kept.
pub(crate) enum DatabaseUrl {
    Memory,
    Sqlite(PathBuf),
}

impl DatabaseUrl {
    /// The error does not repeat the text, which may hold a password.
    fn parse(url: &str) -> Result<Self, String> {
        let unsupported = |what: &str| {
            Err(format!(
                "DATABASE_URL: {what}; supported are `sqlite://path/to/file.db` (or \
                 `sqlite:path/to/file.db`) and `memory:`"
            ))
        };
        let Some((scheme, rest)) = url.split_once(':') else {
            return unsupported("this is not a URL");
        };
        let path = rest.strip_prefix("//").unwrap_or(rest);
        match scheme {
            "memory" if path.is_empty() => Ok(Self::Memory),
            "sqlite" if path.is_empty() => unsupported("the name of the file is missing"),
            "sqlite" if path.contains('?') => unsupported("options after `?` are not understood"),
            "sqlite" => Ok(Self::Sqlite(path.into())),
            _ => unsupported(&format!("there is no store for `{scheme}:`")),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory of this process (gone when it ends)"),
            Self::Sqlite(path) => write!(f, "SQLite database {}", path.display()),
        }
    }
}
