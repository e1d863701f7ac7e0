//! [`serve`]: the program around a server.

use std::{env, error::Error};

use axum::Router;
use tokio::net::TcpListener;
use tower_api_key::{KeyFormat, NewKey, Scopes, SecretKey, store::FixedStore};

use crate::{guard::Guard, tools::ToolScopes};

const ADMIN_VARIABLE: &str = "ADMIN_API_KEY";

/// Listens on `ADDR`, by default a port of this machine, and prints a key and what to do with it. Clients
/// reach the server at `PUBLIC_URL`. The key of administrators is in `ADMIN_API_KEY`, or made for this run.
pub async fn serve(
    tools: ToolScopes,
    server: impl FnOnce(&Guard) -> Router,
) -> Result<(), Box<dyn Error>> {
    let addr = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(addr).await?;
    let url = match env::var("PUBLIC_URL") {
        Ok(url) => url,
        Err(_) => format!("http://{}", listener.local_addr()?),
    };
    let guard = Guard::new(&url, tools);
    let app = guard.around(server(&guard), administrators(&guard)?)?;
    print_keys(&guard).await?;
    axum::serve(listener, app).await?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "it prints commands to try")]
fn administrators(guard: &Guard) -> Result<FixedStore, Box<dyn Error>> {
    // A variable that is set but cannot be used is a mistake, and not the wish for another key.
    if env::var_os(ADMIN_VARIABLE).is_some() {
        return Ok(FixedStore::from_env(ADMIN_VARIABLE)?.refusing_weak_keys()?);
    }
    let key = KeyFormat::new("admin")?.generate()?;
    println!("curl -H 'X-Admin-Key: {}' {}/admin/api-keys", key.expose(), guard.url());
    Ok(FixedStore::new().with_key(ADMIN_VARIABLE, key.expose())?)
}

#[expect(clippy::print_stdout, reason = "it prints commands to try")]
async fn print_keys(guard: &Guard) -> Result<(), Box<dyn Error>> {
    let reader = issue(guard, "reader", &["stock:read"]).await?;
    let clerk = issue(guard, "clerk", &["stock:read", "stock:write"]).await?;
    let url = guard.url();
    println!("fastmcp list {url}/mcp --auth {}", reader.expose());
    println!("fastmcp call {url}/mcp adjust_stock product=apples by=3 --auth {}", clerk.expose());
    Ok(())
}

async fn issue(guard: &Guard, name: &str, scopes: &[&str]) -> Result<SecretKey, Box<dyn Error>> {
    let new = NewKey { scopes: Scopes::parse(scopes)?, ..NewKey::named(name) };
    Ok(guard.keys().create(new).await?.secret)
}
