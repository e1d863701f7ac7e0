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
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use tower_api_key::{AuthenticatedKey, KeyId};

const SESSION: &str = "mcp-session-id";

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

    /// Also forgets the sessions that have ended.
    async fn add(&self, session: &str, key: KeyId) {
        let sessions = self.manager.sessions.read().await;
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|session, _| sessions.contains_key(session.as_str()));
        keys.insert(session.to_owned(), key);
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
    if let (None, Some(begun)) = (sent, session(response.headers())) {
        sessions.add(&begun, key.id()).await;
    }
    response
}

/// As the SDK reads it.
fn session(headers: &HeaderMap) -> Option<String> {
    Some(headers.get(SESSION)?.to_str().ok()?.to_owned())
}
