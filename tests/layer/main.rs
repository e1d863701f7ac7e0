//! The layer from outside: real requests through `tower::ServiceBuilder`, time from
//! `SettableClock`. [`decision_order`] goes through the steps that the crate's documentation
//! numbers; the other modules look at one matter each.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(clippy::similar_names, reason = "a manager, and what is managed")]

mod access_records;
mod announcing;
#[cfg(feature = "axum")]
mod axum;
mod cache_headers;
mod capabilities;
mod close;
mod cross_site;
mod decision_order;
#[cfg(feature = "tracing")]
mod decision_spans;
mod denial_log;
mod denials;
#[cfg(feature = "ext-authz")]
#[path = "../envoy/mod.rs"]
mod envoy;
mod events;
mod events_denied;
#[cfg(feature = "ext-authz")]
mod ext_authz;
mod extraction;
#[cfg(feature = "metrics")]
#[path = "../support/figures.rs"]
mod figures;
mod forward_auth;
mod forwarded;
mod grpc;
mod grpc_details;
#[cfg(feature = "tonic")]
mod grpc_wrapped;
mod hide;
mod hide_everywhere;
mod hints;
mod hook;
mod hostile;
mod identity;
#[cfg(feature = "legacy-hashes")]
mod legacy;
mod limits;
mod list_cursors;
mod lookups;
#[cfg(feature = "axum")]
mod manage_http;
mod managed;
mod manager;
mod manager_bounds;
mod manager_ceilings;
mod manager_import;
mod manager_issued_before;
mod manager_lists;
mod manager_owners;
mod manager_requests;
mod manager_restore;
mod manager_sets;
mod manager_texts;
mod marker_traits;
#[cfg(feature = "axum")]
mod mistakes;
mod nested;
#[cfg(feature = "openapi")]
mod openapi;
mod or_else;
mod owner;
mod pass_by;
mod plain_store;
mod preflights;
#[cfg(feature = "metrics")]
mod published;
mod readiness;
mod renewal;
mod resource_metadata;
mod response_body;
mod rotation;
mod rotation_again;
mod rotation_first_use;
mod scopes;
mod sealed;
mod secrets;
mod shadow;
#[cfg(feature = "file-yaml")]
mod static_file;
mod static_keys;
mod stores;
mod support;
mod threads;
mod uniform;
mod update;
mod usage;
#[cfg(feature = "axum")]
mod verification;
mod waiting;
