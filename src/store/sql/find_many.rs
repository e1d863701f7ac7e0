//! Finding many keys with one statement.

use std::sync::Arc;

use super::{
    call::{Call, Value},
    dialect::Dialect,
    pooled_connection::{PooledConnection, answer},
    row::json,
    store::SqlStore,
};
use crate::{
    error::{StoreError, StoreErrorKind},
    key::{KeyDigest, KeyRecord},
    runtime::{DigestMap, MapDigest},
};

type Answer = Result<Option<Arc<KeyRecord>>, StoreError>;

/// Digests that one statement looks up: with more of them, the way to the database and back matters
/// no longer.
pub(in crate::store) const FOUND_AT_ONCE: usize = 128;

impl<DB: Dialect> SqlStore<DB> {
    /// One answer for each digest, in the same order.
    pub(in crate::store) async fn find_many(&self, digests: &[KeyDigest]) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(digests.len());
        for digests in digests.chunks(FOUND_AT_ONCE) {
            if let [digest] = digests {
                answers.push(self.find(digest).await);
                continue;
            }
            let asked = digests.to_vec();
            let found = self.unless_silent(
                |circuits| &circuits.keys,
                |this| async move { this.find_batch(&asked).await },
            );
            match found.await {
                Ok(found) => answers.extend(found),
                // It may be the fault of one of them.
                Err(error) if error.kind() == StoreErrorKind::Corrupt => {
                    for digest in digests {
                        answers.push(self.find(digest).await);
                    }
                }
                Err(error) => answers.extend(digests.iter().map(|_| Err(error.clone()))),
            }
        }
        answers
    }

    async fn find_batch(&self, digests: &[KeyDigest]) -> Result<Vec<Answer>, StoreError> {
        let asked = json(&digests.iter().map(KeyDigest::to_hex).collect::<Vec<_>>());
        let call = Call::new(&self.statements.find_many).with_all([Value::Made(asked)]);
        let mut connection = PooledConnection::of(&self.readers).await.map_err(DB::store_error)?;
        let rows = answer::<DB, _>(DB::fetch_all(&mut connection, call)).await;
        let rows = rows.map_err(DB::store_error)?;
        drop(connection);
        // Whatever the database takes for equal: a digest has the row with just these bytes.
        let mut found = DigestMap::default();
        for row in &rows {
            let digest = DB::digest(row).map_err(DB::store_error)?;
            let key = DB::key(row).map(Arc::new).map_err(DB::store_error);
            found.insert(MapDigest::from(&digest), key);
        }
        // One that is asked for twice has two answers.
        let answer = |digest| found.get(&MapDigest::from(digest)).cloned().transpose();
        Ok(digests.iter().map(answer).collect())
    }
}
