//! Audits of services that are no routers.

use std::convert::Infallible;

use http::{Method, Request, Response, StatusCode};
use tower::{ServiceBuilder, service_fn};
use tower_api_key::{
    RequireScopesLayer,
    testing::{AuditReason, EmptyBody, Routes, TestKeys, Variant, guard_audit},
};

async fn hello<B>(_: Request<B>) -> Result<Response<String>, Infallible> {
    Ok(Response::new("hello".to_owned()))
}

fn routes() -> Routes {
    Routes::new().route_with_scopes(Method::GET, "/orders", ["orders:read"]).path("/health")
}

#[tokio::test]
async fn a_guarded_service_passes_with_any_type_of_bodies() {
    let keys = TestKeys::new();
    let stack = || {
        ServiceBuilder::new()
            .layer(keys.layer().with_bypass(|request| request.uri.path() == "/health"))
            .layer(RequireScopesLayer::all(["orders:read"]).unwrap().allow_anonymous())
    };
    let audit = guard_audit(routes(), stack().service(service_fn(hello::<EmptyBody>)));
    let report = audit.public(["/health"]).with_keys(&keys).running_handlers().run().await;
    report.assert_passed();
    // Nothing of `/health`; a key with scopes, without, none; four paths, six methods, one fallback.
    assert_eq!(report.requests(), 3 + 4 + 6 + 1);
    let audit = guard_audit(routes(), stack().service(service_fn(hello::<String>)));
    audit.public(["/health"]).with_keys(&keys).run_with(String::new).await.assert_passed();
}

/// A guard that asks by the path, before a service that takes other paths for the same.
#[tokio::test]
async fn a_bypass_that_is_too_wide_is_found() {
    type Bypass = fn(&str) -> bool;
    let (prefix, case, other): (Bypass, Bypass, Bypass) = (
        |path| path.starts_with("/health"),
        |path| path.eq_ignore_ascii_case("/health"),
        |path| path != "/orders",
    );
    let keys = TestKeys::new();
    for (bypass, listed, expected) in [
        (prefix, "/health/keys", Variant::AsListed),
        (case, "/Health", Variant::AsListed),
        (other, "/orders", Variant::DoubledSlashes),
        (other, "/orders", Variant::DotSegment),
        (other, "/orders", Variant::TrailingSlash),
        (other, "/orders", Variant::OtherCase),
        (other, "/orders", Variant::UnlistedPath),
    ] {
        let layer = keys.layer().with_bypass(move |request| bypass(request.uri.path()));
        let service = ServiceBuilder::new().layer(layer).service(service_fn(hello::<EmptyBody>));
        let report = guard_audit(Routes::new().path(listed), service).run().await;
        let found = report.failures().iter().any(|failure| {
            (failure.variant == expected || expected == Variant::AsListed)
                && failure.reason == AuditReason::LetIn { status: StatusCode::OK }
        });
        assert!(found, "{expected:?}: {report}");
    }
}

#[tokio::test]
async fn a_list_that_does_not_fit_is_found() {
    let keys = TestKeys::new();
    let service = ServiceBuilder::new().layer(keys.layer()).service(service_fn(hello::<EmptyBody>));
    let reasons = async |routes: Routes, public: &[&str]| {
        let report = guard_audit(routes, service.clone()).public(public).run().await;
        report.failures().iter().map(|failure| failure.reason.clone()).collect::<Vec<_>>()
    };
    assert_eq!(reasons(Routes::new().path("/a"), &["/b"]).await, [AuditReason::NotListed]);
    let guarded = Routes::new().route(Method::GET, "/a");
    assert_eq!(reasons(guarded, &["GET /a"]).await, [AuditReason::PublicButGuarded]);
    let asking = Routes::new().route_with_scopes(Method::GET, "/a", ["b"]);
    let reasons = reasons(asking, &[]).await;
    assert!(reasons.iter().all(|reason| *reason == AuditReason::NoKeys) && !reasons.is_empty());
}

#[tokio::test]
async fn parameters_have_the_values_of_the_test() {
    let keys = TestKeys::new();
    let layer = keys.layer().with_bypass(|request| !request.uri.path().contains("/42"));
    let service = ServiceBuilder::new().layer(layer).service(service_fn(hello::<EmptyBody>));
    let audit = || guard_audit(Routes::new().path("/orders/{id}"), service.clone());
    // The fallback is open in either.
    assert_eq!(audit().with_parameter("id", "42").run().await.failures().len(), 1);
    assert!(audit().with_parameter("number", "42").run().await.failures().len() > 1);
}

#[tokio::test]
async fn a_service_that_fails_is_found() {
    let routes = || Routes::new().route(Method::GET, "/orders");
    let keys = TestKeys::new();
    let broken = service_fn(async |_: Request<EmptyBody>| {
        Ok::<_, Infallible>(Response::builder().status(500).body(String::new()).unwrap())
    });
    let service = ServiceBuilder::new().layer(keys.layer()).service(broken);
    guard_audit(routes(), service.clone()).with_keys(&keys).run().await.assert_passed();
    let audit = guard_audit(routes(), service).with_keys(&keys).running_handlers();
    let report = audit.run().await;
    let [failure] = report.failures() else { panic!("{report}") };
    assert_eq!(failure.reason, AuditReason::Failed { status: StatusCode::INTERNAL_SERVER_ERROR });

    let silent = service_fn(async |_: Request<EmptyBody>| Err::<Response<String>, _>("gone"));
    let report = guard_audit(routes(), silent).run().await;
    let error = "\"gone\"".to_owned();
    assert_eq!(report.failures()[0].reason, AuditReason::NoAnswer { error });
}
