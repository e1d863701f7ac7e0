//! [`AuthenticatedKey`]: what handlers learn about the caller.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{Extensions, Response};
use http_body_util::Full;

use crate::{
    KeyId, KeyRecord, Metadata, OwnerId, Rejection, RejectionKind, RequestHead, Scopes, Timestamp,
    observe,
    rejection::{respond_plainly, respond_with_mistake},
};

/// The key that a request came in with, in the request's extensions.
///
/// A clone is one reference count. It shares the record with the store, so it shows the key as it
/// was when the request was let in.
///
/// ```
/// use http::Request;
/// use tower_api_key::AuthenticatedKey;
///
/// fn caller<B>(request: &Request<B>) -> String {
///     match request.extensions().get::<AuthenticatedKey>() {
///         Some(key) => format!("{} ({})", key.name(), key.id()),
///         None => "somebody without a key".to_owned(),
///     }
/// }
/// # caller(&Request::new(()));
/// ```
#[derive(Clone)]
pub struct AuthenticatedKey(Arc<KeyRecord>);

impl AuthenticatedKey {
    pub(crate) fn new(record: Arc<KeyRecord>) -> Self {
        Self(record)
    }

    /// The public name of the key, safe to log.
    pub fn id(&self) -> KeyId {
        self.0.id
    }

    /// What the key is for, in its owner's words.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Who the key belongs to.
    pub fn owner(&self) -> Option<&OwnerId> {
        self.0.owner.as_ref()
    }

    /// What the key may do.
    pub fn scopes(&self) -> &Scopes {
        &self.0.scopes
    }

    /// The application's own data about the key.
    pub fn metadata(&self) -> &Metadata {
        &self.0.details.metadata
    }

    /// When the key expires.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.0.expires_at
    }

    /// The whole record.
    pub fn record(&self) -> &Arc<KeyRecord> {
        &self.0
    }
}

impl fmt::Debug for AuthenticatedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticatedKey")
            .field("id", &self.0.id)
            .field("name", &self.0.name)
            .field("owner", &self.0.owner)
            .field("scopes", &self.0.scopes)
            .finish_non_exhaustive()
    }
}

/// In the extensions of a request that passed a layer without an identity, so that whoever looks
/// for one can tell this from a layer that is missing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unauthenticated;

/// Why a request has no identity.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Absence {
    /// It passed a layer without one.
    Unauthenticated,
    /// There is no layer outside. A mistake in the program, so it is answered with what to do.
    NoLayer,
    /// The same of the layer that resolves owners.
    #[cfg(feature = "axum")]
    NoOwnerLayer,
}

/// The identity that a layer attached.
pub(crate) fn require(extensions: &Extensions) -> Result<&AuthenticatedKey, Absence> {
    match extensions.get::<AuthenticatedKey>() {
        Some(key) => Ok(key),
        None if extensions.get::<Unauthenticated>().is_some() => Err(Absence::Unauthenticated),
        None => Err(Absence::NoLayer),
    }
}

impl Absence {
    /// The response to a request that needs an identity.
    pub(crate) fn response(self, request: &RequestHead<'_>) -> Response<Full<Bytes>> {
        let what_to_do = match self {
            Self::Unauthenticated => {
                let rejection = Rejection::new(RejectionKind::Missing);
                observe::denied(&rejection);
                return respond_plainly(rejection, Some(request));
            }
            Self::NoLayer => {
                "No identity in this request: add `tower_api_key::ApiKeyLayer` outside this \
                 route, with `Router::layer` or `ServiceBuilder::layer`.\n"
            }
            #[cfg(feature = "axum")]
            Self::NoOwnerLayer => {
                "No owner of this type in this request: add `tower_api_key::OwnerLayer` outside \
                 this route and inside `ApiKeyLayer`, with `Router::layer` or \
                 `ServiceBuilder::layer`.\n"
            }
        };
        respond_with_mistake(what_to_do, request)
    }
}
