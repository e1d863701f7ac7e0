//! How the server's keys look, and whether they are sealed.

use std::{
    env::{self, VarError},
    error::Error,
};

use tower_api_key::{ConfigError, IssuerSecrets, KeyFormat, KeyHasher};

const CURRENT: &str = "KEY_SEAL";
const NEXT: &str = "KEY_SEAL_NEXT";
const RETIRED: &str = "KEY_SEAL_RETIRED";
const SEALED_ONLY: &str = "KEY_SEALED_ONLY";

/// Keys `key_…`, sealed if there is an issuer secret.
pub(crate) fn format() -> Result<KeyFormat, Box<dyn Error>> {
    let sealed_only = match variable(SEALED_ONLY)?.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(format!("{SEALED_ONLY} is neither true nor false").into()),
    };
    let format = KeyFormat::new("key")?;
    let Some(secrets) = secrets()? else {
        if sealed_only {
            return Err(format!("{SEALED_ONLY} is true, but {CURRENT} is not set").into());
        }
        return Ok(format);
    };
    let mut format = format.sealed(secrets, &KeyHasher::sha256())?;
    if sealed_only {
        format = format.sealed_only().map_err(|error| format!("{SEALED_ONLY}: {error}"))?;
    }
    let issues_sealed = env::var_os(CURRENT).is_some();
    tracing::info!(issues_sealed, sealed_only, "sealed keys are accepted");
    Ok(format)
}

/// A variable that is set but cannot be used is a mistake, and not the wish for keys without seals.
fn secrets() -> Result<Option<IssuerSecrets>, Box<dyn Error>> {
    let in_variable = |name| move |error: ConfigError| format!("{name}: {error}");
    let next = variable(NEXT)?;
    let next = next.as_deref().map(IssuerSecrets::line).transpose().map_err(in_variable(NEXT))?;
    let current = match env::var_os(CURRENT) {
        Some(_) => Some(IssuerSecrets::from_env(CURRENT)?),
        None => None,
    };
    let secrets = match (current, next) {
        (Some(current), Some(next)) => current.with_next(next).map(Some),
        (None, Some(next)) => IssuerSecrets::unsealed_with_next(next).map(Some),
        (current, None) => Ok(current),
    };
    match (secrets.map_err(in_variable(NEXT))?, variable(RETIRED)?) {
        (Some(secrets), Some(retired)) => {
            Ok(secrets.with_retired_lines(&retired).map(Some).map_err(in_variable(RETIRED))?)
        }
        (None, Some(_)) => Err(format!("{RETIRED} is set, but {CURRENT} is not").into()),
        (secrets, None) => Ok(secrets),
    }
}

fn variable(name: &str) -> Result<Option<String>, String> {
    match env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(format!("{name} is not Unicode")),
    }
}
