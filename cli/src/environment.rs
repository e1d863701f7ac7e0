//! Environment variables, which may hold secrets.

use std::env::{self, VarError};

use zeroize::Zeroizing;

use crate::failure::Failure;

/// The value of a variable; `None` if it is not set. One that is no Unicode is refused, not passed
/// over: a pepper that is not read would make good keys unknown.
pub(crate) fn variable(name: &str) -> Result<Option<Zeroizing<String>>, Failure> {
    match env::var(name) {
        Ok(value) => Ok(Some(Zeroizing::new(value))),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(Failure::Usage(format!("{name} is not Unicode"))),
    }
}
