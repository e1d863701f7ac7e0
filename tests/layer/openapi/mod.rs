//! The document says what the layer and the routes do.

mod fields;
mod verification;

use std::collections::BTreeSet;

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use tower_api_key::{
    ApiKeyLayer, Credits, KeyManager, KeySource, RateLimits, Rejection,
    auth::FailureThrottle,
    axum::{ManagementGuard, management_router},
    limit::{LocalLimiter, OutagePolicy, Quota},
    nonzero,
    openapi::{self, Security},
    store::MemoryStore,
};
use utoipa::openapi::{Info, OpenApi, Paths};

use crate::{
    stores::TestStore,
    support::{KEY, KEY_IN_BASIC, record, respond},
};

fn layer(sources: impl IntoIterator<Item = KeySource>) -> ApiKeyLayer {
    ApiKeyLayer::new(TestStore::waiting([record(KEY)])).with_sources(sources)
}

/// One of every kind, and names that are hard to write down.
fn sources() -> Vec<KeySource> {
    vec![
        KeySource::x_api_key(),
        KeySource::header("x.odd~name").unwrap(),
        KeySource::bearer(),
        KeySource::header_scheme("authorization", "Token").unwrap(),
        KeySource::basic(),
        KeySource::query("api_key").unwrap(),
        KeySource::query("api.2ekey&=ключ").unwrap(),
        KeySource::cookie("api_key").unwrap(),
        KeySource::cookie("api.key").unwrap(),
        KeySource::header_scheme("x-auth", "Token").unwrap(),
        KeySource::websocket_protocol("api-key").unwrap(),
    ]
}

/// The schemes as a reader of the document sees them.
fn schemes(security: &Security) -> Value {
    let mut document = openapi::management("/keys");
    security.secure(&mut document);
    value(&document)["components"]["securitySchemes"].clone()
}

fn value(document: &OpenApi) -> Value {
    serde_json::from_str(&document.to_json().unwrap()).unwrap()
}

