//! How often keys are used: counted on the request's path by a [`UsageRecorder`], written off it,
//! and read as the counts in this module.

mod addresses;
mod collected;
mod inbox;
#[cfg(feature = "metrics")]
mod lag;
mod recorder;
mod settings;
#[cfg(test)]
mod tests;
mod writer;

pub use self::{recorder::UsageRecorder, settings::UsageRecorderBuilder};
pub use crate::key::usage::{HourlyUsage, LineageUsage, UsageCount, UsageOutcome, UsageQuery};
