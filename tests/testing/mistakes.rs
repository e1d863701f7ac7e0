//! Mistakes in the wiring of an application, one by one. The same application without one passes.

use std::convert::Infallible;

use axum::{
    Json, Router,
    body::Bytes,
    extract::Request,
    http::{HeaderName, Method, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodRouter, any, get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tower_api_key::{
    AuthenticatedKey, OwnerId, OwnerLayer, Rejection, RejectionKind, RequireScopesLayer, Scopes,
    testing::{
        AuditReason, AuditReport, RecordingRouter, Routes, SentKey, TestKeys, Variant, guard_audit,
    },
};
use tower_http::cors::CorsLayer;

fn scopes(scope: &str) -> RequireScopesLayer {
    RequireScopesLayer::all([scope]).unwrap()
}

fn orders() -> MethodRouter {
    get(async || "orders").route_layer(scopes("orders:read"))
}

/// What is guarded, in every application of these tests.
fn guarded() -> RecordingRouter {
    let stock = post(async |_: Bytes| "counted").route_layer(scopes("stock:write"));
    RecordingRouter::new()
        .route("/orders", orders())
        .route("/orders/{id}", orders())
        .route("/stock", stock)
        .route("/me", get(async |key: AuthenticatedKey| key.name().to_owned()))
}

fn with_health(router: RecordingRouter) -> RecordingRouter {
    router.route("/health", get(async || "ok"))
}

fn correct(keys: &TestKeys) -> RecordingRouter {
    with_health(guarded().layer(keys.layer()))
}

/// What the document of the application says.
fn documented() -> Routes {
    Routes::new()
        .route_with_scopes(Method::GET, "/orders", ["orders:read"])
        .route_with_scopes(Method::GET, "/orders/{order}", ["orders:read"])
        .route_with_scopes(Method::POST, "/stock", ["stock:write"])
        .route(Method::GET, "/me")
}

async fn audit(keys: &TestKeys, application: RecordingRouter, documented: Routes) -> AuditReport {
    let (router, recorded) = application.into_parts();
    guard_audit(recorded.merge(documented), router).public(["/health"]).with_keys(keys).run().await
}

/// The failures of an application are all of the path of this operation, and one is this.
async fn assert_found(
    plant: impl FnOnce(&TestKeys) -> RecordingRouter,
    documented: Routes,
    operation: &str,
    sent: SentKey,
    reason: AuditReason,
) {
    let keys = TestKeys::new();
    let report = audit(&keys, plant(&keys), documented).await;
    let path = operation.split(' ').next_back().unwrap();
    let mut failures = report.failures().iter();
    assert!(failures.all(|one| one.operation.split(' ').next_back() == Some(path)), "{report}");
    let mut failures = report.failures().iter();
    assert!(
        failures
            .any(|one| { (&*one.operation, one.sent, &one.reason) == (operation, sent, &reason) }),
        "{report}"
    );
    assert!(report.to_string().contains(&format!("FAILED {operation}: ")), "{report}");
}

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

const OK: AuditReason = AuditReason::LetIn { status: StatusCode::OK };

fn late(status: StatusCode) -> AuditReason {
    AuditReason::CheckedTooLate { status }
}

#[tokio::test]
async fn without_a_mistake_it_passes() {
    let keys = TestKeys::new();
    let report = audit(&keys, correct(&keys), documented()).await;
    report.assert_passed();
    let text = report.to_string();
    assert!(text.starts_with("This audit walks what is listed"), "{text}");
    let row = |start: &str| {
        let line = text.lines().find(|line| {
            let mut words = line.split_whitespace();
            start.split(' ').all(|word| words.next() == Some(word))
        });
        line.unwrap_or_else(|| panic!("{start}: {text}")).split_whitespace().collect::<Vec<_>>()
    };
    // Without a key, without its scope, and four other forms.
    assert_eq!(row("GET /orders"), ["GET", "/orders", "orders:read", "6", "ok"]);
    assert_eq!(row("* /orders")[2..], ["not", "listed", "6", "ok"]);
    assert_eq!(row("* /health")[2..], ["nothing:", "public", "0", "not", "asked"]);
    assert_eq!(report.requests(), report.rows().iter().map(|row| row.requests).sum::<usize>());
}

/// Also where a layer inside denies all the same.
#[tokio::test]
async fn a_layer_in_shadow_fails() {
    let until = "9999-01-01T00:00:00Z".parse().unwrap();
    let keys = TestKeys::new();
    for application in [
        with_health(guarded().layer(keys.layer().shadow_until(until))),
        with_health(guarded().layer(keys.layer()).layer(keys.layer().shadow_until(until))),
    ] {
        let report = audit(&keys, application, documented()).await;
        assert!(
            report.failures().iter().any(|one| one.reason == AuditReason::InShadow),
            "{report}"
        );
        assert!(report.to_string().contains("a layer is in shadow"), "{report}");
    }
    let scopes = scopes("orders:read").shadow_until(until);
    let router =
        RecordingRouter::new().route("/orders", get(async || "orders").route_layer(scopes));
    let listed = Routes::new().route_with_scopes(Method::GET, "/orders", ["orders:read"]);
    let (router, _) = router.layer(keys.layer()).into_parts();
    let report = guard_audit(listed.clone(), router).with_keys(&keys).run().await;
    assert_eq!(report.failures()[0].reason, AuditReason::InShadow, "{report}");
    // Also where a layer further out renders a denial from inside anew.
    let inside = self::scopes("orders:read");
    let scopes = self::scopes("orders:read").shadow_until(until);
    let orders = get(async || "orders").route_layer(inside).route_layer(scopes);
    let router = RecordingRouter::new().route("/orders", orders).layer(keys.layer());
    let (router, _) = router.into_parts();
    let report = guard_audit(listed, router).with_keys(&keys).run().await;
    assert_eq!(report.failures()[0].reason, AuditReason::InShadow, "{report}");
}

#[tokio::test]
async fn handlers_run_only_where_that_is_asked_for() {
    let keys = TestKeys::new();
    let (router, recorded) = correct(&keys).into_parts();
    let listed = recorded.merge(documented());
    let audit = || guard_audit(listed.clone(), router.clone()).public(["/health"]).with_keys(&keys);
    audit().running_handlers().run().await.assert_passed();
    // A scope that no key of the document has.
    let more = listed.clone().route_with_scopes(Method::GET, "/me", ["me:read"]);
    let report = guard_audit(more, router.clone()).public(["/health"]).with_keys(&keys).run().await;
    assert!(report.failures().iter().all(|one| one.operation.ends_with("/me")), "{report}");
    assert!(!report.has_passed());
    // One scope too few in the document: nothing that only denies shows it to a key with that one.
    let both = RecordingRouter::new()
        .route(
            "/both",
            get(async || "both").route_layer(scopes("a").clone()).route_layer(scopes("b")),
        )
        .layer(keys.layer());
    let (router, _) = both.into_parts();
    let listed = Routes::new().route_with_scopes(Method::GET, "/both", ["b"]);
    let audit = || guard_audit(listed.clone(), router.clone()).with_keys(&keys);
    audit().run().await.assert_passed();
    let report = audit().running_handlers().run().await;
    assert!(report.failures().iter().all(|one| one.sent == SentKey::WithScopes), "{report}");
    assert_eq!(report.failures().len(), 1, "{report}");
}

#[tokio::test]
async fn a_route_after_the_layer() {
    let plant = |keys: &TestKeys| correct(keys).route("/invoices", get(async || "invoices"));
    assert_found(plant, documented(), "* /invoices", SentKey::None, OK).await;
    // One whose handler does not find what the audit asks for.
    let plant = |keys: &TestKeys| {
        correct(keys).route("/invoices/{id}", get(async || StatusCode::NOT_FOUND))
    };
    let reason = late(StatusCode::NOT_FOUND);
    assert_found(plant, documented(), "* /invoices/{id}", SentKey::None, reason).await;
}

#[tokio::test]
async fn a_route_without_its_scope_layer() {
    let plant = |keys: &TestKeys| {
        let open = guarded().route("/stock/{id}", get(async || "stock"));
        with_health(open.layer(keys.layer()))
    };
    let documented = documented().route_with_scopes(Method::GET, "/stock/{id}", ["stock:read"]);
    assert_found(plant, documented, "GET /stock/{id}", SentKey::WithoutScopes, OK).await;
}

#[tokio::test]
async fn another_scope_than_the_documented_one() {
    let documented = documented().route_with_scopes(Method::GET, "/orders", ["orders:list"]);
    let parse = |scopes: &[&str]| Scopes::parse(scopes).unwrap();
    let reason = AuditReason::OtherScopes {
        listed: parse(&["orders:list", "orders:read"]),
        missing: parse(&["orders:read"]),
    };
    assert_found(correct, documented, "GET /orders", SentKey::WithoutScopes, reason).await;
}

#[derive(Deserialize)]
struct Counted {
    count: u32,
}

/// Without a good body, the client learns what the body should be.
#[tokio::test]
async fn a_scope_check_in_the_handler_after_the_body() {
    async fn count(
        key: AuthenticatedKey,
        Json(counted): Json<Counted>,
    ) -> Result<String, Rejection> {
        let scope = "stock:count".parse().unwrap();
        if !key.scopes().allow(&scope) {
            return Err(Rejection::insufficient_scope([scope].into_iter().collect()));
        }
        Ok(counted.count.to_string())
    }
    let plant =
        |keys: &TestKeys| with_health(guarded().route("/count", post(count)).layer(keys.layer()));
    let documented = documented().route_with_scopes(Method::POST, "/count", ["stock:count"]);
    let reason = late(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_found(plant, documented, "POST /count", SentKey::WithoutScopes, reason).await;
}

#[tokio::test]
async fn methods_of_an_unguarded_handler() {
    for method in [Method::HEAD, Method::OPTIONS, Method::DELETE] {
        let plant = |keys: &TestKeys| {
            let method = method.clone();
            let answer = middleware::from_fn(move |request: Request, next: Next| {
                let method = method.clone();
                async move {
                    if request.method() == method && request.uri().path() == "/me" {
                        return "answered".into_response();
                    }
                    next.run(request).await
                }
            });
            correct(keys).layer(answer)
        };
        assert_found(plant, documented(), "* /me", SentKey::None, OK).await;
    }
}

#[tokio::test]
async fn a_fallback_that_serves() {
    let plant = |keys: &TestKeys| correct(keys).fallback(async || "the page");
    let keys = TestKeys::new();
    let report = audit(&keys, plant(&keys), documented()).await;
    let unlisted =
        |one: &tower_api_key::testing::AuditFailure| one.variant == Variant::UnlistedPath;
    assert!(report.failures().iter().any(|one| unlisted(one) && one.reason == OK), "{report}");
    // The same below a path.
    let nested = RecordingRouter::new().fallback(async || "the page");
    let report = audit(&keys, correct(&keys).nest("/api", nested), documented()).await;
    let failures: Vec<_> = report.failures().iter().map(|one| &*one.path).collect();
    assert_eq!(failures, ["/api/no-route-has-this-path"], "{report}");
}

#[tokio::test]
async fn a_nested_router_outside_of_the_layer() {
    let plant = |keys: &TestKeys| {
        let nested = RecordingRouter::new().route("/keys", any(async || "keys"));
        correct(keys).nest("/admin", nested)
    };
    assert_found(plant, documented(), "* /admin/keys", SentKey::None, OK).await;
    let plant = |keys: &TestKeys| {
        correct(keys).merge(RecordingRouter::new().route("/keys", any(async || "keys")))
    };
    assert_found(plant, documented(), "* /keys", SentKey::None, OK).await;
}

#[tokio::test]
async fn a_denial_by_another_layer() {
    async fn deny(request: Request, next: Next) -> Response {
        if request.uri().path() == "/me" && !request.headers().contains_key("x-api-key") {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        next.run(request).await
    }
    let plant = |keys: &TestKeys| correct(keys).layer(middleware::from_fn(deny));
    let reason = AuditReason::DeniedByAnother { status: StatusCode::UNAUTHORIZED };
    let keys = TestKeys::new();
    let report = audit(&keys, plant(&keys), documented()).await;
    assert!(report.failures().iter().any(|one| one.reason == reason), "{report}");
    assert!(report.failures().iter().all(|one| one.operation.ends_with(" /me")), "{report}");
}

#[tokio::test]
async fn a_denial_without_a_challenge() {
    async fn strip(request: Request, next: Next) -> Response {
        let is_me = request.uri().path() == "/me" && request.method() == Method::GET;
        let mut response = next.run(request).await;
        if is_me {
            response.headers_mut().remove("www-authenticate");
        }
        response
    }
    let plant = |keys: &TestKeys| correct(keys).layer(middleware::from_fn(strip));
    assert_found(plant, documented(), "GET /me", SentKey::None, AuditReason::NoChallenge).await;
}

#[tokio::test]
async fn a_method_that_was_added_after_the_scope_layer() {
    let plant = |keys: &TestKeys| {
        let items = get(async || "items").route_layer(scopes("items:read")).post(async || "added");
        with_health(guarded().route("/items", items).layer(keys.layer()))
    };
    let read = documented().route_with_scopes(Method::GET, "/items", ["items:read"]);
    assert_found(plant, read.clone(), "* /items", SentKey::WithoutScopes, OK).await;
    let both = read.route_with_scopes(Method::POST, "/items", ["items:write"]);
    assert_found(plant, both, "POST /items", SentKey::WithoutScopes, OK).await;
}

/// Inside, before it knows whose key it is, a router says what it has.
#[tokio::test]
async fn a_layer_of_routes_alone() {
    let plant = |keys: &TestKeys| with_health(guarded().route_layer(keys.layer()));
    let keys = TestKeys::new();
    audit(&keys, plant(&keys), documented()).await.assert_passed();
    // A path that is documented and not there is found, where no layer is around the router.
    let gone = documented().route(Method::GET, "/gone");
    assert_found(plant, gone, "GET /gone", SentKey::None, late(StatusCode::NOT_FOUND)).await;
}

#[tokio::test]
async fn a_cors_layer_outside_answers_options() {
    let keys = TestKeys::new();
    let cors = || CorsLayer::new().allow_origin(tower_http::cors::Any);
    for cors in [cors().allow_methods([Method::GET]), cors().allow_headers([X_API_KEY])] {
        let report = audit(&keys, correct(&keys).layer(cors.clone()), documented()).await;
        assert!(report.failures().iter().all(|one| one.method == Method::OPTIONS), "{report}");
        assert!(!report.has_passed());
        let (router, listed) = correct(&keys).layer(cors).into_parts();
        let audit = guard_audit(listed.merge(documented()), router).public(["/health"]);
        audit.cors_outside().with_keys(&keys).run().await.assert_passed();
    }
    // A handler's answer is none of a CORS layer.
    let (router, listed) = correct(&keys).route("/open", any(async || "open")).into_parts();
    let audit = guard_audit(listed, router).public(["/health"]).cors_outside();
    let report = audit.with_keys(&keys).run().await;
    assert!(report.failures().iter().any(|one| one.method == Method::OPTIONS), "{report}");
}

#[tokio::test]
async fn a_layer_of_owners_outside_of_the_scopes_needs_keys_of_an_owner() {
    async fn known(_: OwnerId) -> Result<Option<()>, Infallible> {
        Ok(Some(()))
    }
    let keys = TestKeys::new();
    let (router, _) = guarded().layer(OwnerLayer::new(known)).layer(keys.layer()).into_parts();
    let audit = || guard_audit(documented(), router.clone()).with_keys(&keys).running_handlers();
    let report = audit().run().await;
    let reason = AuditReason::OtherDenial {
        kind: RejectionKind::InactiveOwner,
        status: StatusCode::UNAUTHORIZED,
    };
    assert!(report.failures().iter().all(|one| one.reason == reason), "{report}");
    assert!(!report.has_passed());
    audit().with_owner("anna").run().await.assert_passed();
}

#[tokio::test]
async fn anonymous_callers_are_let_in_where_the_document_says_so() {
    let keys = TestKeys::new();
    let guard = keys.layer().allow_anonymous();
    let document = |paths: &str| {
        let paths: Value = serde_json::from_str(paths).unwrap();
        Routes::of_openapi_json(&json!({ "paths": paths }))
    };
    let news = get(async |key: Option<AuthenticatedKey>| key.map_or("all", |_| "yours"));
    let router = Router::new().route("/news", news).layer(guard);
    let optional = document(r#"{"/news": {"get": {"security": [{"key": []}, {}]}}}"#);
    let audit = |listed| guard_audit(listed, router.clone()).with_keys(&keys).run();
    audit(optional.clone()).await.assert_passed();
    let needed = document(r#"{"/news": {"get": {"security": [{"key": []}]}}}"#);
    let report = audit(needed).await;
    assert!(report.failures().iter().any(|one| one.reason == OK), "{report}");
    let open = document(r#"{"/news": {"get": {"security": [{}]}}}"#);
    let report = audit(open).await;
    let [failure] = report.failures() else { panic!("{report}") };
    assert_eq!(failure.reason, AuditReason::OpenButNotPublic);
    // A wrong key is denied also where none is needed.
    let unguarded = Router::new().route("/news", get(async || "all"));
    let report = guard_audit(optional, unguarded).with_keys(&keys).run().await;
    let [failure] = report.failures() else { panic!("{report}") };
    assert_eq!((failure.sent, &failure.reason), (SentKey::Unknown, &OK));
}

/// A public path of every kind is no other path.
#[tokio::test]
async fn a_public_path_with_a_parameter_may_answer_other_forms() {
    let keys = TestKeys::new();
    let pages = correct(&keys).route("/{*page}", get(async || "page"));
    let (router, listed) = pages.into_parts();
    let audit = guard_audit(listed.merge(documented()), router).public(["/health", "GET /{*page}"]);
    audit.with_keys(&keys).run().await.assert_passed();
}

#[tokio::test]
async fn sixty_operations_take_less_than_two_seconds() {
    let keys = TestKeys::new();
    let mut application = RecordingRouter::new();
    let mut listed = Routes::new();
    for number in 0..30 {
        let (path, scope) = (format!("/things{number}/{{id}}"), format!("things{number}:read"));
        let methods = get(async || "").post(async || "").route_layer(scopes(&scope));
        application = application.route(&path, methods);
        listed = listed.route_with_scopes(Method::GET, &*path, [&scope]).route_with_scopes(
            Method::POST,
            &*path,
            [&scope],
        );
    }
    let (router, recorded): (Router, Routes) = application.layer(keys.layer()).into_parts();
    let report = guard_audit(recorded.merge(listed), router).with_keys(&keys).run().await;
    report.assert_passed();
    // Per operation six, and per path the five methods that are not listed.
    assert_eq!(report.requests(), 60 * 6 + 30 * 5 + 1);
    println!("{} requests in {:?}", report.requests(), report.elapsed());
}
