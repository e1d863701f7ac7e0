//! The document of [`management_router`](crate::axum::management_router).

use http::StatusCode;
use serde_json::json;
use utoipa::openapi::{
    Content, HttpMethod, Info, OpenApi, OpenApiBuilder, Paths, Ref, Required,
    path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
    request_body::RequestBodyBuilder,
    schema::{ObjectBuilder, Type},
};

use super::{
    errors,
    responses::{self, WithProblems, problem},
    schemas::{self, id, integer, no_nul, scope, text, time},
    usage,
};
use crate::key::KeyStatus;

/// The document of a [`management_router`](crate::axum::management_router) for administrators that
/// is nested under this path, such as `/admin/api-keys`.
///
/// It has no security: [`Security::secure`](super::Security::secure) adds that.
pub fn management(path: &str) -> OpenApi {
    document(path, Caller::Administrator)
}

/// The document of a router for owners, who choose fewer fields of a key.
pub fn own_management(path: &str) -> OpenApi {
    document(path, Caller::Owner)
}

/// The callers of a router.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    Administrator,
    Owner,
}

impl Caller {
    /// The schema of a new key's fields.
    pub(super) const fn new_key(self) -> &'static str {
        match self {
            Self::Administrator => "NewApiKey",
            Self::Owner => "NewOwnApiKey",
        }
    }

    /// The schema of a change.
    pub(super) const fn changes(self) -> &'static str {
        match self {
            Self::Administrator => "ApiKeyChanges",
            Self::Owner => "OwnApiKeyChanges",
        }
    }

    /// Names of operations are those of the whole document.
    fn operation(self, name: &str) -> String {
        match self {
            Self::Administrator => name.to_owned(),
            Self::Owner => format!("own_{name}"),
        }
    }
}

fn document(path: &str, caller: Caller) -> OpenApi {
    let path = path.trim_end_matches('/');
    let mut paths = Paths::new();
    for (method, below, name, mut operation) in operations(caller) {
        if caller == Caller::Owner {
            operation = refusing_owners(&method, below, operation);
        }
        // Those of the path that the router is nested under, then its own.
        operation = operation.parameters(Some(parameters_of(path)));
        if below.contains("{id}") {
            operation =
                operation.parameter(key_id()).problems(StatusCode::NOT_FOUND, &[errors::NO_KEY]);
        }
        let operation =
            operation.operation_id(Some(caller.operation(name))).tag("API keys").build();
        let whole = format!("{path}{below}");
        let whole = if whole.is_empty() { "/" } else { &whole };
        paths.add_path_operation(whole, vec![method], operation);
    }
    OpenApiBuilder::new()
        .info(Info::new("API keys", env!("CARGO_PKG_VERSION")))
        .paths(paths)
        .components(Some(schemas::components(caller)))
        .build()
}

type Documented = (HttpMethod, &'static str, &'static str, OperationBuilder);

fn operations(caller: Caller) -> Vec<Documented> {
    let mut operations = vec![
        (HttpMethod::Post, "", "create_api_key", create(caller)),
        (HttpMethod::Get, "", "list_api_keys", list()),
        (HttpMethod::Get, "/{id}", "get_api_key", show()),
        (HttpMethod::Patch, "/{id}", "change_api_key", change(caller)),
        (HttpMethod::Delete, "/{id}", "delete_api_key", delete()),
        (HttpMethod::Post, "/{id}/revoke", "revoke_api_key", revoke()),
        (HttpMethod::Post, "/{id}/rotate", "rotate_api_key", rotate()),
        (HttpMethod::Post, "/revoke", "revoke_api_keys", act_on_set("Withdraw API keys for good")),
        (HttpMethod::Post, "/disable", "disable_api_keys", act_on_set("Switch API keys off")),
        (HttpMethod::Post, "/delete", "delete_api_keys", act_on_set("Delete API keys")),
        (HttpMethod::Get, "/{id}/events", "list_events_of_api_key", events_of_one()),
        (HttpMethod::Get, "/events", "list_events_of_api_keys", events()),
        (HttpMethod::Get, "/{id}/usage", "get_usage_of_api_key", usage::of_one()),
        (HttpMethod::Get, "/usage", "get_usage_of_api_keys", usage::of_all()),
        (HttpMethod::Get, "/usage/top", "list_busiest_api_keys", usage::top()),
    ];
    // To owners, this one does not exist.
    if caller == Caller::Administrator {
        operations.push((HttpMethod::Post, "/{id}/credits", "top_up_api_key", top_up()));
    }
    operations
}

