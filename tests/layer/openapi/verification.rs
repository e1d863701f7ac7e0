//! The document of `verification_router` says what it takes and answers.

use std::collections::BTreeSet;

use axum::{Router, middleware::map_request};
use serde_json::{Value, json};
use tower_api_key::{
    ApiKeyLayer,
    axum::{VerificationGuard, verification_router},
    openapi,
};

use super::{codes_of, json_of, send, value};
use crate::{
    stores::TestStore,
    support::{KEY, record},
};

fn app() -> Router {
    let layer = ApiKeyLayer::new(TestStore::new([record(KEY)]));
    let guard = VerificationGuard::loopback(|_| Some([127, 0, 0, 1].into()));
    let verification = verification_router(layer, guard).unwrap();
    Router::new().nest("/verify", verification).layer(map_request(
        async |mut request: axum::extract::Request| {
            request.headers_mut().insert("host", "localhost".parse().unwrap());
            request
        },
    ))
}

fn names(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn every_documented_field_is_taken_and_no_other() {
    let document = value(&openapi::verification("/verify"));
    let question = &document["components"]["schemas"]["ApiKeyQuestion"];
    for (field, schema) in question["properties"].as_object().unwrap() {
        let value = match field.as_str() {
            "key" => json!(KEY),
            "address" => json!("192.0.2.1"),
            "scopes" => json!([]),
            _ => schema["default"].clone(),
        };
        let mut body = json!({ "key": KEY });
        body[field] = value;
        assert_eq!(send(&app(), "post", "/verify", Some(&body)).await.status(), 200, "{field}");
    }
    assert_eq!(question["required"], json!(["key"]));
    assert_eq!(question["additionalProperties"], json!(false));
}

#[tokio::test]
async fn answers_have_the_documented_members() {
    let document = value(&openapi::verification("/verify"));
    let schema = &document["components"]["schemas"]["ApiKeyAnswer"];
    for key in [KEY, "unknown-key-of-these-tests"] {
        let answer = json_of(&send(&app(), "post", "/verify", Some(&json!({ "key": key }))).await);
        assert_eq!(names(&answer), names(&schema["properties"]));
        let required = schema["required"].as_array().unwrap();
        assert_eq!(required.len(), names(&answer).len());
        assert_eq!(names(&answer), names(&schema["examples"][0]));
    }
}

#[tokio::test]
async fn errors_are_documented() {
    let document = value(&openapi::verification("/verify"));
    let operation = &document["paths"]["/verify"]["post"];
    assert_eq!(operation["operationId"], "verify_api_key");
    for (body, status, code) in [
        (json!({ "other": 1 }), "422", "invalid_field"),
        (json!("x".repeat(70_000)), "413", "body_too_large"),
    ] {
        let answer = send(&app(), "post", "/verify", Some(&body)).await;
        assert_eq!(answer.status().as_str(), status);
        assert_eq!(json_of(&answer)["code"], code);
        assert!(codes_of(operation, status).contains(code));
    }
    let refused = send(&app(), "post", "/verify?key=x", None).await;
    assert_eq!(
        (refused.status().as_u16(), &json_of(&refused)["code"]),
        (400, &"invalid_parameter".into())
    );
    assert!(codes_of(operation, "400").contains("invalid_parameter"));
    let unavailable = ["store_unavailable", "lookup_overloaded", "limiter_unavailable"];
    assert_eq!(codes_of(operation, "503"), unavailable.map(str::to_owned).into());
    assert_eq!(document["paths"].as_object().unwrap().len(), 1);
    let at_the_root = value(&openapi::verification(""));
    assert!(at_the_root["paths"]["/"]["post"].is_object());
}
