//! A [`Rejection`] as the `Status` of a tonic handler.

use std::{error::Error, sync::Arc};

use http::{Extensions, HeaderMap, HeaderValue, header};
use tonic::{Code, Status, metadata::MetadataMap};

use super::{
    Rejection,
    grpc::{GRPC_RETRY_PUSHBACK, GrpcStatus},
};

/// For handlers that deny by themselves: the code, the message and the details of the layer's own denials.
///
/// The [`ApiKeyLayer`](crate::ApiKeyLayer) outside adds its challenges, and a layer with
/// [uniform denials](crate::ApiKeyLayer::with_uniform_denials) makes the answer one of them. It knows the
/// rejection by the status's sources: an error that wraps the rejection, or this status, names it as its
/// `source`, and is the source of the status that is made of it. Where the request is not gRPC in every
/// respect, the layer answers with problem details instead. A status at the end of a stream passes it as
/// it is.
///
/// ```
/// use tonic::{Code, Status};
/// use tower_api_key::{Rejection, RejectionKind};
///
/// let status = Status::from(Rejection::new(RejectionKind::InactiveOwner));
/// assert_eq!(status.code(), Code::Unauthenticated);
/// assert!(status.message().starts_with("inactive_owner: "));
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
impl From<Rejection> for Status {
    fn from(rejection: Rejection) -> Self {
        // One that a layer has answered with was counted then.
        if !rejection.rendered {
            rejection.observe();
        }
        let said = GrpcStatus::of(rejection.kind.row(), Some(&rejection));
        let mut headers = rejection.limit_fields().cloned().unwrap_or_default();
        if let Some(seconds) = rejection.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        let mut status = status(said, headers);
        status.set_source(Arc::new(rejection));
        status
    }
}

/// The status where a layer is missing.
pub(crate) fn mistaken(what_to_do: &str) -> Status {
    status(GrpcStatus::of_mistake(what_to_do), HeaderMap::new())
}

fn status(said: GrpcStatus, mut headers: HeaderMap) -> Status {
    if let Some(pushback) = said.pushback {
        headers.insert(GRPC_RETRY_PUSHBACK, HeaderValue::from(pushback));
    }
    let metadata = MetadataMap::from_headers(headers);
    let code = Code::from(i32::from(said.code));
    Status::with_details_and_metadata(code, said.message, said.details.into(), metadata)
}

/// The rejection that a handler has answered with, as such a status, or as one that an error of the handler's
/// own has wrapped.
pub(super) fn rejection_in(extensions: &Extensions) -> Option<&Rejection> {
    let mut source = extensions.get::<Status>()?.source();
    while let Some(error) = source {
        if let Some(rejection) = error.downcast_ref() {
            return Some(rejection);
        }
        source = error.source();
    }
    None
}
