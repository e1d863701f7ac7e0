//! Management of keys, for the administrator.

mod change;
mod create;
mod fields;
mod list;
mod precondition;

use axum::{
    Router,
    extract::{FromRequestParts, Path, State},
    http::{StatusCode, request::Parts},
    middleware::map_response,
    response::Response,
    routing::{get, post},
};
use serde::Deserialize;
use tower_api_key::{KeyId, KeyManager};

use crate::{body::OptionalJsonObject, problem::Problem, view};

pub(crate) fn routes() -> Router<KeyManager> {
    Router::new()
        .route("/admin/api-keys", get(list::list).post(create::create))
        .route("/admin/api-keys/{id}", get(show).patch(change::change).delete(delete))
        .route("/admin/api-keys/{id}/revoke", post(revoke))
        .layer(map_response(view::no_store))
}

/// The id in the path. A text that is no id is the id of no key.
struct Id(KeyId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let id = path.ok().and_then(|Path(id)| id.parse().ok());
        id.map(Self).ok_or_else(Problem::no_such_key)
    }
}

async fn show(State(keys): State<KeyManager>, Id(id): Id) -> Result<Response, Problem> {
    Ok(view::key(&*keys.get(id).await?))
}

async fn delete(State(keys): State<KeyManager>, Id(id): Id) -> Result<StatusCode, Problem> {
    keys.delete(id).await?;
    tracing::info!(key = %id, "key deleted");
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revocation {
    /// Why, for the record.
    pub(crate) reason: Option<String>,
}

async fn revoke(
    State(keys): State<KeyManager>,
    Id(id): Id,
    OptionalJsonObject(revocation): OptionalJsonObject<Revocation>,
) -> Result<Response, Problem> {
    let record = keys.revoke(id, revocation.reason.as_deref()).await?;
    tracing::info!(key = %id, "key revoked");
    Ok(view::key(&record))
}
