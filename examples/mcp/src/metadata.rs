//! The document that says how to get in (RFC 9728).
//!
//! It has no `authorization_servers`: keys are handed out by the administrators of the service, and no
//! server issues them to programs. A client that knows OAuth alone can tell its user so.

use axum::{Json, Router, routing::get};
use serde_json::{Value, json};

use crate::tools::ToolScopes;

/// Where the document of a service is, as a whole.
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The path of the endpoint.
pub(crate) const ENDPOINT: &str = "/mcp";

/// Where the document is that describes the endpoint of the service at this URL (RFC 9728 §3.1).
pub(crate) fn url(service: &str) -> String {
    format!("{service}{WELL_KNOWN}{ENDPOINT}")
}

/// The document, at its own path and at that of the service, where MCP clients look next.
pub(crate) fn routes(service: &str, tools: &ToolScopes) -> Router {
    let document: Value = json!({
        "resource": format!("{service}{ENDPOINT}"),
        "resource_name": "Stock",
        "bearer_methods_supported": ["header"],
        "scopes_supported": tools.all().iter().collect::<Vec<_>>(),
    });
    let document = get(async move || Json(document));
    Router::new()
        .route(&format!("{WELL_KNOWN}{ENDPOINT}"), document.clone())
        .route(WELL_KNOWN, document)
}
