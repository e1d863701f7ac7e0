//! `POST /{id}/rotate`

use std::time::Duration;

use axum::{extract::OriginalUri, response::Response};
use http::HeaderMap;
use serde::Deserialize;

use super::{body::JsonBody, fields::Id, guard::Admitted, idempotency, precondition, view};
use crate::{
    manage::{RotateKey, RotationGrace},
    rejection::Problem,
};

/// How long the old key lives on. Without a word, not at all.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Replacement {
    /// No grace lasts longer than fits, 136 years.
    #[serde(default)]
    grace_seconds: u32,
    #[serde(default)]
    grace_from: GraceFrom,
}

/// When the grace begins.
#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum GraceFrom {
    #[default]
    Now,
    FirstUse,
}

impl From<Replacement> for RotationGrace {
    fn from(body: Replacement) -> Self {
        let grace = Duration::from_secs(body.grace_seconds.into());
        match body.grace_from {
            GraceFrom::Now => Self::FromNow(grace),
            GraceFrom::FirstUse => Self::FromFirstUse(grace),
        }
    }
}

pub(super) async fn rotate(
    Admitted { keys, .. }: Admitted,
    Id(id): Id,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, Problem> {
    let replacement: Replacement = body.object_or_default()?;
    let mut rotation = RotateKey::new(replacement.into());
    rotation.request_id = idempotency::request_id(&headers)?;
    let keys = precondition::expect(&headers, keys, id).await?;
    let issued = keys.rotate(id, rotation).await.map_err(idempotency::problem)?;
    // Without `/{id}/rotate`.
    let router = uri.path().rsplitn(3, '/').last().unwrap_or_default();
    Ok(view::issued(&issued, router, keys.now()))
}
