//! `POST /{id}/rotate`

use std::time::Duration;

use axum::{extract::OriginalUri, response::Response};
use http::HeaderMap;
use serde_core::de::{Deserialize, Deserializer, Error};

use super::{body::JsonBody, fields::Id, guard::Admitted, idempotency, precondition, view};
use crate::{
    manage::{RotateKey, RotationGrace},
    object::read_object,
    rejection::Problem,
};

/// How long the old key lives on. Without a word, not at all.
#[derive(Default)]
pub(super) struct Replacement {
    /// No grace lasts longer than fits, 136 years.
    grace_seconds: u32,
    grace_from: GraceFrom,
}

read_object!(Replacement { grace_seconds: default, grace_from: default });

/// When the grace begins.
#[derive(Default)]
pub(super) enum GraceFrom {
    #[default]
    Now,
    FirstUse,
}

impl<'de> Deserialize<'de> for GraceFrom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match &*String::deserialize(deserializer)? {
            "now" => Ok(Self::Now),
            "first_use" => Ok(Self::FirstUse),
            other => Err(D::Error::unknown_variant(other, &["now", "first_use"])),
        }
    }
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
