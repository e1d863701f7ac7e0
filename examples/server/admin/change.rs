//! `PATCH /admin/api-keys/{id}`

use axum::{extract::State, http::HeaderMap, response::Response};
use serde::Deserialize;
use tower_api_key::{KeyManager, KeyPatch, Metadata, Scopes, Timestamp};

use super::{
    Id,
    fields::{Network, networks},
    precondition,
};
use crate::{
    body::{JsonObject, sent},
    problem::Problem,
    view,
};

/// What was left out stays. `null` takes away what a key may lack, and is refused elsewhere. A
/// key's owner never changes: what the old owner may see would become the new one's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::option_option, reason = "left out, null and a value are three things")]
pub(super) struct Change {
    #[serde(default, deserialize_with = "sent")]
    name: Option<String>,
    #[serde(default, deserialize_with = "sent")]
    description: Option<Option<String>>,
    #[serde(default, deserialize_with = "sent")]
    scopes: Option<Scopes>,
    #[serde(default, deserialize_with = "sent")]
    expires_at: Option<Option<Timestamp>>,
    #[serde(default, deserialize_with = "sent")]
    not_before: Option<Option<Timestamp>>,
    #[serde(default, deserialize_with = "sent")]
    tier: Option<Option<String>>,
    #[serde(default, deserialize_with = "sent")]
    allowed_addresses: Option<Vec<Network>>,
    #[serde(default, deserialize_with = "sent")]
    metadata: Option<Metadata>,
    #[serde(default, deserialize_with = "sent")]
    disabled: Option<bool>,
}

impl From<Change> for KeyPatch {
    fn from(body: Change) -> Self {
        Self {
            if_revision: None,
            name: body.name,
            description: body.description,
            scopes: body.scopes,
            tier: body.tier,
            metadata: body.metadata,
            allowed_addresses: body.allowed_addresses.map(networks),
            not_before: body.not_before,
            expires_at: body.expires_at,
            disabled: body.disabled,
        }
    }
}

pub(super) async fn change(
    State(keys): State<KeyManager>,
    Id(id): Id,
    headers: HeaderMap,
    JsonObject(body): JsonObject<Change>,
) -> Result<Response, Problem> {
    let mut patch = KeyPatch::from(body);
    if precondition::is_given(&headers) {
        patch.if_revision = Some(precondition::check(&headers, &*keys.get(id).await?)?);
    }
    let record = keys.update(id, patch).await?;
    tracing::info!(key = %id, "key changed");
    Ok(view::key(&record))
}
