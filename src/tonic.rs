//! For tonic: [`RequestExt`] gives handlers and interceptors the identity that a layer attached, and a
//! [`Rejection`](crate::Rejection) is a `Status`.

use tonic::{Request, Status};

use crate::{
    auth::{
        AuthenticatedKey,
        authenticated::{self, Absence},
    },
    inner::Owner,
    key::ScopeRule,
    rejection::mistaken,
};

/// The caller of a `tonic::Request`, for handlers and interceptors inside an
/// [`ApiKeyLayer`](crate::ApiKeyLayer).
///
/// Errors are statuses like the layer's own denials: a request that was let in without an identity is
/// denied as [`Missing`](crate::RejectionKind::Missing). Where the layer is missing outside, the status is
/// `Internal`, and its message says which layer to add.
///
/// ```
/// use tonic::{Request, Response, Status};
/// use tower_api_key::tonic::RequestExt;
///
/// async fn greet(request: Request<String>) -> Result<Response<String>, Status> {
///     let key = request.api_key()?;
///     Ok(Response::new(format!("{}, {}!", request.get_ref(), key.name())))
/// }
/// # let _ = greet;
/// ```
pub trait RequestExt: sealed::Sealed {
    /// The caller's key.
    ///
    /// An error is a denial, and is logged and counted as one when it is made, whether the handler answers with
    /// it or not. [`optional_api_key`](Self::optional_api_key) only looks.
    ///
    /// # Errors
    ///
    /// `Unauthenticated` for a request that was let in without an identity.
    fn api_key(&self) -> Result<&AuthenticatedKey, Status>;

    /// The caller's key, or `None` for a request that was let in without an identity; see
    /// [`allow_anonymous`](crate::ApiKeyLayer::allow_anonymous).
    ///
    /// # Errors
    ///
    /// None but for the layer that is missing.
    fn optional_api_key(&self) -> Result<Option<&AuthenticatedKey>, Status>;

    /// The owner of the caller's key, as an [`OwnerLayer`](crate::OwnerLayer) outside resolved it.
    ///
    /// An error is logged and counted as a denial when it is made, as with [`api_key`](Self::api_key).
    /// [`optional_owner`](Self::optional_owner) only looks.
    ///
    /// ```
    /// use tonic::{Request, Response, Status};
    /// use tower_api_key::tonic::RequestExt;
    ///
    /// struct User {
    ///     name: String,
    /// }
    ///
    /// async fn greet(request: Request<()>) -> Result<Response<String>, Status> {
    ///     let user = request.owner::<User>()?;
    ///     Ok(Response::new(format!("Hello, {}!", user.name)))
    /// }
    /// # let _ = greet;
    /// ```
    ///
    /// # Errors
    ///
    /// `Unauthenticated` for a request that was let in without an identity.
    fn owner<T: Send + Sync + 'static>(&self) -> Result<Owner<T>, Status>;

    /// The owner of the caller's key, or `None` for a request that was let in without an identity; see
    /// [`OwnerLayer::allow_anonymous`](crate::OwnerLayer::allow_anonymous).
    ///
    /// # Errors
    ///
    /// None but for the layer that is missing.
    fn optional_owner<T: Send + Sync + 'static>(&self) -> Result<Option<Owner<T>>, Status>;

    /// The caller's key, which meets this rule: for methods of one service that ask for different scopes.
    /// [`RequireScopesLayer`](crate::RequireScopesLayer) asks for the same around a whole service.
    ///
    /// An error is a denial, and is logged and counted as one; [`AuthenticatedKey::scopes`] only looks.
    ///
    /// ```
    /// use tonic::{Request, Response, Status};
    /// use tower_api_key::{scope::ScopeRule, tonic::RequestExt};
    ///
    /// struct Orders {
    ///     write: ScopeRule,
    /// }
    ///
    /// impl Orders {
    ///     async fn cancel(&self, request: Request<String>) -> Result<Response<()>, Status> {
    ///         let key = request.require_scopes(&self.write)?;
    ///         println!("{} cancels {}", key.name(), request.get_ref());
    ///         Ok(Response::new(()))
    ///     }
    /// }
    ///
    /// let orders = Orders { write: ScopeRule::scope("orders:write")? };
    /// # let _ = Orders::cancel;
    /// # let _ = orders;
    /// # Ok::<(), tower_api_key::scope::InvalidScope>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `PermissionDenied` for a key that does not meet the rule, with the names of the missing scopes;
    /// `Unauthenticated` for a request that was let in without an identity.
    fn require_scopes(&self, rule: &ScopeRule) -> Result<&AuthenticatedKey, Status>;
}

impl<M> RequestExt for Request<M> {
    fn api_key(&self) -> Result<&AuthenticatedKey, Status> {
        authenticated::require(self.extensions()).map_err(Absence::status)
    }

    fn optional_api_key(&self) -> Result<Option<&AuthenticatedKey>, Status> {
        optional(authenticated::require(self.extensions()))
    }

    fn owner<T: Send + Sync + 'static>(&self) -> Result<Owner<T>, Status> {
        Owner::require(self.extensions()).map_err(Absence::status)
    }

    fn optional_owner<T: Send + Sync + 'static>(&self) -> Result<Option<Owner<T>>, Status> {
        optional(Owner::require(self.extensions()))
    }

    fn require_scopes(&self, rule: &ScopeRule) -> Result<&AuthenticatedKey, Status> {
        let key = self.api_key()?;
        key.check(rule)?;
        Ok(key)
    }
}

fn optional<T>(found: Result<T, Absence>) -> Result<Option<T>, Status> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Absence::NoKey(_)) => Ok(None),
        Err(absence) => Err(absence.status()),
    }
}

impl Absence {
    /// The status of a request that needs an identity.
    fn status(self) -> Status {
        self.denial().map_or_else(mistaken, Status::from)
    }
}

mod sealed {
    #[expect(unnameable_types, reason = "so that we may add methods")]
    pub trait Sealed {}

    impl<M> Sealed for tonic::Request<M> {}
}
