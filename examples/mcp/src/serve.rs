//! [`serve`]: the program around a server.

use std::{
    env::{self, VarError},
    error::Error,
};

use axum::Router;
use tokio::net::TcpListener;
use tower_api_key::{KeyFormat, NewKey, Scopes, SecretKey, store::FixedStore};

use crate::{guard::Guard, tools::ToolScopes};

const ADMIN_VARIABLE: &str = "ADMIN_API_KEY";

/// Listens on `ADDR`, by default a port of this machine. Clients reach the server at `PUBLIC_URL`. The key of
/// administrators is in `ADMIN_API_KEY`.
///
/// On the local machine, where that is not set, it is made for this run, and keys to try are printed. Elsewhere
/// no key is, since output is kept in logs.
pub async fn serve(
    tools: ToolScopes,
    server: impl FnOnce(&Guard) -> Router,
) -> Result<(), Box<dyn Error>> {
    let addr = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(addr).await?;
    let addr = listener.local_addr()?;
    let url = match env::var("PUBLIC_URL") {
        Ok(url) => url,
        Err(VarError::NotPresent) => format!("http://{addr}"),
        Err(VarError::NotUnicode(_)) => return Err("PUBLIC_URL is no text".into()),
    };
    let guard = Guard::new(&url, tools)?;
    let is_local = addr.ip().is_loopback();
    // A variable that is set but cannot be used is a mistake, and not the wish for another key.
    let administrators = match env::var_os(ADMIN_VARIABLE) {
        Some(_) => FixedStore::from_env(ADMIN_VARIABLE)?.refusing_weak_keys()?,
        None => new_administrator(&guard, is_local)?,
    };
    let app = guard.around(server(&guard), administrators)?;
    if is_local {
        print_keys(&guard).await?;
    } else {
        announce(&guard);
    }
    axum::serve(listener, app).await?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "it prints commands to try")]
fn new_administrator(guard: &Guard, is_local: bool) -> Result<FixedStore, Box<dyn Error>> {
    if !is_local {
        return Err("ADMIN_API_KEY is not set, and others can reach the server".into());
    }
    let key = KeyFormat::new("admin")?.generate()?;
    println!("curl -H 'X-Admin-Key: {}' {}/admin/api-keys", key.expose(), guard.url());
    Ok(FixedStore::new().with_key(ADMIN_VARIABLE, key.expose())?)
}

#[expect(clippy::print_stdout, reason = "it says where to find the server")]
fn announce(guard: &Guard) {
    println!("{}/mcp", guard.url());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_administrators_is_made_on_the_local_machine_alone() {
        let tools = ToolScopes::new([]).expect("no tools");
        let guard = Guard::new("http://192.0.2.1:3000", tools).expect("a URL");
        for is_local in [true, false] {
            assert_eq!(new_administrator(&guard, is_local).is_ok(), is_local);
        }
    }
}
