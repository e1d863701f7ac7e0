//! Errors that every room may have: a mistake in the configuration, and a back end that fails.

mod config;
mod store;

pub use self::{
    config::ConfigError,
    store::{BackEnd, StoreError, StoreErrorKind},
};
