//! Errors as problem details (RFC 9457), of the same form as the library's denials.

use std::borrow::Cow;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

/// An error to answer with.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    /// The field or parameter that is wrong.
    field: Option<String>,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, code, detail: detail.into(), field: None }
    }

    pub(crate) fn invalid_field(
        field: impl Into<String>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", detail);
        Self { field: Some(field.into()), ..problem }
    }

    /// Of the query.
    pub(crate) fn invalid_parameter(
        parameter: impl Into<String>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        let problem = Self::new(StatusCode::BAD_REQUEST, "invalid_parameter", detail);
        Self { field: Some(parameter.into()), ..problem }
    }
}

/// For paths that nothing is at.
pub(crate) async fn no_such_path() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path.")
}

/// For paths that do not take this method; axum adds `Allow`.
pub(crate) async fn no_such_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "This path does not take this method; see the Allow header for those it takes.",
    )
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        /// The members, in the order in which the library writes them.
        #[derive(Serialize)]
        struct Body<'p> {
            r#type: &'static str,
            title: Option<&'static str>,
            status: u16,
            detail: &'p str,
            code: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            field: Option<&'p str>,
        }
        let body = Body {
            r#type: "about:blank",
            title: self.status.canonical_reason(),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            field: self.field.as_deref(),
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}
