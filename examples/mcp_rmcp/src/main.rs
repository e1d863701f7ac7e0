//! An MCP server with the official SDK, `rmcp`, whose tools ask for scopes.
//!
//! ```sh
//! cargo run --manifest-path examples/mcp_rmcp/Cargo.toml
//! ```

mod server;
mod sessions;

#[cfg(test)]
#[path = "../../mcp/contract/mod.rs"]
mod contract;

use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    mcp_guard::serve(server::tool_scopes()?, server::router).await
}
