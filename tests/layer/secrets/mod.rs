//! A key shows nowhere: not in `Debug` or `Display`, not in errors, not in events.

mod child;
mod env;
#[cfg(feature = "tracing")]
mod events;
mod texts;
