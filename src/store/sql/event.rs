//! Events as rows of the audit log.

use std::net::IpAddr;

use sqlx::{ColumnIndex, Decode, Row, Type};

use super::{
    call::Value,
    row::{address, array, id, unreadable},
};
use crate::{
    clock::Timestamp,
    key::{EventId, KeyAction, KeyEvent, KeyId, OwnerId},
};

/// Every column of an event, in the order of [`values`].
pub(in crate::store) const EVENT: [&str; 8] =
    ["id", "at", "action", "key_id", "owner", "actor", "address", "detail"];

/// Whether the audit log keeps events like this one.
pub(super) fn is_kept(event: &KeyEvent) -> bool {
    !matches!(event.action, KeyAction::Denied(_))
}

/// The values of [`EVENT`].
pub(super) fn values(event: &KeyEvent) -> [Value<'_>; EVENT.len()] {
    [
        Value::from(&event.id.as_bytes()[..]),
        Value::from(event.at),
        Value::from(event.action.as_str()),
        id(event.key.as_ref()),
        Value::Text(event.owner.as_ref().map(OwnerId::as_str)),
        Value::Text(event.actor.as_deref()),
        address(event.address),
        Value::Text(event.detail.as_deref()),
    ]
}

/// Reads an event from a row with all columns.
pub(super) fn read<'r, R>(row: &'r R) -> sqlx::Result<KeyEvent>
where
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
    &'r str: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    let optional = |column| row.try_get::<Option<&str>, _>(column);
    let action = row.try_get::<&str, _>("action")?;
    let action = KeyAction::from_audit_log(action)
        .ok_or_else(|| unreadable("action", UnknownAction(action.to_owned())))?;
    let key = row.try_get::<Option<&[u8]>, _>("key_id")?;
    let from = optional("address")?.map(str::parse::<IpAddr>).transpose();
    Ok(KeyEvent {
        id: EventId::from_bytes(array("id", row.try_get("id")?)?),
        at: Timestamp::from_unix_millis(row.try_get("at")?),
        action,
        key: key.map(|bytes| array("key_id", bytes).map(KeyId::from_bytes)).transpose()?,
        owner: optional("owner")?.map(Into::into),
        actor: optional("actor")?.map(Into::into),
        address: from.map_err(|error| unreadable("address", error))?,
        detail: optional("detail")?.map(Into::into),
    })
}

/// A newer version of this crate may have written it.
#[derive(Debug)]
struct UnknownAction(String);

impl std::fmt::Display for UnknownAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the action {:?} is not known", self.0)
    }
}

impl std::error::Error for UnknownAction {}
