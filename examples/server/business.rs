//! The routes that the keys are for.

use axum::Json;
use serde::Serialize;
use serde_json::Value;
use tower_api_key::{
    AuthenticatedKey, KeyManager, Owner, OwnerId, OwnerLayer, auth::WaitingLimit, axum::JsonBody,
    owner::CachedOwners, rejection::Problem,
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    docs::{self, BodyProblems, QueryProblems},
    users::{self, User},
};

/// For any key. Requests that wait for an owner count as `waiting`.
pub(crate) fn routes(waiting: &WaitingLimit) -> OpenApiRouter<KeyManager> {
    let owners =
        OwnerLayer::new(CachedOwners::new(users::find)).with_waiting_limit(waiting.clone());
    let external = OpenApiRouter::new().routes(routes!(products)).route_layer(owners);
    OpenApiRouter::new()
        .routes(routes!(articles))
        .routes(routes!(receive_order))
        .routes(routes!(export))
        .merge(external)
}

/// For keys with the scope [`INVENTORY`].
pub(crate) fn inventory() -> OpenApiRouter<KeyManager> {
    OpenApiRouter::new().routes(routes!(receive_inventory))
}

pub(crate) const INVENTORY: &str = "inventory:write";

#[derive(Serialize, ToSchema)]
struct Articles {
    articles: Vec<Article>,
    count: usize,
}

#[derive(Serialize, ToSchema)]
struct Article {
    id: u32,
    title: &'static str,
}

/// List articles
#[utoipa::path(get, path = "/articles", tag = docs::BUSINESS, responses((status = 200, description = "The articles.", body = Articles), QueryProblems))]
async fn articles() -> Json<Articles> {
    let articles = vec![
        Article { id: 1, title: "Why API keys are stored as hashes" },
        Article { id: 2, title: "Naming scopes" },
    ];
    Json(Articles { count: articles.len(), articles })
}

#[derive(Serialize, ToSchema)]
struct Received {
    status: &'static str,
}

/// Another service tells us of an order
#[utoipa::path(
    post,
    path = "/webhook/orders",
    tag = docs::BUSINESS,
    request_body(content = Option<Value>),
    responses((status = 200, description = "Received.", body = Received), BodyProblems),
)]
async fn receive_order(body: JsonBody) -> Result<Json<Received>, Problem> {
    body.check()?;
    Ok(Json(Received { status: "received" }))
}

/// Another service tells us of its inventory
#[utoipa::path(
    post,
    path = "/webhook/inventory",
    tag = docs::BUSINESS,
    request_body(content = Option<Value>),
    responses((status = 200, description = "Received.", body = Received), BodyProblems),
)]
async fn receive_inventory(body: JsonBody) -> Result<Json<Received>, Problem> {
    body.check()?;
    Ok(Json(Received { status: "received" }))
}

#[derive(Serialize, ToSchema)]
struct Export {
    #[schema(value_type = Option<String>)]
    owner: Option<OwnerId>,
    data: Vec<Value>,
}

/// Export the data of the key's owner
#[utoipa::path(get, path = "/data/export", tag = docs::BUSINESS, responses((status = 200, description = "The data.", body = Export), QueryProblems))]
async fn export(key: AuthenticatedKey) -> Json<Export> {
    Json(Export { owner: key.owner().cloned(), data: Vec::new() })
}

#[derive(Serialize, ToSchema)]
struct Products {
    #[schema(value_type = String)]
    user_id: OwnerId,
    products: Vec<Value>,
}

// Not the key alone decides here, but also whose it is.
/// List the products of the key's owner, who must be active
#[utoipa::path(get, path = "/external/products", tag = docs::BUSINESS, responses((status = 200, description = "The products.", body = Products), QueryProblems))]
async fn products(user: Owner<User>) -> Json<Products> {
    Json(Products { user_id: user.id.clone(), products: Vec::new() })
}
