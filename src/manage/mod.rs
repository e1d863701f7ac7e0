//! [`KeyManager`]: issuing keys and looking after them.

mod create;
mod error;
mod update;
mod validate;

use std::{fmt, sync::Arc};

pub use create::{IssuedKey, NewKey};
pub use error::{InvalidField, ManageError};
pub use update::KeyPatch;

use crate::{
    ApiKeyLayer, Clock, KeyFormat, KeyHasher, KeyId, KeyRecord, SystemClock, Timestamp,
    renewal::Renewal,
    store::{Announced, Invalidations, KeyRepository, ListQuery, Page, Update},
};

/// Issues keys and looks after them.
///
/// A clone shares the same repository.
///
/// ```
/// use tower_api_key::{KeyFormat, KeyManager, NewKey, Scopes, store::MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = KeyManager::new(MemoryStore::new()).with_format(KeyFormat::new("acme")?);
///
/// let issued = manager
///     .create(NewKey {
///         owner: Some("user-1".into()),
///         scopes: Scopes::parse(["orders:read"])?,
///         ..NewKey::named("CI of the shop")
///     })
///     .await?;
/// // The only time that anybody sees it.
/// println!("{}", issued.secret.expose());
///
/// manager.revoke(issued.record.id, Some("laptop stolen")).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct KeyManager {
    repository: Arc<dyn KeyRepository>,
    format: KeyFormat,
    hasher: KeyHasher,
    clock: Arc<dyn Clock>,
}

/// Short, so that a key fits one SHA-256 block; see [`KeyFormat`].
const DEFAULT_PREFIX: &str = "key";

/// The most keys that [`KeyManager::list`] gives at once.
const MAX_PAGE: usize = 1000;

impl KeyManager {
    /// A manager of the keys in `repository`. It issues keys `key_…` and stores their SHA-256.
    pub fn new(repository: impl KeyRepository) -> Self {
        Self {
            repository: Arc::new(repository),
            format: KeyFormat::new(DEFAULT_PREFIX).unwrap_or(KeyFormat::opaque()),
            hasher: KeyHasher::default(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Issues keys of this format.
    pub fn with_format(mut self, format: KeyFormat) -> Self {
        self.format = format;
        self
    }

    /// Stores digests made this way.
    pub fn with_hasher(mut self, hasher: KeyHasher) -> Self {
        self.hasher = hasher;
        self
    }

    /// Announces every change, so that caches on other nodes forget the key at once.
    pub fn with_invalidations(mut self, invalidations: impl Invalidations) -> Self {
        self.repository = Arc::new(Announced::new(self.repository, Arc::new(invalidations)));
        self
    }

    /// Reads the time from this clock.
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// A layer that lets in the keys of this manager: it reads the same repository and knows the
    /// same format, hasher and clock. Keys found under a retired pepper are stored anew under the
    /// current one.
    pub fn layer(&self) -> ApiKeyLayer {
        ApiKeyLayer::over(self.repository.clone())
            .with_formats([self.format.clone()])
            .with_hasher(self.hasher.clone())
            .with_clock(self.clock.clone())
            .with_renewal(Renewal::new(self.repository.clone()))
    }

    /// The keys in the manager's repository that another system stored as slow hashes, for
    /// [`ApiKeyLayer::with_legacy_hashes`]. Each has an index of its own: give clones of one to
    /// several layers.
    #[cfg(feature = "legacy-hashes")]
    #[cfg_attr(docsrs, doc(cfg(feature = "legacy-hashes")))]
    pub fn legacy_hashes(&self) -> crate::LegacyHashes {
        crate::LegacyHashes::over(self.repository.clone(), self.clock.clone())
    }

    /// The key with this id.
    pub async fn get(&self, id: KeyId) -> Result<Arc<KeyRecord>, ManageError> {
        let record = self.repository.get(id).await?;
        record.filter(|record| record.details.deleted_at.is_none()).ok_or(ManageError::NotFound)
    }

    /// A page of keys, the youngest first. The limit is 1 to 1000.
    pub async fn list(&self, query: &ListQuery) -> Result<Page, ManageError> {
        if !(1..=MAX_PAGE).contains(&query.limit) {
            return Err(InvalidField::new("limit", "must be from 1 to 1000").into());
        }
        Ok(self.repository.list(query).await?)
    }

    /// Withdraws a key for good. Revoking it again changes nothing: the first time and reason
    /// stay.
    pub async fn revoke(
        &self,
        id: KeyId,
        reason: Option<&str>,
    ) -> Result<Arc<KeyRecord>, ManageError> {
        reason.map_or(Ok(()), |reason| validate::text("reason", reason))?;
        self.change(id, |record, now| {
            if record.revoked_at.is_none() {
                record.revoked_at = Some(now);
                record.details.revoked_reason = reason.map(Into::into);
            }
            Ok(())
        })
        .await
    }

    /// Deletes a key: from now on nothing finds it. Its row stays for audit until it is purged.
    pub async fn delete(&self, id: KeyId) -> Result<(), ManageError> {
        let delete = |record: &mut KeyRecord, now| {
            record.details.deleted_at = Some(now);
            Ok(())
        };
        self.change(id, delete).await.map(drop)
    }

    /// Removes the rows of keys that were revoked or deleted before this moment, and returns how
    /// many there were.
    pub async fn purge(&self, before: Timestamp) -> Result<u64, ManageError> {
        Ok(self.repository.purge(before, None).await?)
    }

    async fn change(
        &self,
        id: KeyId,
        change: impl Fn(&mut KeyRecord, Timestamp) -> Result<(), InvalidField>,
    ) -> Result<Arc<KeyRecord>, ManageError> {
        self.change_revision(id, None, change).await
    }

    /// Reads a key, changes it and writes it back, again if somebody else changed it meanwhile;
    /// but only from the `expected` revision, if there is one.
    async fn change_revision(
        &self,
        id: KeyId,
        expected: Option<u64>,
        change: impl Fn(&mut KeyRecord, Timestamp) -> Result<(), InvalidField>,
    ) -> Result<Arc<KeyRecord>, ManageError> {
        loop {
            let old = self.get(id).await?;
            if expected.is_some_and(|expected| expected != old.revision) {
                return Err(ManageError::RevisionMismatch);
            }
            let mut new = KeyRecord::clone(&old);
            change(&mut new, self.clock.now())?;
            if new == *old {
                return Ok(old);
            }
            new.updated_at = self.clock.now().max(old.updated_at);
            new.revision = old.revision + 1;
            // Each `Stale` means that somebody else got on, so this cannot go round for ever.
            if self.repository.update(&new, old.revision).await? == Update::Done {
                return Ok(Arc::new(new));
            }
        }
    }
}

impl fmt::Debug for KeyManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyManager")
            .field("format", &self.format)
            .field("hasher", &self.hasher)
            .finish_non_exhaustive()
    }
}
