//! The id of a session is no key.

use axum::http::{Method, StatusCode};
use serde_json::json;

use super::client::{Protocol, Service};

#[tokio::test]
async fn a_session_is_of_the_key_that_began_it() {
    let service = Service::new();
    let mine = service.client(Protocol::Sessions, &["stock:read"]).await;
    let mut other = service.client(Protocol::Sessions, &["stock:read"]).await;
    let own = other.session.replace(mine.session.clone().unwrap());
    assert_ne!(own, mine.session);
    assert_eq!(other.request("tools/list", json!({})).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(other.bare(Method::GET).await.status(), StatusCode::NOT_FOUND);
    other.bare(Method::DELETE).await;

    assert_eq!(mine.tools().await.len(), 2, "it goes on");
    assert_eq!(mine.bare(Method::GET).await.status(), StatusCode::OK);
    other.session = own;
    assert_eq!(other.tools().await.len(), 2);
    other.session = Some("no-such-session".to_owned());
    assert_eq!(other.bare(Method::GET).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_session_that_was_ended_is_gone() {
    let service = Service::new();
    let mine = service.client(Protocol::Sessions, &["stock:read"]).await;
    assert!(mine.bare(Method::DELETE).await.status().is_success());
    assert_eq!(mine.request("tools/list", json!({})).await.status(), StatusCode::NOT_FOUND);
    // Another one is begun by the same key.
    let scopes = ["stock:read"];
    assert_eq!(service.client(Protocol::Sessions, &scopes).await.tools().await.len(), 2);
}
