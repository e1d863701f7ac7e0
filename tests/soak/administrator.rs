//! Acts on keys, over the server's own routes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{Method, Request};
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::time::sleep;
use tower_api_key::RejectionKind::{Disabled, Expired, Revoked};

use crate::{
    ADMIN_KEY, End,
    clients::Connection,
    history::Verdict,
    keys::{Key, Keys, UNKNOWN},
    random::Random,
};

/// Before the acts begin.
const AT_FIRST: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);

struct Administrator {
    connection: Connection,
    keys: Arc<Keys>,
}

/// Makes, changes and ends keys, one after the other.
pub(crate) async fn acts(server: SocketAddr, keys: Arc<Keys>, end: End, mut random: Random) {
    let mut administrator = Administrator { connection: Connection::to(server).await, keys };
    for _ in 0..AT_FIRST {
        administrator.create().await;
    }
    while !end.has_come() {
        sleep(PAUSE).await;
        let key = administrator.keys.any(&mut random).unwrap();
        let (verdict, choice) = (key.verdict(), random.below(100));
        match (verdict, choice) {
            (_, 0..10) => administrator.create().await,
            (Verdict::Accepted, 10..14) => administrator.rotate(&key).await,
            (Verdict::Accepted, 14..17) => {
                let path = format!("/{}/revoke", key.id);
                let revoked = Verdict::Refused(Revoked);
                administrator.changes(&key, revoked, Method::POST, &path, None).await;
            }
            (Verdict::Accepted, 17..20) => {
                let path = format!("/{}", key.id);
                administrator.changes(&key, UNKNOWN, Method::DELETE, &path, None).await;
            }
            (Verdict::Accepted, 20..60) => {
                administrator.switches(&key, Verdict::Refused(Disabled)).await;
            }
            (Verdict::Refused(Disabled), _) => {
                administrator.switches(&key, Verdict::Accepted).await;
            }
            _ => {}
        }
    }
}

impl Administrator {
    /// The answer, if the act is done.
    async fn act(&mut self, method: Method, path: &str, body: Option<Value>) -> Option<Value> {
        let request = Request::builder()
            .method(method)
            .uri(format!("/admin/api-keys{path}"))
            .header("host", "server")
            .header("x-admin-key", ADMIN_KEY)
            .header("content-type", "application/json");
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let (status, body) = self.connection.send(request.body(Full::new(body)).unwrap()).await;
        if !status.is_success() {
            self.keys.saw("acts that failed");
            return None;
        }
        self.keys.saw("acts acknowledged");
        Some(serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn create(&mut self) {
        let began = self.keys.now();
        if let Some(made) = self.act(Method::POST, "", Some(json!({ "name": "k" }))).await {
            self.made(&made, began);
        }
    }

    fn made(&self, made: &Value, began: Duration) {
        let text = |field: &str| made[field].as_str().unwrap();
        self.keys.made(text("id"), text("key"), began);
    }

    async fn rotate(&mut self, key: &Key) {
        let began = self.keys.now();
        self.keys.begins(key, Verdict::Refused(Expired));
        let path = format!("/{}/rotate", key.id);
        let body = json!({ "grace_seconds": 0 });
        if let Some(made) = self.act(Method::POST, &path, Some(body)).await {
            self.keys.is_acknowledged(key);
            self.made(&made, began);
        }
    }

    async fn switches(&mut self, key: &Key, to: Verdict) {
        let body = json!({ "disabled": to != Verdict::Accepted });
        let path = format!("/{}", key.id);
        self.changes(key, to, Method::PATCH, &path, Some(body)).await;
    }

    async fn changes(
        &mut self,
        key: &Key,
        to: Verdict,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) {
        self.keys.begins(key, to);
        if self.act(method, path, body).await.is_some() {
            self.keys.is_acknowledged(key);
        }
    }
}

/// In the end, each key is as the last act has left it.
pub(crate) async fn check(server: SocketAddr, keys: &Keys) -> Vec<String> {
    let mut connection = Connection::to(server).await;
    let mut lost = Vec::new();
    for key in keys.all() {
        let verdict = connection.ask(&key.secret).await;
        if verdict != key.verdict() {
            lost.push(format!("{verdict:?} in place of {:?}", key.verdict()));
        }
    }
    lost
}
