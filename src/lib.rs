//! API keys for any Tower service.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod authenticate;
mod authenticated;
#[cfg(feature = "axum")]
mod axum;
mod cache_headers;
mod clock;
mod digest;
mod error;
mod extract;
mod future;
mod key;
mod layer;
mod manage;
mod observe;
mod record;
mod rejection;
mod renewal;
mod scope;
mod service;
pub mod store;
mod text;

pub use async_trait::async_trait;
pub use authenticated::AuthenticatedKey;
pub use clock::{Clock, ParseTimestampError, SettableClock, SystemClock, Timestamp};
pub use digest::{KeyDigest, KeyHasher, Peppers};
pub use error::ConfigError;
pub use extract::{KeySource, Precedence};
pub use future::ResponseFuture;
pub use key::{GenerateError, KeyFormat, SecretKey};
pub use layer::{ApiKeyLayer, RequestHead};
pub use manage::{InvalidField, IssuedKey, KeyManager, KeyPatch, ManageError, NewKey};
pub use record::{KeyId, KeyRecord, KeyStatus, Metadata, OwnerId, ParseKeyIdError};
pub use rejection::{Rejection, RejectionKind, RejectionResponse};
pub use scope::{
    InvalidScope, RequireScopes, RequireScopesFuture, RequireScopesLayer, Scope, ScopeRule, Scopes,
};
pub use service::ApiKeyAuth;
