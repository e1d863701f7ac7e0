//! How much keys were used.

use super::{KeyManager, ManageError, access::Whose, check_limit, holds_nul};
use crate::{KeyId, LineUsage, OwnerId, Timestamp, UsageCount, UsageQuery};

impl KeyManager {
    /// How often the line of a key was used, by hour and outcome: this key, those it has replaced
    /// and those that have replaced it.
    ///
    /// The counts come from a [`UsageRecorder`](crate::UsageRecorder), and are as current as its
    /// last flush.
    pub async fn usage_of(
        &self,
        id: KeyId,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<UsageCount>, ManageError> {
        let line = self.get(id).await?.lineage();
        Ok(self
            .repository
            .usage(&UsageQuery { line: Some(line), ..UsageQuery::new(since, until) })
            .await?)
    }

    /// How often keys were used, by hour and outcome; see [`by_day`](crate::UsageCount::by_day) for
    /// days.
    pub async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageCount>, ManageError> {
        match self.visible_usage(query) {
            Some(query) => Ok(self.repository.usage(&query).await?),
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
            Some(query) => Ok(self.repository.busiest(&query, limit).await?),
            None => Ok(Vec::new()),
        }
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
