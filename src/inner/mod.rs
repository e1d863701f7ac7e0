//! Layers further in than [`ApiKeyLayer`](crate::ApiKeyLayer), which ask more of a key that was let
//! in, scopes, an owner, a price, or tell of it to the services behind.

mod extra_cost;
pub(crate) mod identity;
mod owner;
mod require_scopes;
mod waiting;

#[cfg(feature = "cache")]
pub use self::owner::{CachedOwners, CachedOwnersBuilder};
pub use self::{
    extra_cost::{ExtraCost, ExtraCostLayer},
    identity::{Identity, IdentityHeaders, IdentityLayer},
    owner::{Owner, OwnerError, OwnerLayer, OwnerResolver, ResolveOwner},
    require_scopes::{RequireScopes, RequireScopesLayer},
};
