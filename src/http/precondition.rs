//! `If-Match` (RFC 9110 §13.1.1): change a key only if it still is as the client has seen it.

use http::{HeaderMap, header::IF_MATCH};

use super::view::{etag, revision_of};
use crate::{
    key::KeyId,
    manage::{KeyManager, ManageError},
    rejection::Problem,
};

/// The revision that the client has seen, if it says so, and if the key still has it.
pub(super) async fn check(
    headers: &HeaderMap,
    keys: &KeyManager,
    id: KeyId,
) -> Result<Option<u64>, Problem> {
    // `*` asks only that there be a key.
    if !headers.contains_key(IF_MATCH) || tags(headers).any(|tag| tag == "*") {
        return Ok(None);
    }
    let record = keys.get(id).await?;
    let current = etag(&record);
    // A weak tag never matches.
    if tags(headers).any(|tag| tag == current) {
        Ok(Some(record.revision))
    } else {
        Err(ManageError::RevisionMismatch.into())
    }
}

/// A handle that changes the key only while it is as the client has seen it: it may change between
/// this check and the write.
pub(super) async fn hold(
    headers: &HeaderMap,
    keys: KeyManager,
    id: KeyId,
) -> Result<KeyManager, Problem> {
    Ok(match check(headers, &keys, id).await? {
        Some(revision) => keys.if_revision(revision),
        None => keys,
    })
}

/// The same for requests that a client may repeat, with the tag that it had seen before the first of
/// them: the manager first looks whether the request was done already, and then compares.
pub(super) async fn expect(
    headers: &HeaderMap,
    keys: KeyManager,
    id: KeyId,
) -> Result<KeyManager, Problem> {
    let mut expected = tags(headers);
    match (expected.next().and_then(revision_of), expected.next()) {
        (Some(revision), None) => Ok(keys.if_revision(revision)),
        _ => hold(headers, keys, id).await,
    }
}

/// None of our tags has a comma in it.
fn tags(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(IF_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}
