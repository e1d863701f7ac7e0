//! The reference server passes, by its own document.

use axum::{Router, body::Bytes};
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;
use tower::ServiceExt;
use tower_api_key::{
    axum::{ManagementGuard, management_router},
    openapi,
    store::FixedStore,
    testing::{RecordingRouter, Routes, TestKeys, WithKey, assert_denied, guard_audit},
};

use crate::{app, cors::Origins, metrics::Metrics};

fn router(keys: &TestKeys, origins: &Origins) -> Router {
    let admin = FixedStore::new().with_key("admin", "the-administrators-key-of-a-test").unwrap();
    // As where other machines can ask.
    let metrics = Metrics::new(PrometheusBuilder::new().build_recorder().handle(), false);
    app::router(keys.manager().clone(), admin, None, None, origins, metrics).unwrap()
}

/// As a client reads it.
async fn document(router: &Router) -> Value {
    let request = Request::get("/openapi.json").body(Empty::<Bytes>::new()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test]
async fn every_operation_of_the_document_is_guarded() {
    let keys = TestKeys::new();
    for (origins, has_cors) in [(Origins::None, false), (Origins::Any, true)] {
        let router = router(&keys, &origins);
        let audit = guard_audit(Routes::of_openapi_json(&document(&router).await), router)
            .public(["/health"]);
        let audit =
            audit.with_keys(&keys).with_parameter("id", "01890000-0000-7000-8000-000000000000");
        let audit = if has_cors { audit.cors_outside() } else { audit };
        let report = audit.run().await;
        println!("{report}");
        report.assert_passed();
        let asking = report.rows().iter().filter(|row| row.method.is_some() && row.requests > 1);
        assert_eq!(asking.count(), 7 + 16 + 1);
    }
}

/// By the types of a document, and in a router that has recorded nothing.
#[tokio::test]
async fn management_routes_are_guarded_for_owners() {
    let keys = TestKeys::new();
    let guard = || ManagementGuard::owner(keys.layer());
    let mut document = openapi::own_management("");
    keys.layer().security().secure(&mut document);
    let management = management_router(keys.manager().clone(), guard());
    let management = RecordingRouter::from_parts(management, &document);
    let (router, listed) = RecordingRouter::new().nest("/keys", management).into_parts();
    let report = guard_audit(listed, router).with_keys(&keys).run().await;
    report.assert_passed();
    let operations = report.rows().iter().filter(|row| row.method.is_some() && row.requests == 5);
    assert_eq!(operations.count(), 15);
    assert!(report.rows().iter().any(|row| row.path == "/keys"), "{report}");
}

/// The audit sees the scopes of the document.
#[tokio::test]
async fn a_scope_that_the_document_has_wrong_is_found() {
    let keys = TestKeys::new();
    let router = router(&keys, &Origins::None);
    let key = keys.any().await;
    let request = Request::post("/webhook/inventory").body(Empty::<Bytes>::new()).unwrap();
    let response = router.clone().oneshot(request.with_key(&key)).await.unwrap();
    assert_denied!(response, "insufficient_scope", ["inventory:write"]);

    let mut document = document(&router).await;
    let security = &mut document["paths"]["/webhook/inventory"]["post"]["security"];
    for requirement in security.as_array_mut().unwrap() {
        for scopes in requirement.as_object_mut().unwrap().values_mut() {
            *scopes = serde_json::json!(["inventory:read"]);
        }
    }
    let listed = Routes::of_openapi_json(&document);
    let report = guard_audit(listed, router).public(["/health"]).with_keys(&keys).run().await;
    let [failure] = report.failures() else { panic!("{report}") };
    assert_eq!((&failure.method, &*failure.operation), (&Method::POST, "POST /webhook/inventory"));
}
