//! Secrets, as [`Peppers`](super::Peppers) and [`IssuerSecrets`](super::IssuerSecrets) hold them:
//! how they are read, and how long they must be.

use zeroize::Zeroizing;

use super::sha256::HmacKey;
use crate::error::ConfigError;

/// As long as the digest: RFC 2104 §3 advises against anything shorter.
const MIN_LEN: usize = 32;

/// The secret, or the error if it has less than 32 bytes.
pub(super) fn keyed(secret: &[u8], too_short: ConfigError) -> Result<HmacKey, ConfigError> {
    if secret.len() < MIN_LEN { Err(too_short) } else { Ok(HmacKey::new(secret)) }
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
