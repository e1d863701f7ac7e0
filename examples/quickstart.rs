//! The smallest use: one key, one route, one layer.
//!
//! ```sh
//! cargo run --example quickstart --features axum
//! ```

#![expect(clippy::print_stdout, reason = "it prints commands to try")]

use std::{env, error::Error};

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tower_api_key::{AuthenticatedKey, KeyManager, NewKey, store::MemoryStore};

async fn whoami(key: AuthenticatedKey) -> String {
    format!("You are {}.\n", key.name())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let keys = KeyManager::new(MemoryStore::new());
    let issued = keys.create(NewKey::named("the first caller")).await?;

    let app = Router::new().route("/whoami", get(whoami)).layer(keys.layer());

    let addr = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(addr).await?;
    let url = format!("http://{}/whoami", listener.local_addr()?);
    println!("curl -H 'X-API-Key: {}' {url}", issued.secret.expose());
    axum::serve(listener, app).await?;
    Ok(())
}
