//! Keys as text: how they look, how they are made, and how noise is told from a key without
//! asking anyone.

mod checksum;
mod format;
mod secret;
pub(crate) mod strength;

pub use format::{GenerateError, KeyFormat};
pub use secret::SecretKey;

pub(crate) use format::{is_accepted, is_prefixed};
