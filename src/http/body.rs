//! JSON in both directions. The answer to a bad body says what is wrong with it.

use std::{error::Error, fmt, future::poll_fn, io, pin::Pin};

use axum::{
    body::{Body, HttpBody},
    extract::{FromRequest, Request},
    response::Response,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_core::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::{Value, error::Category};
use zeroize::Zeroizing;

use super::repeated::Unrepeated;
use crate::{key::characters::shown, rejection::Problem};

/// The largest body that is read.
const LIMIT: usize = 64 * 1024;

/// Of a body that is too large, this much is still taken from the network, so that a client that
/// is busy sending comes to read why it was refused. A client that sends more is cut off.
const DISCARD: usize = 1024 * 1024;

/// A whole body of at most 64 KiB that says it is JSON, or is empty. The answer to a bad one is a
/// [`Problem`]:
///
/// - 400 `malformed_json`: it is no JSON. `incomplete_body`: it ended early.
/// - 408 `slow_body`: it took longer than the server waits for it.
/// - 413 `body_too_large`; 415 `unsupported_media_type`.
/// - 422 `invalid_field`: it is not what the handler reads, or an object in it has two members of
///   one name.
///
/// ```
/// use serde::Deserialize;
/// use tower_api_key::{axum::JsonBody, rejection::Problem};
///
/// #[derive(Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Order {
///     article: u32,
/// }
///
/// async fn receive(body: JsonBody) -> Result<String, Problem> {
///     let order: Order = body.object()?;
///     Ok(format!("{} is ordered", order.article))
/// }
/// # let _: axum::Router = axum::Router::new().route("/orders", axum::routing::post(receive));
/// ```
pub struct JsonBody(Zeroizing<Vec<u8>>);

impl JsonBody {
    /// Checks that it holds JSON, or nothing, for a handler that does not read it.
    pub fn check(&self) -> Result<(), Problem> {
        if self.0.is_empty() {
            return Ok(());
        }
        serde_json::from_slice(&self.0).map(|IgnoredAny| ()).map_err(|error| malformed(&error))
    }

    /// The JSON object that it holds.
    pub fn object<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        // In two steps: a text that is no JSON is another mistake than a field of the wrong type,
        // and serde would also read a struct from an array.
        // Before all else: this knows no recursion but the parser's own, which is bounded.
        serde_json::from_slice::<Unrepeated>(&self.0).map_err(|error| match error.classify() {
            Category::Data => Problem::invalid_field("body", format!("In the body, {error}.")),
            Category::Io | Category::Syntax | Category::Eof => malformed(&error),
        })?;
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
    pub fn object_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, Problem> {
        if self.0.is_empty() { Ok(T::default()) } else { self.object() }
    }
}

impl fmt::Debug for JsonBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonBody({} bytes)", self.0.len())
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
        let mut bytes = Zeroizing::new(Vec::new());
        let mut length = 0;
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let frame = frame.map_err(|error| unreadable(&error))?;
            let Ok(data) = frame.into_data() else { continue };
            length += data.len();
            if length <= LIMIT {
                append(&mut bytes, &data);
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

/// A vector that grows by itself leaves a copy of its content behind, and there may be a key in it.
fn append(bytes: &mut Zeroizing<Vec<u8>>, data: &[u8]) {
    let length = bytes.len() + data.len();
    if length > bytes.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(length.max(2 * bytes.capacity())));
        larger.extend_from_slice(bytes);
        *bytes = larger;
    }
    bytes.extend_from_slice(data);
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

/// The texts of serde before a text of the client, and the character around that text.
const BEFORE: [(&str, char); 4] = [
    ("unknown field `", '`'),
    ("unknown variant `", '`'),
    ("invalid type: string \"", '"'),
    ("invalid value: string \"", '"'),
];

/// The texts of serde behind it. The expected type is a text of ours, without these words.
const BEHIND: [&str; 2] = [", expected ", ", there are no "];

/// Which field is wrong, and why: serde's words, with no more of the client's than [`shown`] shows.
fn explained(error: serde_path_to_error::Error<serde_json::Error>) -> (String, String) {
    let path = error.path().to_string();
    let message = error.into_inner().to_string();
    let Some((before, quote)) = BEFORE.into_iter().find(|(before, _)| message.starts_with(before))
    else {
        return (path, message);
    };
    let sent = &message[before.len()..];
    let end = BEHIND.iter().filter_map(|behind| sent.rfind(behind)).max().unwrap_or(sent.len());
    let (sent, behind) = sent.split_at(end);
    let sent = sent.strip_suffix(quote).unwrap_or(sent);
    let field = match path.strip_suffix(sent) {
        Some(parent) if before.starts_with("unknown field") => format!("{parent}{}", shown(sent)),
        _ => path,
    };
    (field, format!("{before}{}{quote}{behind}", shown(sent)))
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
