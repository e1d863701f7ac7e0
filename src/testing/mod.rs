//! For the tests of applications: the contracts of stores as tests ([`store_conformance!`]).
//!
//! It changes nothing in other types: an application that is built with the feature `testing` guards as
//! it does without.

#[doc(hidden)]
pub mod conformance;

#[doc(inline)]
pub use crate::__store_conformance as store_conformance;
