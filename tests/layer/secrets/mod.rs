//! A key shows nowhere: not in `Debug` or `Display`, not in errors, not in events.

pub(crate) mod child;
mod env;
#[cfg(feature = "tracing")]
mod events;
mod texts;
