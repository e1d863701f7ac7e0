//! The service with events as API Gateway sends them, without Lambda around it.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use lambda_http::{RequestExt, request};
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_api_key::manage::IssuedKey;

use super::*;

fn manager() -> (KeyManager, UsageRecorder) {
    let store = MemoryStore::new();
    let usage = UsageRecorder::new(store.clone()).unwrap();
    (KeyManager::new(store).with_usage(usage.clone()), usage)
}

async fn issued(keys: &KeyManager, scopes: &[&str], networks: &[&str]) -> IssuedKey {
    let new = NewKey {
        scopes: Scopes::parse(scopes).unwrap(),
        allowed_addresses: networks.iter().map(|network| network.parse().unwrap()).collect(),
        ..NewKey::named("of a test")
    };
    keys.create(new).await.unwrap()
}

/// An event of an HTTP API: payload format 2.0.
fn event(headers: &Value, source: &str) -> Request {
    let event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/hello",
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "apiId": "api",
            "stage": "$default",
            "http": {
                "method": "GET",
                "path": "/hello",
                "protocol": "HTTP/1.1",
                "sourceIp": source,
                "userAgent": "a test",
            },
            "requestId": "1",
            "time": "30/Nov/2026:12:00:00 +0000",
            "timeEpoch": 1_796_040_000_000_u64,
        },
        "isBase64Encoded": false,
    });
    let request = request::from_str(&event.to_string()).unwrap();
    request.with_lambda_context(lambda_http::Context::default())
}

const SOURCE: &str = "192.0.2.7";

async fn answer(keys: &KeyManager, usage: &UsageRecorder, event: Request) -> Response<Body> {
    let service = service(keys, usage).unwrap();
    service.oneshot(event).await.unwrap().into_response().await
}

/// The status, and the text or the reason.
async fn ask(keys: &KeyManager, usage: &UsageRecorder, event: Request) -> (u16, String) {
    let response = answer(keys, usage, event).await;
    let status = response.status().as_u16();
    let Body::Text(text) = response.into_body() else { panic!("no text") };
    let code = serde_json::from_str::<Value>(&text).ok();
    (status, code.map_or(text, |problem| problem["code"].as_str().unwrap().to_owned()))
}

#[tokio::test]
async fn events_are_judged_as_requests_are() {
    let (keys, usage) = manager();
    let (good, without) = (issued(&keys, &["hello"], &[]).await, issued(&keys, &[], &[]).await);
    let revoked = issued(&keys, &["hello"], &[]).await;
    keys.revoke(revoked.record.id, None).await.unwrap();
    let text = |key: &IssuedKey| key.secret.expose().to_owned();
    for (headers, expected) in [
        (json!({ "x-api-key": text(&good) }), (200, "Hello, of a test.\n")),
        (
            json!({ "authorization": format!("Bearer {}", text(&good)) }),
            (200, "Hello, of a test.\n"),
        ),
        (json!({}), (401, "missing_key")),
        (json!({ "x-api-key": "key_typo" }), (401, "malformed_key")),
        (json!({ "x-api-key": text(&revoked) }), (401, "revoked_key")),
        (json!({ "x-api-key": text(&without) }), (403, "insufficient_scope")),
        // Two lines of one header, as API Gateway joins them.
        (json!({ "x-api-key": format!("{0},{0}", text(&good)) }), (401, "malformed_key")),
    ] {
        let (status, text) = ask(&keys, &usage, event(&headers, SOURCE)).await;
        assert_eq!((status, &*text), expected, "{headers}");
    }
}

#[tokio::test]
async fn the_address_is_that_of_the_event_and_not_of_a_header() {
    let (keys, usage) = manager();
    let key = issued(&keys, &["hello"], &["192.0.2.0/24"]).await;
    let headers = json!({ "x-api-key": key.secret.expose(), "x-forwarded-for": SOURCE });
    for (source, status) in [(SOURCE, 200), ("198.51.100.1", 403), ("", 403), ("none", 403)] {
        let (found, _) = ask(&keys, &usage, event(&headers, source)).await;
        assert_eq!(found, status, "{source:?}");
    }
}

/// Nothing is left to a task that a stopped process would not run.
#[tokio::test]
async fn a_use_is_written_before_the_answer() {
    let (keys, usage) = manager();
    let key = issued(&keys, &["hello"], &[]).await;
    let headers = json!({ "x-api-key": key.secret.expose() });
    for uses in 1..=3 {
        ask(&keys, &usage, event(&headers, SOURCE)).await;
        let record = keys.get(key.record.id).await.unwrap();
        assert_eq!(record.use_count, uses);
        assert!(record.last_used_at.is_some());
    }
}

#[tokio::test]
async fn a_401_has_its_challenges_in_one_value() {
    let (keys, usage) = manager();
    let response = answer(&keys, &usage, event(&json!({}), SOURCE)).await;
    let values: Vec<_> = response.headers().get_all("www-authenticate").iter().collect();
    assert_eq!(values.len(), 1, "{values:?}");
    let text = values[0].to_str().unwrap();
    assert!(text.contains("ApiKey realm=") && text.contains(", Bearer realm="), "{text}");
}

#[test]
fn lists_are_joined_and_cookies_are_not() {
    let mut response = Response::new(());
    for (name, value) in
        [("vary", "a"), ("set-cookie", "a=1"), ("vary", "b"), ("set-cookie", "b=2"), ("age", "1")]
    {
        response.headers_mut().append(name, value.parse().unwrap());
    }
    let response = with_one_value_each(response);
    let of = |name: &str| response.headers().get_all(name).iter().cloned().collect::<Vec<_>>();
    assert_eq!(of("vary"), ["a, b"]);
    assert_eq!(of("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(of("age"), ["1"]);
}
