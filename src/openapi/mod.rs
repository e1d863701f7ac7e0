//! OpenAPI 3.1 documents, as types of [utoipa]: the security of a layer, the routes to manage keys
//! with, and the one to verify them.
//!
//! An application with a document of its own adds both to it:
//!
//! ```
//! use tower_api_key::{ApiKeyLayer, KeySource, openapi, store::FixedStore};
//! use utoipa::openapi::{Info, OpenApi, Paths};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let administrators = ApiKeyLayer::new(FixedStore::new())
//!     .with_sources([KeySource::header("x-admin-key")?]);
//!
//! // The routes of a `management_router` that is nested under this path, behind this layer.
//! let mut management = openapi::management("/admin/api-keys");
//! administrators.security().secure(&mut management);
//!
//! let document = OpenApi::new(Info::new("My API", "1.0.0"), Paths::new()).merge_from(management);
//! assert!(document.to_json()?.contains(r#""name":"x-admin-key""#));
//! # Ok(())
//! # }
//! ```

mod errors;
mod examples;
mod management;
mod responses;
mod schemas;
mod security;
mod usage;
mod verification;

pub use self::management::{management, own_management};
pub use self::security::Security;
pub use self::verification::verification;
