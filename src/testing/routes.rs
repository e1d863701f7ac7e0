//! [`Routes`]: the list that a guard audit walks.

use http::Method;
use serde_json::{Map, Value};

use crate::{auth::KeySource, key::Scopes};

/// The operations of an application, and what each asks for: the list that a
/// [guard audit](super::guard_audit) walks.
///
/// Made of an OpenAPI document, of a [`RecordingRouter`](super::RecordingRouter), or by hand. A segment in
/// braces is a parameter: `/orders/{id}`, `/files/{*rest}`.
///
/// ```
/// use http::Method;
/// use tower_api_key::testing::Routes;
///
/// let routes = Routes::new()
///     .route_with_scopes(Method::GET, "/orders", ["orders:read"])
///     .route_with_scopes(Method::POST, "/orders", ["orders:write"])
///     .route(Method::GET, "/me")
///     .path("/files/{*rest}");
/// assert_eq!(routes.len(), 4);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Routes {
    pub(super) operations: Vec<Operation>,
    /// The paths below which a fallback answers.
    pub(super) fallbacks: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Operation {
    /// `None`: any.
    pub(super) method: Option<Method>,
    pub(super) path: String,
    pub(super) access: Access,
    pub(super) scopes: Scopes,
    /// Where a key is sent, if the document says it.
    pub(super) source: Option<KeySource>,
}

/// What an operation says of the key that it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Nothing is said.
    Unsaid,
    /// A key is needed.
    Key,
    /// A key may be sent.
    Optional,
    /// None is needed.
    Open,
}

impl Routes {
    /// No routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// With an operation that asks for a key.
    pub fn route(self, method: Method, path: impl Into<String>) -> Self {
        self.guarded(method, path.into(), Scopes::default())
    }

    /// With an operation that asks for a key with all of these scopes.
    ///
    /// # Panics
    ///
    /// If one is not a scope.
    pub fn route_with_scopes<T: AsRef<str>>(
        self,
        method: Method,
        path: impl Into<String>,
        scopes: impl IntoIterator<Item = T>,
    ) -> Self {
        let scopes = Scopes::parse(scopes).unwrap_or_else(|error| panic!("{error}"));
        self.guarded(method, path.into(), scopes)
    }

    fn guarded(mut self, method: Method, path: String, scopes: Scopes) -> Self {
        let method = Some(method);
        let operation = Operation { method, path, access: Access::Key, scopes, source: None };
        self.operations.push(operation);
        self
    }

    /// With a path of which nothing else is known. All methods are tried there.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.operations.push(Operation {
            method: None,
            path: path.into(),
            access: Access::Unsaid,
            scopes: Scopes::default(),
            source: None,
        });
        self
    }

    /// With a fallback for the paths below this one, which no route has. The one for all paths is always
    /// tried.
    pub fn fallback(mut self, below: impl Into<String>) -> Self {
        self.fallbacks.push(below.into());
        self
    }

    /// With those of another list as well. An operation may stand in both: what one list says of it, and
    /// the other does not, holds.
    pub fn merge(mut self, other: impl Into<Self>) -> Self {
        let Self { operations, fallbacks } = other.into();
        self.operations.extend(operations);
        self.fallbacks.extend(fallbacks);
        self
    }

    /// All of these below a path.
    pub fn nested(mut self, path: &str) -> Self {
        for below in self
            .operations
            .iter_mut()
            .map(|operation| &mut operation.path)
            .chain(&mut self.fallbacks)
        {
            *below = joined(path, below);
        }
        self
    }

    /// How many operations there are.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Those of an OpenAPI document, as JSON. The scopes of an operation are those in its security
    /// requirements, of all its alternatives together.
    ///
    /// The paths are those of the document: one that is served below another path needs
    /// [`nested`](Self::nested).
    pub fn of_openapi_json(document: &Value) -> Self {
        let schemes = &document["components"]["securitySchemes"];
        let mut routes = Self::new();
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in item.as_object().into_iter().flatten() {
                let Some(method) =
                    METHODS.iter().find(|known| known.as_str().eq_ignore_ascii_case(method))
                else {
                    continue;
                };
                let security = operation.get("security").or(document.get("security"));
                let (access, scopes) = asked_for(security);
                let source = security.and_then(|security| first_source(security, schemes));
                let (method, path) = (Some(method.clone()), path.clone());
                routes.operations.push(Operation { method, path, access, scopes, source });
            }
        }
        routes
    }
}

/// The methods that a path is tried with.
pub(super) const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::OPTIONS,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

/// As axum nests: a route `/` is the outer path itself.
fn joined(outer: &str, path: &str) -> String {
    let outer = outer.trim_end_matches('/');
    match path {
        "/" | "" if !outer.is_empty() => outer.to_owned(),
        _ => format!("{outer}{path}"),
    }
}

