//! Guides, one page a subject.
//!
//! | page | |
//! |---|---|
//! | [`axum`] | axum from zero, and the order of layers |
//! | [`tonic`] | tonic: services with and without keys, streams, gRPC-Web |
//! | [`hyper`] | hyper without a framework |
//! | [`stores`] | stores, caches and several nodes |
//! | [`limits`] | rate limits, credits, usage and failed guesses |
//! | [`management`] | management routes and owners |
//! | [`command_line`] | the command line, and migration from an existing table |
//! | [`files`] | keys in a file |
//! | [`openapi`] | documents of layers and management routes |
//! | [`testing`] | fixed keys, a settable clock, `oneshot` |
//! | [`operation`] | metrics, shutdown, peppers, rotation, leaks |
//!
//! The pages are the files of `docs/guide/`, and their programs are tests.

/// A page. Its links to other pages are relative paths, for readers of the files; the definitions in
/// front lead readers of this documentation.
macro_rules! page {
    ($name:literal) => {
        concat!(
            "[axum]: crate::guide::axum\n",
            "[tonic]: crate::guide::tonic\n",
            "[hyper]: crate::guide::hyper\n",
            "[stores]: crate::guide::stores\n",
            "[limits]: crate::guide::limits\n",
            "[management]: crate::guide::management\n",
            "[command_line]: crate::guide::command_line\n",
            "[files]: crate::guide::files\n",
            "[openapi]: crate::guide::openapi\n",
            "[testing]: crate::guide::testing\n",
            "[operation]: crate::guide::operation\n",
            "\n",
            include_str!(concat!("../docs/guide/", $name, ".md"))
        )
    };
}

#[cfg(any(not(doctest), feature = "axum"))]
#[doc = page!("axum")]
pub mod axum {}

#[doc = page!("tonic")]
pub mod tonic {}

#[doc = page!("hyper")]
pub mod hyper {}

#[cfg(any(not(doctest), all(feature = "cache", feature = "postgres")))]
#[doc = page!("stores")]
pub mod stores {}

#[doc = page!("limits")]
pub mod limits {}

#[cfg(any(not(doctest), feature = "axum"))]
#[doc = page!("management")]
pub mod management {}

#[cfg(any(not(doctest), feature = "legacy-hashes"))]
#[doc = page!("command_line")]
pub mod command_line {}

#[cfg(any(not(doctest), feature = "file"))]
#[doc = page!("files")]
pub mod files {}

#[cfg(any(not(doctest), feature = "openapi"))]
#[doc = page!("openapi")]
pub mod openapi {}

#[doc = page!("testing")]
pub mod testing {}

#[cfg(any(not(doctest), feature = "axum"))]
#[doc = page!("operation")]
pub mod operation {}
