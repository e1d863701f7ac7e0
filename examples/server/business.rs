//! What the keys are for.

use axum::{
    Json, Router,
    routing::{get, post},
};
use serde_json::{Value, json};
use tower_api_key::{
    AuthenticatedKey, CachedOwners, InvalidScope, KeyManager, Owner, OwnerLayer, RequireScopesLayer,
};

use crate::{
    body::AnyJson,
    users::{self, User},
};

pub(crate) fn routes() -> Result<Router<KeyManager>, InvalidScope> {
    let inventory = Router::new()
        .route("/webhook/inventory", post(receive))
        .route_layer(RequireScopesLayer::all(["inventory:write"])?);
    let external = Router::new()
        .route("/external/products", get(products))
        .route_layer(OwnerLayer::new(CachedOwners::new(users::find)));
    Ok(Router::new()
        .route("/articles", get(articles))
        .route("/webhook/orders", post(receive))
        .route("/data/export", get(export))
        .merge(external)
        .merge(inventory))
}

async fn articles() -> Json<Value> {
    let articles = json!([
        { "id": 1, "title": "Why API keys are stored as hashes" },
        { "id": 2, "title": "Naming scopes" },
    ]);
    let count = articles.as_array().map_or(0, Vec::len);
    Json(json!({ "articles": articles, "count": count }))
}

/// A webhook: another service tells us something.
async fn receive(_: AnyJson) -> Json<Value> {
    Json(json!({ "status": "received" }))
}

async fn export(key: AuthenticatedKey) -> Json<Value> {
    Json(json!({ "owner": key.owner(), "data": [] }))
}

/// Not the key alone decides here, but also whose it is.
async fn products(user: Owner<User>) -> Json<Value> {
    Json(json!({ "user_id": user.id, "products": [] }))
}
