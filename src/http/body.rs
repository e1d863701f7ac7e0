//! JSON in both directions. What is wrong with a body, the answer says.

use std::{error::Error, io};

use axum::{
    body::{Body, HttpBody},
    extract::{FromRequest, Request},
    response::Response,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{problem::Problem, shown::explained};

/// The largest body that is read.
const LIMIT: usize = 64 * 1024;

/// Of a body that is too large, this much is still taken from the network, so that a client that
/// is busy sending comes to read why it was refused. Whoever has more is cut off.
const DISCARD: usize = 1024 * 1024;

/// A whole body that says it is JSON, or is empty.
pub(super) struct JsonBody(Vec<u8>);

impl JsonBody {
    /// The JSON object that it holds.
    pub(super) fn object<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        // In two steps: what is no JSON at all is another mistake than a field of the wrong type,
        // and serde would also read a struct from an array.
        let value: Value = serde_json::from_slice(&self.0).map_err(|error| malformed(&error))?;
        if !value.is_object() {
            return Err(Problem::invalid_field("body", "The body must be a JSON object."));
        }
        serde_path_to_error::deserialize(value).map_err(|error| {
            let (field, detail) = explained(error);
            Problem::invalid_field(field, detail)
        })
    }

    /// The JSON object that it holds, or the default where it holds nothing.
    pub(super) fn object_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, Problem> {
        if self.0.is_empty() { Ok(T::default()) } else { self.object() }
    }
}

impl<S: Sync> FromRequest<S> for JsonBody {
    type Rejection = Problem;

    /// Reads the whole body, however it is framed.
    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (head, mut body) = request.into_parts();
        let too_large = || {
            let detail = format!("The body must be at most {} KiB.", LIMIT / 1024);
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
        };
        if body.size_hint().lower() > DISCARD as u64 {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| unreadable(&error))?;
            let Ok(data) = frame.into_data() else { continue };
            length += data.len();
            if length <= LIMIT {
                bytes.extend_from_slice(&data);
            } else if length > DISCARD {
                break;
            }
        }
        if length > LIMIT {
            return Err(too_large());
        }
        if length > 0 && !may_be_json(&head.headers) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "Send the body as Content-Type: application/json.",
            ));
        }
        Ok(Self(bytes))
    }
}

/// A body whose error is a time-out came too late; every other one ended early.
fn unreadable(error: &(dyn Error + 'static)) -> Problem {
    let mut causes = std::iter::successors(Some(error), |error| (*error).source());
    let is_late = causes.any(|error| {
        let error = error.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
    });
    if is_late {
        let detail = "The body took too long to arrive.";
        return Problem::new(StatusCode::REQUEST_TIMEOUT, "slow_body", detail);
    }
    Problem::new(StatusCode::BAD_REQUEST, "incomplete_body", "The body ended early.")
}

/// Whether the content type is JSON (`application/json`, `application/…+json`) or is not given.
fn may_be_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return true };
    let Ok(value) = value.to_str() else { return false };
    let media_type = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some(subtype) = media_type.strip_prefix("application/") else { return false };
    subtype == "json" || subtype.ends_with("+json")
}

/// serde's words say where (line and column), and do not repeat the text.
fn malformed(error: &serde_json::Error) -> Problem {
    let detail = format!("The body is not JSON: {error}.");
    Problem::new(StatusCode::BAD_REQUEST, "malformed_json", detail)
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    // Nothing that is answered here has a map with keys other than text, which is all that can
    // fail; a 500 without a body would be the answer then.
    let (status, body) = match serde_json::to_vec(body) {
        Ok(body) => (status, Body::from(body)),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Body::empty()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
