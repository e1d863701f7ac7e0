//! Issuer secrets, by which a service seals its keys.

use std::env;

use tower_api_key::{ConfigError, IssuerSecrets, KeyFormat, KeyHasher};

use crate::{environment::variable, failure::Failure};

const CURRENT: &str = "TOWER_API_KEY_SEAL";
const NEXT: &str = "TOWER_API_KEY_SEAL_NEXT";
const RETIRED: &str = "TOWER_API_KEY_SEAL_RETIRED";
const SEALED_ONLY: &str = "TOWER_API_KEY_SEALED_ONLY";

/// The format with the seals of the service. Without its secrets, its keys would be malformed here.
pub(crate) fn of_environment(format: KeyFormat, hasher: &KeyHasher) -> Result<KeyFormat, Failure> {
    let sealed_only = match variable(SEALED_ONLY)?.as_ref().map(|text| text.as_str()) {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Failure::Usage(format!("{SEALED_ONLY} must be true or false"))),
    };
    let Some(secrets) = secrets()? else {
        if sealed_only {
            return Err(Failure::Usage(format!("{SEALED_ONLY} is true, but {CURRENT} is not set")));
        }
        return Ok(format);
    };
    let format = format.sealed(secrets, hasher)?;
    if sealed_only { format.sealed_only().map_err(in_variable(SEALED_ONLY)) } else { Ok(format) }
}

fn secrets() -> Result<Option<IssuerSecrets>, Failure> {
    let next = variable(NEXT)?;
    let next = next.as_ref().map(|text| IssuerSecrets::line(text)).transpose();
    let next = next.map_err(in_variable(NEXT))?;
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
            secrets.with_retired_lines(&retired).map(Some).map_err(in_variable(RETIRED))
        }
        (None, Some(_)) => Err(Failure::Usage(format!("{RETIRED} is set, but {CURRENT} is not"))),
        (secrets, None) => Ok(secrets),
    }
}

fn in_variable(variable: &str) -> impl FnOnce(ConfigError) -> Failure {
    move |error| Failure::Usage(format!("{variable}: {error}"))
}
