//! `GET /{id}`, `DELETE /{id}` and `POST /{id}/revoke`

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};

use super::{
    body::JsonBody,
    fields::Id,
    guard::{Admitted, AdmittedTo},
    precondition, view,
};
use crate::{manage::ManageError, object::read_object, rejection::Problem};

pub(super) async fn show(AdmittedTo { keys, id }: AdmittedTo) -> Result<Response, Problem> {
    view::shown(&keys, &keys.get(id).await?).await
}

pub(super) async fn delete(
    Admitted { keys, .. }: Admitted,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let keys = precondition::hold(&headers, keys, id).await?;
    keys.delete(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Default)]
pub(super) struct Revocation {
    /// Why, for the record.
    reason: Option<String>,
    /// Together with the keys that were created with it.
    descendants: bool,
}

read_object!(Revocation { reason: default, descendants: default });

pub(super) async fn revoke(
    AdmittedTo { keys, id }: AdmittedTo,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, Problem> {
    let revocation: Revocation = body.object_or_default()?;
    let keys = precondition::hold(&headers, keys, id).await?;
    let reason = revocation.reason.as_deref();
    if revocation.descendants {
        keys.revoke_with_descendants(id, reason).await?;
        return match keys.get(id).await {
            Ok(record) => view::shown(&keys, &record).await,
            // A deleted key has no view, and its descendants are revoked.
            Err(ManageError::NotFound) => Ok(StatusCode::NO_CONTENT.into_response()),
            Err(error) => Err(error.into()),
        };
    }
    let record = keys.revoke(id, reason).await?;
    view::shown(&keys, &record).await
}
