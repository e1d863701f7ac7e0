//! Lists: which index leads to the keys, and what is left to look for among them.

use std::sync::Arc;

use super::{BATCH, RedisStore};
use crate::{
    error::StoreError,
    key::{KeyDigest, KeyId, KeyRecord},
    store::list::{KeyPage, KeyQuery},
    text::hex,
};

/// A sorted set with the ids of all keys that a list may contain.
struct Index {
    name: &'static str,
    /// The text before each id.
    group: String,
    start: String,
    end: String,
}

impl Index {
    fn of(query: &KeyQuery) -> Self {
        if let Some(first) = query.lineage {
            let (start, end) = (format!("[{first}:"), format!("({first};"));
            return Self { name: "lines", group: format!("{first}:"), start, end };
        }
        if let Some(owner) = &query.owner {
            let owner = hex(owner.as_str());
            // `;` comes right after `:`, so the range ends where the owner's ids do.
            let (start, end) = (format!("[{owner}:"), format!("({owner};"));
            return Self { name: "owners", group: format!("{owner}:"), start, end };
        }
        let name = if query.legacy { "legacy" } else { "ids" };
        Self { name, group: String::new(), start: "-".to_owned(), end: "+".to_owned() }
    }

    /// The bound that leaves out this key and those that come before it in the list.
    fn before(&self, id: KeyId) -> String {
        format!("({}{id}", self.group)
    }
}

/// Whether every key of the index is in the list.
fn is_whole(query: &KeyQuery) -> bool {
    let KeyQuery { owner, status, scope, prefix, lineage, legacy, .. } = query;
    // Of a lineage, keys that were deleted are in the index as well.
    status.is_none()
        && scope.is_none()
        && prefix.is_none()
        && lineage.is_none()
        && !(*legacy && owner.is_some())
        && [query.expires_before, query.expires_after].iter().all(Option::is_none)
        && [query.last_used_before, query.last_used_after].iter().all(Option::is_none)
}

impl RedisStore {
    /// Reads along an index until the page is full or the index ends.
    pub(super) async fn list_range(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        let one_more = query.limit.saturating_add(1);
        let index = Index::of(query);
        let mut after = query.after;
        let mut items: Vec<Arc<KeyRecord>> = Vec::new();
        loop {
            let end = after.map_or_else(|| index.end.clone(), |after| index.before(after));
            let missing = one_more - items.len();
            // How many it takes to find some that match is unknown.
            let wanted = if is_whole(query) { BATCH.min(missing) } else { BATCH };
            let args = [index.name, &*end, &*index.start, &*wanted.to_string()];
            let rows = self.rows(&self.scripts.list, &args).await?;
            let last = rows.last().filter(|_| rows.len() == wanted).map(|record| record.id);
            items.extend(rows.into_iter().filter(|row| query.matches(row)).take(missing));
            match last {
                Some(last) if items.len() < one_more => {
                    // Or else a row that another program wrote may lead around in a circle.
                    if after.is_some_and(|after| last >= after) {
                        return Err(StoreError::corrupt("a key is listed as another"));
                    }
                    after = Some(last);
                }
                _ => return Ok(KeyPage::from_one_more(items, query.limit)),
            }
        }
    }

    /// The one key of a request, if the rest of the query does not leave it out.
    pub(super) async fn list_request(
        &self,
        request: &KeyDigest,
        query: &KeyQuery,
    ) -> Result<KeyPage, StoreError> {
        let mut rows = self.rows(&self.scripts.find, &["requests", &request.to_hex()]).await?;
        if rows.iter().any(|record| record.details.request != Some(*request)) {
            return Err(StoreError::corrupt("a request leads to another key"));
        }
        rows.retain(|record| query.matches(record));
        Ok(KeyPage::from_one_more(rows, query.limit))
    }
}
