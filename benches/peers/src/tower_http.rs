//! The layers of tower-http: a static bearer token, and a function of the application's own.

use std::sync::Arc;

use http::{Request, Response};
use tower_http::auth::AsyncRequireAuthorizationLayer;
#[expect(deprecated, reason = "it is still what tower-http has")]
use tower_http::{
    auth::require_authorization::Bearer, validate_request::ValidateRequestHeaderLayer,
};

use crate::{
    by_hand::{Records, check, empty_denial},
    requests::X_API_KEY,
};

/// One token, fixed when the program starts.
#[expect(deprecated, reason = "it is still what tower-http has")]
pub fn static_bearer<B: Default>(token: &str) -> ValidateRequestHeaderLayer<Bearer<B>> {
    ValidateRequestHeaderLayer::bearer(token)
}

/// The checks of the floor, with the compare, in the place that tower-http has for them.
pub async fn authorize<Q, B: Default>(
    records: Arc<Records>,
    mut request: Request<Q>,
) -> Result<Request<Q>, Response<B>> {
    match check::<true>(&records, request.headers().get(X_API_KEY)) {
        Some(record) => {
            request.extensions_mut().insert(record.clone());
            Ok(request)
        }
        None => Err(empty_denial()),
    }
}

/// A layer that asks a function, which has the keys.
pub fn layer<F>(authorize: F) -> AsyncRequireAuthorizationLayer<F> {
    AsyncRequireAuthorizationLayer::new(authorize)
}
