//! The server: its tools, the scopes that they ask for, and its place in a router.

use std::sync::Arc;

use axum::{Router, http::Uri, middleware};
use http::request::Parts;
use mcp_guard::{Guard, MAX_REPORTS, Stock, TICK, ToolScopes};
use rmcp::{
    ErrorData, Peer, RoleServer, ServerHandler,
    handler::server::{
        router::tool::ToolRouter,
        tool::{Extension, ToolCallContext},
        wrapper::Parameters,
    },
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, Extensions, ListToolsResult,
        PaginatedRequestParams, ProgressNotificationParam, RequestMetaObject, ServerCapabilities,
        ServerConfig, Tool,
    },
    schemars::JsonSchema,
    service::RequestContext,
    tool, tool_router,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use serde::Deserialize;
use tower_api_key::{AuthenticatedKey, scope::InvalidScope};

use crate::sessions::{SessionKeys, bind_sessions};

/// The scope that each tool asks for. One that is not here is open to no key.
pub(crate) fn tool_scopes() -> Result<ToolScopes, InvalidScope> {
    ToolScopes::new([
        ("stock_level", "stock:read"),
        ("watch_stock", "stock:read"),
        ("adjust_stock", "stock:write"),
    ])
}

/// The server at `/mcp`, for a guard to stand around.
pub(crate) fn router(guard: &Guard) -> Router {
    let sessions = Arc::new(LocalSessionManager::default());
    let (tools, stock) = (guard.tools().clone(), Stock::default());
    let server = StreamableHttpService::new(
        move || Ok(StockServer::new(stock.clone(), tools.clone())),
        sessions.clone(),
        config(guard),
    );
    let bind = middleware::from_fn_with_state(SessionKeys::new(sessions), bind_sessions);
    Router::new().route_service("/mcp", server).layer(bind)
}

/// Web pages call no server: those of other sites could reach one on this machine by its address.
fn config(guard: &Guard) -> StreamableHttpServerConfig {
    let host = guard.url().parse().ok().and_then(|url: Uri| Some(url.authority()?.to_string()));
    StreamableHttpServerConfig::default()
        .with_allowed_hosts(host)
        .enforce_origin_validation()
        .with_max_request_body_bytes(guard.max_body())
}

#[derive(Clone)]
struct StockServer {
    stock: Stock,
    scopes: ToolScopes,
    tools: ToolRouter<Self>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct Product {
    /// The name of a product.
    product: String,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct Adjustment {
    /// The name of a product.
    product: String,
    /// How many come in, or go out.
    by: i32,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct Watch {
    /// The name of a product.
    product: String,
    /// How many reports to send, 6000 at most.
    reports: u32,
}

const NO_PRODUCT: &str = "there is no such product";
const TOO_MANY_REPORTS: &str = "too many reports";

#[tool_router(router = tools)]
impl StockServer {
    fn new(stock: Stock, scopes: ToolScopes) -> Self {
        Self { stock, scopes, tools: Self::tools() }
    }

    #[tool(description = "How many there are of a product")]
    fn stock_level(&self, Parameters(of): Parameters<Product>) -> Result<String, String> {
        let level = self.stock.level(&of.product).ok_or(NO_PRODUCT)?;
        Ok(level.to_string())
    }

    #[tool(description = "Books what comes in or goes out of a product")]
    fn adjust_stock(&self, Parameters(of): Parameters<Adjustment>) -> Result<String, String> {
        let level = self.stock.adjust(&of.product, of.by.into()).ok_or(NO_PRODUCT)?;
        Ok(level.to_string())
    }

    /// The stream of its response ends with the key. In a session that leaves the call running, for a
    /// client that comes back for the rest, so it looks after the key itself.
    #[tool(description = "Reports how many there are of a product, for a while")]
    async fn watch_stock(
        &self,
        Parameters(of): Parameters<Watch>,
        Extension(head): Extension<Parts>,
        meta: RequestMetaObject,
        client: Peer<RoleServer>,
    ) -> Result<String, String> {
        let key = head.extensions.get::<AuthenticatedKey>().ok_or("there is no key")?;
        if of.reports > MAX_REPORTS {
            return Err(TOO_MANY_REPORTS.to_owned());
        }
        let reports = async {
            for report in 1..=of.reports {
                let level = self.stock.level(&of.product).ok_or(NO_PRODUCT)?;
                if let Some(token) = meta.get_progress_token() {
                    let progress = ProgressNotificationParam::new(token, report.into())
                        .with_total(of.reports.into())
                        .with_message(format!("{level} {}", of.product));
                    client.notify_progress(progress).await.map_err(|error| error.to_string())?;
                }
                tokio::time::sleep(TICK).await;
            }
            Ok(format!("reported {} times", of.reports))
        };
        tokio::select! {
            result = reports => result,
            reason = key.revoked() => Err(reason.code().to_owned()),
        }
    }
}

impl StockServer {
    fn may_use(&self, extensions: &Extensions, tool: &str) -> bool {
        let key = extensions.get::<Parts>().and_then(|head| head.extensions.get());
        key.is_some_and(|key| self.scopes.allow(key, tool))
    }
}

impl ServerHandler for StockServer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    /// Of those that the key may use. Another key has another list, so no cache may share it.
    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut tools = self.tools.list_all();
        tools.retain(|tool| self.may_use(&context.extensions, &tool.name));
        Ok(ListToolsResult::with_all_items(tools).with_cache_scope(CacheScope::Private))
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if !self.may_use(&context.extensions, &call.name) {
            return Err(ErrorData::invalid_params("tool not found", None));
        }
        self.tools.call(ToolCallContext::new(self, call, context)).await
    }

    /// For the check of parameters in headers, before a call.
    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.tools.get(name).cloned()
    }
}
