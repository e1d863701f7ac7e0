//! `If-Match` (RFC 9110 §13.1.1): change a key only if it still is what the client has seen.

use axum::http::{HeaderMap, header::IF_MATCH};
use tower_api_key::{KeyRecord, ManageError};

use crate::{problem::Problem, view};

/// Whether the request has a condition that a change could fail. `*` asks only that there be a
/// key.
pub(super) fn is_given(headers: &HeaderMap) -> bool {
    headers.contains_key(IF_MATCH) && !tags(headers).any(|tag| tag == "*")
}

/// The revision that the client has seen, if the key still has it. A weak tag never matches.
pub(super) fn check(headers: &HeaderMap, record: &KeyRecord) -> Result<u64, Problem> {
    let current = view::etag(record);
    if tags(headers).any(|tag| tag == current) {
        Ok(record.revision)
    } else {
        Err(ManageError::RevisionMismatch.into())
    }
}

/// None of our tags has a comma in it.
fn tags(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(IF_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}
