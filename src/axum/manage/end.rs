//! `GET /{id}`, `DELETE /{id}` and `POST /{id}/revoke`

use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::{body::JsonBody, fields::Id, guard::Admitted, precondition, problem::Problem, view};

pub(super) async fn show(Admitted { keys, .. }: Admitted, Id(id): Id) -> Result<Response, Problem> {
    view::shown(&keys, &keys.get(id).await?).await
}

pub(super) async fn delete(
    Admitted { keys, .. }: Admitted,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    precondition::check(&headers, &keys, id).await?;
    keys.delete(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revocation {
    /// Why, for the record.
    reason: Option<String>,
}

pub(super) async fn revoke(
    Admitted { keys, .. }: Admitted,
    Id(id): Id,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, Problem> {
    let revocation: Revocation = body.object_or_default()?;
    precondition::check(&headers, &keys, id).await?;
    let record = keys.revoke(id, revocation.reason.as_deref()).await?;
    view::shown(&keys, &record).await
}
