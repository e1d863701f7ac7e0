//! [`Enforcement`]: keys that are enforced while others are in shadow.

use std::{fmt, sync::Arc};

use crate::key::KeyRecord;

/// The keys for which a [`ShadowLayer`](super::ShadowLayer) enforces already: a list of owners, say, or a
/// share of all keys.
///
/// ```
/// use tower_api_key::{
///     ApiKeyLayer, Timestamp,
///     auth::{Enforcement, Unidentified},
///     store::MemoryStore,
/// };
///
/// // A tenth of the lineages. A key and its successors are treated alike.
/// let some = Enforcement::by(
///     |record| record.lineage().as_bytes()[15] < 26,
///     Unidentified::Shadow,
/// );
/// let until: Timestamp = "2027-03-01T00:00:00Z".parse()?;
/// let layer = ApiKeyLayer::new(MemoryStore::new()).shadow_until(until).with_enforcement(some);
/// # let _ = layer;
/// # Ok::<(), tower_api_key::clock::ParseTimestampError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Enforcement {
    by: Arc<dyn Fn(&KeyRecord) -> bool + Send + Sync>,
    unidentified: Unidentified,
}

/// How requests are treated that have no known key: without a credential, with a malformed or unknown one,
/// from a throttled address, and those whose store does not answer, in shadow within 50 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unidentified {
    /// They are denied. A request waits for the store as long as it would without shadow.
    Enforce,
    /// They go on. Enforcement then binds only clients that send their key: one that leaves it out is let
    /// in without an identity.
    Shadow,
}

impl Enforcement {
    /// Enforces for the keys of which `by` says so. It must not block.
    pub fn by(
        by: impl Fn(&KeyRecord) -> bool + Send + Sync + 'static,
        unidentified: Unidentified,
    ) -> Self {
        Self { by: Arc::new(by), unidentified }
    }

    pub(super) fn is_of(&self, record: Option<&KeyRecord>) -> bool {
        record.map_or(self.unidentified == Unidentified::Enforce, |record| (self.by)(record))
    }

    pub(super) const fn unidentified(&self) -> Unidentified {
        self.unidentified
    }
}

impl fmt::Debug for Enforcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enforcement")
            .field("unidentified", &self.unidentified)
            .finish_non_exhaustive()
    }
}
