//! `management_router`: keys managed over HTTP, by administrators ([`admin`]), by owners
//! ([`owner`]), and behind guards of every kind ([`guard`]). The reference server's tests go
//! through the same routes with a real client; what is here needs more than one owner, a clock, or
//! a store that fails.

mod admin;
mod arbitrary;
mod bounds;
mod credits;
mod ends;
mod events;
mod guard;
mod limits;
mod owner;
mod parameters;
mod races;
mod sets;
mod stores;
mod usage;

use axum::Router;
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::Full;
use serde_json::Value;
use tower_api_key::{
    ApiKeyLayer, IssuedKey, KeyId, KeyManager, KeySource, NewKey, Scopes,
    axum::{ManagementGuard, management_router},
    clock::SettableClock,
    store::{FixedStore, MemoryStore},
};

use crate::support::{clock, code, header_values, problem, respond};

const ADMIN_KEY: &str = "an-administrators-key-for-tests";

/// Keys in memory, and the routes that manage them, as an administrator and as an owner.
struct Api {
    clock: SettableClock,
    store: MemoryStore,
    keys: KeyManager,
    app: Router,
}

/// Owners manage their keys here, and what that costs is not counted.
fn uncounted(keys: &KeyManager) -> ApiKeyLayer {
    keys.layer().ignoring_limits().ignoring_credits()
}

impl Api {
    fn new() -> Self {
        let clock = clock();
        let store = MemoryStore::new().with_clock(clock.clone());
        let keys = KeyManager::new(store.clone()).with_clock(clock.clone());
        let app = Router::new()
            .nest(
                "/admin/api-keys",
                management_router(keys.clone(), ManagementGuard::keys(admin_layer())),
            )
            .nest(
                "/me/api-keys",
                management_router(keys.clone(), ManagementGuard::owner(uncounted(&keys))),
            );
        Self { clock, store, keys, app }
    }

    /// A key that also manages others.
    async fn issue(&self, owner: &str, scopes: &[&str]) -> IssuedKey {
        let managing = ["keys:read", "keys:write"];
        self.issue_plain(owner, &[scopes, &managing[..]].concat()).await
    }

    /// A key with these scopes and no others.
    async fn issue_plain(&self, owner: &str, scopes: &[&str]) -> IssuedKey {
        let scopes = Scopes::parse(scopes).unwrap();
        let new = NewKey { owner: Some(owner.into()), scopes, ..NewKey::named("of a test") };
        self.keys.create(new).await.unwrap()
    }

    /// A request of the administrator, below the router's path.
    async fn admin(&self, method: &str, path: &str, body: &str) -> Answer {
        self.admin_with(method, path, &[], body).await
    }

    async fn admin_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let headers = [&[("x-admin-key", ADMIN_KEY)], headers].concat();
        send(&self.app, method, &format!("/admin/api-keys{path}"), &headers, body).await
    }

    /// A request of the holder of a key, below the router's path.
    async fn holder(&self, key: &IssuedKey, method: &str, path: &str, body: &str) -> Answer {
        let headers = [("x-api-key", key.secret.expose())];
        send(&self.app, method, &format!("/me/api-keys{path}"), &headers, body).await
    }

    /// Everything that is stored about keys and what was done to them.
    async fn everything(&self) -> String {
        let keys = self.keys.list(&tower_api_key::store::KeyQuery::new(1000)).await.unwrap();
        let events = self.keys.events(&tower_api_key::key::EventQuery::new(1000)).await.unwrap();
        format!("{:?} {:?}", keys.items, events.items)
    }
}

fn admin_layer() -> ApiKeyLayer {
    let store = FixedStore::new().with_key("the administrator", ADMIN_KEY).unwrap();
    ApiKeyLayer::new(store)
        .with_sources([KeySource::header("x-admin-key").unwrap()])
        .with_client_address(|_| Some([192, 0, 2, 7].into()))
}

async fn send(
    app: &Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !body.is_empty() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let request = request.body(Full::<Bytes>::from(body.to_owned())).unwrap();
    let request = request.map(axum::body::Body::new);
    let answer = Answer(respond(app.clone(), request).await);
    assert_eq!(answer.header(header::CACHE_CONTROL), "no-store", "{answer:?}");
    answer
}

#[derive(Debug)]
struct Answer(Response<Bytes>);

impl Answer {
    fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    /// The only value of a header; empty where there is none.
    fn header(&self, name: header::HeaderName) -> &str {
        let values = header_values(&self.0, name);
        assert!(values.len() <= 1, "{values:?}");
        values.first().copied().unwrap_or_default()
    }

    #[track_caller]
    fn json(&self, status: u16) -> Value {
        assert_eq!(self.status(), status, "{self:?}");
        serde_json::from_slice(self.0.body()).unwrap()
    }

    /// The body of a problem, after a look at its form.
    #[track_caller]
    fn problem(&self, status: u16, expected: &str) -> Value {
        assert_eq!(self.status(), status, "{self:?}");
        assert_eq!(code(&self.0), expected, "{self:?}");
        let problem = problem(&self.0);
        assert_eq!(problem["type"], "about:blank");
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        problem
    }

    #[track_caller]
    fn field(&self, status: u16, code: &str) -> String {
        self.problem(status, code)["field"].as_str().unwrap().to_owned()
    }
}

fn path(id: KeyId) -> String {
    format!("/{id}")
}

/// The `items` of a list, by one of their fields.
fn items(list: &Value, field: &str) -> Vec<String> {
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item[field].as_str().unwrap_or("null").to_owned()).collect()
}
