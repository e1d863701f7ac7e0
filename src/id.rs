//! The names of keys, of events and of owners.

use std::{fmt, str::FromStr};

use uuid::Uuid;

use crate::{GenerateError, KeyDigest, Text, Timestamp};

/// A UUID version 7, so that ids sort by time of creation.
macro_rules! time_ordered_id {
    ($(#[$docs:meta])* $name:ident) => {
        $(#[$docs])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id for something created at `now`.
            pub fn generate(now: Timestamp) -> Result<Self, GenerateError> {
                let mut random = [0; 10];
                getrandom::fill(&mut random).map_err(GenerateError)?;
                let millis = u64::try_from(now.as_unix_millis()).unwrap_or(0);
                Ok(Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()))
            }

            /// From the 16 bytes that stores keep.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The 16 bytes that stores keep.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self).map_err(|_| ParseIdError(()))
            }
        }

        crate::text::serde_as_text!($name, "an id (a UUID)");
    };
}

time_ordered_id! {
    /// The public name of a key: a UUID version 7, so that ids sort by time of creation.
    ///
    /// Safe to log. Prints and parses as a hyphenated UUID.
    KeyId
}

time_ordered_id! {
    /// The name of a [`KeyEvent`](crate::KeyEvent): a UUID version 7, so that events sort by time.
    EventId
}

impl KeyId {
    /// An id made from a digest, for keys that nobody issued: the same key has the same id after
    /// every start. Version 8 (RFC 9562 §5.8); the digest cannot be told from it.
    pub(crate) fn from_digest(digest: &KeyDigest) -> Self {
        use sha2::{Digest, Sha256};
        let hash = Sha256::new().chain_update(b"tower-api-key id").chain_update(digest.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

/// The text is not a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseIdError(());

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an id (a UUID)")
    }
}

impl std::error::Error for ParseIdError {}

/// Who a key belongs to, in the words of the application: a user id, a tenant, an e-mail address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(Text);

impl OwnerId {
    /// Any text. [`KeyManager`](crate::KeyManager) accepts 1 to 255 characters.
    pub fn new(id: impl Into<Text>) -> Self {
        Self(id.into())
    }

    /// The id as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for OwnerId {
    fn from(id: &str) -> Self {
        Self::new(id)
    }
}

impl From<String> for OwnerId {
    fn from(id: String) -> Self {
        Self::new(id)
    }
}

impl FromStr for OwnerId {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}

crate::text::serde_as_text!(OwnerId, "an owner id");

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    #[test]
    fn ids_sort_by_creation_and_parse_back() {
        let early = KeyId::generate(at(1_000)).unwrap();
        let late = KeyId::generate(at(2_000)).unwrap();
        assert!(early < late);
        assert_eq!(early.to_string().parse(), Ok(early));
        assert_eq!(early.to_string().as_bytes()[14], b'7');
        assert!("not-an-id".parse::<KeyId>().is_err());
    }

    #[test]
    fn ids_from_digests_are_stable_and_tell_nothing() {
        let digest = KeyDigest::from_bytes([1; 32]);
        assert_eq!(KeyId::from_digest(&digest), KeyId::from_digest(&digest));
        assert!(
            !digest.to_hex().contains(&KeyId::from_digest(&digest).to_string().replace('-', ""))
        );
    }
}
