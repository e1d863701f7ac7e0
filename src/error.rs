//! [`ConfigError`]: what is wrong with how the crate was set up.

use std::fmt;

/// A setting cannot be used. Raised while building a layer, a store or a manager, never while
/// judging a request (that is a [`Rejection`](crate::Rejection)).
///
/// `Display` names the setting and says what is expected; it never shows a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A key prefix is not lower-case words joined by `_`, or is longer than 24 bytes.
    Prefix,
    /// The name of a header, authorization scheme, query parameter or cookie cannot be used.
    SourceName {
        /// Which kind of source it was for.
        family: &'static str,
    },
    /// An environment variable is unset or is not Unicode.
    EnvironmentUnset {
        /// The name of the variable.
        variable: String,
    },
    /// An environment variable holds something other than a secret of the required length.
    EnvironmentValue {
        /// The name of the variable.
        variable: String,
        /// What a good value looks like.
        expected: &'static str,
    },
    /// A static key is not visible ASCII of 16 to 512 bytes.
    StaticKey {
        /// The name given to the key.
        name: String,
    },
    /// Two static keys have the same secret.
    DuplicateStaticKey {
        /// The name given to the second of them.
        name: String,
    },
    /// A pepper is shorter than 32 bytes.
    PepperTooShort,
    /// A table name is not a plain identifier of at most 48 characters.
    TableName,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix => f.write_str(
                "the key prefix must be lower-case letters and digits in words joined by `_`, \
                 start with a letter, and have at most 24 bytes",
            ),
            Self::SourceName { family } => {
                write!(f, "the name of a {family} source is empty or has a character that cannot be there")
            }
            Self::EnvironmentUnset { variable } => {
                write!(f, "the environment variable {variable} is not set, or not Unicode")
            }
            Self::EnvironmentValue { variable, expected } => {
                write!(f, "the environment variable {variable} must hold {expected}")
            }
            Self::StaticKey { name } => {
                write!(f, "the static key {name:?} must be 16 to 512 bytes of visible ASCII")
            }
            Self::DuplicateStaticKey { name } => {
                write!(f, "the static key {name:?} has the same secret as another")
            }
            Self::PepperTooShort => f.write_str("a pepper must have at least 32 bytes"),
            Self::TableName => f.write_str(
                "the table name must be an ASCII letter or `_` followed by letters, digits and `_`, \
                 at most 48 characters",
            ),
        }
    }
}

impl std::error::Error for ConfigError {}
