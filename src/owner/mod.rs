//! [`OwnerLayer`]: resolves whose key it is, and refuses owners that are not active.

#[cfg(feature = "cache")]
mod cached;
mod error;
mod gate;
mod layer;
mod resolver;

use std::{fmt, ops::Deref, sync::Arc};

#[cfg(feature = "cache")]
pub use cached::CachedOwners;
pub use error::OwnerError;
pub use gate::{OwnerGate, ResolveOwner, ResolveOwnerFuture};
pub use layer::OwnerLayer;
pub use resolver::OwnerResolver;

/// The owner of the key that a request came in with, in the request's extensions: whatever the
/// application's [`OwnerResolver`] says an owner is.
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
///     match request.extensions().get::<Owner<User>>() {
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
