//! How much keys were used.

use super::{KeyManager, ManageError, access::Whose, check_limit, holds_nul};
use crate::{KeyId, LineUsage, OwnerId, Timestamp, UsageCount, UsageQuery, store::KeyRepository};

impl KeyManager {
    /// How often the line of a key was used, by hour and outcome: this key, those it has replaced
    /// and those that have replaced it.
    ///
    /// The counts come from [`UsageRecorder`](crate::UsageRecorder)s, and are as current as the last
    /// flush of each; that of [this manager](Self::with_usage) is flushed first.
    pub async fn usage_of(
        &self,
        id: KeyId,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<UsageCount>, ManageError> {
        let line = self.get(id).await?.lineage();
        let query = UsageQuery { line: Some(line), ..UsageQuery::new(since, until) };
        Ok(self.counted().await?.usage(&query).await?)
    }

    /// How often keys were used, by hour and outcome; see [`by_day`](crate::UsageCount::by_day) for
    /// days.
    pub async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageCount>, ManageError> {
        match self.visible_usage(query) {
            Some(query) => Ok(self.counted().await?.usage(&query).await?),
            None => Ok(Vec::new()),
        }
    }

    /// The lines of keys that let in the most requests, the busiest first. The limit is 1 to 1000.
    pub async fn busiest(
        &self,
        query: &UsageQuery,
        limit: usize,
    ) -> Result<Vec<LineUsage>, ManageError> {
        check_limit(limit)?;
        match self.visible_usage(query) {
            Some(query) => Ok(self.counted().await?.busiest(&query, limit).await?),
            None => Ok(Vec::new()),
        }
    }

    /// The repository, once what this node has counted is written.
    async fn counted(&self) -> Result<&dyn KeyRepository, ManageError> {
        if let Some(usage) = &self.usage {
            usage.flush().await?;
        }
        Ok(&*self.repository)
    }

    /// What there is of a query for who holds this handle.
    fn visible_usage(&self, query: &UsageQuery) -> Option<UsageQuery> {
        let mut query = query.clone();
        query.owner = match self.access.whose(query.owner.as_ref()) {
            Whose::Everybodys => None,
            Whose::Owners(owner) => Some(owner.clone()),
            Whose::Nobodys => return None,
        };
        (!holds_nul(query.owner.as_ref().map(OwnerId::as_str))).then_some(query)
    }
}
