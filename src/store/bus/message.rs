//! The common part of the buses that go over a network.

use std::time::Duration;

use super::unavailable;
use crate::error::{BackEnd, ConfigError, StoreError};

pub(super) const DEFAULT_CHANNEL: &str = "tower_api_key";

/// How long it may take to subscribe, and to publish: twice half of it. A connection that has been
/// idle may be dead without a sign of it, and the second attempt has a new one.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes in a message: PostgreSQL carries less than 8,000.
pub(super) const MAX_BYTES: usize = 7_999;

/// A name that every bus can have for a channel, as it is.
pub(super) fn channel(name: &str) -> Result<Box<str>, ConfigError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
    let good = (1..=63).contains(&name.len()) && name.chars().all(allowed);
    if good { Ok(name.into()) } else { Err(ConfigError::ChannelName) }
}

/// The end of a subscription.
pub(super) fn lost() -> StoreError {
    unavailable("the connection was lost")
}

/// The server did not answer in time.
pub(super) const fn late() -> StoreError {
    StoreError::timeout().of(BackEnd::Bus)
}

/// How a subscription finds out that its peer has vanished without a word.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeepAlive {
    /// Asks after this long without a message.
    pub(super) every: Duration,
    /// Waits this long for the answer.
    pub(super) timeout: Duration,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self { every: Duration::from_secs(5), timeout: Duration::from_secs(2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_channels() {
        let longest = "c".repeat(63);
        for good in ["tower_api_key", "shop:keys", "a.b-c", longest.as_str()] {
            assert_eq!(channel(good).as_deref(), Ok(good));
        }
        let too_long = "c".repeat(64);
        for bad in ["", "a b", "a\"b", "a\0", "kéy", "*", too_long.as_str()] {
            assert_eq!(channel(bad), Err(ConfigError::ChannelName), "{bad}");
        }
    }
}
