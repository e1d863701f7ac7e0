//! A key shows nowhere: not in `Debug` or `Display`, not in errors, not in events.

#[path = "../../support/child.rs"]
pub(crate) mod child;
mod env;
#[cfg(feature = "tracing")]
mod events;
#[cfg(feature = "tracing")]
#[path = "../../support/log.rs"]
pub(crate) mod log;
mod texts;
