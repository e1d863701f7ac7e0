//! Lists of keys, page by page.

use std::sync::Arc;

use crate::{
    clock::Timestamp,
    key::{KeyDigest, KeyId, KeyRecord, KeyStatus, OwnerId, Scope},
    text::Text,
};

/// Which keys to list. Every filter that is set must be met.
///
/// ```
/// use tower_api_key::store::KeyQuery;
///
/// let query = KeyQuery::new(50).with_owner("user-1").with_scope("orders:read".parse()?);
/// # let _ = query;
/// # Ok::<(), tower_api_key::scope::InvalidScope>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct KeyQuery {
    /// Only keys of this owner.
    pub owner: Option<OwnerId>,
    /// Only keys that have this status at this moment.
    pub status: Option<(KeyStatus, Timestamp)>,
    /// Only keys that were granted this very scope, whatever their wildcards cover.
    pub scope: Option<Scope>,
    /// Only keys whose name or start begins with this, capitals and all.
    pub prefix: Option<Text>,
    /// Only the key that was created by this [`request`](crate::key::KeyDetails::request).
    pub request: Option<KeyDigest>,
    /// Only keys of the [lineage](KeyRecord::lineage) that begins with this key, but not this key
    /// itself.
    pub lineage: Option<KeyId>,
    /// Only keys with a [`legacy_hash`](crate::key::KeyDetails::legacy_hash).
    pub legacy: bool,
    /// Only keys that [end](KeyRecord::ends_at) before this moment.
    pub expires_before: Option<Timestamp>,
    /// Only keys that [end](KeyRecord::ends_at) at this moment or later, but do end.
    pub expires_after: Option<Timestamp>,
    /// Only keys that were last used before this moment, or never.
    pub last_used_before: Option<Timestamp>,
    /// Only keys that were last used at this moment or later.
    pub last_used_after: Option<Timestamp>,
    /// Only keys with ids smaller than this one: those that come after it in the list.
    pub after: Option<KeyId>,
    /// At most this many keys.
    pub limit: usize,
}

impl KeyQuery {
    /// The first `limit` keys of all owners.
    pub const fn new(limit: usize) -> Self {
        Self {
            owner: None,
            status: None,
            scope: None,
            prefix: None,
            request: None,
            lineage: None,
            legacy: false,
            expires_before: None,
            expires_after: None,
            last_used_before: None,
            last_used_after: None,
            after: None,
            limit,
        }
    }

    /// Only keys of this owner.
    pub fn with_owner(mut self, owner: impl Into<OwnerId>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Only keys that have this status at `now`.
    pub fn with_status(mut self, status: KeyStatus, now: Timestamp) -> Self {
        self.status = Some((status, now));
        self
    }

    /// Only keys that were granted this very scope.
    pub fn with_scope(mut self, scope: Scope) -> Self {
        self.scope = Some(scope);
        self
    }

    /// Only keys whose name or start begins with this.
    pub fn with_prefix(mut self, prefix: impl Into<Text>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Goes on after this key: [`KeyPage::next`] of the page before.
    pub const fn after(mut self, id: KeyId) -> Self {
        self.after = Some(id);
        self
    }

    fn is_in_time(&self, record: &KeyRecord) -> bool {
        let is_before = |limit: Option<Timestamp>, time: Option<Timestamp>, without| {
            limit.is_none_or(|limit| time.map_or(without, |time| time < limit))
        };
        let is_after = |limit: Option<Timestamp>, time: Option<Timestamp>| {
            limit.is_none_or(|limit| time.is_some_and(|time| time >= limit))
        };
        let (end, used) = (record.ends_at(), record.last_used_at);
        is_before(self.expires_before, end, false)
            && is_after(self.expires_after, end)
            && is_before(self.last_used_before, used, true)
            && is_after(self.last_used_after, used)
    }

    /// Whether the list contains this key, its length aside. What a store cannot ask its database
    /// it can ask here.
    pub fn matches(&self, record: &KeyRecord) -> bool {
        let is_granted = |scope: &Scope| record.scopes.iter().any(|own| own == scope.as_str());
        let begins = |prefix: &Text| {
            record.name.starts_with(prefix.as_str()) || record.start.starts_with(prefix.as_str())
        };
        let is_of = |first| record.details.rotation.lineage == Some(first) && record.id != first;
        !record.is_deleted()
            && self.after.is_none_or(|after| record.id < after)
            && self.owner.as_ref().is_none_or(|owner| record.owner.as_ref() == Some(owner))
            && self.status.is_none_or(|(status, now)| record.status(now) == status)
            && self.scope.as_ref().is_none_or(is_granted)
            && self.prefix.as_ref().is_none_or(begins)
            && self.request.is_none_or(|request| record.details.request == Some(request))
            && self.lineage.is_none_or(is_of)
            && (!self.legacy || record.details.legacy_hash.is_some())
            && self.is_in_time(record)
    }
}

/// Some keys of a list.
///
/// Pages are counted by key and not by number: keys that are added or removed meanwhile make no
/// other key appear twice or not at all.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeyPage {
    /// The keys.
    pub items: Vec<Arc<KeyRecord>>,
    /// Where the next page begins; `None` when this is the last.
    pub next: Option<KeyId>,
}

impl KeyPage {
    /// A page of `limit` keys, from `limit + 1` records that were read: the one too many says
    /// that there is another page.
    pub fn from_one_more(mut items: Vec<Arc<KeyRecord>>, limit: usize) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|record| record.id);
        Self { items, next }
    }
}
