//! [`StoreError`]: a store that could not do what it was asked.

use std::{error::Error, fmt, sync::Arc};

type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// A store could not do what it was asked.
///
/// Says nothing about the key: a caller whose lookup fails is told to try again (503), never that
/// its key is bad.
#[derive(Clone, Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    // Shared: a lookup that several callers wait for fails for all of them.
    source: Option<Arc<dyn Error + Send + Sync + 'static>>,
}

/// What kept the store from answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// It cannot be reached, or refuses to work: connection lost, database locked, read-only or
    /// full.
    Unavailable,
    /// It did not answer in time.
    Timeout,
    /// It was not asked, because it has too much to do.
    Overloaded,
    /// The id, digest or request to insert exists already. Nothing was written.
    Duplicate,
    /// It cannot do this at all.
    Unsupported,
    /// What it holds is not what this crate wrote: a row that does not read as a key, or a schema
    /// that this version does not know.
    Corrupt,
}

impl StoreError {
    /// An error of this kind.
    pub const fn new(kind: StoreErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// The store cannot be reached or refuses to work, and this is why.
    pub fn unavailable(source: impl Into<BoxError>) -> Self {
        Self::new(StoreErrorKind::Unavailable).with_source(source)
    }

    /// The store holds something that is not a key, and this is why.
    pub fn corrupt(source: impl Into<BoxError>) -> Self {
        Self::new(StoreErrorKind::Corrupt).with_source(source)
    }

    /// The store did not answer in time.
    pub const fn timeout() -> Self {
        Self::new(StoreErrorKind::Timeout)
    }

    /// The same cause, understood better.
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    pub(crate) const fn with_kind(mut self, kind: StoreErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// Adds what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    /// What kept the store from answering.
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            StoreErrorKind::Unavailable => "the key store is unavailable",
            StoreErrorKind::Timeout => "the key store did not answer in time",
            StoreErrorKind::Overloaded => "the key store has too much to do",
            StoreErrorKind::Duplicate => "a key with this id, digest or request exists already",
            StoreErrorKind::Unsupported => "the key store cannot do this",
            StoreErrorKind::Corrupt => "the key store holds something that is not a key",
        })
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
