//! API keys for any [Tower](https://docs.rs/tower) service: axum, tonic, hyper or your own.
//!
//! [`ApiKeyLayer`] wraps a service, finds the caller's key wherever you allow it, proves it
//! against a [`KeyStore`](store::KeyStore) and puts an [`AuthenticatedKey`] into the request's
//! extensions, or answers with the precise reason why not. [`KeyManager`] issues keys and looks
//! after them, and `management_router` lets administrators and owners do so over HTTP.
//!
//! # Quick start
//!
//! ```
//! use axum::{Router, routing::get};
//! use tower_api_key::{AuthenticatedKey, KeyManager, NewKey, store::MemoryStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Keys live in memory here; `SqliteStore::open("keys.db")` keeps them.
//! let manager = KeyManager::new(MemoryStore::new());
//! let issued = manager.create(NewKey::named("first key")).await?;
//! println!("curl -H 'X-API-Key: {}' http://127.0.0.1:3000/", issued.secret.expose());
//!
//! let app: Router = Router::new()
//! # ;
//! # #[cfg(feature = "axum")]
//! # let app: Router = Router::new()
//!     .route("/", get(|key: AuthenticatedKey| async move { format!("Hello, {}!\n", key.name()) }))
//!     .layer(manager.layer());
//! # let _ = app;
//! # Ok(())
//! # }
//! ```
//!
//! # What happens to a request
//!
//! Always in this order. `src/auth/authenticate/mod.rs` reads the same way, and the tests are named after
//! it.
//!
//! 1. **Pass by.** Requests that the [bypass](ApiKeyLayer::with_bypass) matches go straight in,
//!    without an identity. A CORS preflight is judged like any request: nothing proves that it is
//!    one. The CORS layer belongs outside, where it answers preflights itself; for one that has to
//!    stand inside there is [`pass_cors_preflights`](ApiKeyLayer::pass_cors_preflights).
//! 2. **Transport.** With [`require_secure_transport`](ApiKeyLayer::require_secure_transport), a
//!    plaintext request is refused whatever its key.
//! 3. **Extract.** Look in every configured [`KeySource`]. No credential is
//!    [`Missing`](RejectionKind::Missing), unless
//!    [anonymous callers are allowed](ApiKeyLayer::allow_anonymous); several are
//!    [`Ambiguous`](RejectionKind::Ambiguous), unless [`Precedence::FirstSource`] was chosen.
//!    A key in a cookie that another site may have had a browser send is
//!    [`CrossSite`](RejectionKind::CrossSite); see [`KeySource::cookie`].
//! 4. **Parse.** Length, characters, prefix, and checksum or [seal](KeyFormat::sealed) of the accepted
//!    [`KeyFormat`]s, before anything is hashed or looked up; but for the checksum, which is asked for
//!    where the key is not in memory. A key that is there has no typing errors.
//!    A caller with [too many failures](auth::FailureThrottle) has to wait, unless its key was
//!    generated and is in memory as a good one.
//! 5. **Digest.** SHA-256, or HMAC-SHA256 under the current, next and retired [`Peppers`].
//! 6. **Look up.** An error or a timeout is [`Unavailable`](RejectionKind::Unavailable), never
//!    "no such key". A key that the store does not know is looked for among those that another
//!    system stored as slow hashes, with `LegacyHashes`. A request that would have to wait where too
//!    many do is [`Overloaded`](RejectionKind::Overloaded), here and in step 10.
//! 7. **Compare** the stored digest, in constant time.
//! 8. **Status.** Revoked, disabled, not valid yet, expired.
//! 9. **Address.** The key's own list of allowed networks.
//! 10. **Limits.** [Rate limits](RateLimits), then [credits](Credits). A denial at any earlier step
//!     consumes nothing, and neither does one here: all limits let a request in, or none counts it.
//! 11. **Attach.** What a layer further out attached is removed, also where this one lets in without
//!     an identity. The [`AuthenticatedKey`] goes into the extensions; the header is marked
//!     sensitive, or keys are [taken out](ApiKeyLayer::hide_credentials) of all sources; the use is
//!     [counted](ApiKeyLayer::with_usage).
//! 12. **Inner service**, and on its response how its limits stand, `Vary` and
//!     `Cache-Control: private`, so that shared caches stay safe. Denials carry `no-store`.
//!
//! Scopes are asked for where routes are known: by [`RequireScopesLayer`], inside. So are owners:
//! [`OwnerLayer`] resolves the owner of a key, and refuses owners that are not active.
//!
//! A denial is a response, never an error: problem details with a stable `code`
//! ([`RejectionKind`] lists them), or a native gRPC status with details if the request was gRPC:
//! [`with_grpc_web_denials`](ApiKeyLayer::with_grpc_web_denials) says which requests are.
//!
//! # Where things are
//!
//! Each item is in the module of its subject, and has no other path; the names that most programs
//! use are at the root as well. What the traits of [`store`] and [`limit`] name can be imported
//! from there, too.
//!
//! # Features
//!
//! | feature | default | what it adds | what it costs |
//! |---|---|---|---|
//! | `default` | | `tracing` | |
//! | `full` | | everything below | |
//! | `async-trait` | no | `async_trait`, for stores, limiters and resolvers of your own | `async-trait`, with `syn` (5 packages) |
//! | `axum` | no | extractors, denials as responses, `management_router`, `verification_router` | `axum` without its server, `form_urlencoded`, `serde_path_to_error` (14 packages) |
//! | `axum-serve` | no | `axum::serve` takes a layer around a whole `Router` | `axum` with its server (13 packages more) |
//! | `cache` | no | `CachedStore`, `CachedOwners` | `quick_cache`, and on Linux `nix` |
//! | `ext-authz` | no | [`ext_authz`]: forward-auth for Envoy, over gRPC | `tonic` without its server and client (16 packages) |
//! | `file` | no | `FileStore`: keys from a TOML or JSON file | `toml` (5 packages) |
//! | `file-yaml` | no | `FileStore` reads YAML, too | `serde-saphyr` (16 packages) |
//! | `legacy-hashes` | no | `LegacyHashes`: keys that another system stored as bcrypt or argon2 hashes | `argon2`, `bcrypt`; nothing on the path of a good key |
//! | `mysql` | no | `MySqlStore`, for MySQL and MariaDB | `sqlx` |
//! | `openapi` | no | `openapi`: documents of the management routes and of what a layer asks for | `axum`, and `utoipa` (5 packages) |
//! | `postgres` | no | `PostgresStore` | `sqlx` |
//! | `redis` | no | `RedisStore`, `RedisLimiter` | `redis` |
//! | `redis-cluster` | no | both on a cluster | a few more parts of `redis` |
//! | `sqlite` | no | `SqliteStore` | `sqlx`, and SQLite compiled from C |
//! | `testing` | no | [`testing`]: keys, assertions, an audit of guards, and the contracts of stores as tests, for tests | a feature of `tokio`; changes nothing in other types |
//! | `tonic` | no | the caller of a `tonic::Request`, and denials as a `tonic::Status` | `tonic` without its server and client (16 packages) |
//! | `metrics` | no | requests by outcome, durations, caches, and what fails: lookups, limiters, subscriptions | `metrics`; some instructions on the path of a good key |
//! | `tracing` | yes | an event for each denial and store failure | `tracing`; nothing on the path of a good key |
//!
//! Features only add. The rest needs no feature: all sources and formats, scopes, owners, limits,
//! credits, usage, denials, `MemoryStore`, `FixedStore`, `KeyManager` and the [`client`] layer.
//!
//! # Metrics
//!
//! With feature `metrics`. No label holds anything of a key, of its owner or of its tier, and each has
//! few values. Durations are in seconds, sizes in bytes. What is *published* reaches the recorder by
//! [`telemetry::publish`], which a program calls where metrics are read; the rest is told as it
//! happens.
//!
//! | name | | |
//! |---|---|---|
//! | `tower_api_key_requests_total` | counter | requests that a layer has judged, by `outcome`: `accepted`, `anonymous`, `bypassed`, `preflight`, `denied`, `elsewhere` for those that [`or_else`](crate::ApiKeyLayer::or_else) leaves to the other layer, or, of layers [in shadow](crate::ApiKeyLayer::shadow_until), `would_deny` and `undecided`; published |
//! | `tower_api_key_denied_total` | counter | denials, by `code` |
//! | `tower_api_key_would_deny_total` | counter | denials of layers [in shadow](crate::ApiKeyLayer::shadow_until), by `code`: none was one |
//! | `tower_api_key_shadow_undecided_total` | counter | requests that went on before a layer in shadow had decided |
//! | `tower_api_key_shadow_differences_total` | counter | requests that a layer and [the check beside it](crate::ApiKeyLayer::shadowing) answer differently, by `difference` |
//! | `tower_api_key_shadow_layers` | gauge | layers in shadow |
//! | `tower_api_key_lookup_duration_seconds` | histogram | how long requests waited for a lookup that memory could not answer, by `result`: `found`, `not_found` or `failed` |
//! | `tower_api_key_limit_duration_seconds` | histogram | how long requests waited for a rate limiter, where one had to be asked outside of the process |
//! | `tower_api_key_limiter_buckets` | gauge | limits of keys and owners that a limiter has in memory, by `limiter`: `local`, or `redis` for leases; published |
//! | `tower_api_key_cache_hits_total` | counter | answers of caches from memory, by `cache` (so the next six): `keys` or `owners`; published |
//! | `tower_api_key_cache_stale_total` | counter | answers from memory after their time, because the back end failed; published |
//! | `tower_api_key_cache_misses_total` | counter | lookups in the back end; published |
//! | `tower_api_key_cache_coalesced_total` | counter | requests that waited for the lookup of another request; published |
//! | `tower_api_key_cache_refreshes_total` | counter | lookups that no request waited for, part of the misses; published |
//! | `tower_api_key_cache_evictions_total` | counter | keys or owners that left memory because others needed the room; published |
//! | `tower_api_key_cache_entries` | gauge | entries in memory; published |
//! | `tower_api_key_lookups_shed_total` | counter | a cache's lookups that the lookup budget refused, by `rank`: `listed`, `unlisted`, or `unranked` without a filter |
//! | `tower_api_key_requests_shed_total` | counter | requests that were denied because too many [waited](crate::auth::WaitingLimit) |
//! | `tower_api_key_waiting_requests` | gauge | requests that wait in all layers |
//! | `tower_api_key_waiting_requests_limit` | gauge | how many may, in all layers that have had one |
//! | `tower_api_key_waiting_bytes` | gauge | an estimate of their memory |
//! | `tower_api_key_waiting_bytes_limit` | gauge | how much they may take |
//! | `tower_api_key_filter_keys` | gauge | keys in a cache's filter, when it was last loaded whole |
//! | `tower_api_key_filter_bytes` | gauge | memory that it takes |
//! | `tower_api_key_filter_loads_failed_total` | counter | loads of the filter that failed |
//! | `tower_api_key_lookups_failed_total` | counter | a cache's lookups that the store did not answer |
//! | `tower_api_key_file_current` | gauge | 1 while a file of keys is in use as it is, 0 while its last good content is, by `path` |
//! | `tower_api_key_file_loads_failed_total` | counter | files of keys that could not be used, by `path` |
//! | `tower_api_key_client_key_current` | gauge | 1 while the key of a client is the one in its file, 0 while it is the last good one, by `path` |
//! | `tower_api_key_client_key_loads_failed_total` | counter | files with the key of a client that could not be used, by `path` |
//! | `tower_api_key_backend_up` | gauge | 1 once a back end answers again that had fallen silent, 0 while it does not, by `backend`: `key_store`, `rate_limiter`, `bus` or `owner_resolver`. Absent before the first time |
//! | `tower_api_key_backend_outages_total` | counter | how often that was noticed, by `backend` |
//! | `tower_api_key_replicas_fresh` | gauge | replicas that are asked for keys, of all stores |
//! | `tower_api_key_limiter_failures_total` | counter | requests whose rate limiter did not answer |
//! | `tower_api_key_listening` | gauge | 1 while a cache hears what other nodes change, 0 while it does not |
//! | `tower_api_key_subscriptions_lost_total` | counter | how often that ended |
//! | `tower_api_key_messages_unreadable_total` | counter | messages about changed keys that this version cannot read |
//! | `tower_api_key_announcements_failed_total` | counter | changes that could not be announced to other nodes |
//! | `tower_api_key_owners_not_resolved_total` | counter | requests whose key's owner could not be resolved |
//! | `tower_api_key_owner_lookups_failed_total` | counter | a cache's lookups of owners that the resolver did not answer |
//! | `tower_api_key_unenforceable_total` | counter | requests that were refused because their key has a restriction that the layer does not enforce |
//! | `tower_api_key_write_back_failed_total` | counter | digests that could not be stored under the current pepper, and graces that could not be started |
//! | `tower_api_key_management_failed_total` | counter | requests to the management routes that failed for the service's own trouble |
//! | `tower_api_key_legacy_verifications_total` | counter | slow hashes that were computed |
//! | `tower_api_key_legacy_upgrades_total` | counter | keys with a slow hash that got their digest |
//! | `tower_api_key_legacy_upgrades_failed_total` | counter | digests of such keys that could not be stored |
//! | `tower_api_key_legacy_loads_failed_total` | counter | attempts to read which keys have a slow hash that failed |
//! | `tower_api_key_give_backs_failed_total` | counter | permits of a shared limit that could not be given back |
//! | `tower_api_key_credit_leases_failed_total` | counter | attempts to take credits from the store, or to give them back, that failed |
//! | `tower_api_key_credits_lost_total` | counter | credits that may have been lost by that |
//! | `tower_api_key_usage_flush_lag_seconds` | gauge | how long ago a recorder last wrote all that was counted, the longest of them; published |
//! | `tower_api_key_use_flushes_failed_total` | counter | attempts to write counts of uses that failed |
//! | `tower_api_key_usage_details_dropped_total` | counter | counts by hour that were dropped because too many waited to be written |
//! | `tower_api_key_usage_removals_failed_total` | counter | attempts to remove old counts by hour that failed |
//!
#![cfg_attr(
    doc,
    doc = "# Guides\n\n[`guide`] has a page for each subject, and [`guide::design`] says why."
)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(feature = "full"),
    allow(rustdoc::broken_intra_doc_links, reason = "what a feature adds is linked without it")
)]

