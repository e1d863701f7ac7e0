//! What applications put around this crate's layers and inside them, in one `ServiceBuilder`, on
//! each kind of server.
#![cfg(test)]

/// A `ServiceBuilder` with every other layer outside an `ApiKeyLayer`, and again inside, around a
/// `RequireScopesLayer`.
macro_rules! stack {
    ($keys:expr) => {
        others!(others!(tower::ServiceBuilder::new()).layer($keys))
            .layer(tower_api_key::RequireScopesLayer::all(["read"]).unwrap())
    };
}

/// Adds to a `ServiceBuilder` each layer of other crates that applications use. Those that answer
/// themselves ask for a body with a default. `Buffer` and `LoadShed` change the error, and
/// `HandleErrorLayer` makes responses of it.
macro_rules! others {
    ($builder:expr) => {
        $builder
            .layer(axum::error_handling::HandleErrorLayer::new(crate::layers::failed))
            .load_shed()
            .buffer(16)
            .layer(tower_http::trace::TraceLayer::new_for_http())
            .layer(tower_http::compression::CompressionLayer::new())
            .layer(tower_http::cors::CorsLayer::permissive())
            .layer(crate::layers::timeout())
            .layer(tower_http::validate_request::ValidateRequestHeaderLayer::accept("text/plain"))
            .layer(tower_http::auth::AsyncRequireAuthorizationLayer::new(crate::layers::stopped))
            .option_layer(Some(crate::layers::timeout()))
            .map_response(crate::layers::marked)
            // For the compiler's sake: types that are nested further take it minutes.
            .layer(tower::util::BoxCloneSyncService::layer())
    };
}

mod client;
mod database;
mod layers;
mod on_axum;
mod on_hyper;
mod on_tonic;
mod read_only_store;
