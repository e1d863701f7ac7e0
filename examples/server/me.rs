//! What the holder of a key may do with it: look at it, and give it up.

use axum::{
    Router,
    extract::State,
    middleware::map_response,
    response::Response,
    routing::{get, post},
};
use tower_api_key::{AuthenticatedKey, KeyManager};

use crate::{admin::Revocation, body::OptionalJsonObject, problem::Problem, view};

pub(crate) fn routes() -> Router<KeyManager> {
    Router::new()
        .route("/me/key", get(show))
        .route("/me/key/revoke", post(revoke))
        .layer(map_response(view::no_store))
}

async fn show(key: AuthenticatedKey) -> Response {
    view::key(key.record())
}

/// Whoever finds a leaked key can stop it with the key itself.
async fn revoke(
    State(keys): State<KeyManager>,
    key: AuthenticatedKey,
    OptionalJsonObject(revocation): OptionalJsonObject<Revocation>,
) -> Result<Response, Problem> {
    let record = keys.revoke(key.id(), revocation.reason.as_deref()).await?;
    tracing::info!(key = %record.id, "key revoked by its holder");
    Ok(view::key(&record))
}
