//! [`Problem`]: an error over HTTP, as problem details (RFC 9457).

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_core::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::key::characters::shown;

/// An error over HTTP, as problem details (RFC 9457) of the same form as a layer's denials.
///
/// The type is `about:blank`, so the title is the status phrase (§4.2.1) and `code` tells the kinds
/// apart. A service answers its own errors with it, and its clients read one form. With feature
/// `axum` it is a response.
///
/// ```
/// use http::StatusCode;
/// use tower_api_key::rejection::Problem;
///
/// let problem = Problem::new(StatusCode::CONFLICT, "sold_out", "No ticket is left.")
///     .with_member("event", 7);
/// let response = problem.into_http();
/// assert_eq!(response.headers()["content-type"], "application/problem+json");
/// ```
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    members: Vec<(&'static str, Value)>,
    /// In seconds.
    retry_after: Option<u64>,
}

impl Problem {
    /// An error with this status: `code` for programs, and `detail` for people, in a sentence.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, code, detail: detail.into(), members: Vec::new(), retry_after: None }
    }

    /// 422 `invalid_field`: `field` of a body is wrong.
    pub fn invalid_field(field: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", detail)
            .with_member("field", field.into())
    }

    /// 400 `invalid_parameter`: `parameter` of the query, or a header, is wrong.
    pub fn invalid_parameter(
        parameter: impl Into<String>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_parameter", detail)
            .with_member("field", parameter.into())
    }

    /// The same of a parameter that the service does not know. The problem repeats no more than the
    /// first 12 characters of its name: it may be a key that was sent in the wrong place.
    pub fn unknown_parameter(sent: &str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::invalid_parameter(shown(sent), detail)
    }

    /// 404 `not_found`: there is nothing at the path.
    pub fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path.")
    }

    /// 405 `method_not_allowed`: the path does not take the method. It needs an `Allow` header
    /// (RFC 9110 §15.5.6), which axum adds.
    pub fn no_such_method() -> Self {
        let detail =
            "This path does not take this method; see the Allow header for those it takes.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
    }

    /// With another member, after those that there are. It replaces one of the same name: readers
    /// take a repeated name in different ways (RFC 8259 §4).
    ///
    /// # Panics
    ///
    /// In debug builds, for `type`, `title`, `status`, `detail` and `code`, which each problem has.
    /// In others such a member is left out.
    #[must_use]
    pub fn with_member(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        let is_taken = OWN_MEMBERS.contains(&name);
        debug_assert!(!is_taken, "each problem has a member `{name}` of its own");
        if !is_taken {
            self.members.retain(|(member, _)| *member != name);
            self.members.push((name, value.into()));
        }
        self
    }

    /// With `Retry-After`, in seconds.
    #[must_use]
    pub fn with_retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    pub(super) fn body(&self) -> Bytes {
        // Texts and numbers always serialise.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// The response, which no cache may keep.
    pub fn into_http(self) -> Response<Bytes> {
        let mut response = Response::new(self.body());
        *response.status_mut() = self.status;
        *response.headers_mut() = head().into_iter().collect();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The names of the members that each problem has.
const OWN_MEMBERS: [&str; 5] = ["type", "title", "status", "detail", "code"];

/// The headers that each problem has.
pub(super) fn head() -> [(HeaderName, HeaderValue); 2] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry("type", "about:blank")?;
        members.serialize_entry("title", &self.status.canonical_reason())?;
        members.serialize_entry("status", &self.status.as_u16())?;
        members.serialize_entry("detail", &self.detail)?;
        members.serialize_entry("code", self.code)?;
        for (name, value) in &self.members {
            members.serialize_entry(name, value)?;
        }
        members.end()
    }
}

#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl axum::response::IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        self.into_http().map(axum::body::Body::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> Problem {
        Problem::new(StatusCode::CONFLICT, "sold_out", "No ticket is left.")
    }

    #[test]
    fn the_last_value_of_a_member_counts() {
        let problem = problem().with_member("a", 1).with_member("b", 2).with_member("a", 3);
        let body = String::from_utf8(problem.body().to_vec()).unwrap();
        assert!(body.ends_with(r#""code":"sold_out","b":2,"a":3}"#), "{body}");
    }

    #[test]
    fn no_member_repeats_one_that_each_problem_has() {
        let body: Value = serde_json::from_slice(&problem().body()).unwrap();
        let own = body.as_object().unwrap();
        assert!(
            own.len() == OWN_MEMBERS.len()
                && OWN_MEMBERS.iter().all(|name| own.contains_key(*name))
        );
        for name in OWN_MEMBERS {
            let with_member = std::panic::catch_unwind(|| problem().with_member(name, 200));
            let body = with_member.ok().map(|problem| problem.body());
            assert_eq!(body, (!cfg!(debug_assertions)).then(|| problem().body()));
        }
    }
}
