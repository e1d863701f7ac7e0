//! How often keys are used: counted on the request's path, written off it.

mod addresses;
mod collected;
mod counter;
mod inbox;
mod recorder;
mod rollup;
mod settings;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use counter::UseCounter;
pub use recorder::UsageRecorder;
pub use rollup::{HourlyUsage, LineUsage, UsageCount, UsageOutcome, UsageQuery};
