//! What the holder of a key may do with it: look at it, and give it up.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::{ConnectInfo, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use tower_api_key::{AuthenticatedKey, Clock, KeyManager, KeyView, ManageError, SystemClock};

use crate::body::OptionalJsonObject;

pub(crate) fn routes() -> Router<KeyManager> {
    Router::new().route("/me/key", get(show)).route("/me/key/revoke", post(revoke))
}

async fn show(key: AuthenticatedKey) -> Response {
    KeyView::new(key.record(), SystemClock.now()).into_response()
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Revocation {
    /// Why, for the record.
    reason: Option<String>,
}

/// Whoever finds a leaked key can stop it with the key itself.
async fn revoke(
    State(keys): State<KeyManager>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    key: AuthenticatedKey,
    OptionalJsonObject(revocation): OptionalJsonObject<Revocation>,
) -> Result<Response, ManageError> {
    let actor = format!("key {} ({})", key.id(), key.name());
    let keys = keys.with_actor(&actor).with_client_address(peer.ip());
    let record = keys.revoke(key.id(), revocation.reason.as_deref()).await?;
    Ok(KeyView::new(&record, SystemClock.now()).into_response())
}
