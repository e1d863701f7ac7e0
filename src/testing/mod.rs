//! For the tests of applications: keys of every kind ([`TestKeys`], [`WithKey`], [`assert_denied!`]), an
//! audit of guards ([`guard_audit`]), and the contracts of stores as tests ([`store_conformance!`]).
//!
//! It changes nothing in other types: an application that is built with the feature `testing` guards as
//! it does without.

mod audit;
#[doc(hidden)]
pub mod conformance;
#[doc(hidden)]
pub mod denied;
mod keys;
#[cfg(feature = "axum")]
mod recording;
mod routes;
mod with_key;

#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub use self::recording::RecordingRouter;
pub use self::{
    audit::{
        AuditFailure, AuditReason, AuditReport, AuditedRow, EmptyBody, GuardAudit, SentKey,
        Variant, guard_audit,
    },
    keys::{TestKey, TestKeys},
    routes::Routes,
    with_key::{ExposeKey, WithKey},
};
#[doc(inline)]
pub use crate::{__assert_denied as assert_denied, __store_conformance as store_conformance};
