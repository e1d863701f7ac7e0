//! Usage.

use utoipa::openapi::{
    Ref,
    schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder},
};

use super::parts::{all_required, id, integer, text, time};

pub(super) const COUNT: &str = "ApiKeyUsageCount";
pub(super) const BUSY: &str = "BusyApiKey";

pub(super) fn count() -> ObjectBuilder {
    all_required([
        ("at", time("When the hour or the day began.").into()),
        ("outcome", text("`accepted`, or the `code` of the denial.").into()),
        ("count", integer("How many requests.").minimum(Some(0)).into()),
    ])
    .description(Some("How often requests had an outcome in an hour or a day."))
}

pub(super) fn usage() -> ObjectBuilder {
    let sum = integer("How many requests.").minimum(Some(0));
    let total = ObjectBuilder::new()
        .description(Some("The sum for each outcome."))
        .additional_properties(Some(AdditionalProperties::RefOr(sum.into())));
    let items = ArrayBuilder::new().items(Ref::from_schema_name(COUNT));
    all_required([
        ("since", time("When the first hour or day begins.").into()),
        ("until", time("When the last one ends.").into()),
        ("by", text("What is counted together.").enum_values(Some(["hour", "day"])).into()),
        ("items", items.into()),
        ("total", total.into()),
    ])
}

pub(super) fn busy() -> ObjectBuilder {
    all_required([
        ("key", id("The API key; the first one, where it was rotated.").into()),
        ("count", integer("How many requests were let in.").minimum(Some(1)).into()),
    ])
}

pub(super) fn busiest() -> ObjectBuilder {
    let items = ArrayBuilder::new().items(Ref::from_schema_name(BUSY));
    all_required([
        ("since", time("When the first hour begins.").into()),
        ("until", time("When the last one ends.").into()),
        ("items", items.into()),
    ])
}
