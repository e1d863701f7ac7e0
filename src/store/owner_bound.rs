//! [`OwnerBound`]: how many live keys an owner may have.

use crate::{
    clock::Timestamp,
    key::{KeyRecord, OwnerId},
};

/// The most live keys that an owner may have once [changes](super::Changes) are made.
///
/// ```
/// use tower_api_key::{
///     KeyId, Timestamp,
///     key::{KeyDigest, KeyRecord},
///     store::{ApplyOutcome, Changes, KeyRepository, MemoryStore, OwnerBound},
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let now = Timestamp::from(std::time::SystemTime::now());
/// let store = MemoryStore::new();
/// for (number, expected) in [(1, ApplyOutcome::Done), (2, ApplyOutcome::TooManyKeys)] {
///     let digest = KeyDigest::from_bytes([number; 32]);
///     let mut record = KeyRecord::new(KeyId::generate(now)?, digest, "CI of the shop", now);
///     record.owner = Some("user-1".into());
///     let bound = OwnerBound { owner: "user-1".into(), max_keys: 1, now };
///     let changes =
///         Changes::default().with_inserts(vec![record]).with_owner_bound(Some(bound));
///     assert_eq!(store.apply(&changes).await?, expected);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerBound {
    /// The owner whose keys are counted.
    pub owner: OwnerId,
    /// The most keys that may be [live](KeyRecord::is_live).
    pub max_keys: u32,
    /// The moment at which they may be live.
    pub now: Timestamp,
}

impl OwnerBound {
    /// Whether this key counts.
    pub fn counts(&self, record: &KeyRecord) -> bool {
        record.owner.as_ref() == Some(&self.owner) && record.is_live(self.now)
    }
}
