//! What the server says about itself: `/openapi.json`, and a page at `/docs` to read it and to try
//! it with.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    http::{HeaderValue, header},
    middleware::map_response,
    response::{Redirect, Response as HttpResponse},
    routing::get,
};
use utoipa::{
    IntoResponses,
    openapi::{Content, Info, InfoBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder},
};
use utoipa_swagger_ui::{Config, SwaggerUi};

/// The routes of these documents as one.
pub(crate) fn document(parts: impl IntoIterator<Item = OpenApi>) -> OpenApi {
    let info: Info = InfoBuilder::new()
        .title("Reference server")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("A small API behind API keys, and the management of those keys."))
        .build();
    let empty = OpenApi::new(info, utoipa::openapi::Paths::new());
    parts.into_iter().fold(empty, OpenApi::merge_from)
}

/// The page's assets are in the program: it works where there is no internet, and no other host
/// learns who reads it.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(document: OpenApi) -> Router<S> {
    // The page would ask a host on the internet whether the document is good.
    let config = Config::from(DOCUMENT).validator_url("none");
    let page: Router<S> = SwaggerUi::new(PAGE).config(config).into();
    page.layer(map_response(from_here_alone))
        .route(DOCUMENT, get(async || Json(document)))
        .route("/", get(async || Redirect::temporary(PAGE)))
}

/// The browser sees to it that the page talks to this server and nobody else.
async fn from_here_alone(mut response: HttpResponse) -> HttpResponse {
    let policy = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'";
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

const PAGE: &str = "/docs";

const DOCUMENT: &str = "/openapi.json";

/// What the answer to a query is that holds more than the key.
pub(crate) struct QueryProblems;

impl IntoResponses for QueryProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems([("400", QUERY)])
    }
}

const QUERY: &str = "The query has a parameter other than the key's (`invalid_parameter`).";

/// What the answers to bad bodies are, and to such queries.
pub(crate) struct BodyProblems;

impl IntoResponses for BodyProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems([
            (
                "400",
                "The query has a parameter other than the key's (`invalid_parameter`), or the body \
                 is not JSON (`malformed_json`), or ended early (`incomplete_body`).",
            ),
            ("408", "The body took too long to arrive."),
            ("413", "The body has more than 64 KiB."),
            ("415", "The body's `Content-Type` is not JSON."),
        ])
    }
}

/// As [`BodyProblems`], of bodies that must be of a certain form.
pub(crate) struct ObjectProblems;

impl IntoResponses for ObjectProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut responses = BodyProblems::responses();
        responses.extend(problems([("422", "A field of the body is wrong, see `field`.")]));
        responses
    }
}

fn problems<const N: usize>(all: [(&str, &str); N]) -> BTreeMap<String, RefOr<Response>> {
    let response = |(status, description): (&str, &str)| {
        // The library's own schema, which our problems follow.
        let body = Content::new(Some(Ref::from_schema_name("ApiKeyProblem")));
        let response = ResponseBuilder::new()
            .description(description)
            .content("application/problem+json", body);
        (status.to_owned(), RefOr::T(response.build()))
    };
    all.into_iter().map(response).collect()
}
