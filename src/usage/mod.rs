//! How often keys are used: counted on the request's path, written off it.

mod counter;
mod recorder;
mod rollup;

pub(crate) use counter::UseCounter;
pub use recorder::UsageRecorder;
pub use rollup::{HourlyUsage, LineUsage, UsageCount, UsageOutcome, UsageQuery};
