//! The server: its tools, the scopes that they ask for, and its place in a router.

use axum::{Router, http::Uri};
use mcp_guard::{Guard, MAX_REPORTS, Stock, TICK, ToolScopes};
use serde::Deserialize;
use tower_api_key::{AuthenticatedKey, scope::InvalidScope};
use tower_mcp::{
    CallToolResult, CapabilityFilter, HttpTransport, McpRouter, SubscriptionLimits, Tool,
    ToolBuilder,
    extract::{Context, Extension, Json, State},
    protocol::CacheScope,
    schemars::{self, JsonSchema},
};

/// The most sessions of all keys together.
const MAX_SESSIONS: usize = 10_000;

/// The most subscriptions of one key.
const MAX_SUBSCRIPTIONS_OF_KEY: usize = 16;

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
    let scopes = guard.tools().clone();
    let of_the_key = CapabilityFilter::new_with_context(move |request, tool: &Tool| {
        request.extension().is_some_and(|key| scopes.allow(key, &tool.name))
    });
    let stock = Stock::default();
    let server = McpRouter::new()
        .server_info("stock", "0.0.0")
        .tool(stock_level(stock.clone()))
        .tool(adjust_stock(stock.clone()))
        .tool(watch_stock(stock))
        .tool_filter(of_the_key)
        // Another key has another list, so no cache may share it.
        .cache_scope(CacheScope::Private);
    let host = guard.url().parse().ok().and_then(|url: Uri| Some(url.authority()?.to_string()));
    HttpTransport::new(server)
        .bridge_extension::<AuthenticatedKey>()
        .session_principal_from_extension(|key: &AuthenticatedKey| key.id().to_string())
        .require_sessions()
        .max_sessions(MAX_SESSIONS)
        .subscription_limits(
            SubscriptionLimits::default().max_active_per_principal(MAX_SUBSCRIPTIONS_OF_KEY),
        )
        .allowed_hosts(host.into_iter().collect())
        .max_body_size(guard.max_body())
        .into_router_at("/mcp")
}

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "schemars")]
struct Product {
    /// The name of a product.
    product: String,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "schemars")]
struct Adjustment {
    /// The name of a product.
    product: String,
    /// How many come in, or go out.
    by: i32,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "schemars")]
struct Watch {
    /// The name of a product.
    product: String,
    /// How many reports to send, 6000 at most.
    reports: u32,
}

fn level(level: Option<i64>) -> CallToolResult {
    match level {
        Some(level) => CallToolResult::text(level.to_string()),
        None => CallToolResult::error("there is no such product"),
    }
}

fn stock_level(stock: Stock) -> Tool {
    ToolBuilder::new("stock_level")
        .description("How many there are of a product")
        .read_only()
        .extractor_handler(stock, async |State(stock): State<Stock>, Json(of): Json<Product>| {
            Ok(level(stock.level(&of.product)))
        })
        .build()
}

fn adjust_stock(stock: Stock) -> Tool {
    ToolBuilder::new("adjust_stock")
        .description("Books what comes in or goes out of a product")
        .extractor_handler(stock, async |State(stock): State<Stock>, Json(of): Json<Adjustment>| {
            Ok(level(stock.adjust(&of.product, of.by.into())))
        })
        .build()
}

fn watch_stock(stock: Stock) -> Tool {
    ToolBuilder::new("watch_stock")
        .description("Reports how many there are of a product, for a while")
        .read_only()
        .extractor_handler(stock, watch)
        .build()
}

/// The stream of its response ends with the key. In a session that leaves the call running, for a client
/// that comes back for the rest, so it looks after the key itself.
async fn watch(
    State(stock): State<Stock>,
    context: Context,
    Extension(key): Extension<AuthenticatedKey>,
    Json(of): Json<Watch>,
) -> tower_mcp::Result<CallToolResult> {
    if of.reports > MAX_REPORTS {
        return Ok(CallToolResult::error("too many reports"));
    }
    let reports = async {
        for report in 1..=of.reports {
            let Some(level) = stock.level(&of.product) else { return level(None) };
            let text = format!("{level} {}", of.product);
            context.report_progress(report.into(), Some(of.reports.into()), Some(&text)).await;
            tokio::time::sleep(TICK).await;
        }
        CallToolResult::text(format!("reported {} times", of.reports))
    };
    Ok(tokio::select! {
        result = reports => result,
        reason = key.revoked() => CallToolResult::error(reason.code()),
    })
}
