//! A service with keys, and clients of it that speak either protocol.

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, Response, StatusCode, header},
};
use http_body_util::BodyExt;
use mcp_guard::Guard;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_api_key::{KeySource, NewKey, Scopes, store::FixedStore};

use crate::server;

pub(crate) const URL: &str = "http://127.0.0.1:3000";
const HOST: &str = "127.0.0.1:3000";
const ADMIN: &str = "key-of-an-administrator-0123456789";

/// How clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// 2025-03-26: the same, and a body may be a batch of messages.
    Batches,
    /// 2025-11-25: a session begins with `initialize`.
    Sessions,
    /// 2026-07-28: each request says everything.
    Stateless,
}

pub(crate) const PROTOCOLS: [Protocol; 3] =
    [Protocol::Batches, Protocol::Sessions, Protocol::Stateless];

impl Protocol {
    const fn version(self) -> &'static str {
        match self {
            Self::Batches => "2025-03-26",
            Self::Sessions => "2025-11-25",
            Self::Stateless => "2026-07-28",
        }
    }
}

#[derive(Clone)]
pub(crate) struct Service {
    guard: Guard,
    app: Router,
}

impl Service {
    pub(crate) fn new() -> Self {
        let guard = Guard::new(URL, server::tool_scopes().unwrap()).unwrap();
        let administrators = FixedStore::new().with_key("admin", ADMIN).unwrap();
        let app = guard.around(server::router(&guard), administrators).unwrap();
        Self { guard, app }
    }

    /// Behind the layer for keys alone, so that nothing but the server decides what a key may call.
    pub(crate) fn without_layer_for_scopes() -> Self {
        let guard = Guard::new(URL, server::tool_scopes().unwrap()).unwrap();
        let layer = guard.keys().layer().with_sources([KeySource::bearer()]);
        let app = server::router(&guard).layer(layer);
        Self { guard, app }
    }

    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.app.clone().oneshot(request).await.unwrap()
    }

    /// A new key with these scopes.
    pub(crate) async fn key(&self, scopes: &[&str]) -> String {
        let new = NewKey { scopes: Scopes::parse(scopes).unwrap(), ..NewKey::named("test") };
        self.guard.keys().create(new).await.unwrap().secret.expose().to_owned()
    }

    /// A client with a new key of these scopes.
    pub(crate) async fn client(&self, protocol: Protocol, scopes: &[&str]) -> Client {
        Client::new(self.clone(), protocol, self.key(scopes).await).await
    }

    /// As an administrator does.
    pub(crate) async fn manage(&self, method: Method, path: &str, body: &Value) -> Value {
        let request = Request::builder()
            .method(method)
            .uri(format!("/admin/api-keys{path}"))
            .header("x-admin-key", ADMIN)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()));
        let response = self.send(request.unwrap()).await;
        assert!(response.status().is_success(), "{response:?}");
        serde_json::from_slice(&bytes(response).await).unwrap()
    }
}

/// Of one key.
pub(crate) struct Client {
    pub(crate) service: Service,
    pub(crate) protocol: Protocol,
    key: String,
    pub(crate) session: Option<String>,
}

impl Client {
    pub(crate) async fn new(service: Service, protocol: Protocol, key: String) -> Self {
        let mut client = Self { service, protocol, key, session: None };
        if protocol != Protocol::Stateless {
            client.begin().await;
        }
        client
    }

    async fn begin(&mut self) {
        let info = json!({ "name": "test", "version": "0" });
        let params = json!({
            "protocolVersion": self.protocol.version(), "capabilities": {}, "clientInfo": info,
        });
        let response = self.request("initialize", params).await;
        assert_eq!(response.status(), StatusCode::OK, "{response:?}");
        self.session = Some(response.headers()["mcp-session-id"].to_str().unwrap().to_owned());
        assert_eq!(answer(response).await["result"]["protocolVersion"], self.protocol.version());
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let response = self.post(&initialized.to_string(), &HeaderMap::new()).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
    }

    /// A request of the protocol, as its clients send it.
    pub(crate) async fn request(&self, method: &str, params: Value) -> Response<Body> {
        let (body, headers) = self.message(method, params);
        self.post(&body.to_string(), &headers).await
    }

    /// The message of a request, and the headers that say the same.
    pub(crate) fn message(&self, method: &str, mut params: Value) -> (Value, HeaderMap) {
        let mut headers = HeaderMap::new();
        if self.protocol == Protocol::Stateless {
            headers.insert("mcp-method", method.parse().unwrap());
            if let Some(name) = params["name"].as_str() {
                headers.insert("mcp-name", name.parse().unwrap());
            }
            let meta = params["_meta"].take();
            params["_meta"] = if meta.is_null() { json!({}) } else { meta };
            params["_meta"]["io.modelcontextprotocol/protocolVersion"] =
                self.protocol.version().into();
            params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
            params["_meta"]["io.modelcontextprotocol/clientInfo"] =
                json!({ "name": "test", "version": "0" });
        }
        (json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }), headers)
    }

    /// A body of this client's, whatever it is.
    pub(crate) async fn post(&self, body: &str, headers: &HeaderMap) -> Response<Body> {
        let mut request = self.head(Method::POST).body(Body::from(body.to_owned())).unwrap();
        request.headers_mut().extend(headers.clone());
        self.service.send(request).await
    }

    /// A request without a body.
    pub(crate) async fn bare(&self, method: Method) -> Response<Body> {
        self.service.send(self.head(method).body(Body::empty()).unwrap()).await
    }

    pub(crate) fn head(&self, method: Method) -> http::request::Builder {
        let mut head = Request::builder()
            .method(method)
            .uri("/mcp")
            .header(header::HOST, HOST)
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key));
        if self.protocol == Protocol::Stateless || self.session.is_some() {
            head = head.header("mcp-protocol-version", self.protocol.version());
        }
        match &self.session {
            Some(session) => head.header("mcp-session-id", session),
            None => head,
        }
    }

    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Response<Body> {
        self.request("tools/call", json!({ "name": tool, "arguments": arguments })).await
    }

    /// The text that a tool answers.
    pub(crate) async fn called(&self, tool: &str, arguments: Value) -> String {
        let answer = answer(self.call(tool, arguments).await).await;
        answer["result"]["content"][0]["text"].as_str().expect("a text").to_owned()
    }

    /// The names of the tools that the client is shown.
    pub(crate) async fn tools(&self) -> Vec<String> {
        let list = answer(self.request("tools/list", json!({})).await).await;
        let tools = list["result"]["tools"].as_array().expect("a list").iter();
        tools.map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }
}

/// A client without a key, or with one that is none.
pub(crate) fn stranger(service: &Service, key: &str) -> Client {
    let (service, key) = (service.clone(), key.to_owned());
    Client { service, protocol: Protocol::Stateless, key, session: None }
}

pub(crate) async fn bytes(response: Response<Body>) -> Vec<u8> {
    response.into_body().collect().await.unwrap().to_bytes().into()
}

/// The response of the protocol: the body, or the last event of a stream.
pub(crate) async fn answer(response: Response<Body>) -> Value {
    assert_eq!(response.status(), StatusCode::OK, "{response:?}");
    let content_type = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    let text = String::from_utf8(bytes(response).await).unwrap();
    if content_type.starts_with("application/json") {
        return serde_json::from_str(&text).unwrap();
    }
    let events = text.lines().filter_map(|line| line.strip_prefix("data:"));
    let mut answers = events.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    answers.rfind(|event| event.get("id").is_some()).unwrap_or_else(|| panic!("no answer: {text}"))
}
