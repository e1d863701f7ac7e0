//! Examples of problem details, one for each `code`.

use http::StatusCode;
use serde_json::{Value, json};
use utoipa::openapi::{RefOr, Response, example::ExampleBuilder};

use super::responses::PROBLEM_JSON;
use crate::rejection::Problem;

/// Adds an example to an answer that has problem details, under its code. The first one stays.
pub(super) fn add(
    response: &mut Response,
    status: StatusCode,
    code: &'static str,
    detail: &'static str,
) {
    let Some(RefOr::T(content)) = response.content.get_mut(PROBLEM_JSON) else { return };
    let problem = members(code)
        .into_iter()
        .fold(Problem::new(status, code, detail), |problem, (name, value)| {
            problem.with_member(name, value)
        });
    let value = serde_json::to_value(problem).ok();
    let example = ExampleBuilder::new().value(value).build();
    content.examples.entry(code.to_owned()).or_insert_with(|| example.into());
}

/// The members of problems with this code, beside those of all.
fn members(code: &str) -> Option<(&'static str, Value)> {
    let of_another_key = "01a20719-fd59-7271-80d4-e404c10c6d21";
    Some(match code {
        "invalid_parameter" => ("field", json!("limit")),
        "invalid_field" => ("field", json!("name")),
        "beyond_own_key" => ("field", json!("scopes")),
        "already_created" => ("key", json!(of_another_key)),
        "already_rotated" => ("rotated_to", json!(of_another_key)),
        "not_enough_credits" => ("remaining", json!(3)),
        "insufficient_scope" => ("missing_scopes", json!(["orders:write"])),
        "credits_exhausted" => ("credits_remaining", json!(0)),
        _ => return None,
    })
}
