//! [`StoreId`]: what tells a store from others on the same bus.

use std::{fmt, str::FromStr, time::Duration};

use tokio::time::{Instant, timeout};

use super::KeyStore;
use crate::{
    error::ConfigError,
    runtime::Mutex,
    text::{from_hex, hex},
};

/// The identity of a store: the same for all nodes that use one table, and another for any other
/// table. Two stores may share a bus; a cache passes over what is [announced](super::Announcement) by
/// another store than its own.
///
/// Prints and parses as 32 hexadecimal digits. It is no secret.
///
/// ```
/// use tower_api_key::store::StoreId;
///
/// let id = StoreId::from_bytes([0xa5; 16]);
/// assert_eq!(id.to_string().parse(), Ok(id));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreId([u8; 16]);

impl StoreId {
    /// From the 16 bytes that a store keeps, best drawn at random when the store is made.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// `None` if the system has no randomness.
    pub(super) fn random() -> Option<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// That of a table with this name, by the time when it was made. Some databases do not tell
    /// capitals in names apart: two nodes may write the name of one table differently.
    #[cfg(any(test, feature = "mysql", feature = "postgres", feature = "sqlite"))]
    pub(super) fn of_table(name: &str, made_at: i64) -> Self {
        use sha2::{Digest, Sha256};
        let hash = Sha256::new()
            .chain_update(b"tower-api-key store\0")
            .chain_update(made_at.to_be_bytes())
            .chain_update(name.to_ascii_lowercase())
            .finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        Self(bytes)
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(self.0))
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for StoreId {
    type Err = ConfigError;

    /// Parses 32 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        from_hex(text).map(Self).ok_or(ConfigError::StoreId)
    }
}

/// The identity of a store is asked for no more often than this. It changes when the tables are made
/// anew while a program runs.
const FRESH: Duration = Duration::from_secs(1);

/// How long the store is waited for. Without an identity, a message is for every store, and every
/// message is for this one.
const TIMEOUT: Duration = Duration::from_millis(500);

/// The identity of a store, as it was last read.
#[derive(Default)]
pub(super) struct KnownIdentity(Mutex<Option<(Instant, Option<StoreId>)>>);

impl KnownIdentity {
    /// `None` if the store has none, or does not say.
    pub(super) async fn of<S: KeyStore + ?Sized>(&self, store: &S) -> Option<StoreId> {
        let known = *self.0.lock();
        if let Some((_, identity)) = known.filter(|(read_at, _)| read_at.elapsed() < FRESH) {
            return identity;
        }
        let identity = timeout(TIMEOUT, store.identity()).await;
        let identity = identity.ok().and_then(Result::ok).flatten();
        *self.0.lock() = Some((Instant::now(), identity));
        identity
    }

    /// Whether a message is of another store than this one, for certain.
    #[cfg(feature = "cache")]
    pub(super) async fn is_other<S: KeyStore + ?Sized>(&self, heard: StoreId, store: &S) -> bool {
        let known = *self.0.lock();
        if known.is_some_and(|(_, identity)| identity == Some(heard)) {
            return false;
        }
        self.of(store).await.is_some_and(|own| own != heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_told_apart() {
        let id = StoreId::of_table("api_keys", 1);
        assert_eq!(id, StoreId::of_table("API_keys", 1));
        assert_ne!(id, StoreId::of_table("api_keys", 2));
        assert_ne!(id, StoreId::of_table("partner_keys", 1));
        assert_ne!(StoreId::random(), StoreId::random());
    }

    #[test]
    fn only_32_digits_are_an_identity() {
        for text in ["", "a5", &"a".repeat(31), &"a".repeat(33), &"g".repeat(32)] {
            assert_eq!(text.parse::<StoreId>(), Err(ConfigError::StoreId), "{text}");
        }
    }
}
