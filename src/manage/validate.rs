//! What a key's fields may hold. Bounds are on characters and not on bytes where people type.

use super::{InvalidField, NewCredits};
use crate::{KeyRecord, LegacyHash, Metadata, Timestamp, limit::MOST_CREDITS};

const MAX_METADATA: usize = 16 * 1024;

/// Checks every field that a caller may choose.
pub(crate) fn record(record: &KeyRecord) -> Result<(), InvalidField> {
    length("name", &record.name, 1, 100)?;
    if let Some(description) = &record.details.description {
        text("description", description)?;
    }
    if let Some(owner) = &record.owner {
        length("owner", owner.as_str(), 1, 255)?;
    }
    if let Some(tier) = &record.details.tier {
        length("tier", tier, 1, 100)?;
    }
    let at_most_100 = |field, count| {
        if count > 100 {
            Err(InvalidField::new(field, "must have at most 100 entries"))
        } else {
            Ok(())
        }
    };
    at_most_100("scopes", record.scopes.len())?;
    at_most_100("allowed_addresses", record.details.allowed_addresses.len())?;
    metadata(&record.details.metadata)?;
    if record.not_before.is_some_and(Timestamp::is_never) {
        return Err(InvalidField::new("not_before", "must be before the year 9999"));
    }
    if let (Some(start), Some(end)) = (record.not_before, record.expires_at)
        && start >= end
    {
        return Err(InvalidField::new("expires_at", "must be after not_before"));
    }
    Ok(())
}

/// A key that is made or changed ends later than now: revoking is how it ends at once. One that is
/// imported may have ended where it comes from.
pub(super) fn end_is_ahead(record: &KeyRecord, now: Timestamp) -> Result<(), InvalidField> {
    if record.expires_at.is_none_or(|end| now < end) {
        return Ok(());
    }
    Err(InvalidField::new("expires_at", "must be in the future"))
}

fn metadata(metadata: &Metadata) -> Result<(), InvalidField> {
    if metadata.is_empty() {
        return Ok(());
    }
    let json = serde_json::to_vec(metadata).unwrap_or_default();
    if json.len() > MAX_METADATA {
        return Err(InvalidField::new("metadata", "must be at most 16 KiB as JSON"));
    }
    // Stores keep text, and what is nested too deeply could not be read back.
    if serde_json::from_slice::<Metadata>(&json).is_err() {
        return Err(InvalidField::new("metadata", "must be nested at most 127 deep"));
    }
    Ok(())
}

/// How many credits there may be, as databases count.
pub(super) fn credits(credits: &NewCredits) -> Result<(), InvalidField> {
    let refill = credits.refill.map_or(0, |refill| refill.amount.get());
    if credits.remaining.max(refill) <= MOST_CREDITS {
        return Ok(());
    }
    Err(InvalidField::new("credits", "must be at most 9223372036854775807"))
}

/// What a caller names a request by.
pub(super) fn request_id(id: &str) -> Result<(), InvalidField> {
    if (1..=255).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(InvalidField::new("request_id", "must have 1 to 255 visible ASCII characters"))
}

/// How an imported key begins.
pub(super) fn start(start: &str) -> Result<(), InvalidField> {
    if start.len() <= 64 && start.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(InvalidField::new("start", "must have at most 64 visible ASCII characters"))
}

/// What another system kept instead of a key.
pub(super) fn legacy_hash(hash: &LegacyHash) -> Result<(), InvalidField> {
    let hash = hash.expose();
    if (1..=255).contains(&hash.len()) && hash.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(InvalidField::new("legacy_hash", "must have 1 to 255 visible ASCII characters"))
}

/// A text of some sentences.
pub(super) fn text(field: &'static str, text: &str) -> Result<(), InvalidField> {
    length(field, text, 0, 1000)
}

fn length(field: &'static str, text: &str, min: usize, max: usize) -> Result<(), InvalidField> {
    // PostgreSQL keeps no NUL in text, and no name needs one.
    if text.contains('\0') {
        return Err(InvalidField::new(field, "must not contain NUL"));
    }
    if (min..=max).contains(&text.chars().count()) {
        return Ok(());
    }
    Err(InvalidField::new(
        field,
        match (min, max) {
            (1, 100) => "must have 1 to 100 characters",
            (1, 255) => "must have 1 to 255 characters",
            _ => "must have at most 1000 characters",
        },
    ))
}
