//! A session belongs to the key that began it. The id alone would do for another key to read its stream.
//! (Since protocol version 2026-07-28 there are no sessions.)

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use rmcp::transport::streamable_http_server::session::{
    SessionManager, local::LocalSessionManager,
};
use tower_api_key::{AuthenticatedKey, KeyId};

const SESSION: &str = "mcp-session-id";

/// The most sessions of one key that are open at the same time.
const MAX_SESSIONS_OF_KEY: usize = 16;

/// The key of each session.
#[derive(Clone, Debug)]
pub(crate) struct SessionKeys {
    manager: Arc<LocalSessionManager>,
    keys: Arc<Mutex<HashMap<String, KeyId>>>,
}

impl SessionKeys {
    pub(crate) fn new(manager: Arc<LocalSessionManager>) -> Self {
        Self { manager, keys: Arc::default() }
    }

    fn is_of(&self, session: &str, key: KeyId) -> bool {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.get(session) == Some(&key)
    }

    /// Also forgets the sessions that have ended. Whether the key may have one more.
    async fn add(&self, session: &str, key: KeyId) -> bool {
        let sessions = self.manager.sessions.read().await;
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|session, _| sessions.contains_key(session.as_str()));
        if keys.values().filter(|of| **of == key).count() >= MAX_SESSIONS_OF_KEY {
            return false;
        }
        keys.insert(session.to_owned(), key);
        true
    }
}

/// Answers as if there were no such session where it is another key's.
pub(crate) async fn bind_sessions(
    State(sessions): State<SessionKeys>,
    key: AuthenticatedKey,
    request: Request,
    next: Next,
) -> Response {
    let sent = session(request.headers());
    if sent.as_ref().is_some_and(|sent| !sessions.is_of(sent, key.id())) {
        return (StatusCode::NOT_FOUND, "Not Found: Session not found").into_response();
    }
    let response = next.run(request).await;
    if let (None, Some(begun)) = (sent, session(response.headers()))
        && !sessions.add(&begun, key.id()).await
    {
        // An error means that it has ended already.
        let _ = sessions.manager.close_session(&begun.into()).await;
        return (StatusCode::TOO_MANY_REQUESTS, "Too Many Requests: end a session first")
            .into_response();
    }
    response
}

/// As the SDK reads it.
fn session(headers: &HeaderMap) -> Option<String> {
    Some(headers.get(SESSION)?.to_str().ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use serde_json::json;

    use super::*;
    use crate::contract::client::{Client, Protocol, Service};

    /// Asks for one more session.
    async fn begin(client: &Client) -> Response {
        let params = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": { "name": "test", "version": "0" },
        });
        client.request("initialize", params).await
    }

    #[tokio::test]
    async fn a_key_has_so_many_sessions_and_no_more() {
        let service = Service::new();
        let mut client = service.client(Protocol::Sessions, &["stock:read"]).await;
        let first = client.session.take();
        for _ in 1..MAX_SESSIONS_OF_KEY {
            assert_eq!(begin(&client).await.status(), StatusCode::OK);
        }
        for _ in 0..3 {
            let denied = begin(&client).await;
            assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS);
            assert!(session(denied.headers()).is_none());
        }
        // Another key has its own, and one that was ended makes room.
        service.client(Protocol::Sessions, &["stock:read"]).await;
        client.session = first;
        assert!(client.bare(Method::DELETE).await.status().is_success());
        client.session = None;
        assert_eq!(begin(&client).await.status(), StatusCode::OK);
        assert_eq!(begin(&client).await.status(), StatusCode::TOO_MANY_REQUESTS);
    }
}
