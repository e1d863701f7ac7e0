//! Lists of keys and of events, and sums of usage: statements put together from a query.

use sqlx::{AssertSqlSafe, SqlSafeStr};

use super::{
    call::{Call, Value},
    dialect::Dialect,
    row,
};
use crate::{
    clock::Timestamp,
    key::{EventId, EventQuery, KeyId, KeyStatus, OwnerId, Scope, UsageQuery},
    store::{list::KeyQuery, owner_bound::OwnerBound, selection::Selection, watermark::Watermark},
};

/// The parts of statements. All question marks in a part stand for the same value.
pub(in crate::store) struct Filters {
    /// The rows of keys that were revoked or deleted before a time, to be removed.
    pub(in crate::store) purge: String,
    /// How many keys are live at a time.
    pub(in crate::store) live: String,
    /// How that ends.
    pub(in crate::store) end_of_live: &'static str,
    /// When a key was revoked.
    pub(in crate::store) revoked_at: String,
    /// Ids and revisions of keys from an id on whose rows do not say that they have ended.
    pub(in crate::store) unwritten: String,
    /// Keys from an id on that are not deleted, for a transaction that changes them.
    pub(in crate::store) selected: String,
    /// How they end, in the order of their ids.
    pub(in crate::store) end_of_selected: String,
    /// The same for those that are unwritten.
    pub(in crate::store) end_of_unwritten: String,
    /// Keys up to an id that are not deleted.
    pub(in crate::store) keys: String,
    /// Events up to an id.
    pub(in crate::store) events: String,
    /// How keys end that are asked for in the order of their ids.
    pub(in crate::store) end_of_keys: String,
    /// The same for events.
    pub(in crate::store) end_of_events: String,
    /// Sums of usage by hour and outcome, from a time on.
    pub(in crate::store) usage: String,
    /// How they end.
    pub(in crate::store) end_of_usage: &'static str,
    /// Sums of what was let in by lineage, from a time on.
    pub(in crate::store) busiest: String,
    /// How they end, the greatest first.
    pub(in crate::store) end_of_busiest: &'static str,
    /// Keys, events and usage of an owner.
    pub(in crate::store) owner: &'static str,
    /// Keys with exactly this scope.
    pub(in crate::store) scope: &'static str,
    /// Keys whose name or start begins so.
    pub(in crate::store) prefix: &'static str,
    /// Keys with a slow hash.
    pub(in crate::store) legacy: &'static str,
    /// Keys of a lineage, but for its first.
    pub(in crate::store) lineage: &'static str,
    /// Events about a key.
    pub(in crate::store) key: &'static str,
    /// Usage of a lineage.
    pub(in crate::store) usage_lineage: &'static str,
}

const REQUEST: &str = "request = ?";
const EXPIRES_BEFORE: &str = "(expires_at < ? OR retires_at < ?)";
const EXPIRES_AFTER: &str = "(expires_at IS NOT NULL OR retires_at IS NOT NULL) \
    AND (expires_at IS NULL OR expires_at >= ?) AND (retires_at IS NULL OR retires_at >= ?)";
const LAST_USED_BEFORE: &str = "(last_used_at IS NULL OR last_used_at < ?)";
const LAST_USED_AFTER: &str = "last_used_at >= ?";
const CREATED_BEFORE: &str = "created_at < ?";
const SINCE: &str = "at >= ?";
const UNTIL: &str = "at < ?";
const UNTIL_HOUR: &str = "hour < ?";

/// The greatest id, which comes first.
const FIRST: [u8; 16] = [0xff; 16];

/// Keys of a status at a time: [`KeyRecord::status`](crate::key::KeyRecord::status) in SQL.
fn status(status: KeyStatus, revoked_at: &str) -> String {
    match status {
        KeyStatus::Revoked => format!("{revoked_at} IS NOT NULL"),
        KeyStatus::Disabled => format!("{revoked_at} IS NULL AND disabled"),
        KeyStatus::NotYetValid => {
            format!("{revoked_at} IS NULL AND NOT disabled AND not_before > ?")
        }
        KeyStatus::Expired => format!(
            "{revoked_at} IS NULL AND NOT disabled AND (not_before IS NULL OR not_before <= ?) \
             AND (expires_at <= ? OR retires_at <= ?)"
        ),
        KeyStatus::Active => format!(
            "{revoked_at} IS NULL AND NOT disabled AND (not_before IS NULL OR not_before <= ?) \
             AND (expires_at IS NULL OR expires_at > ?) AND (retires_at IS NULL OR retires_at > ?)"
        ),
    }
}

/// The greatest id that comes after `after` in a list, which begins with the greatest. `None` when
/// none can.
fn first(after: Option<&[u8; 16]>) -> Option<[u8; 16]> {
    let Some(after) = after else { return Some(FIRST) };
    Some(u128::from_be_bytes(*after).checked_sub(1)?.to_be_bytes())
}

