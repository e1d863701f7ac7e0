//! `POST /`

use axum::{extract::OriginalUri, response::Response};
use http::HeaderMap;
use serde::Deserialize;

use super::{
    body::JsonBody,
    fields::{Network, networks},
    guard::Admitted,
    problem::Problem,
    view,
};
use crate::{
    Balance, Limits, ManageError, Metadata, NewCredits, NewKey, OwnerId, Scopes, Timestamp,
    clock::End,
};

/// What an administrator may say about a new key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Creation {
    /// Not an `Option`: the manager says what a name must be, also to who sends none.
    #[serde(default)]
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

/// What an owner may say about a new key. What is the provider's is not here, so it is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OwnCreation {
    #[serde(default)]
    name: String,
    description: Option<String>,
    scopes: Option<Scopes>,
    expires_at: Option<End>,
    not_before: Option<Timestamp>,
    allowed_addresses: Option<Vec<Network>>,
}

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
    new.request_id = request_id(&headers)?;
    let credits = new.credits;
    let issued = keys.create(new).await.map_err(|error| match error {
        // The caller knows it by the header's name.
        ManageError::Invalid(invalid) if invalid.field() == "request_id" => bad_request_id(),
        error => error.into(),
    })?;
    // Not read again: when that failed, the key would be lost.
    let balance = credits
        .map(|credits| Balance::new(credits.remaining, credits.refill, issued.record.created_at));
    Ok(view::issued(&issued, balance.as_ref(), uri.path().trim_end_matches('/'), keys.now()))
}

const IDEMPOTENCY_KEY: &str = "idempotency-key";

fn request_id(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(id), None) => id.to_str().map(|id| Some(id.to_owned())).map_err(|_| bad_request_id()),
        (Some(_), Some(_)) => Err(bad_request_id()),
    }
}

fn bad_request_id() -> Problem {
    let detail = "Send at most one Idempotency-Key, of 1 to 255 visible ASCII characters.";
    Problem::invalid_parameter("Idempotency-Key", detail)
}