pub mod auth;
pub mod client;
pub mod clock;
pub mod credits;
mod error;
pub mod forward_auth;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "axum")]
mod http;
mod inner;
pub mod key;
#[cfg(feature = "legacy-hashes")]
#[cfg_attr(docsrs, doc(cfg(feature = "legacy-hashes")))]
pub mod legacy;
pub mod limit;
pub mod manage;
mod object;
mod observe;
#[cfg(feature = "openapi")]
#[cfg_attr(docsrs, doc(cfg(feature = "openapi")))]
pub mod openapi;
mod protobuf;
#[cfg(feature = "redis")]
mod redis;
pub mod rejection;
mod request;
mod runtime;
pub mod store;
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub mod telemetry;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
mod text;
mod throttle;
#[cfg(feature = "tonic")]
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
pub mod tonic;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "redis", feature = "sqlite"))]
mod url;
pub mod usage;

/// The routes that manage keys: [`management_router`](axum::management_router), the
/// [`ManagementGuard`](axum::ManagementGuard) in front of it, and [`JsonBody`](axum::JsonBody). The route
/// that judges keys for programs: [`verification_router`](axum::verification_router).
/// The extractors are implemented on the types themselves.
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub mod axum {
    pub use crate::http::{
        JsonBody, ManagementCaller, ManagementGuard, ManagementScopes, VerificationGuard,
        management_router, verification_router,
    };
}

