//! `/metrics`, as Prometheus reads it: text, with what was counted until now.

use std::time::Duration;

use axum::{
    Extension, Router,
    http::header,
    response::{IntoResponse, Response},
};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use tower_api_key::{ApiKeyLayer, KeyManager, telemetry};
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{app, docs};

/// Single durations are in memory until metrics are read. Where none are, they are added up so often.
const ADD_UP_EVERY: Duration = Duration::from_secs(30);

/// The recorder, and whether its metrics need the administrator's key.
pub(crate) struct Metrics {
    handle: PrometheusHandle,
    is_guarded: bool,
}

impl Metrics {
    /// From here on everything is counted. They tell of the traffic, so they are shown without a key on an
    /// address of this machine alone and nowhere else.
    pub(crate) fn install(is_local: bool) -> Result<Self, BuildError> {
        let recorder = PrometheusBuilder::new().set_buckets(telemetry::DURATION_BUCKETS)?;
        let handle = recorder.install_recorder()?;
        telemetry::describe();
        tokio::spawn(add_up(handle.clone()));
        Ok(Self::new(handle, is_local))
    }

    /// Of another recorder.
    pub(crate) const fn new(handle: PrometheusHandle, is_local: bool) -> Self {
        Self { handle, is_guarded: !is_local }
    }

    /// The route and its document, behind `guard` where it needs to be.
    pub(crate) fn routes(self, guard: &ApiKeyLayer) -> (Router<KeyManager>, OpenApi) {
        let (router, mut document) =
            OpenApiRouter::new().routes(routes!(metrics)).split_for_parts();
        let router = app::finished(router.layer(Extension(self.handle)));
        if !self.is_guarded {
            docs::without_key(&mut document);
            return (router, document);
        }
        guard.security().secure(&mut document);
        (router.layer(guard.clone()), document)
    }
}

async fn add_up(handle: PrometheusHandle) {
    loop {
        tokio::time::sleep(ADD_UP_EVERY).await;
        drop(handle.render());
    }
}

/// Metrics, for Prometheus
#[utoipa::path(get, path = "/metrics", tag = docs::SERVER, responses((status = 200, description = "Metrics in Prometheus' text format.", body = String, content_type = "text/plain")))]
async fn metrics(Extension(handle): Extension<PrometheusHandle>) -> Response {
    telemetry::publish();
    let headers = [
        (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, handle.render()).into_response()
}
