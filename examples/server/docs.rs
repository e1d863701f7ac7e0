//! The server's document: `/openapi.json`, and a page at `/docs` to read it and to try
//! it with.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    http::{HeaderValue, StatusCode, header},
    middleware::map_response,
    response::{Redirect, Response as HttpResponse},
    routing::get,
};
use tower_api_key::rejection::Problem;
use utoipa::{
    IntoResponses,
    openapi::{
        ContentBuilder, Info, InfoBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder,
        example::{Example, ExampleBuilder},
        security::{ApiKey, SecurityRequirement, SecurityScheme},
        tag::{Tag, TagBuilder},
    },
};
use utoipa_swagger_ui::{Config, SwaggerUi};

/// The routes of these documents as one.
pub(crate) fn document(parts: impl IntoIterator<Item = OpenApi>) -> OpenApi {
    let info: Info = InfoBuilder::new()
        .title("Reference server")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "A small API behind API keys, and the management of those keys.\n\n\
             To try it here: make a key with `POST /admin/api-keys` and the administrator's key, \
             which the server prints at its start unless `ADMIN_API_KEY` is set. Then send that \
             key with the business routes.",
        ))
        .build();
    let empty = OpenApi::new(info, utoipa::openapi::Paths::new());
    let mut document = parts.into_iter().fold(empty, OpenApi::merge_from);
    document.tags = Some(TAGS.map(tag).into());
    let components = document.components.get_or_insert_default();
    for (name, scheme) in &mut components.security_schemes {
        let RefOr::T(scheme) = scheme else { continue };
        let purpose = PURPOSES.iter().find(|(of, _)| of == name);
        *description(scheme) = purpose.map(|(_, text)| (*text).to_owned());
    }
    document
}

pub(crate) const BUSINESS: &str = "Business";
pub(crate) const OWN_KEY: &str = "Own key";
pub(crate) const SERVER: &str = "Server";

/// The headings, in the order of the page. That of the management routes is the library's.
const TAGS: [(&str, &str); 4] = [
    (
        BUSINESS,
        "What the keys are for. Any key opens these routes; one asks for a scope, one for an owner.",
    ),
    (OWN_KEY, "What the holder of a key may do with it."),
    ("API keys", "Management, for the administrator's key alone."),
    (SERVER, "Needs no key, but for metrics where other machines can ask for them."),
];

fn tag((name, description): (&str, &str)) -> Tag {
    TagBuilder::new().name(name).description(Some(description)).build()
}

/// The use of each place for a key.
const PURPOSES: [(&str, &str); 5] = [
    (
        "header.x-api-key",
        "For the business routes and those of one's own key. The usual place: fill in this one.",
    ),
    (
        "authorization.bearer",
        "The same key in `Authorization: Bearer`, for clients that know tokens. Of all places for \
         it, fill in one: a request with two keys is refused (`ambiguous_key`).",
    ),
    (
        "query.api_key",
        "The same key in the query, for clients that cannot send a header. It ends up in logs and \
         in the history of the browser.",
    ),
    (
        "cookie.api_key",
        "The same key in a cookie. **Cannot be tried from this page:** no browser lets a page send \
         a `Cookie` header of its own, so the request goes without a key (`missing_key`). Try it \
         with `curl -b api_key=…`.",
    ),
    (
        "header.x-admin-key",
        "The administrator's key, for the routes that manage keys. It opens no business route.",
    ),
];

fn description(scheme: &mut SecurityScheme) -> &mut Option<String> {
    match scheme {
        SecurityScheme::ApiKey(
            ApiKey::Header(value) | ApiKey::Query(value) | ApiKey::Cookie(value),
        ) => &mut value.description,
        SecurityScheme::Http(http) => &mut http.description,
        _ => unreachable!("no layer here looks for keys elsewhere"),
    }
}

/// Says that these operations need no key.
pub(crate) fn without_key(document: &mut OpenApi) {
    for path in document.paths.paths.values_mut() {
        if let Some(operation) = &mut path.get {
            operation.security = Some(vec![SecurityRequirement::default()]);
        }
    }
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

/// Has the browser let the page talk to this server alone.
async fn from_here_alone(mut response: HttpResponse) -> HttpResponse {
    let policy = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'";
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

const PAGE: &str = "/docs";

const DOCUMENT: &str = "/openapi.json";

/// The answer to a query that holds more than the key.
pub(crate) struct QueryProblems;

impl IntoResponses for QueryProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[QUERY])
    }
}

/// The answers to bad bodies, and to such queries.
pub(crate) struct BodyProblems;

impl IntoResponses for BodyProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            QUERY,
            (400, "malformed_json", "The body is not JSON."),
            (400, "incomplete_body", "The body ended early."),
            (408, "slow_body", "The body took too long to arrive."),
            (413, "body_too_large", "The body has more than 64 KiB."),
            (415, "unsupported_media_type", "Send the body as Content-Type: application/json."),
        ])
    }
}

/// As [`BodyProblems`], of bodies that must be of a certain form.
pub(crate) struct ObjectProblems;

impl IntoResponses for ObjectProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut responses = BodyProblems::responses();
        responses.extend(problems(&[(
            422,
            "invalid_field",
            "A field of the body is wrong, see `field`.",
        )]));
        responses
    }
}

/// A problem's status, code and meaning.
type Documented = (u16, &'static str, &'static str);

const QUERY: Documented =
    (400, "invalid_parameter", "The query has a parameter other than the key's, see `field`.");

/// One answer for each status, with each of its codes in the description and as an example.
fn problems(all: &[Documented]) -> BTreeMap<String, RefOr<Response>> {
    let of_one_status = |all: &[Documented]| {
        let lines = all.iter().map(|(_, code, meaning)| format!("\n- `{code}`: {meaning}"));
        let examples = all.iter().map(|problem| (problem.1, example(*problem)));
        // The library's own schema, which our problems follow.
        let body = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("ApiKeyProblem")))
            .examples_from_iter(examples)
            .build();
        let response = ResponseBuilder::new()
            .description(format!("Problem details, by `code`:{}", lines.collect::<String>()))
            .content("application/problem+json", body);
        (all[0].0.to_string(), RefOr::T(response.build()))
    };
    all.chunk_by(|one, next| one.0 == next.0).map(of_one_status).collect()
}

fn example((status, code, meaning): Documented) -> Example {
    let status = StatusCode::from_u16(status).unwrap_or_default();
    let problem = Problem::new(status, code, meaning);
    let problem = match code {
        "invalid_parameter" => problem.with_member("field", "page"),
        "invalid_field" => problem.with_member("field", "reason"),
        _ => problem,
    };
    let value = serde_json::to_value(problem).ok();
    ExampleBuilder::new().value(value).build()
}
