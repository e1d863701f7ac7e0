//! [`Guard`]: keys in front of an MCP server, and the routes beside it.

use axum::{Router, middleware};
use tower_api_key::{
    ApiKeyLayer, ConfigError, KeyManager, KeySource,
    axum::{ManagementGuard, management_router},
    limit::{LocalLimiter, RateLimits},
    store::{CachedStore, FixedStore, LocalInvalidations, MemoryStore},
};

use crate::{calls, metadata, streams::end_with_key, tools::ToolScopes};

/// The keys of a service, and how they guard its MCP endpoint.
#[derive(Clone, Debug)]
pub struct Guard {
    keys: KeyManager,
    url: String,
    tools: ToolScopes,
}

impl Guard {
    /// Of the service that its clients reach at this URL, which has no path. It is a setting: the `Host`
    /// of a request is the client's word.
    pub fn new(url: &str, tools: ToolScopes) -> Self {
        // Of a server's database, with a bus that other nodes listen to as well.
        let bus = LocalInvalidations::new();
        let store = CachedStore::builder(MemoryStore::new()).with_invalidations(bus.clone());
        let keys = KeyManager::new(store.build())
            .with_invalidations(bus)
            .with_rate_limits(RateLimits::new(LocalLimiter::new()));
        Self { keys, url: url.trim_end_matches('/').to_owned(), tools }
    }

    /// The keys.
    pub fn keys(&self) -> &KeyManager {
        &self.keys
    }

    /// The URL of the service.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The scopes of the tools.
    pub fn tools(&self) -> &ToolScopes {
        &self.tools
    }

    /// The longest body that reaches the server.
    pub const fn max_body(&self) -> usize {
        calls::MAX_BODY
    }

    /// Guards a router with the MCP server at `/mcp`, and adds the metadata, and the routes by which
    /// administrators manage keys.
    pub fn around(
        &self,
        server: Router,
        administrators: FixedStore,
    ) -> Result<Router, ConfigError> {
        // Where clients of the protocol send it, and nowhere else.
        let layer = self
            .keys
            .layer()
            .with_sources([KeySource::bearer()])
            .with_resource_metadata(&metadata::url(&self.url))?
            // SDKs hand the head of the request to tools.
            .hide_credentials();
        let administrators =
            ApiKeyLayer::new(administrators).with_sources([KeySource::header("x-admin-key")?]);
        let management =
            management_router(self.keys.clone(), ManagementGuard::keys(administrators));
        let scopes = middleware::from_fn_with_state(self.tools.clone(), calls::require_scopes);
        Ok(server
            .layer(middleware::from_fn(end_with_key))
            .layer(scopes)
            .layer(layer)
            .merge(metadata::routes(&self.url, &self.tools))
            .nest("/admin/api-keys", management))
    }
}
