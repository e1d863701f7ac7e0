//! What the keys are for.

use axum::{
    Json, Router,
    routing::{get, post},
};
use serde_json::{Value, json};
use tower_api_key::{
    AuthenticatedKey, InvalidScope, KeyManager, Rejection, RejectionKind, RequireScopesLayer,
};

use crate::{body::AnyJson, users};

pub(crate) fn routes() -> Result<Router<KeyManager>, InvalidScope> {
    let inventory = Router::new()
        .route("/webhook/inventory", post(receive))
        .route_layer(RequireScopesLayer::all(["inventory:write"])?);
    Ok(Router::new()
        .route("/articles", get(articles))
        .route("/webhook/orders", post(receive))
        .route("/data/export", get(export))
        .route("/external/products", get(products))
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
async fn products(key: AuthenticatedKey) -> Result<Json<Value>, Rejection> {
    match key.owner().filter(|owner| users::is_active(owner)) {
        Some(user) => Ok(Json(json!({ "user_id": user, "products": [] }))),
        None => Err(Rejection::new(RejectionKind::InactiveOwner).with_key(key.id())),
    }
}
