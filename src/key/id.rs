//! The names of keys, of events and of owners.

use std::{
    fmt,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
};

use uuid::Uuid;

use super::format::GenerateError;
use crate::{clock::Timestamp, text::Text};

/// A UUID version 7, so that ids sort by time of creation.
macro_rules! time_ordered_id {
    ($(#[$docs:meta])* $name:ident) => {
        $(#[$docs])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The first 12 bits of `random` come right after the time.
            fn of(millis: u64, random: [u8; 10]) -> Self {
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
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
    /// The name of a [`KeyEvent`](crate::key::KeyEvent): a UUID version 7, so that events sort by
    /// time.
    EventId
}

impl KeyId {
    /// A new id for a key that is created at `now`.
    pub fn generate(now: Timestamp) -> Result<Self, GenerateError> {
        Ok(Self::of(millis(now), random()?))
    }

    /// The id of a static key: made from its name, the same after every start. Version 8
    /// (RFC 9562 §5.8).
    ///
    /// Not from the key or its digest: an id is public and logged, and with one that follows from
    /// the key, a reader of logs could test guesses without asking the service.
    pub(crate) fn from_name(name: &str) -> Self {
        Self::derived(b"tower-api-key name", name)
    }

    /// The lineage of the keys that are made by a template for this owner. Version 8: no key that
    /// a manager issues has this id.
    pub(crate) fn lineage_of(owner: &OwnerId) -> Self {
        Self::derived(b"tower-api-key lineage\0", owner.as_str())
    }

    /// What creations of keys are kept under that were requested with an id, in place of a lineage:
    /// a repetition does not know the lineage of the key that there is. Version 8.
    pub(crate) fn of_creations() -> Self {
        Self::derived(b"tower-api-key creations", "")
    }

    /// Whether this may be the [lineage of an owner](Self::lineage_of), whose balance stays when no
    /// key is left: the owner's next key spends what the last one left. By the version alone, as the
    /// statements and scripts that purge balances tell it.
    pub(crate) fn may_be_of_owner(self) -> bool {
        self.0.get_version_num() == 8
    }

    fn derived(domain: &[u8], name: &str) -> Self {
        use sha2::{Digest, Sha256};
        let hash = Sha256::new().chain_update(domain).chain_update(name);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

impl EventId {
    /// A new id for an event at `now`. Sorts after those that this process has made before, also
    /// within the same millisecond, for up to 4096 of them.
    pub fn generate(now: Timestamp) -> Result<Self, GenerateError> {
        // A counter of 12 bits behind the milliseconds (RFC 9562 §6.2, method 1): an audit log
        // tells what happened in the order in which it did.
        static LAST: AtomicU64 = AtomicU64::new(0);
        let mut random = random()?;
        let millis = millis(now);
        let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
            Some(next_in_time(last, millis))
        });
        let [.., a, b] = next_in_time(last.unwrap_or_default(), millis).to_be_bytes();
        random[..2].copy_from_slice(&[a, b]);
        Ok(Self::of(millis, random))
    }
}

/// What comes after `last`: milliseconds, and a counter in the lowest 12 bits, which stays at its
/// end. Another time starts anew, also an earlier one: a clock that is set back is believed.
fn next_in_time(last: u64, millis: u64) -> u64 {
    let first = millis << 12;
    if last >> 12 == millis { (last + 1).min(first | 0xfff) } else { first }
}

fn millis(now: Timestamp) -> u64 {
    u64::try_from(now.as_unix_millis()).unwrap_or(0)
}

fn random() -> Result<[u8; 10], GenerateError> {
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(GenerateError)?;
    Ok(random)
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

/// The owner of a key, in the words of the application: a user id, a tenant, an e-mail address.
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
    fn events_of_one_millisecond_sort_as_they_were_made() {
        let mut last = 0;
        for count in 0..4096 {
            last = next_in_time(last, 1_000);
            assert_eq!(last, 1_000 << 12 | count);
        }
        // More than can be counted sort as chance has it, within the millisecond.
        assert_eq!(next_in_time(last, 1_000), last);
        assert_eq!(next_in_time(last, 1_001), 1_001 << 12);
        assert_eq!(next_in_time(last, 999), 999 << 12, "a clock that was set back is believed");

        let ids = [at(1_000), at(1_001)].map(|now| EventId::generate(now).unwrap());
        assert!(ids[0] < ids[1]);
        assert_eq!(ids[0].to_string().as_bytes()[14], b'7');
    }

    #[test]
    fn ids_from_names_are_stable() {
        let id = KeyId::from_name("ADMIN_API_KEY");
        // Written down: limits in Redis and rows of usage are kept under it.
        assert_eq!(id.to_string(), "dbb42457-8ef1-8561-9c45-821a358234d9");
        assert_ne!(id, KeyId::from_name("admin_api_key"));
        assert_eq!(KeyId::of_creations().to_string(), "cd1137f6-78e6-80e9-8038-72a207b44bde");
    }
}