fn asked_for(security: Option<&Value>) -> (Access, Scopes) {
    let Some(alternatives) = security.and_then(Value::as_array) else {
        return (Access::Unsaid, Scopes::default());
    };
    let requirements = || alternatives.iter().filter_map(Value::as_object);
    let scopes = requirements().flat_map(|one| one.values()).filter_map(Value::as_array).flatten();
    let scopes = scopes.filter_map(Value::as_str).filter_map(|scope| scope.parse().ok()).collect();
    let access = if requirements().all(Map::is_empty) {
        Access::Open
    } else if requirements().any(Map::is_empty) {
        Access::Optional
    } else {
        Access::Key
    };
    (access, scopes)
}

/// The first place that a key can be sent in.
fn first_source(security: &Value, schemes: &Value) -> Option<KeySource> {
    let names = security.as_array()?.iter().filter_map(Value::as_object).flat_map(|one| one.keys());
    names.into_iter().find_map(|name| source(&schemes[name]))
}

fn source(scheme: &Value) -> Option<KeySource> {
    let text = |member: &str| scheme[member].as_str();
    match (text("type")?, text("scheme")) {
        ("http", Some(scheme)) if scheme.eq_ignore_ascii_case("basic") => {
            return Some(KeySource::basic());
        }
        ("http", scheme) => return KeySource::header_scheme("authorization", scheme?).ok(),
        _ => {}
    }
    let name = text("name")?;
    // A place that OpenAPI does not know.
    if text("x-in").is_some() {
        return None;
    }
    if let Some(protocol) = text("x-protocol") {
        return KeySource::websocket_protocol(protocol).ok();
    }
    match (text("in")?, text("x-scheme")) {
        ("header", Some(scheme)) => KeySource::header_scheme(name, scheme),
        ("header", None) => KeySource::header(name),
        ("query", _) => KeySource::query(name),
        ("cookie", _) => KeySource::cookie(name),
        _ => return None,
    }
    .ok()
}

#[cfg(feature = "openapi")]
#[cfg_attr(docsrs, doc(cfg(feature = "openapi")))]
impl From<&utoipa::openapi::OpenApi> for Routes {
    /// See [`of_openapi_json`](Self::of_openapi_json).
    fn from(document: &utoipa::openapi::OpenApi) -> Self {
        Self::of_openapi_json(&serde_json::to_value(document).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn only(security: &Value, schemes: &Value) -> Operation {
        let document = json!({
            "components": { "securitySchemes": schemes },
            "security": [{ "first": ["all"] }],
            "paths": { "/a": { "summary": "not a method", "get": security } },
        });
        let [operation] =
            <[_; 1]>::try_from(Routes::of_openapi_json(&document).operations).unwrap();
        operation
    }

    #[test]
    fn a_key_is_sent_where_the_document_says() {
        for (scheme, expected) in [
            (json!({"type": "http", "scheme": "bearer"}), KeySource::bearer()),
            (
                json!({"type": "apiKey", "in": "header", "name": "X-API-Key"}),
                KeySource::x_api_key(),
            ),
            (
                json!({"type": "apiKey", "in": "header", "name": "Authorization", "x-scheme": "Token"}),
                KeySource::header_scheme("authorization", "Token").unwrap(),
            ),
            (json!({"type": "http", "scheme": "basic"}), KeySource::basic()),
            (
                json!({"type": "apiKey", "in": "header", "name": "Sec-WebSocket-Protocol", "x-protocol": "k"}),
                KeySource::websocket_protocol("k").unwrap(),
            ),
            (json!({"type": "apiKey", "in": "query", "name": "k"}), KeySource::query("k").unwrap()),
            (
                json!({"type": "apiKey", "in": "cookie", "name": "k"}),
                KeySource::cookie("k").unwrap(),
            ),
        ] {
            let schemes = json!({ "other": { "type": "mutualTLS" }, "first": scheme });
            let security = json!({ "security": [{ "other": [] }, { "first": [] }] });
            assert_eq!(only(&security, &schemes).source, Some(expected));
        }
    }

    #[test]
    fn an_operation_asks_for_what_it_says_or_else_the_document() {
        for (operation, access, scopes) in [
            (json!({}), Access::Key, "all"),
            (json!({"security": [{"a": ["x", "y"]}, {"b": ["x"]}]}), Access::Key, "x y"),
            (json!({"security": [{"a": ["x"]}, {}]}), Access::Optional, "x"),
            (json!({"security": [{}]}), Access::Open, ""),
            (json!({"security": []}), Access::Open, ""),
        ] {
            let found = only(&operation, &Value::Null);
            assert_eq!((found.access, found.scopes.as_str()), (access, scopes), "{operation}");
        }
        let unsaid = Routes::of_openapi_json(&json!({"paths": {"/a": {"get": {}}}}));
        assert_eq!(unsaid.operations[0].access, Access::Unsaid);
    }
}
