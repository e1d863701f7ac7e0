//! The query of a route that has no parameters of its own: it may hold the key, and nothing else.

use axum::{
    extract::{Query, Request},
    middleware::Next,
    response::{IntoResponse, Response},
};

use tower_api_key::rejection::Problem;

/// The parameter that clients may put their key in.
pub(crate) const API_KEY: &str = "api_key";

/// Stands inside the key layer: a stranger learns nothing about the query. A parameter that is passed over does
/// harm: a client that sends `?owner=` would take everything for that owner's.
pub(crate) async fn known(request: Request, next: Next) -> Response {
    let sent = Query::<Vec<(String, String)>>::try_from_uri(request.uri());
    let Ok(Query(sent)) = sent else { return refused("query") };
    match sent.iter().find(|(name, _)| name != API_KEY) {
        Some((name, _)) => refused(name),
        None => next.run(request).await,
    }
}

fn refused(name: &str) -> Response {
    Problem::unknown_parameter(name, "No query parameters but api_key are known here.")
        .into_response()
}
