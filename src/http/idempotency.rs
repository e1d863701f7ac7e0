//! `Idempotency-Key`: a request that is sent again does nothing again.

use http::HeaderMap;

use crate::{manage::ManageError, rejection::Problem};

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The id of a request, if it has one.
pub(super) fn request_id(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(id), None) => id.to_str().map(|id| Some(id.to_owned())).map_err(|_| bad()),
        (Some(_), Some(_)) => Err(bad()),
    }
}

/// The error of an act that took the request's id: the client knows it by the name of the header.
pub(super) fn problem(error: ManageError) -> Problem {
    match error {
        ManageError::Invalid(invalid) if invalid.field() == "request_id" => bad(),
        error => error.into(),
    }
}

fn bad() -> Problem {
    let detail = "Send at most one Idempotency-Key, of 1 to 255 visible ASCII characters.";
    Problem::invalid_parameter("Idempotency-Key", detail)
}
