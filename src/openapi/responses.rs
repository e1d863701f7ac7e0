//! Answers that many operations have.

use http::StatusCode;
use utoipa::openapi::{
    Content, Header, Ref, Response, ResponseBuilder,
    path::OperationBuilder,
    schema::{ObjectBuilder, Type},
};

use super::{errors::Error, examples, schemas};

/// Problem details with one of these codes, each with its meaning.
pub(super) fn problem(status: StatusCode, codes: &[Error]) -> Response {
    let lines = codes.iter().map(|(code, meaning)| format!("\n- `{code}`: {meaning}"));
    let description = lines.fold("Problem details, by `code`:".to_owned(), |all, line| all + &line);
    let mut response = ResponseBuilder::new()
        .description(description)
        .content(PROBLEM_JSON, problem_body())
        .build();
    for (code, meaning) in codes {
        examples::add(&mut response, status, code, meaning);
    }
    response
}

/// Answers of an operation that are problem details.
pub(super) trait WithProblems {
    /// With problem details of one of these codes, as [`problem`] makes them.
    fn problems(self, status: StatusCode, codes: &[Error]) -> Self;
}

impl WithProblems for OperationBuilder {
    fn problems(self, status: StatusCode, codes: &[Error]) -> Self {
        self.response(status.as_str(), problem(status, codes))
    }
}

/// A denial; its text is added to the description.
pub(super) fn denied(status: StatusCode) -> Response {
    let response = problem(status, &[]);
    match status {
        StatusCode::UNAUTHORIZED => {
            let description = "Where an API key may be sent, and what is wrong.";
            with_header(response, "WWW-Authenticate", description)
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => retry_after(response),
        _ => response,
    }
}

pub(super) fn retry_after(response: Response) -> Response {
    with_header(response, "Retry-After", "After how many seconds to try again.")
}

/// The API key as JSON.
pub(super) fn key(description: &str, schema: &str) -> Response {
    let etag = "Changes with the API key; goes into `If-Match`.";
    with_header(json(description, schema), "ETag", etag)
}

/// 201, with where it is.
pub(super) fn issued(description: &str) -> Response {
    let response = key(description, schemas::ISSUED_KEY);
    with_header(response, "Location", "The path of the new API key.")
}

/// Something else as JSON.
pub(super) fn json(description: &str, schema: &str) -> Response {
    ResponseBuilder::new()
        .description(description)
        .content("application/json", Content::new(Some(Ref::from_schema_name(schema))))
        .build()
}

/// Nothing at all.
pub(super) fn empty(description: &str) -> Response {
    Response::new(description)
}

pub(super) const PROBLEM_JSON: &str = "application/problem+json";

fn problem_body() -> Content {
    Content::new(Some(Ref::from_schema_name(schemas::PROBLEM)))
}

fn with_header(mut response: Response, name: &str, description: &str) -> Response {
    let mut header = Header::new(ObjectBuilder::new().schema_type(Type::String));
    header.description = Some(description.to_owned());
    response.headers.insert(name.to_owned(), header.into());
    response
}