/// The denials that only owners get: for a missing scope, and beyond the own key.
fn refusing_owners(
    method: &HttpMethod,
    below: &str,
    operation: OperationBuilder,
) -> OperationBuilder {
    let is_reading = *method == HttpMethod::Get;
    let is_reducing = *method == HttpMethod::Delete
        || ["/revoke", "/disable", "/delete"].iter().any(|act| below.ends_with(act));
    if is_reading {
        return operation.problems(StatusCode::FORBIDDEN, &[errors::NEEDS_SCOPE]);
    }
    let mut forbidden = vec![errors::NEEDS_SCOPE, errors::BEYOND, errors::CEILING];
    if is_reducing {
        return operation.problems(StatusCode::FORBIDDEN, &forbidden);
    }
    forbidden.push(errors::TOO_MANY_KEYS);
    let too_fast = problem(StatusCode::TOO_MANY_REQUESTS, &[errors::TOO_FAST]);
    operation
        .problems(StatusCode::FORBIDDEN, &forbidden)
        .response("429", responses::retry_after(too_fast))
}

fn create(caller: Caller) -> OperationBuilder {
    operation("Create an API key")
        .parameter(once("Makes one API key however often the request is sent."))
        .body(caller.new_key(), Required::True)
        .response("201", responses::issued("The new API key. It is shown this once."))
        .problems(StatusCode::FORBIDDEN, &[errors::CEILING])
        .problems(StatusCode::CONFLICT, &[errors::CREATED, errors::REUSED])
        .problems(StatusCode::INTERNAL_SERVER_ERROR, &[errors::INTERNAL])
}

fn list() -> OperationBuilder {
    let statuses = KeyStatus::ALL.map(KeyStatus::as_str);
    paged("List API keys, the latest first")
        .parameter(query("owner", text("Only those of this owner.")))
        .parameter(query("status", text("Only those of this status.").enum_values(Some(statuses))))
        .parameter(query("scope", scope().description(Some("Only those with this very scope."))))
        .parameter(query("prefix", no_nul(text("Only those that begin like this."))))
        .parameter(query("expires_before", time("Only those that end before.")))
        .parameter(query("expires_after", time("Only those that end then or later.")))
        .parameter(query("last_used_before", time("Only those last used before, or never.")))
        .parameter(query("last_used_after", time("Only those last used then or later.")))
        .response("200", responses::json("A page of API keys.", schemas::KEYS))
}

fn show() -> OperationBuilder {
    operation("Show an API key").response("200", responses::key("The API key.", schemas::KEY))
}

fn change(caller: Caller) -> OperationBuilder {
    conditional("Change an API key")
        .body(caller.changes(), Required::True)
        .response("200", responses::key("The API key as it is now.", schemas::KEY))
        .problems(StatusCode::FORBIDDEN, &[errors::CEILING])
}

fn delete() -> OperationBuilder {
    conditional("Delete an API key").response("204", responses::empty("It is gone."))
}

fn revoke() -> OperationBuilder {
    conditional("Withdraw an API key for good")
        .body(schemas::REVOCATION, Required::False)
        .response("200", responses::key("The API key as it is now.", schemas::KEY))
        .response("204", responses::empty("The descendants of a deleted API key are revoked."))
}

fn act_on_set(summary: &str) -> OperationBuilder {
    operation(summary)
        .body(schemas::SET, Required::True)
        .response("200", responses::json("What became of them.", schemas::SET_REPORT))
        .problems(StatusCode::FORBIDDEN, &[errors::CEILING])
        .problems(StatusCode::NOT_FOUND, &[errors::NO_KEY])
        .problems(StatusCode::NOT_IMPLEMENTED, &[errors::NO_SETS])
}

fn rotate() -> OperationBuilder {
    conditional("Replace an API key by a new one")
        .parameter(once("Makes one new API key however often the request is sent."))
        .body(schemas::ROTATION, Required::False)
        .response("201", responses::issued("The new API key. It is shown this once."))
        .problems(StatusCode::FORBIDDEN, &[errors::CEILING])
        .problems(StatusCode::CONFLICT, &[errors::ROTATED, errors::ENDED, errors::REUSED])
        .problems(StatusCode::INTERNAL_SERVER_ERROR, &[errors::INTERNAL])
        .problems(StatusCode::NOT_IMPLEMENTED, &[errors::NO_REQUESTS])
}

