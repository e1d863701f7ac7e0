//! The operations that tell usage.

use http::StatusCode;
use serde_json::json;
use utoipa::openapi::path::OperationBuilder;

use super::{
    errors,
    management::{limit, operation, query},
    responses::{self, WithProblems},
    schemas::{self, text, time},
};

pub(super) fn of_one() -> OperationBuilder {
    usage("Count what an API key was used for, with those that it was rotated from or to")
}

pub(super) fn of_all() -> OperationBuilder {
    usage("Count what API keys were used for")
        .parameter(query("owner", text("Only those of this owner.")))
}

fn usage(summary: &str) -> OperationBuilder {
    let by = text("What is counted together, in UTC.").enum_values(Some(["hour", "day"]));
    let since = "From the beginning of this hour or day; by default 30 days or 24 hours in all. At \
                 most 366 days before `until`, or 31 by the hour.";
    let until = "To the end of this hour or day; by default the one that it is now.";
    answered(summary, since, until)
        .parameter(query("by", by.default(Some(json!("day")))))
        .response("200", responses::json("The counts.", schemas::USAGE))
}

pub(super) fn top() -> OperationBuilder {
    let since = "From the beginning of this hour; by default 30 days in all, and at most 366.";
    let until = "To the end of this hour; by default the one that it is now.";
    answered("List the API keys that let in the most requests", since, until)
        .parameter(query("owner", text("Only those of this owner.")))
        .parameter(limit("How many there are at most."))
        .response("200", responses::json("The busiest first.", schemas::BUSIEST))
}

fn answered(summary: &str, since: &str, until: &str) -> OperationBuilder {
    operation(summary)
        .parameter(query("since", time(since)))
        .parameter(query("until", time(until)))
        .problems(StatusCode::NOT_IMPLEMENTED, &[errors::NO_USAGE])
}
