//! The document of [`verification_router`](crate::axum::verification_router).

use http::StatusCode;
use utoipa::openapi::{HttpMethod, Info, OpenApi, OpenApiBuilder, Paths, Required};

use super::{
    errors,
    management::{WithBody, operation, parameters_of},
    responses::{self, WithProblems},
    schemas,
};

/// The document of a [`verification_router`](crate::axum::verification_router) that is nested under this
/// path, such as `/verify`.
///
/// It has no security: [`Security::secure`](super::Security::secure) adds that, where programs send a key.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, openapi, store::MemoryStore};
///
/// let programs = ApiKeyLayer::new(MemoryStore::new());
/// let mut document = openapi::verification("/verify");
/// programs.security().with_scopes(["keys:verify"]).secure(&mut document);
/// assert!(document.paths.paths.contains_key("/verify"));
/// ```
pub fn verification(path: &str) -> OpenApi {
    let path = path.trim_end_matches('/');
    let forbidden = [errors::NEEDS_VERIFY, errors::INSECURE, errors::NOT_LOCAL, errors::CROSS_SITE];
    let verify = operation("Say whether an API key is good")
        .parameters(Some(parameters_of(path)))
        .body(schemas::QUESTION, Required::True)
        .response("200", responses::json("Whether it is, and whose it is.", schemas::ANSWER))
        .problems(StatusCode::FORBIDDEN, &forbidden)
        .response("503", errors::cannot_tell())
        .operation_id(Some("verify_api_key"))
        .tag("API keys")
        .build();
    let mut paths = Paths::new();
    let whole = if path.is_empty() { "/" } else { path };
    paths.add_path_operation(whole, vec![HttpMethod::Post], verify);
    OpenApiBuilder::new()
        .info(Info::new("API keys", env!("CARGO_PKG_VERSION")))
        .paths(paths)
        .components(Some(schemas::of_verification()))
        .build()
}
