//! How much keys were used.

use super::{KeyManager, access::OwnerFilter, check_limit, error::ManageError, holds_nul};
use crate::{
    clock::Timestamp,
    error::StoreError,
    key::{KeyId, LineageUsage, OwnerId, UsageCount, UsageQuery},
    store::UsageLog,
};

impl KeyManager {
    /// How often the lineage of a key was used, by hour and outcome: this key, those it has replaced
    /// and those that have replaced it.
    ///
    /// [`Accepted`](crate::usage::UsageOutcome::Accepted) also counts requests that a layer further
    /// in denied later.
    ///
    /// Of the hours that began at or after `since` and before `until`, in their order and, within
    /// one, in that of the names of outcomes; hours without requests are left out. The counts come
    /// from [`UsageRecorder`](crate::UsageRecorder)s, and are as current as the last flush of each;
    /// that of [this manager](Self::with_usage) is flushed first. A deleted key has its usage until
    /// it is [purged](Self::purge): the last invoice comes after the key. A key that this handle
    /// does not see is [`NotFound`](ManageError::NotFound). A repository that keeps no counts is
    /// [`Unsupported`](crate::store::StoreErrorKind::Unsupported), here and below.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use tower_api_key::{KeyManager, NewKey, Timestamp, store::MemoryStore, usage::UsageCount};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = KeyManager::new(MemoryStore::new());
    /// let id = manager.create(NewKey::named("counted")).await?.record.id;
    /// // … and a month later:
    /// let now = Timestamp::from(SystemTime::now());
    /// let month = now.saturating_sub(Duration::from_hours(30 * 24));
    /// for day in UsageCount::by_day(&manager.usage_of(id, month, now).await?) {
    ///     println!("{}: {} {}", day.hour, day.count, day.outcome);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn usage_of(
        &self,
        id: KeyId,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<UsageCount>, ManageError> {
        let lineage = self.get_or_deleted(id).await?.lineage();
        let query = UsageQuery { lineage: Some(lineage), ..UsageQuery::new(since, until) };
        Ok(self.counted().await?.usage(&query).await?)
    }

    /// How often keys were used, all that were asked for together, by hour and outcome; see
    /// [`by_day`](crate::usage::UsageCount::by_day) for days.
    ///
    /// A handle on the keys of an [owner](Self::for_owner) adds up theirs, and nothing where
    /// others' are asked for.
    pub async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageCount>, ManageError> {
        match self.visible_usage(query) {
            Some(query) => Ok(self.counted().await?.usage(&query).await?),
            None => Ok(Vec::new()),
        }
    }

    /// The lineages that let in the most requests, the busiest first; of those that let in as
    /// many, the one that was created first. The limit is 1 to 1000.
    ///
    /// A handle on the keys of an [owner](Self::for_owner) finds theirs alone.
    pub async fn busiest(
        &self,
        query: &UsageQuery,
        limit: usize,
    ) -> Result<Vec<LineageUsage>, ManageError> {
        check_limit(limit)?;
        match self.visible_usage(query) {
            Some(query) => Ok(self.counted().await?.busiest(&query, limit).await?),
            None => Ok(Vec::new()),
        }
    }

    /// The counts in the repository, once those of this node are written.
    async fn counted(&self) -> Result<&dyn UsageLog, ManageError> {
        if let Some(usage) = &self.usage {
            usage.flush().await?;
        }
        Ok(self.repository.usage_log().ok_or_else(StoreError::unsupported)?)
    }

    /// The part of a query that the holder of this handle may ask.
    fn visible_usage(&self, query: &UsageQuery) -> Option<UsageQuery> {
        let mut query = query.clone();
        query.owner = match self.access.owner_filter(query.owner.as_ref()) {
            OwnerFilter::Any => None,
            OwnerFilter::Only(owner) => Some(owner.clone()),
            OwnerFilter::None => return None,
        };
        (!holds_nul(query.owner.as_ref().map(OwnerId::as_str))).then_some(query)
    }
}