fn top_up() -> OperationBuilder {
    conditional("Add to the credits of an API key, or subtract from them")
        .parameter(once("Adds or subtracts once however often the request is sent."))
        .body(schemas::TOP_UP, Required::True)
        .response("200", responses::key("The API key as it is now.", schemas::ADJUSTED_KEY))
        .problems(StatusCode::CONFLICT, &[errors::SPENDS_NONE, errors::NOT_ENOUGH, errors::REUSED])
        .problems(StatusCode::NOT_IMPLEMENTED, &[errors::NO_CREDITS, errors::NO_REQUESTS])
}

fn events_of_one() -> OperationBuilder {
    log("List what was done to an API key, the latest first")
}

fn events() -> OperationBuilder {
    log("List what was done to API keys, the latest first")
        .parameter(query("owner", text("Only about API keys of this owner.")))
}

fn log(summary: &str) -> OperationBuilder {
    paged(summary)
        .parameter(query("since", time("Only what was done then or later.")))
        .parameter(query("until", time("Only what was done before.")))
        .response("200", responses::json("A page of events.", schemas::EVENTS))
        .problems(StatusCode::NOT_IMPLEMENTED, &[errors::UNSUPPORTED])
}

/// An operation with the problems that all have.
pub(super) fn operation(summary: &str) -> OperationBuilder {
    OperationBuilder::new()
        .summary(Some(summary))
        .problems(StatusCode::BAD_REQUEST, &[errors::BAD_PARAMETER])
        .response("503", errors::unavailable())
}

/// An operation that takes `If-Match`.
fn conditional(summary: &str) -> OperationBuilder {
    operation(summary)
        .parameter(if_match())
        .problems(StatusCode::PRECONDITION_FAILED, &[errors::CHANGED])
}

fn paged(summary: &str) -> OperationBuilder {
    operation(summary)
        .parameter(query("cursor", id("The `next_cursor` of the page before.")))
        .parameter(limit("How many a page has at most."))
}

pub(super) fn limit(description: &str) -> Parameter {
    let limit = integer(description).minimum(Some(1)).maximum(Some(100)).default(Some(json!(20)));
    query("limit", limit)
}

pub(super) fn query(name: &str, schema: ObjectBuilder) -> Parameter {
    parameter(ParameterIn::Query, name, schema)
}

fn header(name: &str, schema: ObjectBuilder) -> Parameter {
    parameter(ParameterIn::Header, name, schema)
}

fn once(description: &str) -> Parameter {
    let id = text(description).min_length(Some(1)).max_length(Some(255));
    header("Idempotency-Key", id.pattern(Some("^[!-~]+$")))
}

fn if_match() -> Parameter {
    let tags = text("Only if the API key still has this `ETag`, or one of several.");
    header("If-Match", tags.pattern(Some(r#"^(\*|"[0-9]+"(, *"[0-9]+")*)$"#)))
}

fn key_id() -> Parameter {
    parameter(ParameterIn::Path, "id", id("The id of the API key."))
}

pub(super) fn parameters_of(path: &str) -> impl Iterator<Item = Parameter> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names.map(|name| {
        parameter(ParameterIn::Path, name, ObjectBuilder::new().schema_type(Type::String))
    })
}

fn parameter(place: ParameterIn, name: &str, schema: ObjectBuilder) -> Parameter {
    let required = if place == ParameterIn::Path { Required::True } else { Required::False };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .schema(Some(schema))
        .build()
}

/// The body of an operation.
pub(super) trait WithBody {
    /// With a body of this schema, and the problems that a bad one has.
    fn body(self, schema: &str, required: Required) -> Self;
}

impl WithBody for OperationBuilder {
    fn body(self, schema: &str, required: Required) -> Self {
        let bad_request = [errors::BODY, errors::BAD_JSON, errors::BAD_PARAMETER];
        let body = RequestBodyBuilder::new()
            .content("application/json", Content::new(Some(Ref::from_schema_name(schema))))
            .required(Some(required))
            .build();
        self.request_body(Some(body))
            .problems(StatusCode::BAD_REQUEST, &bad_request)
            .problems(StatusCode::REQUEST_TIMEOUT, &[errors::SLOW])
            .problems(StatusCode::PAYLOAD_TOO_LARGE, &[errors::TOO_LARGE])
            .problems(StatusCode::UNSUPPORTED_MEDIA_TYPE, &[errors::NOT_JSON])
            .problems(StatusCode::UNPROCESSABLE_ENTITY, &[errors::BAD_FIELD])
    }
}
