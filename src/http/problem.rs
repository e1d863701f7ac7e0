//! Errors of the manager as [`Problem`]s.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::{
    clock::whole_seconds, error::StoreErrorKind, manage::ManageError, observe, rejection::Problem,
};

impl From<ManageError> for Problem {
    fn from(error: ManageError) -> Self {
        match error {
            ManageError::Invalid(invalid) => {
                Self::invalid_field(invalid.field(), format!("{invalid}."))
            }
            ManageError::NotFound => no_such_key(),
            ManageError::RevisionMismatch => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "revision_mismatch",
                "The API key was changed since; read it again and see whether the change still \
                 makes sense.",
            ),
            ManageError::AlreadyCreated { key } => {
                let detail = if key.is_some() {
                    "A request with this Idempotency-Key has created an API key already, the one \
                     named here. If its answer was lost, rotate that key to get another secret."
                } else {
                    "A request with this Idempotency-Key has created an API key already, which \
                     was deleted since. Send another Idempotency-Key to create a new one."
                };
                let problem = Self::new(StatusCode::CONFLICT, "already_created", detail);
                match key {
                    Some(key) => problem.with_member("key", key.to_string()),
                    None => problem,
                }
            }
            ManageError::AlreadyRotated { to } => {
                let detail = "This API key was replaced already, by the one named here. If the \
                              new secret was lost, rotate that one.";
                Self::new(StatusCode::CONFLICT, "already_rotated", detail)
                    .with_member("rotated_to", to.to_string())
            }
            ManageError::Ended(status) => {
                let detail =
                    format!("This API key is {status} and cannot be used again. Create a new one.");
                Self::new(StatusCode::CONFLICT, "key_ended", detail)
            }
            ManageError::NoCredits => Self::new(
                StatusCode::CONFLICT,
                "no_credits",
                "This API key spends no credits. Set its credits before adding to them.",
            ),
            ManageError::NotEnoughCredits { remaining } => {
                let detail = "This API key has less credits left than were to be subtracted; \
                              nothing was. Send or_less to subtract what is left.";
                Self::new(StatusCode::CONFLICT, "not_enough_credits", detail)
                    .with_member("remaining", remaining)
            }
            ManageError::RequestIdReused => Self::new(
                StatusCode::CONFLICT,
                "request_id_reused",
                "Another request with this Idempotency-Key has done something else already. Send \
                 another Idempotency-Key with each request that is to do something of its own.",
            ),
            ManageError::BeyondCeiling => Self::new(
                StatusCode::FORBIDDEN,
                "scope_ceiling",
                "The API key has, or would get, scopes that you may not grant.",
            ),
            ManageError::TooManyKeys => Self::new(
                StatusCode::FORBIDDEN,
                "too_many_keys",
                "The owner has as many API keys as it may have. Revoke or delete one that is not \
                 needed any more.",
            ),
            ManageError::BeyondOwnKey { field } => beyond_own_key(field),
            ManageError::TooManyActs { retry_after } => too_many_acts(retry_after),
            ManageError::Store(error) if error.kind() == StoreErrorKind::Unsupported => Self::new(
                StatusCode::NOT_IMPLEMENTED,
                "not_supported",
                "The store that the API keys are kept in cannot do this.",
            ),
            ManageError::Store(_) => {
                observe::management_failed(&error);
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "store_unavailable",
                    "The API keys cannot be read or written right now. Try again later.",
                )
                .with_retry_after(1)
            }
            ManageError::Generate(_) => {
                observe::management_failed(&error);
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal_error",
                    "This is the server's fault. It was logged.",
                )
            }
        }
    }
}

/// Of something that was asked for in the query.
pub(super) fn of_query(error: ManageError) -> Problem {
    match error {
        ManageError::Invalid(invalid) => {
            Problem::invalid_parameter(invalid.field(), format!("{invalid}."))
        }
        error => error.into(),
    }
}

pub(super) fn no_such_key() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "There is no API key with this id.")
}

fn beyond_own_key(field: &'static str) -> Problem {
    let detail = match field {
        "disabled" => "An administrator disabled this API key.",
        "status" => "Your own API key cannot be used to manage others any more.",
        "owner" => {
            "There is no API key of yours to measure this one by. You may look at API keys and \
             end them."
        }
        "credits" => "You spend credits, and this API key would not share them.",
        "import" | "restore" | "purge" => "No owner may do this.",
        _ => "The API key has, or would get, something that is not yours to give.",
    };
    Problem::new(StatusCode::FORBIDDEN, "beyond_own_key", detail).with_member("field", field)
}

fn too_many_acts(retry_after: Duration) -> Problem {
    let seconds = whole_seconds(retry_after).max(1);
    let detail = format!("Too many changes of API keys. Try again in {seconds} s.");
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).with_retry_after(seconds)
}

/// Problem details with the codes of [`management_router`](crate::axum::management_router). Its
/// causes go to the log, and not to the client.
impl IntoResponse for ManageError {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}
