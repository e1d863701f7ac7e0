//! Errors as problem details (RFC 9457), of the same form as the layer's denials.

use std::{borrow::Cow, num::NonZeroU32, time::Duration};

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use super::body;
use crate::{error::StoreErrorKind, key::KeyId, manage::ManageError, observe};

/// An error to answer with.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    field: Option<String>,
    key: Option<KeyId>,
    rotated_to: Option<KeyId>,
    remaining: Option<u64>,
    /// In seconds.
    retry_after: Option<NonZeroU32>,
}

/// What is sent of it.
#[derive(Serialize)]
pub(super) struct ProblemBody<'p> {
    r#type: &'static str,
    title: Option<&'static str>,
    status: u16,
    /// What is wrong, in a sentence.
    detail: &'p str,
    /// What is wrong, for programs.
    code: &'static str,
    /// The field, parameter or header that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'p str>,
    /// The key that there is already.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<KeyId>,
    /// The key that has replaced this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    rotated_to: Option<KeyId>,
    /// How many credits are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining: Option<u64>,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        let detail = detail.into();
        Self {
            status,
            code,
            detail,
            field: None,
            key: None,
            rotated_to: None,
            remaining: None,
            retry_after: None,
        }
    }

    pub(super) fn invalid_field(
        field: impl Into<String>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", detail);
        Self { field: Some(field.into()), ..problem }
    }

    /// Of the query, or a header.
    pub(super) fn invalid_parameter(
        parameter: impl Into<String>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        let problem = Self::new(StatusCode::BAD_REQUEST, "invalid_parameter", detail);
        Self { field: Some(parameter.into()), ..problem }
    }

    /// An error of something that was asked for in the query.
    pub(super) fn of_query(error: ManageError) -> Self {
        match error {
            ManageError::Invalid(invalid) => {
                Self::invalid_parameter(invalid.field(), format!("{invalid}."))
            }
            error => error.into(),
        }
    }

    pub(super) fn no_such_key() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is no API key with this id.")
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path.")
    }

    fn beyond_own_key(field: &'static str) -> Self {
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
        let problem = Self::new(StatusCode::FORBIDDEN, "beyond_own_key", detail);
        Self { field: Some(field.to_owned()), ..problem }
    }

    fn too_many_acts(retry_after: Duration) -> Self {
        let seconds = retry_after.as_nanos().div_ceil(1_000_000_000);
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        let seconds = NonZeroU32::new(seconds).unwrap_or(NonZeroU32::MIN);
        let detail = format!("Too many changes of API keys. Try again in {seconds} s.");
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail);
        Self { retry_after: Some(seconds), ..problem }
    }

    /// axum adds `Allow`.
    pub(super) fn no_such_method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "This path does not take this method; see the Allow header for those it takes.",
        )
    }
}

impl From<ManageError> for Problem {
    fn from(error: ManageError) -> Self {
        match error {
            ManageError::Invalid(invalid) => {
                Self::invalid_field(invalid.field(), format!("{invalid}."))
            }
            ManageError::NotFound => Self::no_such_key(),
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
                Self { key, ..Self::new(StatusCode::CONFLICT, "already_created", detail) }
            }
            ManageError::AlreadyRotated { to } => {
                let detail = "This API key was replaced already, by the one named here. If the \
                              new secret was lost, rotate that one.";
                let problem = Self::new(StatusCode::CONFLICT, "already_rotated", detail);
                Self { rotated_to: Some(to), ..problem }
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
                let problem = Self::new(StatusCode::CONFLICT, "not_enough_credits", detail);
                Self { remaining: Some(remaining), ..problem }
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
            ManageError::BeyondOwnKey { field } => Self::beyond_own_key(field),
            ManageError::TooManyActs { retry_after } => Self::too_many_acts(retry_after),
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

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ProblemBody {
            r#type: "about:blank",
            title: self.status.canonical_reason(),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            field: self.field.as_deref(),
            key: self.key,
            rotated_to: self.rotated_to,
            remaining: self.remaining,
        };
        let mut response = body::json(self.status, &body);
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let unavailable =
            (self.status == StatusCode::SERVICE_UNAVAILABLE).then_some(NonZeroU32::MIN);
        if let Some(seconds) = self.retry_after.or(unavailable) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.get()));
        }
        response
    }
}

/// Problem details with the codes of [`management_router`](crate::management_router). Its causes
/// go to the log, and not to the client.
impl IntoResponse for ManageError {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}
