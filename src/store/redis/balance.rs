//! A balance as JSON. Counts are text, because Lua's numbers are doubles.

use serde_json::Value;

use super::record::{Fields, Unreadable, object};
use crate::key::Balance;

pub(crate) fn write(balance: &Balance) -> String {
    let count = |count: u64| Some(Value::from(count.to_string()));
    // It cannot fail. If it did, a balance that is not readable gives nothing away.
    let refill = balance.refill.map(|refill| serde_json::to_value(refill).unwrap_or_default());
    object([
        ("remaining", count(balance.remaining)),
        ("refill", refill),
        ("since", Some(Value::from(balance.since.as_unix_millis()))),
        ("next_refill_at", balance.next_refill_at.map(|at| Value::from(at.as_unix_millis()))),
        ("granted", Some(Value::from(balance.granted))),
        ("epoch", count(balance.epoch)),
        ("revision", count(balance.revision)),
    ])
}

pub(crate) fn read(json: &str) -> Result<Balance, Unreadable> {
    let mut fields = Fields::parse(json)?;
    let mut count = |name| fields.parsed(name, |text| text.parse().ok());
    let (remaining, epoch, revision) = (count("remaining")?, count("epoch")?, count("revision")?);
    let refill = fields.optional("refill", |value| serde_json::from_value(value).ok())?;
    let since = fields.time("since")?.ok_or(Unreadable("since"))?;
    let next_refill_at = fields.time("next_refill_at")?;
    let granted = fields.optional("granted", |value| value.as_i64())?;
    Ok(Balance {
        remaining,
        refill,
        since,
        next_refill_at,
        granted: granted.unwrap_or_else(|| Balance::granted_before(since, refill, next_refill_at)),
        epoch,
        revision,
    })
}