/// Whether rows may have this text at all, if one is asked for.
fn can_be<DB: Dialect>(text: Option<&str>) -> bool {
    DB::HOLDS_NUL || text.is_none_or(|text| !text.contains('\0'))
}

/// A statement on its way. A value is bound for every question mark that comes with it.
struct Select<'v> {
    sql: String,
    values: Vec<Value<'v>>,
}

impl<'v> Select<'v> {
    fn new(sql: &str, value: impl Into<Value<'v>>) -> Self {
        Self { sql: String::new(), values: Vec::new() }.push(sql, value)
    }

    fn push(mut self, sql: &str, value: impl Into<Value<'v>>) -> Self {
        let value = value.into();
        self.values.extend(sql.matches('?').map(|_| value.clone()));
        self.sql.push_str(sql);
        self
    }

    /// Those rows that meet a condition, if one is asked for.
    fn and(mut self, condition: &str, value: Option<impl Into<Value<'v>>>) -> Self {
        let Some(value) = value else { return self };
        self.sql.push_str(" AND ");
        self.push(condition, value)
    }

    /// One row more than asked for: it says whether there is another page.
    fn end(self, end: &str, limit: usize) -> Self {
        self.push(end, row::count(limit.saturating_add(1) as u64))
    }

    fn call<DB: Dialect>(self) -> Call<'v> {
        // Nothing but the conditions above is in it; values are bound.
        let sql = AssertSqlSafe(DB::with_placeholders(self.sql)).into_sql_str();
        Call { sql, values: self.values }
    }
}

impl Filters {
    /// The statement for a page of keys. `None` when there can be none on it.
    pub(in crate::store) fn list<'q, DB: Dialect>(&self, query: &'q KeyQuery) -> Option<Call<'q>> {
        let first = first(query.after.as_ref().map(KeyId::as_bytes))?;
        let (owner, prefix) = (query.owner.as_ref().map(OwnerId::as_str), query.prefix.as_deref());
        if !can_be::<DB>(owner) || !can_be::<DB>(prefix) {
            return None;
        }
        let (status, now) = query.status.map_or((String::new(), None), |(asked, now)| {
            (status(asked, &self.revoked_at), Some(now))
        });
        let request = query.request.as_ref().map(|request| &request.as_bytes()[..]);
        let select = Select::new(&self.keys, Value::Id(first))
            .and(self.owner, owner)
            .and(&status, now)
            .and(self.scope, query.scope.as_ref().map(Scope::as_str))
            .and(self.prefix, prefix)
            .and(REQUEST, request)
            .and(self.lineage, query.lineage.as_ref().map(|first| &first.as_bytes()[..]))
            .and(self.legacy, query.legacy.then_some(Value::Flag(true)))
            .and(EXPIRES_BEFORE, query.expires_before)
            .and(EXPIRES_AFTER, query.expires_after)
            .and(LAST_USED_BEFORE, query.last_used_before)
            .and(LAST_USED_AFTER, query.last_used_after);
        Some(select.end(&self.end_of_keys, query.limit).call::<DB>())
    }

    /// The statement for some keys of a selection, from an id on. `None` when there can be none.
    pub(in crate::store) fn selected<'s, DB: Dialect>(
        &self,
        selection: &'s Selection,
        first: [u8; 16],
        limit: usize,
    ) -> Option<Call<'s>> {
        let Selection::Issued { owner, before } = selection else { return None };
        let owner = owner.as_ref().map(OwnerId::as_str);
        can_be::<DB>(owner).then(|| {
            let select = Select::new(&self.selected, Value::Id(first));
            let select = select.and(self.owner, owner).and(CREATED_BEFORE, *before);
            select.push(&self.end_of_selected, row::count(limit as u64)).call::<DB>()
        })
    }

    /// The statement for keys that a watermark covers, from an id on, whose rows do not say so. `None` when
    /// there can be none.
    pub(in crate::store) fn unwritten<'w, DB: Dialect>(
        &self,
        watermark: &'w Watermark,
        first: [u8; 16],
        limit: usize,
    ) -> Option<Call<'w>> {
        let owner = watermark.owner.as_ref().map(OwnerId::as_str);
        can_be::<DB>(owner).then(|| {
            let select = Select::new(&self.unwritten, Value::Id(first));
            let select = select.and(self.owner, owner);
            let select = select.and(CREATED_BEFORE, Some(watermark.issued_before));
            select.push(&self.end_of_unwritten, row::count(limit as u64)).call::<DB>()
        })
    }

    /// The statement that counts the live keys of an owner. `None` when there can be none.
    pub(in crate::store) fn live<'b, DB: Dialect>(
        &self,
        bound: &'b OwnerBound,
    ) -> Option<Call<'b>> {
        let owner = Some(bound.owner.as_str());
        can_be::<DB>(owner).then(|| {
            let count = Select::new(&self.live, bound.now).and(self.owner, owner);
            count.push(self.end_of_live, Value::Number(None)).call::<DB>()
        })
    }

    /// The statement that removes the rows of keys that ended before this time.
    pub(in crate::store) fn purge<'q, DB: Dialect>(
        &self,
        before: Timestamp,
        owner: Option<&'q OwnerId>,
    ) -> Call<'q> {
        let delete = Select::new(&self.purge, before);
        delete.and(self.owner, owner.map(OwnerId::as_str)).call::<DB>()
    }

    /// The statement for a page of events. `None` when there can be none on it.
    pub(in crate::store) fn events<'q, DB: Dialect>(
        &self,
        query: &'q EventQuery,
    ) -> Option<Call<'q>> {
        let first = first(query.after.as_ref().map(EventId::as_bytes))?;
        let owner = query.owner.as_ref().map(OwnerId::as_str);
        if !can_be::<DB>(owner) {
            return None;
        }
        let select = Select::new(&self.events, Value::Id(first))
            .and(self.key, query.key.as_ref().map(|key| &key.as_bytes()[..]))
            .and(self.owner, owner)
            .and(SINCE, query.since)
            .and(UNTIL, query.until);
        Some(select.end(&self.end_of_events, query.limit).call::<DB>())
    }

    /// The statement for sums of usage. `None` when there can be none.
    pub(in crate::store) fn usage<'q, DB: Dialect>(
        &self,
        query: &'q UsageQuery,
    ) -> Option<Call<'q>> {
        let select = self.of_usage::<DB>(&self.usage, query)?;
        Some(select.push(self.end_of_usage, Value::Number(None)).call::<DB>())
    }

    /// The statement for the busiest lineages. `None` when there can be none.
    pub(in crate::store) fn busiest<'q, DB: Dialect>(
        &self,
        query: &'q UsageQuery,
        limit: usize,
    ) -> Option<Call<'q>> {
        let select = self.of_usage::<DB>(&self.busiest, query)?;
        Some(select.push(self.end_of_busiest, row::count(limit as u64)).call::<DB>())
    }

    fn of_usage<'q, DB: Dialect>(&self, from: &str, query: &'q UsageQuery) -> Option<Select<'q>> {
        let owner = query.owner.as_ref().map(OwnerId::as_str);
        if !can_be::<DB>(owner) {
            return None;
        }
        let select = Select::new(from, query.since)
            .and(UNTIL_HOUR, Some(query.until))
            .and(self.usage_lineage, query.lineage.as_ref().map(|lineage| &lineage.as_bytes()[..]))
            .and(self.owner, owner);
        Some(select)
    }
}

