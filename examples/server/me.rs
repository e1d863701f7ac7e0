//! The routes with which the holder of a key looks at it and gives it up.

use std::{net::SocketAddr, slice, sync::Arc};

use axum::{
    extract::{ConnectInfo, State},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use tower_api_key::{
    AuthenticatedKey, KeyManager,
    axum::JsonBody,
    clock::{Clock, SystemClock},
    key::KeyRecord,
    manage::{KeyView, ManageError},
    rejection::Problem,
};
use utoipa::{
    ToSchema,
    openapi::{RefOr, Required},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::docs::{self, ObjectProblems, QueryProblems};

pub(crate) fn routes() -> OpenApiRouter<KeyManager> {
    let mut routes = OpenApiRouter::new().routes(routes!(show)).routes(routes!(revoke));
    // `Option` in the macro would mean a body that may be `null`.
    let paths = &mut routes.get_openapi_mut().paths.paths;
    let revoke = paths.get_mut("/me/key/revoke").and_then(|path| path.post.as_mut());
    if let Some(RefOr::T(body)) = revoke.and_then(|operation| operation.request_body.as_mut()) {
        body.required = Some(Required::False);
    }
    routes
}

/// Show the key that was sent
#[utoipa::path(
    get,
    path = "/me/key",
    tag = docs::OWN_KEY,
    responses(
        (status = 200, description = "The key.", body = ref("#/components/schemas/ApiKey"), headers(("ETag" = String))),
        QueryProblems,
    ),
)]
async fn show(
    State(keys): State<KeyManager>,
    key: AuthenticatedKey,
) -> Result<Response, ManageError> {
    shown(&keys, key.record()).await
}

/// The key, with what is left of its credits.
async fn shown(keys: &KeyManager, record: &Arc<KeyRecord>) -> Result<Response, ManageError> {
    let balances = keys.balances_of(slice::from_ref(record)).await?;
    let balance = balances.first().and_then(Option::as_ref);
    Ok(KeyView::new(record, SystemClock.now()).with_balance(balance).into_response())
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Revocation {
    /// Why, for the record.
    #[schema(
        max_length = 1000,
        pattern = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$"
    )]
    reason: Option<String>,
}

/// Withdraw the key that was sent for good
///
/// The finder of a leaked key can stop it with the key itself.
#[utoipa::path(
    post,
    path = "/me/key/revoke",
    tag = docs::OWN_KEY,
    request_body(content = Revocation),
    responses(
        (status = 200, description = "The key.", body = ref("#/components/schemas/ApiKey"), headers(("ETag" = String))),
        ObjectProblems,
    ),
)]
async fn revoke(
    State(keys): State<KeyManager>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    key: AuthenticatedKey,
    body: JsonBody,
) -> Result<Response, Problem> {
    let revocation: Revocation = body.object_or_default()?;
    let actor = format!("key {} ({})", key.id(), key.name());
    let keys = keys.acting_as(&actor).from_address(peer.ip());
    let record = keys.revoke(key.id(), revocation.reason.as_deref()).await?;
    Ok(shown(&keys, &record).await?)
}
