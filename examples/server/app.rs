//! Which routes there are, and what guards them.

use std::{
    error::Error,
    net::{IpAddr, SocketAddr},
};

use axum::{Json, Router, extract::ConnectInfo, routing::get};
use serde_json::{Value, json};
use tower_api_key::{
    ApiKeyLayer, ConfigError, Guard, KeyManager, KeySource, RequestHead, UsageRecorder,
    management_router, store::FixedStore,
};

use crate::{business, me, problem};

/// Routes are added to one of the groups. Only what stands in `open` needs no key, and outside the
/// groups there is only the answer that there is nothing.
pub(crate) fn router(
    keys: KeyManager,
    usage: UsageRecorder,
    admin: FixedStore,
) -> Result<Router, Box<dyn Error>> {
    let open = Router::new().route("/health", get(health));
    let with_key = business::routes()?.merge(me::routes());
    let management = management_router(keys.clone(), Guard::keys(admin_layer(admin)?));

    Ok(finished(open)
        .merge(finished(with_key).layer(key_layer(&keys, usage)?))
        .nest("/admin/api-keys", management)
        .fallback(problem::no_such_path)
        .with_state(keys))
}

/// Before the guard, so that who may not call a route does not learn its methods either.
fn finished(group: Router<KeyManager>) -> Router<KeyManager> {
    group.method_not_allowed_fallback(problem::no_such_method)
}

/// For the keys that the server issues, in every place where clients may be able to put one.
fn key_layer(keys: &KeyManager, usage: UsageRecorder) -> Result<ApiKeyLayer, ConfigError> {
    Ok(keys
        .layer()
        .with_sources([
            KeySource::x_api_key(),
            KeySource::bearer(),
            KeySource::query("api_key")?,
            KeySource::cookie("api_key")?,
        ])
        .with_client_address(peer)
        .with_usage(usage)
        .hide_credentials())
}

/// For the administrator's key, which lies in no database and opens nothing else.
fn admin_layer(admin: FixedStore) -> Result<ApiKeyLayer, ConfigError> {
    Ok(ApiKeyLayer::new(admin)
        .with_sources([KeySource::header("x-admin-key")?])
        .with_realm("admin")
        .with_client_address(peer)
        .hide_credentials())
}

/// The client's address, as long as no proxy stands in front.
fn peer(request: &RequestHead<'_>) -> Option<IpAddr> {
    request.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip())
}

async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}
