//! A handler's rejection inside errors of the handler's own, as the status of tonic carries it.

use std::{error::Error, fmt, sync::Arc};

use tonic::Status;
use tower_api_key::{ApiKeyLayer, Rejection, RejectionKind};

use crate::{
    grpc::as_grpc,
    grpc_details::status_from_inside,
    stores::TestStore,
    support::{KEY, OTHER_KEY, record, send, with_key},
};

type BoxError = Box<dyn Error + Send + Sync>;

/// As `thiserror` makes them.
#[derive(Debug)]
struct Wrapper(BoxError);

impl fmt::Display for Wrapper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the orders could not be read")
    }
}

impl Error for Wrapper {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

fn wrapped(error: impl Into<BoxError>, times: usize) -> BoxError {
    (0..times).fold(error.into(), |error, _| Box::new(Wrapper(error)))
}

fn sourced(error: BoxError) -> Status {
    let mut status = Status::unknown("the orders could not be read");
    status.set_source(Arc::from(error));
    status
}

/// Each way from a rejection to the status of a handler.
fn statuses(rejection: &Rejection) -> Vec<Status> {
    let mut statuses = vec![Status::from(rejection.clone())];
    for times in 0..4 {
        for error in [BoxError::from(rejection.clone()), Status::from(rejection.clone()).into()] {
            statuses.push(sourced(wrapped(error, times)));
        }
        statuses.push(Status::from_error(wrapped(rejection.clone(), times)));
        statuses.push(Status::from_error(wrapped(Status::from(rejection.clone()), times)));
    }
    statuses
}

#[test]
fn a_wrapped_rejection_is_denied_as_any_other() {
    let layer = ApiKeyLayer::new(TestStore::new([record(KEY)]));
    for uniform in [false, true] {
        let layer = if uniform { layer.clone().with_uniform_denials() } else { layer.clone() };
        for kind in [RejectionKind::Revoked, RejectionKind::InactiveOwner] {
            let rejection = Rejection::new(kind).with_key(record(KEY).id);
            let denied = status_from_inside(&layer, &rejection);
            for status in statuses(&rejection) {
                let seen = status_from_inside(&layer, &status);
                assert_eq!(format!("{seen:?}"), format!("{denied:?}"), "{uniform}");
            }
            if uniform {
                let request = as_grpc(with_key(OTHER_KEY), "application/grpc");
                let unknown = send(&layer, request).response;
                assert_eq!(denied.headers(), unknown.headers());
            }
        }
    }
}

/// Other errors are the handler's own business.
#[test]
fn another_error_is_left_as_it_is() {
    let layer = ApiKeyLayer::new(TestStore::new([record(KEY)])).with_uniform_denials();
    let seen = status_from_inside(&layer, &sourced(wrapped("no rejection", 3)));
    assert_eq!(seen.headers()["grpc-status"], "2");
    assert!(seen.extensions().get::<Rejection>().is_none());
}
