//! A message on the wire: its digests in hexadecimal, separated by commas.
//!
//! Text, because that is what PostgreSQL carries, and of bounded length, because PostgreSQL
//! carries less than 8,000 bytes. A reader learns which digests changed, and nothing about the
//! keys.

use std::time::Duration;

use super::unavailable;
use crate::{
    error::{BackEnd, ConfigError, StoreError},
    key::KeyDigest,
};

pub(super) const DEFAULT_CHANNEL: &str = "tower_api_key";

/// How long it may take to subscribe, and to publish: twice half of it. A connection that has been
/// idle may be dead without a sign of it, and the second attempt has a new one.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);

/// Digests in a message: below 8,000 bytes with their separators.
const MAX: usize = 120;

/// Splits digests into messages.
pub(super) fn encode(digests: &[KeyDigest]) -> impl Iterator<Item = String> {
    digests.chunks(MAX).map(|chunk| {
        let texts: Vec<String> = chunk.iter().map(KeyDigest::to_hex).collect();
        texts.join(",")
    })
}

/// The digests of a message. One that cannot be read ends the subscription: it may say, in a way
/// that only a newer version understands, that something is to be forgotten.
pub(super) fn decode(message: &[u8]) -> Result<Vec<KeyDigest>, StoreError> {
    let digest = |text: &[u8]| KeyDigest::from_hex(str::from_utf8(text).ok()?);
    let digests = message.split(|byte| *byte == b',').map(digest);
    // Without its text, which could be anything.
    digests.collect::<Option<_>>().ok_or_else(|| {
        StoreError::corrupt("there is a message that this version cannot read").of(BackEnd::Bus)
    })
}

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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes in proptest::collection::vec(any::<[u8; 32]>(), 0..400)) {
            let digests: Vec<_> = bytes.into_iter().map(KeyDigest::from_bytes).collect();
            let mut read = Vec::new();
            for message in encode(&digests) {
                prop_assert!(message.len() < 8_000);
                read.extend(decode(message.as_bytes()).unwrap());
            }
            prop_assert_eq!(read, digests);
        }

        #[test]
        fn anything_else_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&bytes).is_err());
        }
    }

    #[test]
    fn one_good_digest_does_not_make_a_good_message() {
        let digest = KeyDigest::from_bytes([7; 32]).to_hex();
        for message in [format!("{digest},"), format!("{digest},v2"), digest[1..].to_owned()] {
            assert!(decode(message.as_bytes()).is_err(), "{message}");
        }
    }

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