/// A request with the key where the scheme says.
fn request_by(scheme: &Value) -> Request<Body> {
    let request = Request::builder();
    let text = |field: &str| scheme[field].as_str().unwrap();
    let request = match text("type") {
        "http" if text("scheme") == "basic" => {
            let value = format!("Basic {KEY_IN_BASIC}");
            request.uri("/").header(header::AUTHORIZATION, value)
        }
        "http" => {
            assert_eq!(text("scheme"), "bearer");
            request.uri("/").header(header::AUTHORIZATION, format!("Bearer {KEY}"))
        }
        "apiKey" => match text("in") {
            "header" => {
                let before = scheme["x-scheme"].as_str().map(|scheme| format!("{scheme} "));
                let before = before.or_else(|| {
                    scheme["x-protocol"].as_str().map(|protocol| format!("{protocol}, "))
                });
                let value = before.unwrap_or_default() + KEY;
                let request = request.header(header::UPGRADE, "websocket");
                request.uri("/").header(text("name"), value)
            }
            "query" => {
                let escaped = |byte| format!("%{byte:02X}");
                let name: String = text("name").bytes().map(escaped).collect();
                request.uri(format!("/?{name}={KEY}"))
            }
            "cookie" => {
                let cookie = format!("{}={KEY}", text("name"));
                request.uri("/").header(header::COOKIE, cookie)
            }
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    };
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_request_made_from_the_document_is_let_in() {
    for source in sources() {
        let layer = layer([source.clone()]);
        let schemes = schemes(&layer.security());
        let schemes = schemes.as_object().unwrap();
        assert_eq!(schemes.len(), 1, "{source:?}");
        let app = Router::new().route("/", get(async || "in")).layer(layer);
        for (name, scheme) in schemes {
            let answer = respond(app.clone(), request_by(scheme)).await;
            assert_eq!(answer.status(), 200, "{name}: {scheme}");
        }
        let without = Request::get("/").body(Body::empty()).unwrap();
        assert_eq!(respond(app, without).await.status(), 401);
    }
}

#[test]
fn every_source_is_an_alternative_of_its_own() {
    let security = layer(sources()).security();
    let names: BTreeSet<&str> = security.schemes().map(|(name, _)| name).collect();
    assert_eq!(names.len(), sources().len(), "{names:?}");
    let component = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    assert!(names.iter().all(|name| name.chars().all(component)), "{names:?}");

    let required = serde_json::to_value(security.requirements()).unwrap();
    let expected: Vec<_> = security.schemes().map(|(name, _)| json!({ name: [] })).collect();
    assert_eq!(required, json!(expected));
}

#[test]
fn scopes_and_anonymous_callers_are_in_the_requirement() {
    let layer = layer([KeySource::bearer()]);
    let required = |security: Security| serde_json::to_value(security.requirements()).unwrap();
    let scoped = layer.security().with_scopes(["orders:read"]);
    assert_eq!(required(scoped), json!([{ "authorization.bearer": ["orders:read"] }]));
    let anonymous = layer.allow_anonymous().security();
    assert_eq!(required(anonymous), json!([{ "authorization.bearer": [] }, {}]));
}

/// The codes that an operation's answers with this status speak of.
fn codes(document: &Value, status: &str) -> BTreeSet<String> {
    codes_of(&document["paths"]["/keys/{id}"]["get"], status)
}

fn codes_of(operation: &Value, status: &str) -> BTreeSet<String> {
    let answer = &operation["responses"][status];
    let lines = answer["description"].as_str().unwrap_or_default().lines();
    lines.filter_map(|line| Some(line.strip_prefix("- `")?.split_once('`')?.0.to_owned())).collect()
}

#[test]
fn denials_are_those_of_the_layer() {
    let secured = |layer: ApiKeyLayer| {
        let mut document = openapi::management("/keys");
        layer.security().secure(&mut document);
        value(&document)
    };
    let document = secured(layer([KeySource::bearer()]));
    assert!(codes(&document, "401").contains("expired_key"));
    assert!(!codes(&document, "403").contains("insecure_transport"));
    assert!(!codes(&document, "403").contains("cross_site_request"));
    let with_cookie = secured(layer([KeySource::cookie("key").unwrap()]));
    assert!(codes(&with_cookie, "403").contains("cross_site_request"));
    // What the operation answers itself, and what the layer does.
    let unavailable = ["lookup_overloaded", "store_unavailable"].map(str::to_owned);
    assert_eq!(codes(&document, "503"), BTreeSet::from(unavailable));

    let strict = layer([KeySource::bearer()]).require_secure_transport().with_uniform_denials();
    let document = secured(strict);
    assert!(codes(&document, "403").contains("insecure_transport"));
    let uniform = ["invalid_key", "missing_key"].map(str::to_owned);
    assert_eq!(codes(&document, "401"), BTreeSet::from(uniform));
    assert!(!codes(&document, "403").contains("invalid_key"), "it is 401");
    assert!(codes(&document, "429").is_empty(), "it limits nobody");

    let store = MemoryStore::new();
    let limited = layer([KeySource::bearer()])
        .with_rate_limits(RateLimits::new(LocalLimiter::new()))
        .with_credits(Credits::new(store).unwrap())
        .with_client_address(|_| None)
        .with_failure_throttle(FailureThrottle::new(Quota::per_minute(nonzero!(60))))
        .unwrap();
    let document = secured(limited);
    let denials = ["credits_exhausted", "rate_limited", "too_many_failures"].map(str::to_owned);
    assert_eq!(codes(&document, "429"), BTreeSet::from(denials));
    assert!(!codes(&document, "503").contains("limiter_unavailable"), "this node counts itself");
    let closed = RateLimits::new(LocalLimiter::new()).with_outage(OutagePolicy::FailClosed);
    let closed = secured(layer([KeySource::bearer()]).with_rate_limits(closed));
    assert!(codes(&closed, "503").contains("limiter_unavailable"));
    let answer = &document["paths"]["/keys/{id}"]["get"]["responses"]["429"];
    assert!(answer["headers"]["Retry-After"].is_object());
}

/// Each code that an answer can have is shown by an example of this very answer.
#[test]
fn examples_are_of_their_status_and_code() {
    let limits = RateLimits::new(LocalLimiter::new()).with_outage(OutagePolicy::FailClosed);
    let keys = layer(sources()).require_secure_transport().with_rate_limits(limits);
    let mut document =
        openapi::management("/admin/keys").merge_from(openapi::own_management("/me/keys"));
    document.merge(openapi::verification("/verify"));
    keys.security().with_scopes(["keys:write"]).secure(&mut document);
    let document = value(&document);
    for (path, method, operation) in operations(&document) {
        for (status, answer) in operation["responses"].as_object().unwrap() {
            let shown = format!("{method} {path}: {status}");
            let examples = &answer["content"]["application/problem+json"]["examples"];
            let examples = examples.as_object().cloned().unwrap_or_default();
            let names: BTreeSet<String> = examples.keys().cloned().collect();
            assert_eq!(names, codes_of(operation, status), "{shown}");
            assert_eq!(names.is_empty(), status.starts_with('2'), "{shown}");
            for (code, example) in examples {
                let problem = &example["value"];
                assert_eq!(problem["code"], code, "{shown}");
                assert_eq!(problem["status"].to_string(), *status, "{shown}");
                let phrase: StatusCode = status.parse().unwrap();
                assert_eq!(problem["title"], phrase.canonical_reason().unwrap(), "{shown}");
            }
        }
    }
}

/// A hook answers in its own way, of which nothing is known.
#[test]
fn denials_of_a_hook_have_no_examples() {
    let keys = layer([KeySource::bearer()])
        .with_rejection_response(|_: &Rejection, prepared: Response<Bytes>| prepared);
    let mut document = openapi::management("/keys");
    keys.security().secure(&mut document);
    let answers = &value(&document)["paths"]["/keys/{id}"]["get"]["responses"];
    assert!(answers["401"]["content"].is_null(), "{answers}");
    let unavailable = &answers["503"]["content"]["application/problem+json"]["examples"];
    let names: Vec<_> = unavailable.as_object().unwrap().keys().collect();
    assert_eq!(names, ["store_unavailable"], "the route's own");
}

#[test]
fn what_says_its_own_security_keeps_it() {
    let mut document = openapi::management("/keys");
    layer([KeySource::bearer()]).security().secure(&mut document);
    let once = value(&document);
    layer([KeySource::x_api_key()]).security().secure(&mut document);
    assert_eq!(value(&document)["paths"], once["paths"]);
}

#[test]
fn several_documents_make_one() {
    let document = OpenApi::new(Info::new("both", "1"), Paths::new())
        .merge_from(openapi::management("/admin/{tenant}/keys/"))
        .merge_from(openapi::own_management("/me/keys"))
        .merge_from(openapi::verification("/tenants/{tenant}/verify/"));
    let document = value(&document);
    assert_eq!(document["openapi"], "3.1.0");
    let mut names = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        assert!(names.insert(operation["operationId"].to_string()), "{method} {path}");
        for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            let parameters = operation["parameters"].as_array().unwrap();
            let named = parameters.iter().filter(|p| p["in"] == "path" && p["name"] == name);
            assert_eq!(named.count(), 1, "{method} {path}");
        }
    }
    assert_eq!(names.len(), 16 + 15 + 1);
}

fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, item)| {
        let operations = item.as_object().unwrap().iter();
        operations.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

/// A router, and the document for its callers.
fn managed() -> [(Router, Value); 2] {
    let keys = || KeyManager::new(MemoryStore::new());
    let own = ManagementGuard::custom(|_| {
        let scopes = tower_api_key::Scopes::parse(["*"]).unwrap();
        let caller = tower_api_key::axum::ManagementCaller::owner("user-1", scopes);
        Ok::<_, StatusCode>(caller.with_template(tower_api_key::NewKey::default()))
    });
    [
        (ManagementGuard::insecure_unguarded(), openapi::management("/keys")),
        (own, openapi::own_management("/keys")),
    ]
    .map(|(guard, document)| {
        (Router::new().nest("/keys", management_router(keys(), guard)), value(&document))
    })
}

async fn send(app: &Router, method: &str, path: &str, body: Option<&Value>) -> Response<Bytes> {
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
    respond(app.clone(), Request::builder().method(method).uri(path).body(body).unwrap()).await
}

fn json_of(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).unwrap()
}

/// What ends keys is refused to no owner for the number or the rate of acts, and all that is changed
/// refuses parameters.
#[test]
fn acts_have_the_codes_that_they_can_have() {
    for [document, own] in [managed().map(|(_, document)| document)] {
        for (path, method, operation) in operations(&own) {
            let is_reducing = method == "delete"
                || ["revoke", "disable", "delete"].iter().any(|act| path.ends_with(act));
            let may_be_one_more = method != "get" && !is_reducing;
            let shown = format!("{method} {path}");
            let forbidden = codes_of(operation, "403");
            assert_eq!(forbidden.contains("beyond_own_key"), method != "get", "{shown}");
            assert!(forbidden.contains("insufficient_scope"), "{shown}");
            assert_eq!(forbidden.contains("too_many_keys"), may_be_one_more, "{shown}");
            assert_eq!(operation["responses"]["429"].is_object(), may_be_one_more, "{shown}");
        }
        for document in [document, own] {
            for (path, method, operation) in operations(&document) {
                assert!(
                    codes_of(operation, "400").contains("invalid_parameter"),
                    "{method} {path}"
                );
            }
        }
    }
}

