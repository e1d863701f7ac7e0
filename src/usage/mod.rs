//! How often keys are used: counted on the request's path, written off it.

mod addresses;
mod collected;
mod inbox;
mod recorder;
mod settings;
#[cfg(test)]
mod tests;
mod writer;

pub use self::recorder::UsageRecorder;
