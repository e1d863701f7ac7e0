//! For the tests of applications: keys of every kind ([`TestKeys`], [`WithKey`], [`assert_denied!`]), and
//! the contracts of stores as tests ([`store_conformance!`]).
//!
//! It changes nothing in other types: an application that is built with the feature `testing` guards as
//! it does without.

#[doc(hidden)]
pub mod conformance;
#[doc(hidden)]
pub mod denied;
mod keys;
mod with_key;

pub use self::{
    keys::{TestKey, TestKeys},
    with_key::{ExposeKey, WithKey},
};
#[doc(inline)]
pub use crate::{__assert_denied as assert_denied, __store_conformance as store_conformance};
