//! `POST /admin/api-keys`

use axum::{extract::State, response::Response};
use serde::Deserialize;
use tower_api_key::{KeyManager, Metadata, NewKey, OwnerId, Scopes, Timestamp};

use super::fields::{Network, networks};
use crate::{body::JsonObject, problem::Problem, view};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Creation {
    /// Not an `Option`: the manager says what a name must be, also to who sends none.
    #[serde(default)]
    name: String,
    description: Option<String>,
    owner: Option<OwnerId>,
    scopes: Option<Scopes>,
    expires_at: Option<Timestamp>,
    not_before: Option<Timestamp>,
    tier: Option<String>,
    allowed_addresses: Option<Vec<Network>>,
    metadata: Option<Metadata>,
}

impl From<Creation> for NewKey {
    fn from(body: Creation) -> Self {
        Self {
            name: body.name,
            description: body.description,
            owner: body.owner,
            scopes: body.scopes.unwrap_or_default(),
            tier: body.tier,
            metadata: body.metadata.unwrap_or_default(),
            allowed_addresses: networks(body.allowed_addresses.unwrap_or_default()),
            not_before: body.not_before,
            expires_at: body.expires_at,
            request_id: None,
        }
    }
}

pub(super) async fn create(
    State(keys): State<KeyManager>,
    JsonObject(body): JsonObject<Creation>,
) -> Result<Response, Problem> {
    let issued = keys.create(body.into()).await?;
    tracing::info!(key = %issued.record.id, "key created");
    Ok(view::issued(&issued))
}
