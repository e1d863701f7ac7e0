//! `/metrics`, as Prometheus reads it.

use std::time::Duration;

use axum::{
    Extension, Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tower_api_key::{
    ApiKeyLayer, ConfigError, KeySource, auth::FailureThrottle, rejection::Problem,
    store::FixedStore, telemetry,
};

use super::{check::peer, values::METRICS};
use crate::failure::Failure;

/// Single durations are in memory until metrics are read. Where none are, they are added up so often.
const ADD_UP_EVERY: Duration = Duration::from_secs(30);

/// From here on everything is counted.
pub(super) fn install() -> Result<PrometheusHandle, Failure> {
    let failed = |error| Failure::unavailable("cannot count", &error);
    let recorder = PrometheusBuilder::new().set_buckets(telemetry::DURATION_BUCKETS);
    let handle = recorder.and_then(PrometheusBuilder::install_recorder).map_err(failed)?;
    telemetry::describe();
    let adding = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(ADD_UP_EVERY).await;
            drop(adding.render());
        }
    });
    Ok(handle)
}

/// The route, behind the administrator's key where there is one.
pub(super) fn router(
    handle: PrometheusHandle,
    admin: Option<FixedStore>,
    throttle: Option<FailureThrottle>,
) -> Result<Router, ConfigError> {
    let router = Router::new()
        .route(METRICS, get(metrics))
        .method_not_allowed_fallback(async || Problem::no_such_method())
        .layer(Extension(handle));
    let Some(admin) = admin else { return Ok(router) };
    let mut guard = ApiKeyLayer::new(admin)
        .with_sources([KeySource::header("x-admin-key")?])
        .with_realm("admin")
        .with_client_address(peer)
        .without_grpc_denials();
    if let Some(throttle) = throttle {
        guard = guard.with_failure_throttle(throttle)?;
    }
    Ok(router.layer(guard))
}

async fn metrics(Extension(handle): Extension<PrometheusHandle>) -> Response {
    telemetry::publish();
    let headers = [
        (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, handle.render()).into_response()
}
