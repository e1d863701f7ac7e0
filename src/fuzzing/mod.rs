//! Properties that hold for any input. Each function here takes the bytes of a fuzzer, makes something of
//! them, and panics where its property does not hold.
//!
//! Built for `fuzz/` alone, and for the unit tests, which replay the inputs in `fuzz/corpus`.

#![allow(missing_docs, reason = "for the fuzzers of this repository alone")]
#![allow(clippy::missing_panics_doc, clippy::unwrap_used, reason = "a panic is a finding")]

mod bus_messages;
mod choices;
mod cursors;
mod extraction;
mod forwarded;
mod hiding;
#[cfg(feature = "file-yaml")]
mod key_files;
mod key_formats;
#[cfg(feature = "redis")]
mod redis_records;
mod requests;
mod response_fields;
mod scopes;

#[cfg(feature = "file-yaml")]
pub use self::key_files::key_files;
#[cfg(feature = "redis")]
pub use self::redis_records::redis_records;
pub use self::{
    bus_messages::bus_messages, cursors::cursors, extraction::extraction, forwarded::forwarded,
    hiding::hiding, key_formats::key_formats, response_fields::response_fields, scopes::scopes,
};

#[cfg(test)]
mod tests;