/// Charges for requests that cost more than others: [`ExtraCostLayer`](extra_cost::ExtraCostLayer)
/// stands inside the [`ApiKeyLayer`], where routes are known.
pub mod extra_cost {
    pub use crate::inner::{ExtraCost, ExtraCostLayer};
}

/// Forward-auth for Envoy, over gRPC: [`ExtAuthz`](ext_authz::ExtAuthz) decides as a
/// [`ForwardAuth`](forward_auth::ForwardAuth) does.
#[cfg(feature = "ext-authz")]
#[cfg_attr(docsrs, doc(cfg(feature = "ext-authz")))]
pub mod ext_authz {
    pub use crate::forward_auth::envoy::{DownstreamAddress, ExtAuthz, ExtAuthzFuture};
}

/// Identities in headers, for services behind a gateway: [`IdentityLayer`](identity::IdentityLayer)
/// stands inside the [`ApiKeyLayer`].
pub mod identity {
    pub use crate::inner::{Identity, IdentityHeaders, IdentityLayer};
}

/// Owners of keys: [`OwnerLayer`] asks an [`OwnerResolver`](owner::OwnerResolver) for the owner of
/// a key, and refuses owners that are not active.
pub mod owner {
    #[cfg(feature = "cache")]
    #[cfg_attr(docsrs, doc(cfg(feature = "cache")))]
    pub use crate::inner::{CachedOwners, CachedOwnersBuilder};
    pub use crate::inner::{Owner, OwnerError, OwnerLayer, OwnerResolver, ResolveOwner};
}

/// Scopes: the values that keys have ([`Scopes`]), the rules that routes ask for
/// ([`ScopeRule`](scope::ScopeRule)), and the layer that checks them ([`RequireScopesLayer`]).
pub mod scope {
    pub use crate::{
        inner::{RequireScopes, RequireScopesLayer},
        key::{
            scope::{InvalidScope, Scope, Scopes},
            scope_rule::ScopeRule,
        },
    };
}

#[doc(inline)]
pub use self::{
    auth::{ApiKeyLayer, AuthenticatedKey, KeySource, Precedence},
    clock::Timestamp,
    credits::Credits,
    error::ConfigError,
    key::{IssuerSecrets, KeyFormat, KeyHasher, KeyId, OwnerId, Peppers, SecretKey},
    limit::RateLimits,
    manage::{IssuedKey, KeyManager, KeyPatch, NewKey},
    owner::{Owner, OwnerLayer},
    rejection::{Rejection, RejectionKind},
    scope::{RequireScopesLayer, Scopes},
    usage::UsageRecorder,
};
#[cfg(feature = "async-trait")]
#[cfg_attr(docsrs, doc(cfg(feature = "async-trait")))]
pub use async_trait::async_trait;

#[cfg(any(doc, doctest))]
pub mod guide;
