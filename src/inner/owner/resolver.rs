//! [`OwnerResolver`]: how the application resolves an owner.

use std::{future::Future, sync::Arc};

use super::{Owner, error::BoxError};
use crate::{key::OwnerId, runtime::async_methods, store::Lookup};

/// Resolves the owner of a key, and says whether they may use the service.
///
/// Implemented for functions and closures from an [`OwnerId`] to a future of
/// `Result<Option<T>, E>`.
///
/// # Contract
///
/// - `Ok(None)` means that there is no such owner, or one who is not active: the request is denied
///   as [`InactiveOwner`](crate::RejectionKind::InactiveOwner). A resolver that could not find out
///   returns an error, and the caller is told to try again (503).
/// - `resolve` may be dropped at any await point, when its caller goes away or its time is up.
///
/// # Example
///
/// ```
/// use async_trait::async_trait;
/// use tower_api_key::{Owner, OwnerId, owner::OwnerResolver};
/// # #[derive(Clone)]
/// # struct Pool;
/// # impl Pool {
/// #     async fn user(&self, _: &str) -> Result<Option<User>, std::io::Error> { Ok(None) }
/// # }
///
/// struct User {
///     name: String,
///     active: bool,
/// }
///
/// struct Users {
///     pool: Pool,
/// }
///
/// #[async_trait]
/// impl OwnerResolver for Users {
///     type Owner = User;
///     type Error = std::io::Error;
///
///     async fn resolve(&self, id: &OwnerId) -> Result<Option<Owner<User>>, Self::Error> {
///         let user = self.pool.user(id.as_str()).await?;
///         Ok(user.filter(|user| user.active).map(Owner::new))
///     }
/// }
///
/// // The same as a closure:
/// fn resolver(pool: Pool) -> impl OwnerResolver<Owner = User> {
///     move |id: OwnerId| {
///         let pool = pool.clone();
///         async move {
///             let user = pool.user(id.as_str()).await?;
///             Ok::<_, std::io::Error>(user.filter(|user| user.active))
///         }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say who an owner is",
    note = "implement `OwnerResolver` for it, or use a function `async fn(OwnerId) -> \
            Result<Option<T>, E>` whose future is `Send`"
)]
pub trait OwnerResolver: Send + Sync + 'static {
    /// The owner as handlers get it.
    type Owner: Send + Sync + 'static;

    /// Why an owner could not be resolved.
    type Error: Into<Box<dyn std::error::Error + Send + Sync + 'static>>;

    /// An answer that needs no waiting, or `None` when [`resolve`](Self::resolve) must be asked.
    ///
    /// Called on every request, on the thread that serves it: it must not block, and need not be
    /// implemented by resolvers that always have to wait.
    fn resolve_now(&self, id: &OwnerId) -> Option<Lookup<Owner<Self::Owner>>> {
        let _ = id;
        None
    }

    async_methods! {
        /// The active owner with this id.
        async fn resolve(&self, id: &OwnerId) -> Result<Option<Owner<Self::Owner>>, Self::Error>;
    }
}

impl<F, Fut, T, E> OwnerResolver for F
where
    F: Fn(OwnerId) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Option<T>, E>> + Send,
    T: Send + Sync + 'static,
    E: Into<BoxError>,
{
    type Owner = T;
    type Error = E;

    async_methods! {
        async fn resolve(&self, id: &OwnerId) -> Result<Option<Owner<T>>, E> {
            Ok(self(id.clone()).await?.map(Owner::new))
        }
    }
}

impl<R: OwnerResolver + ?Sized> OwnerResolver for Arc<R> {
    type Owner = R::Owner;
    type Error = R::Error;

    fn resolve_now(&self, id: &OwnerId) -> Option<Lookup<Owner<Self::Owner>>> {
        (**self).resolve_now(id)
    }

    async_methods! {
        async fn resolve(&self, id: &OwnerId) -> Result<Option<Owner<Self::Owner>>, Self::Error> {
            (**self).resolve(id).await
        }
    }
}
