//! [`Guard`]: keys in front of an MCP server, and the routes beside it.

use std::{error::Error, fmt};

use axum::{Router, http::Uri, middleware};
use tower_api_key::{
    ApiKeyLayer, ConfigError, KeyManager, KeySource,
    axum::{ManagementGuard, management_router},
    limit::{LocalLimiter, RateLimits},
    store::{CachedStore, FixedStore, LocalInvalidations, MemoryStore},
};

use crate::{calls, metadata, streams::end_with_key, tools::ToolScopes};

/// The URL of a service has a scheme, a host and perhaps a port, and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct InvalidUrl;

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the URL of the service is not `https://`, a host and perhaps a port")
    }
}

impl Error for InvalidUrl {}

/// The keys of a service, and how they guard its MCP endpoint.
#[derive(Clone, Debug)]
pub struct Guard {
    keys: KeyManager,
    url: String,
    tools: ToolScopes,
}

impl Guard {
    /// Of the service that its clients reach at this URL. It is a setting: the `Host` of a request is the
    /// client's word.
    ///
    /// A URL with a path or a query is refused: the document of RFC 9728 has its place in front of the path,
    /// which is not this service's then.
    pub fn new(url: &str, tools: ToolScopes) -> Result<Self, InvalidUrl> {
        let parsed: Uri = url.parse().map_err(|_| InvalidUrl)?;
        let origin = (parsed.scheme_str(), parsed.authority());
        let (Some(scheme), Some(authority)) = origin else { return Err(InvalidUrl) };
        if parsed.path_and_query().is_some_and(|rest| rest != "/") || url.contains('#') {
            return Err(InvalidUrl);
        }
        // Of a server's database, with a bus that other nodes listen to as well.
        let bus = LocalInvalidations::new();
        let store = CachedStore::builder(MemoryStore::new()).with_invalidations(bus.clone());
        let keys = KeyManager::new(store.build())
            .with_invalidations(bus)
            .with_rate_limits(RateLimits::new(LocalLimiter::new()));
        Ok(Self { keys, url: format!("{scheme}://{authority}"), tools })
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
