//! Guides, one page a subject.
//!
//! | page | |
//! |---|---|
//! | [`axum`] | axum from zero, and the order of layers |
//! | [`tonic`] | tonic: services with and without keys, callers, details of denials, streams, gRPC-Web |
//! | [`hyper`] | hyper without a framework |
//! | [`mcp`] | servers of the Model Context Protocol |
//! | [`keys`] | formats of keys, and sealed keys |
//! | [`stores`] | stores, caches and several nodes |
//! | [`limits`] | rate limits, credits, usage and failed guesses |
//! | [`proxies`] | the client's address behind proxies |
//! | [`forward_auth`] | proxies that ask about each request, such as nginx and Envoy, for services in any language |
//! | [`sidecar`] | the same as a program, with a file for its rules |
//! | [`management`] | management routes and owners |
//! | [`clients`] | the other side: clients that send a key |
//! | [`command_line`] | the command line, and migration from an existing table |
//! | [`files`] | keys in a file |
//! | [`openapi`] | documents of layers and management routes |
//! | [`shadow`] | a layer that denies nothing yet, for some keys, or beside another check |
//! | [`testing`] | keys for tests, an audit of guards, the contracts of stores as tests |
//! | [`operation`] | metrics, shutdown, peppers, rotation, leaks |
//!
//! The pages are the files of `docs/guide/`, and their programs are tests. [`design`] says why the crate
//! is as it is.

/// A page. Its links to other pages are relative paths, for readers of the files; the definitions in
/// front lead readers of this documentation.
macro_rules! page {
    ($links:ident, $file:literal) => {
        concat!($links!(), "\n", include_str!(concat!("../docs/", $file)))
    };
}

macro_rules! guides {
    () => {
        concat!(
            "[axum]: crate::guide::axum\n",
            "[tonic]: crate::guide::tonic\n",
            "[hyper]: crate::guide::hyper\n",
            "[mcp]: crate::guide::mcp\n",
            "[keys]: crate::guide::keys\n",
            "[stores]: crate::guide::stores\n",
            "[limits]: crate::guide::limits\n",
            "[proxies]: crate::guide::proxies\n",
            "[forward_auth]: crate::guide::forward_auth\n",
            "[sidecar]: crate::guide::sidecar\n",
            "[management]: crate::guide::management\n",
            "[clients]: crate::guide::clients\n",
            "[command_line]: crate::guide::command_line\n",
            "[files]: crate::guide::files\n",
            "[openapi]: crate::guide::openapi\n",
            "[shadow]: crate::guide::shadow\n",
            "[testing]: crate::guide::testing\n",
            "[operation]: crate::guide::operation\n",
            "[figures]: crate::guide::design::figures\n",
        )
    };
}

macro_rules! chapters {
    () => {
        concat!(
            "[request]: crate::guide::design::request\n",
            "[keys]: crate::guide::design::keys\n",
            "[stores]: crate::guide::design::stores\n",
            "[cache]: crate::guide::design::cache\n",
            "[threads]: crate::guide::design::threads\n",
            "[limits]: crate::guide::design::limits\n",
            "[credits]: crate::guide::design::credits\n",
            "[management]: crate::guide::design::management\n",
            "[figures]: crate::guide::design::figures\n",
        )
    };
}

#[cfg(any(not(doctest), feature = "axum"))]
#[doc = page!(guides, "guide/axum.md")]
pub mod axum {}

#[cfg(any(not(doctest), feature = "tonic"))]
#[doc = page!(guides, "guide/tonic.md")]
pub mod tonic {}

#[doc = page!(guides, "guide/hyper.md")]
pub mod hyper {}

#[cfg(any(not(doctest), feature = "axum"))]
#[doc = page!(guides, "guide/mcp.md")]
pub mod mcp {}

#[doc = page!(guides, "guide/keys.md")]
pub mod keys {}

#[cfg(any(not(doctest), all(feature = "cache", feature = "postgres")))]
#[doc = page!(guides, "guide/stores.md")]
pub mod stores {}

#[doc = page!(guides, "guide/limits.md")]
pub mod limits {}

#[cfg(any(not(doctest), feature = "axum"))]
#[doc = page!(guides, "guide/proxies.md")]
pub mod proxies {}

#[cfg(any(not(doctest), all(feature = "axum", feature = "ext-authz")))]
#[doc = page!(guides, "guide/forward_auth.md")]
pub mod forward_auth {}

#[doc = page!(guides, "guide/sidecar.md")]
pub mod sidecar {}

#[cfg(any(not(doctest), feature = "axum"))]
#[doc = page!(guides, "guide/management.md")]
pub mod management {}

#[doc = page!(guides, "guide/clients.md")]
pub mod clients {}

#[cfg(any(not(doctest), feature = "legacy-hashes"))]
#[doc = page!(guides, "guide/command_line.md")]
pub mod command_line {}

#[cfg(any(not(doctest), feature = "file"))]
#[doc = page!(guides, "guide/files.md")]
pub mod files {}

#[cfg(any(not(doctest), feature = "openapi"))]
#[doc = page!(guides, "guide/openapi.md")]
pub mod openapi {}

#[cfg(any(not(doctest), feature = "axum"))]
#[doc = page!(guides, "guide/shadow.md")]
pub mod shadow {}

#[cfg(any(not(doctest), all(feature = "axum", feature = "testing")))]
#[doc = page!(guides, "guide/testing.md")]
pub mod testing {}

#[cfg(any(not(doctest), feature = "axum"))]
#[doc = page!(guides, "guide/operation.md")]
pub mod operation {}

#[doc = page!(chapters, "design.md")]
pub mod design {
    #[doc = page!(chapters, "design/request.md")]
    pub mod request {}

    #[doc = page!(chapters, "design/keys.md")]
    pub mod keys {}

    #[doc = page!(chapters, "design/stores.md")]
    pub mod stores {}

    #[doc = page!(chapters, "design/cache.md")]
    pub mod cache {}

    #[doc = page!(chapters, "design/threads.md")]
    pub mod threads {}

    #[doc = page!(chapters, "design/limits.md")]
    pub mod limits {}

    #[doc = page!(chapters, "design/credits.md")]
    pub mod credits {}

    #[doc = page!(chapters, "design/management.md")]
    pub mod management {}

    #[doc = page!(chapters, "design/figures.md")]
    pub mod figures {}
}
