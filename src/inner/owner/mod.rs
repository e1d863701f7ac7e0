//! [`OwnerLayer`]: resolves the owner of the key, and refuses owners that are not active.

#[cfg(feature = "cache")]
mod cached;
mod check;
mod error;
mod layer;
mod resolver;

use std::{fmt, ops::Deref, sync::Arc};

use http::Extensions;

#[cfg(feature = "cache")]
pub use self::cached::{CachedOwners, CachedOwnersBuilder};
pub use self::check::ResolveOwner;
pub use self::error::OwnerError;
pub use self::layer::OwnerLayer;
pub use self::resolver::OwnerResolver;

use crate::auth::attached;
#[cfg(any(feature = "axum", feature = "tonic"))]
use crate::auth::authenticated::{self, Absence};

/// The owner of the key that a request came in with: whatever the application's [`OwnerResolver`]
/// says an owner is. [`from_extensions`](Self::from_extensions) reads it from a request; with
/// feature `axum` it is an extractor, and with feature `tonic` a request has it.
///
/// A clone is one reference count. With a cache it is shared between requests, and shows the owner
/// as they were when the cache asked.
///
/// ```
/// use http::Request;
/// use tower_api_key::Owner;
///
/// struct User {
///     name: String,
/// }
///
/// fn greeting<B>(request: &Request<B>) -> String {
///     match Owner::<User>::from_extensions(request.extensions()) {
///         Some(user) => format!("Hello, {}!", user.name),
///         None => "Hello!".to_owned(),
///     }
/// }
/// # greeting(&Request::new(()));
/// ```
pub struct Owner<T>(Arc<T>);

impl<T> Owner<T> {
    /// This owner.
    pub fn new(owner: T) -> Self {
        Self(Arc::new(owner))
    }

    /// The owner of the key that a request came in with, as an [`OwnerLayer`] resolved it.
    ///
    /// `None` if there was no such layer outside, or none for this type, and if the request has
    /// no identity. The owner of a key that a layer further out attached is not that of the key
    /// that an inner layer attached in its place.
    pub fn from_extensions(extensions: &Extensions) -> Option<Self>
    where
        T: Send + Sync + 'static,
    {
        attached::owner(extensions).map(Self)
    }

    /// The owner of the key that a request came in with, or why there is none.
    #[cfg(any(feature = "axum", feature = "tonic"))]
    pub(crate) fn require(extensions: &Extensions) -> Result<Self, Absence>
    where
        T: Send + Sync + 'static,
    {
        if let Some(owner) = Self::from_extensions(extensions) {
            return Ok(owner);
        }
        match authenticated::require(extensions) {
            Err(absence @ Absence::NoKey(_)) => Err(absence),
            _ => Err(Absence::NoOwnerLayer),
        }
    }

    /// The value, shared.
    pub fn into_inner(self) -> Arc<T> {
        self.0
    }
}

impl<T> From<Arc<T>> for Owner<T> {
    fn from(owner: Arc<T>) -> Self {
        Self(owner)
    }
}

impl<T> Deref for Owner<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Clone for Owner<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: fmt::Debug> fmt::Debug for Owner<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Owner").field(&self.0).finish()
    }
}
