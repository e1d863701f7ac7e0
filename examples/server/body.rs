//! Reading JSON bodies, with an answer that says what is wrong with a bad one.

use axum::{
    body::{Bytes, HttpBody},
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    problem::Problem,
    serve::{DISCARD, is_late},
    shown::explained,
};

/// The largest body that is read as JSON.
const LIMIT: u64 = 64 * 1024;

/// A JSON object that holds a `T`, or nothing at all.
pub(crate) struct OptionalJsonObject<T>(pub(crate) T);

/// Any JSON, or nothing at all. What it says does not matter here.
pub(crate) struct AnyJson;

impl<T: DeserializeOwned + Default, S: Sync> FromRequest<S> for OptionalJsonObject<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes = read(request).await?;
        if bytes.is_empty() { Ok(Self(T::default())) } else { object(&bytes).map(Self) }
    }
}

impl<S: Sync> FromRequest<S> for AnyJson {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes = read(request).await?;
        if !bytes.is_empty() {
            serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).map_err(|e| malformed(&e))?;
        }
        Ok(Self)
    }
}

/// The whole body, however it is framed.
async fn read(request: Request) -> Result<Bytes, Problem> {
    let (head, mut body) = request.into_parts();
    let too_large = || {
        let detail = format!("The body must be at most {} KiB.", LIMIT / 1024);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
    };
    if body.size_hint().lower() > DISCARD {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| unreadable(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len() as u64;
        if length > LIMIT {
            // Of the rest, the server takes care.
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
    }
    if length > 0 && !may_be_json(&head.headers) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "Send the body as Content-Type: application/json.",
        ));
    }
    Ok(bytes.into())
}

fn unreadable(error: &axum::Error) -> Problem {
    if is_late(error) {
        let detail = "The body took too long to arrive.";
        Problem::new(StatusCode::REQUEST_TIMEOUT, "slow_body", detail)
    } else {
        Problem::new(StatusCode::BAD_REQUEST, "incomplete_body", "The body ended early.")
    }
}

/// Whether the content type is JSON (`application/json`, `application/…+json`) or is not given.
fn may_be_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return true };
    let Ok(value) = value.to_str() else { return false };
    let media_type = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some(subtype) = media_type.strip_prefix("application/") else { return false };
    subtype == "json" || subtype.ends_with("+json")
}

fn object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // In two steps: what is no JSON at all is another mistake than a field of the wrong type, and
    // serde would also read a struct from an array.
    let value: Value = serde_json::from_slice(bytes).map_err(|e| malformed(&e))?;
    if !value.is_object() {
        return Err(Problem::invalid_field("body", "The body must be a JSON object."));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let (field, detail) = explained(error);
        Problem::invalid_field(field, detail)
    })
}

/// serde's words say where, and do not repeat the text.
fn malformed(error: &serde_json::Error) -> Problem {
    let detail = format!("The body is not JSON: {error}.");
    Problem::new(StatusCode::BAD_REQUEST, "malformed_json", detail)
}
