//! Finding many keys with one statement.

use std::sync::Arc;

use super::{
    call::{Call, Value},
    dialect::Dialect,
    row::json,
    store::SqlStore,
};
use crate::{
    error::StoreError,
    key::KeyDigest,
    runtime::{DigestMap, MapDigest},
    store::{
        batcher::Source,
        batches::{self, Answer, FOUND_AT_ONCE},
    },
};

/// The lookups of requests that no cache has put together. They are under way through the circuit.
impl<DB: Dialect> Source for SqlStore<DB> {
    async fn find_each(&self, digests: &[KeyDigest]) -> Vec<Answer> {
        let find = |digest| self.find_one(digest);
        let find_batch = |digests: Vec<_>| async move { self.find_batch(&digests).await };
        batches::find_many(digests, find, find_batch).await
    }

    async fn find_alone(&self, digest: KeyDigest) -> Answer {
        self.find_one(digest).await
    }

    fn max_batch(&self) -> usize {
        FOUND_AT_ONCE
    }
}

/// Digests as a value of a statement.
pub(super) fn asked(digests: &[KeyDigest]) -> Value<'static> {
    Value::Made(json(&digests.iter().map(KeyDigest::to_hex).collect::<Vec<_>>()))
}

impl<DB: Dialect> SqlStore<DB> {
    /// One answer for each digest, in the same order. From a replica, if there is one that is fresh.
    pub(in crate::store) async fn find_many(&self, digests: &[KeyDigest]) -> Vec<Answer> {
        #[cfg(any(feature = "mysql", feature = "postgres"))]
        if let Some(replicas) = &self.replicas
            && let Some(answers) = Box::pin(replicas.find_many(digests)).await
        {
            return answers;
        }
        let find = |digest| {
            let find = move |this: Self| async move { this.find_one(digest).await };
            self.unless_silent(|circuits| &circuits.keys, find)
        };
        let find_batch = |digests: Vec<_>| {
            self.unless_silent(
                |circuits| &circuits.keys,
                |this| async move { this.find_batch(&digests).await },
            )
        };
        batches::find_many(digests, find, find_batch).await
    }

    async fn find_batch(&self, digests: &[KeyDigest]) -> Result<Vec<Answer>, StoreError> {
        let call = Call::new(&self.statements.find_many).with_all([asked(digests)]);
        let rows = self.kept.rows(&self.readers, call, digests.len()).await;
        let rows = rows.map_err(DB::store_error)?;
        Self::answers(&rows, digests)
    }

    /// One answer for each digest, from the rows of the keys that were found.
    pub(super) fn answers(
        rows: &[DB::Row],
        digests: &[KeyDigest],
    ) -> Result<Vec<Answer>, StoreError> {
        // Whatever the database takes for equal: a digest has the row with just these bytes.
        let mut found = DigestMap::default();
        for row in rows {
            let digest = DB::digest_of_key(row).map_err(DB::store_error)?;
            let key = DB::key(row).map(Arc::new).map_err(DB::store_error);
            found.insert(MapDigest::from(&digest), key);
        }
        // One that is asked for twice has two answers.
        let answer = |digest| found.get(&MapDigest::from(digest)).cloned().transpose();
        Ok(digests.iter().map(answer).collect())
    }
}
