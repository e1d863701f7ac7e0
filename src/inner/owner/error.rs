//! [`OwnerError`]: a resolver that could not tell.

use std::{error::Error, fmt, sync::Arc};

pub(super) type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// An owner could not be resolved.
///
/// Says nothing about the owner: the caller is told to try again (503), never that the owner is not
/// active. `source` is the resolver's own error.
#[derive(Clone, Debug)]
pub struct OwnerError(Cause);

#[derive(Clone, Debug)]
enum Cause {
    // Shared: a lookup that several callers wait for fails for all of them.
    Resolver(Arc<dyn Error + Send + Sync + 'static>),
    Timeout,
}

impl OwnerError {
    /// The resolver said this. What a cache of this crate says is not wrapped once more.
    pub(super) fn from_resolver(error: impl Into<BoxError>) -> Self {
        match error.into().downcast::<Self>() {
            Ok(error) => *error,
            Err(error) => Self(Cause::Resolver(error.into())),
        }
    }

    pub(super) const fn timeout() -> Self {
        Self(Cause::Timeout)
    }

    /// Whether the resolver took too long, and did not fail by itself.
    pub const fn is_timeout(&self) -> bool {
        matches!(self.0, Cause::Timeout)
    }
}

impl fmt::Display for OwnerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Cause::Resolver(_) => "the owner of the key could not be resolved",
            Cause::Timeout => "the owner of the key was not resolved in time",
        })
    }
}

impl Error for OwnerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            Cause::Resolver(error) => Some(&**error),
            Cause::Timeout => None,
        }
    }
}
