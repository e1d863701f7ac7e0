//! The routes, and their guards.

use std::{
    error::Error,
    net::{IpAddr, SocketAddr},
};

use axum::{Json, Router, extract::ConnectInfo, middleware};
use serde::Serialize;
use tower_api_key::{
    ApiKeyLayer, ConfigError, KeyManager, KeySource, RequireScopesLayer,
    auth::{FailureThrottle, ForwardedFor, RequestHead, WaitingLimit},
    axum::{ManagementGuard, management_router},
    openapi,
    rejection::Problem,
    store::FixedStore,
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    business,
    cors::{self, Origins},
    docs, me,
    metrics::Metrics,
    query,
};

/// Routes are added to one of the groups. Only routes in `open` need no key, and outside the
/// groups there is only the answer that there is nothing. Each group says in the document what its
/// layer asks for.
pub(crate) fn router(
    keys: KeyManager,
    admin: FixedStore,
    throttle: Option<&FailureThrottle>,
    forwarded: Option<&ForwardedFor>,
    origins: &Origins,
    metrics: Metrics,
) -> Result<Router, Box<dyn Error>> {
    // One bound for all requests that wait, whichever layer they wait in.
    let waiting = WaitingLimit::new();
    let guarded = |layer: ApiKeyLayer| {
        let layer = layer.with_waiting_limit(waiting.clone());
        throttled(with_addresses(layer, forwarded), throttle)
    };
    let key_layer = guarded(key_layer(&keys)?)?;
    let admin_layer = guarded(admin_layer(admin)?)?;

    let (open, open_document) = OpenApiRouter::new().routes(routes!(health)).split_for_parts();
    let (with_key, mut with_key_document) =
        business::routes(&waiting).merge(me::routes()).split_for_parts();
    let (inventory, mut inventory_document) = business::inventory().split_for_parts();
    let inventory = inventory.route_layer(RequireScopesLayer::all([business::INVENTORY])?);
    let mut management_document = openapi::management(MANAGEMENT);

    key_layer.security().secure(&mut with_key_document);
    key_layer.security().with_scopes([business::INVENTORY]).secure(&mut inventory_document);
    admin_layer.security().secure(&mut management_document);
    let (metrics, metrics_document) = metrics.routes(&admin_layer);
    let document = docs::document([
        open_document,
        metrics_document,
        with_key_document,
        inventory_document,
        management_document,
    ]);

    let known_query = middleware::from_fn(query::known);
    let business = finished(with_key.merge(inventory).route_layer(known_query)).layer(key_layer);
    // Never on the management routes: no page of another origin has business there.
    let business = match cors::layer(origins) {
        Some(cors) => business.layer(cors),
        None => business,
    };
    Ok(finished(open.merge(docs::routes(document)))
        .merge(metrics)
        .merge(business)
        .nest(MANAGEMENT, management_router(keys.clone(), ManagementGuard::keys(admin_layer)))
        .fallback(async || Problem::no_such_path())
        .with_state(keys))
}

const MANAGEMENT: &str = "/admin/api-keys";

/// Before the guard, so that a caller that may not use a route does not learn its methods either.
pub(crate) fn finished(group: Router<KeyManager>) -> Router<KeyManager> {
    group.method_not_allowed_fallback(async || Problem::no_such_method())
}

/// For the keys that the server issues, in every place where clients may be able to put one.
fn key_layer(keys: &KeyManager) -> Result<ApiKeyLayer, ConfigError> {
    Ok(keys
        .layer()
        .with_sources([
            KeySource::x_api_key(),
            KeySource::bearer(),
            KeySource::query(query::API_KEY)?,
            KeySource::cookie("api_key")?,
        ])
        .without_grpc_denials()
        .hide_credentials())
}

/// For the administrator's key, which lies in no database and opens nothing else.
fn admin_layer(admin: FixedStore) -> Result<ApiKeyLayer, ConfigError> {
    Ok(ApiKeyLayer::new(admin)
        .with_sources([KeySource::header("x-admin-key")?])
        .with_realm("admin")
        .without_grpc_denials()
        .hide_credentials())
}

/// One throttle for both kinds of keys: failures with one count for the other, too.
fn throttled(
    layer: ApiKeyLayer,
    throttle: Option<&FailureThrottle>,
) -> Result<ApiKeyLayer, ConfigError> {
    match throttle {
        Some(throttle) => layer.with_failure_throttle(throttle.clone()),
        None => Ok(layer),
    }
}

/// The client's address is the peer's, or the one that a trusted proxy says.
fn with_addresses(layer: ApiKeyLayer, forwarded: Option<&ForwardedFor>) -> ApiKeyLayer {
    match forwarded.cloned() {
        Some(forwarded) => {
            layer.with_client_address(move |request| forwarded.client(peer(request), request))
        }
        None => layer.with_client_address(peer),
    }
}

fn peer(request: &RequestHead<'_>) -> Option<IpAddr> {
    request.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip())
}

#[derive(Serialize, ToSchema)]
struct Health {
    status: &'static str,
}

/// Whether the server is there
#[utoipa::path(get, path = "/health", tag = docs::SERVER, security(()), responses((status = 200, description = "It is.", body = Health)))]
async fn health() -> Json<Health> {
    Json(Health { status: "ok" })
}
