//! [`StoreError`]: a back end that could not do what it was asked.

use std::{error::Error, fmt, sync::Arc};

type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// A back end could not do what it was asked: the key store, the rate limiter or the bus.
///
/// Says nothing about the key: a caller whose lookup fails is told to try again (503), never that
/// its key is bad.
#[derive(Clone, Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    back_end: BackEnd,
    // Shared: a lookup that several callers wait for fails for all of them.
    source: Option<Arc<dyn Error + Send + Sync + 'static>>,
}

/// The role of the back end that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackEnd {
    /// It keeps keys, credits, usage and the audit log.
    #[default]
    KeyStore,
    /// It counts requests: a [`RateLimiter`](crate::limit::RateLimiter).
    RateLimiter,
    /// It tells other nodes of changes: an [`Invalidations`](crate::store::Invalidations).
    Bus,
    /// It finds the owners of keys: an [`OwnerResolver`](crate::owner::OwnerResolver). A resolver has
    /// errors of its own, so no [`StoreError`] bears this role: it is that of events and metrics.
    OwnerResolver,
}

impl BackEnd {
    /// How many there are.
    pub(crate) const COUNT: usize = 4;

    /// The value of the label `backend` in metrics.
    #[cfg(feature = "metrics")]
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::KeyStore => "key_store",
            Self::RateLimiter => "rate_limiter",
            Self::Bus => "bus",
            Self::OwnerResolver => "owner_resolver",
        }
    }
}

impl fmt::Display for BackEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeyStore => "the key store",
            Self::RateLimiter => "the rate limiter",
            Self::Bus => "the bus",
            Self::OwnerResolver => "the resolver of owners",
        })
    }
}

/// The reason for which the back end did not answer.
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
    /// It does not know of a change yet that was announced: a replica that lags, or a server that was made
    /// the primary and had not received everything.
    Behind,
    /// The id, digest or request to insert exists already. Nothing was written.
    Duplicate,
    /// It cannot do this at all.
    Unsupported,
    /// Its content is not as this crate wrote it: a row that does not read as a key, or a schema
    /// that this version does not know.
    Corrupt,
}

impl StoreError {
    /// An error of this kind, of the key store.
    pub const fn new(kind: StoreErrorKind) -> Self {
        Self { kind, back_end: BackEnd::KeyStore, source: None }
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

    /// The store cannot do this at all.
    pub(crate) const fn unsupported() -> Self {
        Self::new(StoreErrorKind::Unsupported)
    }

    /// The same error of a back end with this role.
    ///
    /// The crate sets the role on the errors of [`RateLimiter`](crate::limit::RateLimiter) and
    /// [`Invalidations`](crate::store::Invalidations), whichever type implements them.
    #[must_use]
    pub const fn of(mut self, back_end: BackEnd) -> Self {
        self.back_end = back_end;
        self
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

    /// The reason for which the back end did not answer.
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Whether it says that the back end is down as a whole. One that is too busy for one call is
    /// not gone, and one thing that cannot be read says nothing about the others.
    pub(crate) const fn is_outage(&self) -> bool {
        match self.kind {
            StoreErrorKind::Unavailable | StoreErrorKind::Timeout => true,
            StoreErrorKind::Overloaded
            | StoreErrorKind::Behind
            | StoreErrorKind::Duplicate
            | StoreErrorKind::Unsupported
            | StoreErrorKind::Corrupt => false,
        }
    }

    /// The role of the back end that failed.
    pub const fn back_end(&self) -> BackEnd {
        self.back_end
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let back_end = self.back_end;
        match self.kind {
            StoreErrorKind::Unavailable => write!(f, "{back_end} is unavailable"),
            StoreErrorKind::Timeout => write!(f, "{back_end} did not answer in time"),
            StoreErrorKind::Overloaded => write!(f, "{back_end} has too much to do"),
            StoreErrorKind::Behind => {
                write!(f, "{back_end} is behind what was announced of its changes")
            }
            StoreErrorKind::Duplicate => {
                f.write_str("a key with this id, digest or request exists already")
            }
            StoreErrorKind::Unsupported => write!(f, "{back_end} cannot do this"),
            StoreErrorKind::Corrupt if back_end == BackEnd::KeyStore => {
                f.write_str("the key store holds something that is not a key")
            }
            StoreErrorKind::Corrupt => write!(f, "{back_end} answered something unreadable"),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