/// The queries that the plans of statements are tested with.
#[cfg(test)]
pub(in crate::store) mod queries {
    use super::*;
    use crate::key::KeyDigest;

    /// All keys, those of an owner, by request, those with a slow hash, and those of a lineage.
    pub(in crate::store) fn of_keys() -> [KeyQuery; 5] {
        let all = KeyQuery::new(10);
        let (mut by_request, mut legacy) = (all.clone(), all.clone());
        by_request.request = Some(KeyDigest::from_bytes([0; 32]));
        legacy.legacy = true;
        let mut of_lineage = all.clone();
        of_lineage.lineage = Some(KeyId::from_bytes([7; 16]));
        [all.clone(), all.with_owner("owner 7"), by_request, legacy, of_lineage]
    }

    /// The live keys of an owner.
    pub(in crate::store) fn of_owner() -> OwnerBound {
        let now = Timestamp::from_unix_millis(7);
        OwnerBound { owner: "owner 7".into(), max_keys: 10, now }
    }

    /// All events, those about a key, those of an owner, and those of a time.
    pub(in crate::store) fn of_events() -> [EventQuery; 4] {
        let all = EventQuery::new(10);
        let (mut by_key, mut of_owner, mut of_time) = (all.clone(), all.clone(), all.clone());
        by_key.key = Some(KeyId::from_bytes([0; 16]));
        of_owner.owner = Some("owner 7".into());
        of_time.since = Some(Timestamp::from_unix_millis(1));
        of_time.until = Some(Timestamp::from_unix_millis(2));
        [all, by_key, of_owner, of_time]
    }

    /// The usage of all keys, of a lineage and of an owner.
    pub(in crate::store) fn of_usage() -> [UsageQuery; 3] {
        let at = Timestamp::from_unix_millis;
        let all = UsageQuery::new(at(7), at(9));
        let (mut of_lineage, mut of_owner) = (all.clone(), all.clone());
        of_lineage.lineage = Some(KeyId::from_bytes([0; 16]));
        of_owner.owner = Some("owner 7".into());
        [all, of_lineage, of_owner]
    }
}