/// A parameter that no route knows is refused by every one of them, as documented.
#[tokio::test]
async fn every_route_refuses_a_parameter_as_documented() {
    for (app, document) in managed() {
        for (path, method, operation) in operations(&document) {
            let concrete = path.replace("{id}", "01890000-0000-7000-8000-000000000000");
            let refused = send(&app, method, &format!("{concrete}?unheard_of=1"), None).await;
            assert_eq!(refused.status(), 400, "{method} {path}");
            let code = json_of(&refused)["code"].as_str().unwrap().to_owned();
            assert!(codes_of(operation, "400").contains(&code), "{method} {path}: {code}");
        }
    }
}

#[tokio::test]
async fn every_route_is_in_the_document_and_nothing_else() {
    for (app, document) in managed() {
        let documented: BTreeSet<String> =
            document["paths"].as_object().unwrap().keys().cloned().collect();
        // A router does not tell its routes otherwise.
        let shown = format!("{app:?}");
        let routed: BTreeSet<String> = shown
            .split('"')
            .filter(|text| text.starts_with("/keys") && !text.contains("__private"))
            // axum's own way to say "with a slash at the end".
            .map(|path| path.trim_end_matches('/').to_owned())
            .collect();
        let mut routed = routed;
        if !document["components"]["schemas"]["ApiKeyTopUp"].is_object() {
            // This one answers owners like a path that is not there, and is not in their document.
            assert!(routed.remove("/keys/{id}/credits"));
            let path = "/keys/01890000-0000-7000-8000-000000000000/credits";
            let refused = send(&app, "post", path, Some(&json!({ "add": 1 }))).await;
            assert_eq!(refused.body(), send(&app, "post", "/keys/a/b", None).await.body());
        }
        assert_eq!(routed, documented, "{shown}");

        for path in documented {
            let item = &document["paths"][&path];
            for method in ["get", "put", "post", "delete", "patch"] {
                let concrete = path.replace("{id}", "01890000-0000-7000-8000-000000000000");
                let status = send(&app, method, &concrete, None).await.status();
                let is_routed = status != StatusCode::METHOD_NOT_ALLOWED;
                assert_eq!(is_routed, item.get(method).is_some(), "{method} {path}");
            }
        }
    }
}
