//! [`AuthenticatedKey`]: what handlers learn about the caller.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{Extensions, Method, Request, Response};

use super::{
    Revocation,
    attached::{self, LayerId, NoKey, OwnerLayers},
};
use crate::{
    clock::Timestamp,
    key::{KeyId, KeyRecord, Metadata, OwnerId, RejectionKind, ScopeRule, Scopes},
    rejection::{Rejection, respond_plainly, respond_with_mistake},
    request::RequestHead,
    store::SharedRecord,
};

/// The key that a request came in with, in the request's extensions.
///
/// A clone is one reference count. It shares the record with the store, so it shows the key as it
/// was when the request was let in.
///
/// It belongs to the layer that judged it: where one [`ApiKeyLayer`](crate::ApiKeyLayer) stands
/// inside another, a request has the identity that the inner one found out, and none if the inner
/// one let it in without.
///
/// ```
/// use http::Request;
/// use tower_api_key::AuthenticatedKey;
///
/// fn caller<B>(request: &Request<B>) -> String {
///     match request.extensions().get::<AuthenticatedKey>() {
///         Some(key) => format!("{} ({})", key.name(), key.id()),
///         None => "a caller without a key".to_owned(),
///     }
/// }
/// # caller(&Request::new(()));
/// ```
#[derive(Clone)]
pub struct AuthenticatedKey {
    record: SharedRecord,
    /// The layer that judged it.
    layer: LayerId,
    owner_layers: OwnerLayers,
}

impl AuthenticatedKey {
    #[inline]
    pub(crate) fn new(record: SharedRecord, layer: LayerId) -> Self {
        Self { record, layer, owner_layers: OwnerLayers::default() }
    }

    pub(crate) fn layer(&self) -> LayerId {
        self.layer
    }

    /// The layers whose word [`revoked`](Self::revoked) takes about the owner.
    pub(super) fn owner_layers(&self) -> &OwnerLayers {
        &self.owner_layers
    }

    /// Notes that this layer found the owner to be active.
    pub(super) fn has_active_owner(&mut self, layer: LayerId) {
        self.owner_layers.add(layer);
    }

    /// The public name of the key, safe to log.
    pub fn id(&self) -> KeyId {
        self.record.id
    }

    /// The purpose of the key, in its owner's words.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// The owner of the key.
    pub fn owner(&self) -> Option<&OwnerId> {
        self.record.owner.as_ref()
    }

    /// The scopes of the key.
    pub fn scopes(&self) -> &Scopes {
        &self.record.scopes
    }

    /// The denial of a key that lacks scopes.
    pub(crate) fn check(&self, rule: &ScopeRule) -> Result<(), Rejection> {
        if rule.is_met_by(self.scopes()) {
            return Ok(());
        }
        let missing = rule.missing(self.scopes());
        Err(Rejection::insufficient_scope(missing).with_record(self.record()))
    }

    /// The application's own data about the key.
    pub fn metadata(&self) -> &Metadata {
        &self.record.details.metadata
    }

    /// When the key expires.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.record.expires_at
    }

    /// The whole record.
    pub fn record(&self) -> &Arc<KeyRecord> {
        &self.record
    }

    /// Ends when the key does: for streams that outlive their request, such as server-sent events,
    /// `WebSocket`s and streams of gRPC. Its result is the kind of denial that a request with the key gets
    /// from then on: [`Revoked`](RejectionKind::Revoked), [`Disabled`](RejectionKind::Disabled),
    /// [`Expired`](RejectionKind::Expired), also at the end of a grace,
    /// [`NotYetValid`](RejectionKind::NotYetValid), or [`Unknown`](RejectionKind::Unknown) for a deleted key.
    /// Inside an [`OwnerLayer`](crate::OwnerLayer), also [`InactiveOwner`](RejectionKind::InactiveOwner).
    /// Fewer scopes, and other addresses, do not end it.
    ///
    /// Behind a [`CachedStore`](crate::store::CachedStore) with a bus, it ends when a change is announced, and
    /// without a bus within the time to live. Other stores are asked every 30 seconds. However many streams of
    /// a key there are, one lookup is made at a time, up to a tenth earlier by chance. A key whose digest is
    /// renewed stays the same.
    ///
    /// When the store has been silent for so long that a cache would no longer use what it knows, it ends as
    /// [`Unavailable`](RejectionKind::Unavailable), within a minute, unless it is told to
    /// [outlast that](Revocation::outlasting_outages). It does so at once where nothing can tell of the key:
    /// outside of a tokio runtime, and once the last service of the layer is gone.
    ///
    /// The owner is resolved each time that the key is looked up, and by all the layers that have let the
    /// request on. Nothing is announced of owners, so this takes the time to live also with a bus, and that of
    /// what an `OwnerResolver` keeps. One that cannot tell is as silent as a store.
    ///
    /// Without this call, nothing watches the key.
    ///
    /// Where a client could take a stream that was cut off for a whole one, as with gRPC, the last item is the
    /// reason as an error:
    ///
    /// ```
    /// use futures_util::{FutureExt, Stream, StreamExt, stream};
    /// use tower_api_key::{AuthenticatedKey, Rejection};
    ///
    /// fn prices(
    ///     key: &AuthenticatedKey,
    ///     all: impl Stream<Item = u64>,
    /// ) -> impl Stream<Item = Result<u64, Rejection>> {
    ///     let end = key.revoked().shared();
    ///     let ended = end.clone();
    ///     // Prices that come to an end of their own have no reason, and this does not wait for one.
    ///     let reason = stream::once(async move { ended.now_or_never() }).flat_map(stream::iter);
    ///     all.take_until(end).map(Ok).chain(reason.map(|kind| Err(Rejection::new(kind))))
    /// }
    /// # let _ = |key: &AuthenticatedKey| drop(prices(key, stream::empty()));
    /// ```
    pub fn revoked(&self) -> Revocation {
        Revocation::new(self.clone())
    }

    /// The same, as it is shared.
    #[inline]
    pub(crate) fn shared(&self) -> &SharedRecord {
        &self.record
    }
}

