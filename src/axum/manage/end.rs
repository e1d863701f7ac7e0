//! `GET /{id}`, `DELETE /{id}` and `POST /{id}/revoke`

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::{body::JsonBody, fields::Id, guard::Admitted, precondition, problem::Problem};
use crate::KeyView;

pub(super) async fn show(Admitted { keys, .. }: Admitted, Id(id): Id) -> Result<Response, Problem> {
    Ok(KeyView::new(&*keys.get(id).await?, keys.now()).into_response())
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
    Ok(KeyView::new(&record, keys.now()).into_response())
}
