//! The common part of everything that keeps its data in Redis: a connection, and scripts.

mod link;
pub(crate) mod role;
mod script;
mod url;

pub(crate) use self::{
    link::{Client, Link},
    script::Script,
    url::cluster_nodes,
};
use crate::error::ConfigError;

/// Refuses what is no prefix for the names of keys. Braces are none of the good characters: they
/// decide which node of a cluster a key is on.
pub(crate) fn check_prefix(name: &str) -> Result<(), ConfigError> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_-.:/".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(good) {
        return Err(ConfigError::RedisPrefix);
    }
    Ok(())
}
