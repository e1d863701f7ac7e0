//! The part of an MCP server that is the same with every SDK: keys in front of the endpoint, the scopes of
//! its tools, streams that end with their key, and the document that says how to get in.
//!
//! From the outside in, a request to `/mcp` passes
//!
//! 1. `ApiKeyLayer`: 401 with `resource_metadata`, 429;
//! 2. [`ToolScopes`]: 403 for a call of a tool that the key may not use;
//! 3. the stream of its response, which ends when the key does;
//! 4. the server of the SDK, which decides on each list and each call by the same [`ToolScopes`].

mod calls;
mod guard;
mod metadata;
mod serve;
mod stock;
mod streams;
mod tools;

pub use self::{
    guard::{Guard, InvalidUrl},
    serve::serve,
    stock::{MAX_REPORTS, PRODUCTS, Stock, TICK},
    tools::ToolScopes,
};
