//! For axum: extractors, responses, and the routes to manage keys with.

use axum::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::request::Parts;

use crate::{
    auth::{
        AuthenticatedKey,
        authenticated::{self, Absence},
    },
    inner::Owner,
    rejection::{Rejection, respond_plainly},
    request::RequestHead,
};

/// Gives the handler the caller's key.
///
/// ```
/// use axum::{Router, routing::get};
/// use tower_api_key::{ApiKeyLayer, AuthenticatedKey, store::MemoryStore};
///
/// async fn whoami(key: AuthenticatedKey) -> String {
///     format!("You are {}.", key.name())
/// }
///
/// let app: Router = Router::new()
///     .route("/whoami", get(whoami))
///     .layer(ApiKeyLayer::new(MemoryStore::new()));
/// # let _ = app;
/// ```
///
/// A request that was let in without an identity is denied as `Missing`. Without an
/// [`ApiKeyLayer`](crate::ApiKeyLayer) outside the route, the answer is 500 and says so.
impl<S: Sync> FromRequestParts<S> for AuthenticatedKey {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        authenticated::require(&parts.extensions)
            .cloned()
            .map_err(|absence| absence.response(&RequestHead::from(&*parts)).map(Body::from))
    }
}

/// `None` for a request that was let in without an identity; see
/// [`allow_anonymous`](crate::ApiKeyLayer::allow_anonymous).
impl<S: Sync> OptionalFromRequestParts<S> for AuthenticatedKey {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Response> {
        match authenticated::require(&parts.extensions) {
            Ok(key) => Ok(Some(key.clone())),
            Err(Absence::NoKey(_)) => Ok(None),
            Err(absence) => Err(absence.response(&RequestHead::from(&*parts)).map(Body::from)),
        }
    }
}

/// Gives the handler the owner of the caller's key.
///
/// ```
/// use axum::{Router, routing::get};
/// use tower_api_key::{ApiKeyLayer, Owner, OwnerId, OwnerLayer, store::MemoryStore};
///
/// struct User {
///     name: String,
/// }
///
/// async fn find_user(id: OwnerId) -> Result<Option<User>, std::io::Error> {
///     Ok(Some(User { name: id.to_string() }))
/// }
///
/// async fn hello(user: Owner<User>) -> String {
///     format!("Hello, {}!", user.name)
/// }
///
/// let app: Router = Router::new()
///     .route("/hello", get(hello))
///     .layer(OwnerLayer::new(find_user))
///     .layer(ApiKeyLayer::new(MemoryStore::new()));
/// # let _ = app;
/// ```
///
/// A request that was let in without an identity is denied as `Missing`. Without an
/// [`OwnerLayer`](crate::OwnerLayer) for this type outside the route, the answer is 500 and says
/// so.
impl<S: Sync, T: Send + Sync + 'static> FromRequestParts<S> for Owner<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        Owner::require(&parts.extensions)
            .map_err(|absence| absence.response(&RequestHead::from(&*parts)).map(Body::from))
    }
}

/// `None` for a request that was let in without an identity; see
/// [`OwnerLayer::allow_anonymous`](crate::OwnerLayer::allow_anonymous).
impl<S: Sync, T: Send + Sync + 'static> OptionalFromRequestParts<S> for Owner<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Response> {
        match Owner::require(&parts.extensions) {
            Ok(owner) => Ok(Some(owner)),
            Err(Absence::NoKey(_)) => Ok(None),
            Err(absence) => Err(absence.response(&RequestHead::from(&*parts)).map(Body::from)),
        }
    }
}

/// For handlers that deny by themselves: problem details, for every kind of request. The
/// [`ApiKeyLayer`](crate::ApiKeyLayer) outside adds its challenges and applies its hook.
///
/// ```
/// use tower_api_key::{AuthenticatedKey, Rejection, RejectionKind};
///
/// async fn products(key: AuthenticatedKey) -> Result<&'static str, Rejection> {
///     match key.owner() {
///         Some(_) => Ok("products"),
///         None => Err(Rejection::new(RejectionKind::InactiveOwner).with_key(key.id())),
///     }
/// }
/// # let _ = products;
/// ```
impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        self.observe();
        respond_plainly(self, None).map(Body::from)
    }
}
