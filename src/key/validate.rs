//! What a key's fields may hold. Bounds are on characters and not on bytes where people type.

use std::num::NonZeroU64;

use super::{
    balance::{Balance, MAX_CREDITS},
    characters::{BLANK, DISRUPTIVE, breaks_line, is_in},
    credits::{CreditsPatch, NewCredits},
    details::LegacyHash,
    id::OwnerId,
    invalid_field::InvalidField,
    record::{KeyRecord, Metadata},
    refill::Refill,
};
use crate::clock::Timestamp;

const MAX_METADATA: usize = 16 * 1024;

/// Checks every field that a caller may choose.
pub(crate) fn record(record: &KeyRecord) -> Result<(), InvalidField> {
    fields(record, None)
}

/// Checks a record that is to replace another one. A text that stays as it was is not checked
/// again: a key from before a rule can still be restricted and disabled.
pub(crate) fn change(old: &KeyRecord, new: &KeyRecord) -> Result<(), InvalidField> {
    fields(new, Some(old))
}

fn fields(record: &KeyRecord, old: Option<&KeyRecord>) -> Result<(), InvalidField> {
    for (field, text, check) in TEXTS {
        let text_was = old.and_then(text);
        if let Some(text) = text(record).filter(|text| text_was != Some(text)) {
            check(field, text)?;
        }
    }
    data(record)?;
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

/// Checks the bounds that stores rely on, of every field: for a key that was a valid one when it
/// was written, under whatever rules.
pub(crate) fn stored(record: &KeyRecord) -> Result<(), InvalidField> {
    let reason = record.details.revoked_reason.as_deref();
    let texts = TEXTS.iter().map(|(field, text, _)| (*field, text(record)));
    for (field, text) in texts.chain([("revoked_reason", reason)]) {
        let Some(text) = text else { continue };
        length(field, text)?;
        // PostgreSQL keeps none.
        if text.contains('\0') {
            return Err(InvalidField::new(field, "must not contain NUL"));
        }
    }
    start(&record.start)?;
    record.details.legacy_hash.as_ref().map_or(Ok(()), legacy_hash)?;
    data(record)
}

fn data(record: &KeyRecord) -> Result<(), InvalidField> {
    let at_most_100 = |field, count| {
        if count > 100 {
            Err(InvalidField::new(field, "must have at most 100 entries"))
        } else {
            Ok(())
        }
    };
    at_most_100("scopes", record.scopes.len())?;
    at_most_100("allowed_addresses", record.details.allowed_addresses.len())?;
    metadata(&record.details.metadata)
}

/// A key that is made or changed ends later than now: revoking is how it ends at once. One that is
/// imported may have ended where it comes from.
pub(crate) fn end_is_ahead(record: &KeyRecord, now: Timestamp) -> Result<(), InvalidField> {
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
pub(crate) fn credits(credits: &NewCredits) -> Result<(), InvalidField> {
    at_most_credits([Some(credits.remaining), credits.refill.map(amount)])
}

/// The same, of a balance as stored.
pub(crate) fn balance(balance: &Balance) -> Result<(), InvalidField> {
    at_most_credits([Some(balance.remaining), balance.refill.map(amount)])
}

fn amount(refill: Refill) -> u64 {
    refill.amount.get()
}

fn at_most_credits(numbers: [Option<u64>; 2]) -> Result<(), InvalidField> {
    if numbers.into_iter().flatten().all(|number| number <= MAX_CREDITS) {
        return Ok(());
    }
    Err(InvalidField::new("credits", "must be at most 9223372036854775807"))
}

/// The same of what is to change about them.
pub(crate) fn credits_patch(patch: &CreditsPatch) -> Result<(), InvalidField> {
    let amount = patch.refill.flatten().and_then(|refill| refill.amount);
    at_most_credits([patch.remaining, amount.map(NonZeroU64::get)])
}

/// What a caller names a request by.
pub(crate) fn request_id(id: &str) -> Result<(), InvalidField> {
    if (1..=255).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(InvalidField::new("request_id", "must have 1 to 255 visible ASCII characters"))
}

/// How an imported key begins.
pub(crate) fn start(start: &str) -> Result<(), InvalidField> {
    if start.len() <= 64 && start.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(InvalidField::new("start", "must have at most 64 visible ASCII characters"))
}

/// What another system kept instead of a key.
pub(crate) fn legacy_hash(hash: &LegacyHash) -> Result<(), InvalidField> {
    let hash = hash.expose();
    if (1..=255).contains(&hash.len()) && hash.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(InvalidField::new("legacy_hash", "must have 1 to 255 visible ASCII characters"))
}

type TextOf = fn(&KeyRecord) -> Option<&str>;
type Check = fn(&'static str, &str) -> Result<(), InvalidField>;

const TEXTS: [(&str, TextOf, Check); 4] = [
    ("name", |record| Some(&record.name), line),
    ("description", |record| record.details.description.as_deref(), text),
    ("owner", |record| record.owner.as_ref().map(OwnerId::as_str), line),
    ("tier", |record| record.details.tier.as_deref(), line),
];

/// How long a text is.
fn length(field: &'static str, text: &str) -> Result<(), InvalidField> {
    let (range, message) = match field {
        "name" | "tier" => (1..=100, "must have 1 to 100 characters"),
        "owner" => (1..=255, "must have 1 to 255 characters"),
        _ => (0..=1000, "must have at most 1000 characters"),
    };
    if range.contains(&text.chars().count()) {
        return Ok(());
    }
    Err(InvalidField::new(field, message))
}

/// A text of some sentences.
pub(crate) fn text(field: &'static str, text: &str) -> Result<(), InvalidField> {
    if text.chars().any(|c| is_in(DISRUPTIVE, c)) {
        let message = "must not contain control characters, but for tabs and ends of lines, or \
                       characters that change the direction of text";
        return Err(InvalidField::new(field, message));
    }
    length(field, text)
}

/// A text on one line that shows something.
fn line(field: &'static str, text: &str) -> Result<(), InvalidField> {
    length(field, text)?;
    if text.chars().any(breaks_line) {
        let message =
            "must not contain control characters or characters that change the direction of text";
        return Err(InvalidField::new(field, message));
    }
    if text.chars().all(|c| is_in(BLANK, c)) {
        return Err(InvalidField::new(field, "must not be blank"));
    }
    Ok(())
}
