//! Revoking a key together with the keys that were made with it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{KeyManager, error::ManageError};
use crate::{
    key::{KeyId, KeyRecord},
    store::KeyQuery,
};

/// Keys that are read at a time.
const PAGE: usize = 256;

impl KeyManager {
    /// [Revokes](Self::revoke) a key, and the keys that were
    /// [created](crate::key::KeyDetails::created_by) with it or with one of those, and returns
    /// those that were not revoked before.
    ///
    /// For a key that leaked. The key itself comes first, so that it makes no others meanwhile. An
    /// error may come after some of them; doing it again goes on. A key that was deleted stays as it
    /// is, and its descendants are revoked. Keys that were created with a key whose row was purged
    /// since are not known as descendants.
    pub async fn revoke_with_descendants(
        &self,
        id: KeyId,
        reason: Option<&str>,
    ) -> Result<Vec<Arc<KeyRecord>>, ManageError> {
        let key = self.get_or_deleted(id).await?;
        self.access.check_revision(&key)?;
        // The revision is the key's own.
        let others = self.handle(|access| access.revision = None);
        let mut revoked = Vec::new();
        if key.details.revoked_at.is_none() && !key.is_deleted() {
            match self.revoke(id, reason).await {
                Ok(record) => revoked.push(record),
                // Deleted since it was read: it makes no others either.
                Err(ManageError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        // Only owners create keys with keys, and only their own.
        let Some(owner) = &key.owner else { return Ok(revoked) };
        let mut family = Family { root: id, parents: HashMap::new() };
        // Again, until a look at all of them finds none: a creation that has begun may be written
        // meanwhile.
        loop {
            let before = revoked.len();
            let mut query = KeyQuery::new(PAGE).with_owner(owner.clone());
            loop {
                let page = self.repository.list(&query).await?;
                for other in page.items.iter().filter(|other| other.details.revoked_at.is_none()) {
                    if other.id != id && family.includes(self, other).await? {
                        revoked.push(others.revoke(other.id, reason).await?);
                    }
                }
                match page.next {
                    Some(next) => query = query.after(next),
                    None => break,
                }
            }
            if revoked.len() == before {
                return Ok(revoked);
            }
        }
    }
}

/// A key, and the known links from keys to the keys that they were created with.
struct Family {
    root: KeyId,
    parents: HashMap<KeyId, Option<KeyId>>,
}

impl Family {
    /// Whether a key was created with the first of the family, or with one that was. Also where one
    /// in between was deleted.
    async fn includes(&mut self, keys: &KeyManager, key: &KeyRecord) -> Result<bool, ManageError> {
        let (mut next, mut seen) = (key.details.created_by, HashSet::from([key.id]));
        while let Some(parent) = next.filter(|parent| seen.insert(*parent)) {
            if parent == self.root {
                return Ok(true);
            }
            next = if let Some(known) = self.parents.get(&parent) {
                *known
            } else {
                let record = keys.repository.get(parent).await?;
                let known = record.and_then(|record| record.details.created_by);
                self.parents.insert(parent, known);
                known
            };
        }
        Ok(false)
    }
}
