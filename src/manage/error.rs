//! [`ManageError`]: why a key was not created or changed.

use std::{error::Error, fmt, time::Duration};

use crate::{
    error::StoreError,
    key::{GenerateError, InvalidField, KeyId, KeyStatus},
};

/// Why a key was not created, found or changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum ManageError {
    /// A field holds something it may not hold.
    Invalid(InvalidField),
    /// There is no such key.
    NotFound,
    /// The key was changed since its revision was read; nothing was written.
    RevisionMismatch,
    /// A request with this id has created a key already: this one, unless it was deleted since.
    /// Its secret was shown once; rotate the key to get another.
    AlreadyCreated {
        /// The key.
        key: Option<KeyId>,
    },
    /// The key was replaced already.
    AlreadyRotated {
        /// By this one.
        to: KeyId,
    },
    /// The key has come to its end, revoked or expired, and cannot do this any more.
    Ended(KeyStatus),
    /// The key spends no credits, so there is no balance to add to.
    NoCredits,
    /// There are less credits than were to be taken, and none were.
    NotEnoughCredits {
        /// So many are left, but for those that other nodes have taken to spend.
        remaining: u64,
    },
    /// A request with this id has done something else to this lineage: for another key, of
    /// another kind or with another amount; or it has created a key that was to be another.
    RequestIdReused,
    /// The scopes are more than this handle may grant.
    BeyondCeiling,
    /// The owner has as many live keys as it may have; nothing was written.
    TooManyKeys,
    /// An owner may not do this: the key has, or would get, more than the owner's own.
    BeyondOwnKey {
        /// The field that is beyond it: `scopes`, `expires_at`, `not_before`, `allowed_addresses`,
        /// `tier`, `limits`, `credits`, `metadata`; `disabled` where an administrator disabled the
        /// key; `status` where the owner's own key cannot be used any more; `owner` where there is
        /// no key or template to measure by; `import` or `purge`, which no owner does.
        field: &'static str,
    },
    /// The owner did too much in too little time.
    TooManyActs {
        /// After this long, the owner may do it.
        retry_after: Duration,
    },
    /// No random bytes for a new key.
    Generate(GenerateError),
    /// The repository failed. Whether a change was written is unknown.
    Store(StoreError),
}

impl fmt::Display for ManageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(invalid) => invalid.fmt(f),
            Self::NotFound => f.write_str("there is no such key"),
            Self::RevisionMismatch => f.write_str("the key was changed meanwhile"),
            Self::AlreadyCreated { key: Some(key) } => {
                write!(
                    f,
                    "this request has created the key {key} already; rotate it for a new secret"
                )
            }
            Self::AlreadyCreated { key: None } => {
                f.write_str("this request has created a key already, which was deleted since")
            }
            Self::AlreadyRotated { to } => write!(f, "the key was replaced already, by {to}"),
            Self::Ended(status) => write!(f, "the key is {status}"),
            Self::NoCredits => f.write_str("the key spends no credits"),
            Self::NotEnoughCredits { remaining } => {
                write!(f, "the key has {remaining} credits left, and none were taken")
            }
            Self::RequestIdReused => {
                f.write_str("another request with this id has done something else already")
            }
            Self::BeyondCeiling => f.write_str("the scopes are more than may be granted here"),
            Self::TooManyKeys => f.write_str("the owner has as many keys as it may have"),
            Self::BeyondOwnKey { field } => {
                write!(f, "{field} would go beyond the owner's own key")
            }
            Self::TooManyActs { .. } => f.write_str("the owner did too much in too little time"),
            Self::Generate(_) => f.write_str("no new key could be made"),
            Self::Store(_) => f.write_str("the keys could not be read or written"),
        }
    }
}

impl Error for ManageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Generate(error) => Some(error),
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl From<InvalidField> for ManageError {
    fn from(invalid: InvalidField) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<GenerateError> for ManageError {
    fn from(error: GenerateError) -> Self {
        Self::Generate(error)
    }
}

impl From<StoreError> for ManageError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
