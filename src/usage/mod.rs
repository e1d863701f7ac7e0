//! How often keys are used: counted on the request's path, written off it.

mod counter;
mod recorder;

pub(crate) use counter::UseCounter;
pub use recorder::UsageRecorder;
