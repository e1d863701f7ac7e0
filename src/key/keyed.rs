//! Secrets, as [`Peppers`](super::Peppers) and [`IssuerSecrets`](super::IssuerSecrets) hold them:
//! how they are read, how long they must be, and HMAC-SHA256 under them.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::ConfigError;

/// As long as the digest: RFC 2104 §3 advises against anything shorter.
const MIN_LEN: usize = 32;

/// A secret, keyed once and cloned for each text, which saves two of the four SHA-256 blocks. Wiped
/// on drop.
pub(super) type Keyed = Hmac<Sha256>;

/// The secret, or the error if it has less than 32 bytes.
pub(super) fn keyed(secret: &[u8], too_short: ConfigError) -> Result<Keyed, ConfigError> {
    match Keyed::new_from_slice(secret) {
        Ok(keyed) if secret.len() >= MIN_LEN => Ok(keyed),
        _ => Err(too_short),
    }
}

/// HMAC-SHA256 (RFC 2104) of the text.
pub(super) fn hmac(secret: &Keyed, text: &[u8]) -> [u8; 32] {
    secret.clone().chain_update(text).finalize().into_bytes().into()
}

/// The one line of the text without the line ends after it, or the error if there are more.
pub(super) fn line(text: &str, lines: ConfigError) -> Result<&[u8], ConfigError> {
    let line = text.trim_end_matches(['\r', '\n']);
    if line.contains(['\r', '\n']) { Err(lines) } else { Ok(line.as_bytes()) }
}

/// The lines of the text that are not empty.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').filter(|line| !line.trim_end_matches('\r').is_empty())
}

/// A secret that is made of the value of an environment variable.
pub(super) fn from_env<T>(
    variable: &str,
    expected: &'static str,
    read: impl FnOnce(&str) -> Result<T, ConfigError>,
) -> Result<T, ConfigError> {
    let unset = |_| ConfigError::EnvironmentUnset { variable: variable.to_owned() };
    let value = Zeroizing::new(std::env::var(variable).map_err(unset)?);
    read(&value)
        .map_err(|_| ConfigError::EnvironmentValue { variable: variable.to_owned(), expected })
}