impl AsRef<KeyRecord> for AuthenticatedKey {
    fn as_ref(&self) -> &KeyRecord {
        &self.record
    }
}

impl fmt::Debug for AuthenticatedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticatedKey")
            .field("id", &self.record.id)
            .field("name", &self.record.name)
            .field("owner", &self.record.owner)
            .field("scopes", &self.record.scopes)
            .finish_non_exhaustive()
    }
}

/// Why a request has no identity.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(feature = "axum"),
    allow(clippy::enum_variant_names, reason = "with it, there is another one")
)]
pub(crate) enum Absence {
    /// It passed a layer without one.
    NoKey(NoKey),
    /// There is no layer outside. A mistake in the program, so it is answered with what to do.
    NoLayer,
    /// The same of the layer that resolves owners.
    #[cfg(any(feature = "axum", feature = "tonic"))]
    NoOwnerLayer,
    /// Another layer than the one that is asked about has judged it. A mistake in the program, too.
    #[cfg(feature = "axum")]
    OtherLayer,
}

/// The identity that a layer attached.
pub(crate) fn require(extensions: &Extensions) -> Result<&AuthenticatedKey, Absence> {
    match extensions.get::<AuthenticatedKey>() {
        Some(key) => Ok(key),
        None => Err(attached::no_key(extensions).map_or(Absence::NoLayer, Absence::NoKey)),
    }
}

/// The identity that this very layer attached.
#[cfg(feature = "axum")]
pub(crate) fn require_from(
    layer: LayerId,
    extensions: &Extensions,
) -> Result<&AuthenticatedKey, Absence> {
    match require(extensions) {
        Ok(key) if key.layer != layer => Err(Absence::OtherLayer),
        Err(Absence::NoKey(no_key)) if no_key.layer != layer => Err(Absence::OtherLayer),
        other => other,
    }
}

/// For layers inside: the identity, or nothing for a request that goes on without one. That is a
/// CORS preflight, which the layer outside let in as that, and every other request without an
/// identity if this layer was told so.
pub(crate) fn require_unless<B>(
    allow_anonymous: bool,
    request: &Request<B>,
) -> Result<Option<&AuthenticatedKey>, Absence> {
    match require(request.extensions()) {
        Ok(key) => Ok(Some(key)),
        Err(Absence::NoKey(no_key))
            if allow_anonymous
                // A layer in between may have put another method in its place.
                || (no_key.is_preflight && request.method() == Method::OPTIONS) =>
        {
            Ok(None)
        }
        Err(absence) => Err(absence),
    }
}

/// A denial that is made inside, rendered plainly: the layer outside completes it. Or what to do about the
/// program, which is put together in a way in which it cannot decide.
#[cold]
pub(crate) fn respond_inside(
    denial: Result<Rejection, &'static str>,
    request: &RequestHead<'_>,
) -> Response<Bytes> {
    match denial {
        Ok(rejection) => {
            rejection.observe();
            respond_plainly(rejection, Some(request))
        }
        Err(what_to_do) => respond_with_mistake(what_to_do, request),
    }
}

impl Absence {
    /// The response to a request that needs an identity.
    #[cfg(feature = "axum")]
    pub(crate) fn response(self, request: &RequestHead<'_>) -> Response<Bytes> {
        respond_inside(self.denial(), request)
    }

    /// How a request that needs an identity is denied, or what to do about the program.
    pub(crate) fn denial(self) -> Result<Rejection, &'static str> {
        match self {
            Self::NoKey(_) => Ok(Rejection::new(RejectionKind::Missing)),
            Self::NoLayer => {
                Err("No identity in this request: add `tower_api_key::ApiKeyLayer` outside this \
                 route, with `Router::layer` or `ServiceBuilder::layer`.\n")
            }
            #[cfg(any(feature = "axum", feature = "tonic"))]
            Self::NoOwnerLayer => Err(
                "No owner of this type in this request: add `tower_api_key::OwnerLayer` outside \
                 this route and inside `ApiKeyLayer`, with `Router::layer` or \
                 `ServiceBuilder::layer`.\n",
            ),
            #[cfg(feature = "axum")]
            Self::OtherLayer => {
                Err("The identity in this request is that of another layer than the guard's: take \
                 `tower_api_key::ApiKeyLayer` out of `ManagementGuard::with_layer`.\n")
            }
        }
    }
}
