//! The feature `testing`: [`kit`] makes keys and asserts denials.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod kit;
