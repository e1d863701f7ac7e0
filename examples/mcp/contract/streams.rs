//! Streams end when their key is revoked.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use axum::{
    body::Body,
    http::{Method, Response, StatusCode, header},
};
use http_body_util::BodyExt;
use mcp_guard::MAX_REPORTS;
use serde_json::json;
use tokio::time::timeout;

use super::client::{Client, Protocol, Service, bytes};

/// For a test that fails, so that it ends.
const FAR_TOO_LONG: Duration = Duration::from_mins(1);

/// A client, and the id of its key.
pub(crate) async fn client(protocol: Protocol) -> (Client, String) {
    let service = Service::new();
    let new = json!({ "name": "watcher", "scopes": ["stock:read"] });
    let created = service.manage(Method::POST, "", &new).await;
    let text = |member: &str| created[member].as_str().unwrap().to_owned();
    (Client::new(service, protocol, text("key")).await, text("id"))
}

/// A call whose reports would go on for minutes.
async fn watch(client: &Client) -> Response<Body> {
    let params = json!({
        "name": "watch_stock",
        "arguments": { "product": "apples", "reports": MAX_REPORTS },
        "_meta": { "progressToken": "token" },
    });
    client.request("tools/call", params).await
}

/// Revokes the key while `rest` reads a stream to its end.
pub(crate) async fn assert_ends_with_its_key(
    client: &Client,
    id: &str,
    rest: impl Future<Output = String>,
) {
    let mut rest = pin!(rest);
    // Once: then the request is let in, and the server has it.
    let first = poll_fn(|context| Poll::Ready(rest.as_mut().poll(context))).await;
    assert!(first.is_pending(), "{first:?}");
    client.service.manage(Method::POST, &format!("/{id}/revoke"), &json!({})).await;
    let rest = timeout(FAR_TOO_LONG, rest).await.expect("an end");
    assert!(!rest.contains("reported"), "{rest}");
    assert_eq!(watch(client).await.status(), StatusCode::UNAUTHORIZED);
}

/// A stream of events, read until it ends.
pub(crate) async fn read(stream: Response<Body>) -> String {
    assert_eq!(stream.status(), StatusCode::OK);
    let content_type = stream.headers()[header::CONTENT_TYPE].to_str().unwrap();
    assert!(content_type.starts_with("text/event-stream"), "{content_type}");
    String::from_utf8(bytes(stream).await).unwrap()
}

#[tokio::test]
async fn the_stream_of_a_session_ends_with_its_key() {
    let (client, id) = client(Protocol::Sessions).await;
    let stream = client.bare(Method::GET).await;
    assert_ends_with_its_key(&client, &id, read(stream)).await;
}

#[tokio::test]
async fn the_stream_of_a_call_ends_with_its_key() {
    let (client, id) = client(Protocol::Stateless).await;
    let stream = watch(&client).await;
    assert_ends_with_its_key(&client, &id, read(stream)).await;
}

/// In a session, an SDK may send the reports to the stream of the session, and this response at once.
#[tokio::test]
async fn a_call_in_a_session_ends_with_its_key() {
    let (client, id) = client(Protocol::Sessions).await;
    let call = async { String::from_utf8(bytes(watch(&client).await).await).unwrap() };
    assert_ends_with_its_key(&client, &id, call).await;
}

/// Another key's stream is left alone.
#[tokio::test]
async fn a_stream_outlives_the_keys_of_others() {
    let (client, id) = client(Protocol::Stateless).await;
    let (service, scopes) = (client.service.clone(), ["stock:read"]);
    let other = service.client(Protocol::Stateless, &scopes).await;
    let mut stream = watch(&other).await.into_body();
    client.service.manage(Method::POST, &format!("/{id}/revoke"), &json!({})).await;
    for _ in 0..3 {
        assert!(stream.frame().await.expect("the stream goes on").unwrap().is_data());
    }
}
