//! Requests that are no good questions.

use axum::{Router, body::Body};
use http::{Method, Request, header};
use serde_json::{Value, json};
use tower_api_key::{
    ApiKeyLayer, ConfigError,
    axum::{VerificationGuard, verification_router},
};

use super::{LOCAL, from, local, outcome, question, send, unguarded};
use crate::{
    grpc::as_grpc,
    stores::TestStore,
    support::{KEY, code, problem, record},
};

fn layer() -> ApiKeyLayer {
    ApiKeyLayer::new(TestStore::new([record(KEY)]))
}

#[tokio::test]
async fn an_unknown_field_or_a_bad_value_is_named() {
    let app = unguarded(layer());
    let with = |field: &str, value: Value| {
        let mut body = json!({ "key": KEY });
        body[field] = value;
        body.to_string()
    };
    let cases = [
        ("key", json!({}).to_string()),
        ("key", json!({ "key": null }).to_string()),
        ("key", json!({ "key": 12_345_678_901_234_567_u64 }).to_string()),
        ("key", json!({ "key": [KEY] }).to_string()),
        ("api_key", json!({ "api_key": KEY }).to_string()),
        ("spends", with("spends", json!(true))),
        ("spend", with("spend", json!(null))),
        ("spend", with("spend", json!("true"))),
        ("spend", with("spend", json!(1))),
        ("cost", with("cost", json!(0))),
        ("cost", with("cost", json!(-1))),
        ("cost", with("cost", json!(1.5))),
        ("cost", with("cost", json!(null))),
        ("cost", with("cost", json!(100_001))),
        ("cost", with("cost", json!(4_294_967_296_u64))),
        ("scopes", with("scopes", json!(null))),
        ("scopes", with("scopes", json!("orders:read"))),
        ("scopes[1]", with("scopes", json!(["a", "not a scope"]))),
        ("scopes[0]", with("scopes", json!([format!("Bearer {KEY}")]))),
        ("scopes[0]", with("scopes", json!([format!("\"{KEY}")]))),
        ("scopes[0]", with("scopes", json!([null]))),
        ("address", with("address", json!(""))),
        ("address", with("address", json!("192.0.2.1:80"))),
        ("address", with("address", json!("192.0.2.0/24"))),
        ("address", with("address", json!(7))),
        ("body", "[]".to_owned()),
        ("body", format!(r#""{KEY}""#)),
        ("body", format!(r#"{{"key":"{KEY}","key":"{KEY}"}}"#)),
    ];
    for (field, body) in cases {
        let response = send(&app, question(body.clone())).await;
        assert_eq!(response.status(), 422, "{body}");
        assert_eq!(code(&response), "invalid_field");
        let text = String::from_utf8_lossy(response.body());
        assert!(!text.contains(KEY) && !text.contains("12345678"), "{text}");
        let problem = problem(&response);
        // Of a field that is not there, the object is what is wrong.
        let named = problem["field"].as_str().unwrap();
        let is_missing = field == "key" && named == ".";
        assert!(named == field || is_missing, "{body}: {problem}");
    }
}

#[tokio::test]
async fn bodies_are_bounded_and_of_json() {
    let app = unguarded(layer());
    let long = format!(r#"{{"key":"{KEY}","address":"{}"}}"#, " ".repeat(64 * 1024));
    for (body, status, expected) in [
        (String::new(), 400, "malformed_json"),
        ("{".to_owned(), 400, "malformed_json"),
        (format!("key={KEY}"), 400, "malformed_json"),
        (long, 413, "body_too_large"),
    ] {
        let response = send(&app, question(body)).await;
        assert_eq!((response.status().as_u16(), &*code(&response)), (status, expected));
        assert!(!String::from_utf8_lossy(response.body()).contains(KEY));
    }
    let mut form = question(json!({ "key": KEY }).to_string());
    form.headers_mut().insert(header::CONTENT_TYPE, "text/plain".parse().unwrap());
    let response = send(&app, form).await;
    assert_eq!((response.status().as_u16(), &*code(&response)), (415, "unsupported_media_type"));
}

#[tokio::test]
async fn one_may_count_for_a_hundred_thousand() {
    let app = unguarded(layer());
    let body = json!({ "key": KEY, "cost": 100_000 }).to_string();
    assert_eq!(send(&app, question(body)).await.status(), 200);
}

/// A body that comes in pieces is one body.
#[tokio::test]
async fn a_body_may_come_in_pieces() {
    let app = unguarded(layer());
    let body = json!({ "key": KEY, "scopes": [] }).to_string();
    let pieces: Vec<_> = body
        .as_bytes()
        .chunks(3)
        .map(|piece| Ok::<_, std::convert::Infallible>(piece.to_vec()))
        .collect();
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    let response = send(&app, question(body)).await;
    assert_eq!(response.status(), 200);
    assert_eq!(problem_like(&response)["valid"], json!(true));
}

fn problem_like(response: &http::Response<bytes::Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

#[tokio::test]
async fn only_post_is_taken() {
    let app = unguarded(layer());
    for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "post"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = question(json!({ "key": KEY }).to_string());
        *request.method_mut() = method.clone();
        let response = send(&app, request).await;
        assert_eq!(response.status(), 405, "{method}");
        assert_eq!(response.headers()[header::ALLOW], "POST", "{method}");
        if method != Method::HEAD {
            assert_eq!(code(&response), "method_not_allowed");
        }
    }
    let elsewhere = Request::post("/other").body(Body::from(json!({ "key": KEY }).to_string()));
    let response = send(&app, from(LOCAL, elsewhere.unwrap())).await;
    assert_eq!((response.status().as_u16(), &*code(&response)), (404, "not_found"));
}

/// A key does not belong in a URL.
#[tokio::test]
async fn parameters_are_refused() {
    let app = unguarded(layer());
    for query in ["?key=first-key-of-these-tests-0123456789", "?spend=true", "?"] {
        let mut request = question(json!({ "key": KEY }).to_string());
        *request.uri_mut() = format!("/{query}").parse().unwrap();
        let response = send(&app, request).await;
        if query == "?" {
            assert_eq!(response.status(), 200);
            continue;
        }
        assert_eq!((response.status().as_u16(), &*code(&response)), (400, "invalid_parameter"));
        assert!(!String::from_utf8_lossy(response.body()).contains(KEY));
    }
}

/// Whatever a program says of its request, the answer is JSON.
#[tokio::test]
async fn nothing_is_answered_as_grpc() {
    let app = unguarded(layer().with_grpc_web_denials());
    for content_type in ["application/grpc", "application/grpc-web", "application/grpc+json"] {
        let grpc = as_grpc(Request::new(()), content_type);
        let body = json!({ "key": "malformed" }).to_string();
        let response = send(&app, from(LOCAL, grpc.map(|()| Body::from(body)))).await;
        let is_json = content_type.ends_with("json");
        // `application/grpc+json` says that it is JSON, and it is.
        assert_eq!(response.status(), if is_json { 200 } else { 415 }, "{content_type}");
        // Nor is it where the program is denied.
        let grpc = as_grpc(Request::new(()), content_type);
        let guards = [local(), VerificationGuard::keys(layer().with_grpc_web_denials())];
        for guard in guards {
            let app: Router = verification_router(layer(), guard).unwrap();
            let denied = from("192.0.2.1", grpc.clone().map(|()| Body::empty()));
            assert_eq!(send(&app, denied).await.status(), 403);
        }
    }
}

#[test]
fn a_layer_that_lets_in_without_a_key_is_refused() {
    for (layer, setting) in [
        (layer().with_bypass(|_| true), "with_bypass"),
        (layer().allow_anonymous(), "allow_anonymous"),
    ] {
        let error = verification_router::<()>(layer, local()).unwrap_err();
        let ConfigError::Contradiction { settings, .. } = error else { panic!("{error:?}") };
        assert_eq!(settings, ["verification_router", setting]);
    }
}

/// It may be nested, and stand inside a layer of the application, which it takes nothing from.
#[tokio::test]
async fn an_identity_from_outside_is_none_of_ours() {
    let app = Router::new().nest("/verify", unguarded(layer())).layer(layer());
    let ask = async |body: Value| {
        let mut request = question(body.to_string());
        *request.uri_mut() = "/verify".parse().unwrap();
        request.headers_mut().insert("x-api-key", KEY.parse().unwrap());
        problem_like(&crate::support::respond(app.clone(), request).await)
    };
    assert_eq!(ask(json!({ "key": KEY })).await["valid"], json!(true));
    assert_eq!(ask(json!({ "key": "unknown-key-of-these-tests" })).await["valid"], json!(false));
    assert_eq!(outcome(&unguarded(layer()), json!({ "key": KEY })).await, "good");
}
