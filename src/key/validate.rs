//! The bounds of a key's fields. They are on characters and not on bytes where people type.

use std::{num::NonZeroU64, ops::RangeInclusive};

use super::{
    balance::{Balance, MAX_CREDITS},
    characters::{BLANK, DISRUPTIVE, breaks_line, is_in},
    credits::{CreditsPatch, NewCredits},
    details::LegacyHash,
    id::OwnerId,
    invalid_field::InvalidField,
    record::{KeyRecord, Metadata},
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
    let starts = !record.details.not_before.is_some_and(Timestamp::is_never);
    InvalidField::unless(starts, "not_before", "must be before the year 9999")?;
    let times = record.details.not_before.zip(record.expires_at);
    let is_ordered = times.is_none_or(|(start, end)| start < end);
    InvalidField::unless(is_ordered, "expires_at", "must be after not_before")
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
        InvalidField::unless(!text.contains('\0'), field, "must not contain NUL")?;
    }
    start(&record.start)?;
    record.details.legacy_hash.as_ref().map_or(Ok(()), legacy_hash)?;
    data(record)
}

fn data(record: &KeyRecord) -> Result<(), InvalidField> {
    let at_most_100 =
        |field, count| InvalidField::unless(count <= 100, field, "must have at most 100 entries");
    at_most_100("scopes", record.scopes.len())?;
    at_most_100("allowed_addresses", record.details.allowed_addresses.len())?;
    metadata(&record.details.metadata)
}

/// A key that is made or changed ends later than now: revoking is how it ends at once. One that is
/// imported may have ended where it comes from.
pub(crate) fn end_is_ahead(record: &KeyRecord, now: Timestamp) -> Result<(), InvalidField> {
    let is_ahead = record.expires_at.is_none_or(|end| now < end);
    InvalidField::unless(is_ahead, "expires_at", "must be in the future")
}

fn metadata(metadata: &Metadata) -> Result<(), InvalidField> {
    if metadata.is_empty() {
        return Ok(());
    }
    let json = serde_json::to_vec(metadata).unwrap_or_default();
    let is_short = json.len() <= MAX_METADATA;
    InvalidField::unless(is_short, "metadata", "must be at most 16 KiB as JSON")?;
    // Stores keep text, and an object that is nested too deeply could not be read back.
    let is_readable = serde_json::from_slice::<Metadata>(&json).is_ok();
    InvalidField::unless(is_readable, "metadata", "must be nested at most 127 deep")
}

/// How many credits there may be, as databases count.
pub(crate) fn credits(credits: &NewCredits) -> Result<(), InvalidField> {
    at_most_credits(Some(credits.remaining), credits.refill.map(|refill| refill.amount))
}

/// The same, of a balance as stored.
pub(crate) fn balance(balance: &Balance) -> Result<(), InvalidField> {
    at_most_credits(Some(balance.remaining), balance.refill.map(|refill| refill.amount))
}

/// The same, of a change.
pub(crate) fn credits_patch(patch: &CreditsPatch) -> Result<(), InvalidField> {
    at_most_credits(patch.remaining, patch.refill.flatten().and_then(|refill| refill.amount))
}

fn at_most_credits(remaining: Option<u64>, refill: Option<NonZeroU64>) -> Result<(), InvalidField> {
    let mut numbers = remaining.into_iter().chain(refill.map(NonZeroU64::get));
    let are_stored = numbers.all(|number| number <= MAX_CREDITS);
    InvalidField::unless(are_stored, "credits", "must be at most 9223372036854775807")
}

/// The id that a caller gives a request.
pub(crate) fn request_id(id: &str) -> Result<(), InvalidField> {
    let is_id = is_visible(id, 1..=255);
    InvalidField::unless(is_id, "request_id", "must have 1 to 255 visible ASCII characters")
}

/// The first characters of an imported key.
pub(crate) fn start(start: &str) -> Result<(), InvalidField> {
    let is_start = is_visible(start, 0..=64);
    InvalidField::unless(is_start, "start", "must have at most 64 visible ASCII characters")
}

/// The hash that another system kept instead of a key.
pub(crate) fn legacy_hash(hash: &LegacyHash) -> Result<(), InvalidField> {
    let is_hash = is_visible(hash.expose(), 1..=255);
    InvalidField::unless(is_hash, "legacy_hash", "must have 1 to 255 visible ASCII characters")
}

fn is_visible(text: &str, lengths: RangeInclusive<usize>) -> bool {
    lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
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
    InvalidField::unless(range.contains(&text.chars().count()), field, message)
}

/// A text of some sentences.
pub(crate) fn text(field: &'static str, text: &str) -> Result<(), InvalidField> {
    let message = "must not contain control characters, but for tabs and ends of lines, or \
                   characters that change the direction of text";
    InvalidField::unless(!text.chars().any(|c| is_in(DISRUPTIVE, c)), field, message)?;
    length(field, text)
}

/// A text on one line that shows something.
fn line(field: &'static str, text: &str) -> Result<(), InvalidField> {
    length(field, text)?;
    let message =
        "must not contain control characters or characters that change the direction of text";
    InvalidField::unless(!text.chars().any(breaks_line), field, message)?;
    InvalidField::unless(!text.chars().all(|c| is_in(BLANK, c)), field, "must not be blank")
}
