//! Acts of a request with an id: done once, however often it is sent.

use serde_core::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::{
    KeyManager,
    create::{NewKey, request_digest},
    error::ManageError,
};
use crate::{
    error::StoreError,
    key::{KeyDigest, KeyId, KeyRecord, validate},
    store::RequestRecord,
};

/// The act of a creation.
const CREATE: &str = "create";

/// The part of a request that a repetition must have in common with it.
#[derive(Clone, Copy)]
pub(super) struct Act {
    pub(super) name: &'static str,
    pub(super) key: KeyId,
    /// The number of credits, if the act has one.
    pub(super) amount: u64,
}

impl KeyManager {
    /// The record that a request with this id is to leave in the key's lineage; `None` for a
    /// request without an id.
    pub(super) fn request_of(
        &self,
        act: Act,
        lineage: KeyId,
        request_id: Option<&str>,
    ) -> Result<Option<RequestRecord>, ManageError> {
        let Some(request_id) = request_id else { return Ok(None) };
        validate::request_id(request_id)?;
        let request = request_digest(self.access.owner(), request_id);
        let mut record = RequestRecord::new(lineage, request, act.name, act.key);
        record.amount = act.amount;
        record.actor.clone_from(&self.access.actor);
        Ok(Some(record))
    }

    /// The record of the same request, if it was done before. A repository that cannot keep requests
    /// says so here, before anything is done.
    pub(super) async fn done_before<T: DeserializeOwned>(
        &self,
        request: Option<&RequestRecord>,
    ) -> Result<Option<T>, ManageError> {
        let Some(request) = request else { return Ok(None) };
        let log = self.repository.request_log().ok_or_else(StoreError::unsupported)?;
        let found = log.request(request.lineage, &request.request).await?;
        let Some(found) = found else { return Ok(None) };
        if (&found.act, found.key, found.amount) != (&request.act, request.key, request.amount) {
            return Err(ManageError::RequestIdReused);
        }
        let result = serde_json::from_str(&found.result).map_err(StoreError::corrupt)?;
        Ok(Some(result))
    }
}

impl KeyManager {
    /// The record that a creation with a request id is to leave in this lineage. It is an error if
    /// one is there, and nothing where the request has no id or the repository keeps no requests.
    pub(super) async fn creation(
        &self,
        lineage: KeyId,
        record: &KeyRecord,
        new: &NewKey,
    ) -> Result<Option<RequestRecord>, ManageError> {
        let Some(request) = record.details.request else { return Ok(None) };
        let Some(log) = self.repository.request_log() else { return Ok(None) };
        let mut creation = RequestRecord::new(lineage, request, CREATE, record.id);
        creation.actor.clone_from(&self.access.actor);
        creation.result = asked(new).into();
        match log.request(lineage, &request).await? {
            None => Ok(Some(creation)),
            Some(found) if (&found.act, &found.result) == (&creation.act, &creation.result) => {
                Err(self.already_created(self.repository.get(found.key).await?))
            }
            Some(_) => Err(ManageError::RequestIdReused),
        }
    }
}

/// The part of a creation that a repetition must have in common with it: all but the times, which
/// a client may count from the moment of each request.
///
/// A field that is not set leaves no trace, so that a later version can add one.
fn asked(new: &NewKey) -> String {
    let NewKey { name, description, owner, scopes, tier, limits, credits, metadata, .. } = new;
    let networks: Vec<_> = new.allowed_addresses.iter().map(ToString::to_string).collect();
    let credits = credits.map(|credits| (credits.remaining, credits.refill));
    let mut asked = serde_json::json!({
        "name": name, "description": description, "owner": owner, "scopes": scopes, "tier": tier,
        "limits": limits, "credits": credits, "metadata": metadata, "networks": networks,
    });
    if let Some(asked) = asked.as_object_mut() {
        asked.retain(|_, value| !value.is_null());
    }
    KeyDigest::from_bytes(Sha256::digest(asked.to_string()).into()).to_hex()
}

/// The record, with the result of the request.
pub(super) fn with_result(
    request: Option<RequestRecord>,
    result: &impl Serialize,
) -> Option<RequestRecord> {
    request.map(|request| RequestRecord {
        // Serialising fails only for maps with keys that are not text, and no result has one.
        result: serde_json::to_string(result).unwrap_or_default().into(),
        ..request
    })
}

/// Whether a key spends credits.
pub(super) fn spends(key: &KeyRecord) -> bool {
    key.details.credits.is_some()
}
