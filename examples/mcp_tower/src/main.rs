//! An MCP server with `tower-mcp`, whose tools ask for scopes. It has a filter of its own for what each
//! request may see and call, and binds sessions to callers: this program says by which identity.
//!
//! ```sh
//! cargo run --manifest-path examples/mcp_tower/Cargo.toml
//! ```

mod server;

#[cfg(test)]
#[path = "../../mcp/contract/mod.rs"]
mod contract;
#[cfg(test)]
mod subscriptions;

use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    mcp_guard::serve(server::tool_scopes()?, server::router).await
}
