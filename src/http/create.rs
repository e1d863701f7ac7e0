//! `POST /`

use axum::{extract::OriginalUri, response::Response};
use http::HeaderMap;

use super::{
    body::JsonBody,
    fields::{Network, networks},
    guard::Admitted,
    idempotency, view,
};
use crate::{
    clock::{End, Timestamp},
    key::{Limits, Metadata, NewCredits, OwnerId, Scopes},
    manage::NewKey,
    object::read_object,
    rejection::Problem,
};

/// The fields of a new key that an administrator may send.
pub(super) struct Creation {
    /// Not an `Option`: the manager refuses a missing name as it does an empty one.
    name: String,
    description: Option<String>,
    owner: Option<OwnerId>,
    scopes: Option<Scopes>,
    expires_at: Option<End>,
    not_before: Option<Timestamp>,
    tier: Option<String>,
    limits: Option<Limits>,
    credits: Option<NewCredits>,
    allowed_addresses: Option<Vec<Network>>,
    metadata: Option<Metadata>,
}

read_object!(Creation {
    name: default,
    description: default,
    owner: default,
    scopes: default,
    expires_at: default,
    not_before: default,
    tier: default,
    limits: default,
    credits: default,
    allowed_addresses: default,
    metadata: default,
});

/// The fields of a new key that an owner may send. The provider's are not here, so they are refused.
pub(super) struct OwnCreation {
    name: String,
    description: Option<String>,
    scopes: Option<Scopes>,
    expires_at: Option<End>,
    not_before: Option<Timestamp>,
    allowed_addresses: Option<Vec<Network>>,
}

read_object!(OwnCreation {
    name: default,
    description: default,
    scopes: default,
    expires_at: default,
    not_before: default,
    allowed_addresses: default,
});

impl From<Creation> for NewKey {
    fn from(body: Creation) -> Self {
        Self {
            name: body.name,
            description: body.description,
            owner: body.owner,
            scopes: body.scopes.unwrap_or_default(),
            tier: body.tier,
            limits: body.limits.unwrap_or_default(),
            credits: body.credits,
            metadata: body.metadata.unwrap_or_default(),
            allowed_addresses: networks(body.allowed_addresses.unwrap_or_default()),
            not_before: body.not_before,
            expires_at: body.expires_at.and_then(|end| end.0),
            request_id: None,
        }
    }
}

impl From<OwnCreation> for NewKey {
    fn from(body: OwnCreation) -> Self {
        Self {
            description: body.description,
            scopes: body.scopes.unwrap_or_default(),
            allowed_addresses: networks(body.allowed_addresses.unwrap_or_default()),
            not_before: body.not_before,
            expires_at: body.expires_at.and_then(|end| end.0),
            ..Self::named(body.name)
        }
    }
}

pub(super) async fn create(
    Admitted { keys, is_owner, .. }: Admitted,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, Problem> {
    let mut new: NewKey = if is_owner {
        body.object::<OwnCreation>()?.into()
    } else {
        body.object::<Creation>()?.into()
    };
    new.request_id = idempotency::request_id(&headers)?;
    let issued = keys.create(new).await.map_err(idempotency::problem)?;
    Ok(view::issued(&issued, uri.path().trim_end_matches('/'), keys.now()))
}
