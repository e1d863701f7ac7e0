//! [`InvalidField`]: a field of a key that cannot be stored.

use std::{error::Error, fmt};

/// A field of a key holds something it may not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidField {
    field: &'static str,
    message: &'static str,
}

impl InvalidField {
    pub(crate) const fn new(field: &'static str, message: &'static str) -> Self {
        Self { field, message }
    }

    /// An error unless the rule in the message is met.
    pub(crate) const fn unless(
        is_met: bool,
        field: &'static str,
        message: &'static str,
    ) -> Result<(), Self> {
        if is_met { Ok(()) } else { Err(Self::new(field, message)) }
    }

    /// The name of the field.
    pub const fn field(&self) -> &'static str {
        self.field
    }

    /// The rule that the field breaks.
    pub const fn message(&self) -> &'static str {
        self.message
    }
}

impl fmt::Display for InvalidField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.message)
    }
}

impl Error for InvalidField {}
