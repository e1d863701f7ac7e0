//! Rate limits and credits.

use serde_json::json;
use utoipa::openapi::{
    Ref, Schema,
    schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Type},
};

use super::parts::{NOTHING_ELSE, all_required, boolean, integer, nullable_time, number, text};

pub(super) const LIMIT: &str = "ApiKeyLimit";
pub(super) const REFILL: &str = "ApiKeyRefill";
pub(super) const REFILL_CHANGES: &str = "ApiKeyRefillChanges";
pub(super) const CREDITS: &str = "ApiKeyCredits";
pub(super) const NEW_CREDITS: &str = "NewApiKeyCredits";
pub(super) const CREDITS_CHANGES: &str = "ApiKeyCreditsChanges";

/// The most credits, 2⁶³ − 1, as a double has it: the next one above. Numbers between the two are
/// refused all the same.
const MAX_CREDITS: f64 = 9_223_372_036_854_775_807.0;

/// See [`Limit`](crate::limit::Limit).
pub(super) fn limit() -> ObjectBuilder {
    let name = text("By which a denied caller is told which limit it was.");
    let most = f64::from(u32::MAX);
    let count = |description| integer(description).minimum(Some(1)).maximum(Some(most));
    let window =
        number("In how many seconds they come back; up to three decimals, at most 31 days.");
    ObjectBuilder::new()
        .description(Some("So many requests in so much time."))
        .property("name", name.pattern(Some("^[A-Za-z0-9_.-]{1,32}$")))
        .property("requests", count("How many requests come back."))
        .property("window_seconds", window.minimum(Some(0.001)).maximum(Some(2_678_400.0)))
        .property("burst", count("How many may come at once; `requests`, if it is left out."))
        .required("name")
        .required("requests")
        .required("window_seconds")
        .additional_properties(Some(NOTHING_ELSE))
}

/// A list of them, each of another name.
pub(super) fn own(description: &str) -> ArrayBuilder {
    ArrayBuilder::new().items(Ref::from_schema_name(LIMIT)).description(Some(description))
}

/// See [`Refill`](crate::credits::Refill).
pub(super) fn refill() -> Schema {
    let description = "How credits come back. What was not used does not add up.";
    let schema = OneOfBuilder::new().description(Some(description));
    let schemas = intervals().map(|(name, interval)| {
        amount().required("amount").property(name, interval).required(name)
    });
    schemas.into_iter().fold(schema, OneOfBuilder::item).into()
}

/// See [`RefillPatch`](crate::credits::RefillPatch).
pub(super) fn refill_changes() -> Schema {
    let description = "What is left out stays; a key without a refill needs both.";
    let schema = OneOfBuilder::new().description(Some(description)).item(amount());
    let schemas =
        intervals().map(|(name, interval)| amount().property(name, interval).required(name));
    schemas.into_iter().fold(schema, OneOfBuilder::item).into()
}

fn amount() -> ObjectBuilder {
    let amount = integer("How many there are at least after a refill.");
    ObjectBuilder::new()
        .property("amount", amount.minimum(Some(1)).maximum(Some(MAX_CREDITS)))
        .additional_properties(Some(NOTHING_ELSE))
}

fn intervals() -> [(&'static str, ObjectBuilder); 2] {
    let seconds = integer("Every so many seconds.").minimum(Some(1));
    let seconds = seconds.maximum(Some(f64::from(u32::MAX)));
    let month = text("Every calendar month, in UTC.").enum_values(Some(["month"]));
    [("interval_seconds", seconds), ("interval", month)]
}

/// A balance, as [`KeyView`](crate::manage::KeyView) shows it.
pub(super) fn credits() -> ObjectBuilder {
    all_required([
        ("remaining", integer("How many are left.").minimum(Some(0)).into()),
        ("refill", nullable(REFILL).into()),
        ("next_refill_at", nullable_time("When they come back next.").into()),
    ])
    .description(Some("Credits that requests spend."))
}

/// See [`NewCredits`](crate::credits::NewCredits).
pub(super) fn new_credits() -> Schema {
    let description = "Credits to begin with; a number is that many, and no refill.";
    let remaining = "How many there are; as a refill gives, if left out.";
    number_or_object(description, remaining, REFILL)
}

/// See [`CreditsPatch`](crate::credits::CreditsPatch).
pub(super) fn credits_changes() -> Schema {
    let description = "What is left out stays; a number is how many there are.";
    number_or_object(description, "How many there are.", REFILL_CHANGES)
}

fn number_or_object(description: &str, remaining: &str, refill: &str) -> Schema {
    let credits = |description| integer(description).minimum(Some(0)).maximum(Some(MAX_CREDITS));
    let object = ObjectBuilder::new()
        .property("remaining", credits(remaining))
        .property("refill", nullable(refill))
        .additional_properties(Some(NOTHING_ELSE));
    OneOfBuilder::new()
        .description(Some(description))
        .item(credits("How many there are."))
        .item(object)
        .into()
}

pub(super) fn top_up() -> Schema {
    let number = |description| integer(description).minimum(Some(1)).maximum(Some(MAX_CREDITS));
    OneOfBuilder::new()
        .item(
            ObjectBuilder::new()
                .property("add", number("How many credits come on top of what is left."))
                .required("add")
                .additional_properties(Some(NOTHING_ELSE))
                .examples([json!({ "add": 1000 })]),
        )
        .item(
            ObjectBuilder::new()
                .property("subtract", number("How many credits are taken from what is left."))
                .property("or_less", boolean("Whether what is left is taken where that is less."))
                .required("subtract")
                .additional_properties(Some(NOTHING_ELSE))
                .examples([json!({ "subtract": 1000 })]),
        )
        .into()
}

/// One of these, or `null`.
pub(super) fn nullable(schema: &str) -> Schema {
    OneOfBuilder::new()
        .item(Ref::from_schema_name(schema))
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .into()
}
