//! The bodies of requests and answers, as schemas. `tests/layer/openapi` compares them with the types
//! that are read and written.

mod limits;
mod parts;
mod sets;
mod usage;
mod verification;

use serde_json::json;
use utoipa::openapi::{
    Components, ComponentsBuilder, Ref, Schema,
    schema::{AllOfBuilder, ArrayBuilder, ObjectBuilder, Type},
};

use self::parts::{
    NOTHING_ELSE, all_required, boolean, end, line, lines, metadata, networks, nullable_id,
    nullable_text, nullable_time, or_null, scopes, strings,
};
pub(super) use self::{
    parts::{id, integer, no_nul, scope, text, time},
    verification::{ANSWER, QUESTION, components as of_verification},
};
use super::management::Caller;
use crate::key::{KeyAction, KeyStatus};

pub(super) const PROBLEM: &str = "ApiKeyProblem";
pub(super) const KEY: &str = "ApiKey";
pub(super) const ISSUED_KEY: &str = "IssuedApiKey";
pub(super) const KEYS: &str = "ApiKeys";
pub(super) const EVENTS: &str = "ApiKeyEvents";
pub(super) const REVOCATION: &str = "ApiKeyRevocation";
pub(super) const SET: &str = "ApiKeySet";
pub(super) const SET_REPORT: &str = "ApiKeySetReport";
pub(super) const ROTATION: &str = "ApiKeyRotation";
pub(super) const TOP_UP: &str = "ApiKeyTopUp";
pub(super) const ADJUSTED_KEY: &str = "AdjustedApiKey";
pub(super) const USAGE: &str = "ApiKeyUsage";
pub(super) const BUSIEST: &str = "BusiestApiKeys";

/// Everything that the routes speak of.
pub(super) fn components(caller: Caller) -> Components {
    let mut components = ComponentsBuilder::new()
        .schema(KEY, key())
        .schema(ISSUED_KEY, issued_key())
        .schema(KEYS, page(KEY, "The `cursor` of the next page; null on the last one."))
        .schema(EVENT, event())
        .schema(EVENTS, page(EVENT, "The `cursor` of the next page; null on the last one."))
        .schema(caller.new_key(), new_key(caller))
        .schema(caller.changes(), changes(caller))
        .schema(REVOCATION, revocation())
        .schema(SET, sets::set())
        .schema(SET_REPORT, sets::report())
        .schema(ROTATION, rotation())
        .schema(limits::LIMIT, limits::limit())
        .schema(limits::REFILL, limits::refill())
        .schema(limits::CREDITS, limits::credits())
        .schema(usage::COUNT, usage::count())
        .schema(USAGE, usage::usage())
        .schema(usage::BUSY, usage::busy())
        .schema(BUSIEST, usage::busiest())
        .build();
    if caller == Caller::Administrator {
        let schemas = &mut components.schemas;
        schemas.insert(limits::NEW_CREDITS.to_owned(), limits::new_credits().into());
        schemas.insert(limits::REFILL_CHANGES.to_owned(), limits::refill_changes().into());
        schemas.insert(limits::CREDITS_CHANGES.to_owned(), limits::credits_changes().into());
        schemas.insert(TOP_UP.to_owned(), limits::top_up().into());
        schemas.insert(ADJUSTED_KEY.to_owned(), adjusted_key().into());
    }
    add_problem(&mut components);
    components
}

const EVENT: &str = "ApiKeyEvent";

pub(super) fn add_problem(components: &mut Components) {
    components.schemas.entry(PROBLEM.to_owned()).or_insert_with(|| problem().into());
}

/// The layer's denials, and the errors of the routes.
fn problem() -> ObjectBuilder {
    ObjectBuilder::new()
        .description(Some("Problem details (RFC 9457)."))
        .property("type", text("`about:blank`: `code` says what is wrong."))
        .property("title", text("The status in words."))
        .property("status", integer("The status.").minimum(Some(400)).maximum(Some(599)))
        .property("detail", text("What is wrong, in a sentence."))
        .property("code", text("What is wrong, for programs."))
        .property("field", text("The field, parameter or header that is wrong."))
        .property("key", id("The API key that there is already."))
        .property("rotated_to", id("The API key that has replaced this one."))
        .property("remaining", integer("How many credits are left.").minimum(Some(0)))
        .property("missing_scopes", scopes("The scopes that the API key lacks."))
        .property("limit", text("The rate limit that is used up, by its name."))
        .property("credits_remaining", integer("How many credits there are.").minimum(Some(0)))
        .required("type")
        .required("title")
        .required("status")
        .required("detail")
        .required("code")
        .examples([json!({
            "type": "about:blank",
            "title": "Unauthorized",
            "status": 401,
            "detail": "Send an API key with the request.",
            "code": "missing_key",
        })])
}

/// [`KeyView`](crate::manage::KeyView).
fn key() -> ObjectBuilder {
    let statuses = KeyStatus::ALL.map(KeyStatus::as_str);
    all_required(vec![
        ("id", id("The name of the API key, which is no secret.").into()),
        ("name", text("The purpose of the key.").into()),
        ("start", text("How the API key begins, to recognise it by.").into()),
        ("description", nullable_text("More about it.").into()),
        ("owner", nullable_text("The owner of the key.").into()),
        ("scopes", scopes("The scopes of the key.").into()),
        ("status", text("Whether it can be used.").enum_values(Some(statuses)).into()),
        ("disabled", boolean("Whether it is switched off.").into()),
        (
            "disabled_by",
            nullable_text("The kind of caller that disabled it.")
                .enum_values(Some([json!("administrator"), json!("owner"), json!(null)]))
                .into(),
        ),
        ("tier", nullable_text("The plan that it belongs to.").into()),
        ("limits", limits::own("Its own rate limits, in place of those of its plan.").into()),
        ("credits", limits::nullable(limits::CREDITS).into()),
        ("metadata", metadata().into()),
        (
            "allowed_addresses",
            strings("From where it may be used; from everywhere if empty.").into(),
        ),
        ("created_at", time("When it was created.").into()),
        ("created_by", nullable_id("The API key that its owner created it with.").into()),
        ("updated_at", time("When it was last changed.").into()),
        ("not_before", nullable_time("From when it can be used.").into()),
        ("expires_at", nullable_time("Until when it can be used.").into()),
        ("last_used_at", nullable_time("When it was last used.").into()),
        ("use_count", integer("How often it was used.").minimum(Some(0)).into()),
        ("revoked_at", nullable_time("When it was withdrawn for good.").into()),
        ("revoked_reason", nullable_text("Why.").into()),
        ("replaces", nullable_id("The API key that this one has replaced.").into()),
        ("rotated_to", nullable_id("The API key that has replaced this one.").into()),
        ("retires_at", nullable_time("When it is refused because it was replaced.").into()),
    ])
    .description(Some("An API key without its secret."))
}

fn issued_key() -> Schema {
    let secret = ObjectBuilder::new()
        .property("key", text("The API key itself, shown this once."))
        .required("key");
    AllOfBuilder::new().item(Ref::from_schema_name(KEY)).item(secret).into()
}

/// The answer when credits were added or subtracted.
fn adjusted_key() -> Schema {
    let subtracted = integer("How many credits were subtracted.").minimum(Some(0));
    let taken = ObjectBuilder::new().property("subtracted", subtracted);
    AllOfBuilder::new().item(Ref::from_schema_name(KEY)).item(taken).into()
}

/// A page of such items.
fn page(item: &str, next: &str) -> ObjectBuilder {
    let items = ArrayBuilder::new().items(Ref::from_schema_name(item));
    all_required([("items", items.into()), ("next_cursor", nullable_id(next).into())])
}

fn event() -> ObjectBuilder {
    let actions = KeyAction::AUDITED.map(KeyAction::as_str);
    all_required([
        ("id", id("The name of the event.").into()),
        ("at", time("When it happened.").into()),
        ("action", text("The act.").enum_values(Some(actions)).into()),
        ("key", nullable_id("The API key that it happened to.").into()),
        ("owner", nullable_text("The owner of the key.").into()),
        ("actor", nullable_text("The name of the actor; not shown to owners.").into()),
        ("address", nullable_text("From which address; not shown to owners.").into()),
        ("detail", nullable_text("More about it.").into()),
    ])
    .description(Some("Something that was done to an API key."))
}

fn new_key(caller: Caller) -> ObjectBuilder {
    let plain = json!({ "name": "the shop", "scopes": ["orders:read"] });
    let limited = json!({
        "name": "the shop",
        "limits": [{ "name": "minute", "requests": 100, "window_seconds": 60, "burst": 20 }],
        "credits": { "remaining": 1000, "refill": { "amount": 1000, "interval": "month" } },
    });
    let examples =
        std::iter::once(plain).chain((caller == Caller::Administrator).then_some(limited));
    fields(caller, true).required("name").examples(examples)
}

fn changes(caller: Caller) -> ObjectBuilder {
    fields(caller, false)
        .description(Some("What is left out stays as it is; `null` takes away."))
        .property("disabled", boolean("Switches the API key off, or on again."))
        .examples([json!({ "description": null, "disabled": true })])
}

/// The fields of a key that may be chosen. For a new key, `null` is like nothing; in a change, it
/// takes away a field that a key may lack.
fn fields(caller: Caller, is_new: bool) -> ObjectBuilder {
    // A field that every key has, perhaps empty, has no `null` to take it away.
    let list = |builder: ArrayBuilder| {
        if is_new { builder.schema_type(or_null(Type::Array)) } else { builder }
    };
    let object = ObjectBuilder::new()
        .property("name", line("The purpose of the key.", Type::String, 100))
        .property("description", lines("More about it."))
        .property("scopes", list(scopes("The scopes of the key.").max_items(Some(100))))
        .property("expires_at", end("Until when it can be used. The year 9999 is never."))
        .property("not_before", nullable_time("From when it can be used."))
        .property("allowed_addresses", list(networks()))
        .additional_properties(Some(NOTHING_ELSE));
    if caller == Caller::Owner {
        return object;
    }
    let metadata = if is_new { metadata().schema_type(or_null(Type::Object)) } else { metadata() };
    let object = object
        .property("tier", line("The plan that it belongs to.", or_null(Type::String), 100))
        .property("limits", {
            let limits = limits::own("Its own rate limits; with none, those of its plan count.");
            limits.max_items(Some(8)).schema_type(or_null(Type::Array))
        })
        .property(
            "credits",
            limits::nullable(if is_new { limits::NEW_CREDITS } else { limits::CREDITS_CHANGES }),
        )
        .property("metadata", metadata);
    // A key's owner never changes.
    if is_new {
        object.property("owner", line("The owner of the key.", or_null(Type::String), 255))
    } else {
        object
    }
}

fn revocation() -> ObjectBuilder {
    ObjectBuilder::new()
        .property("reason", lines("Why, for the record."))
        .property("descendants", boolean("Together with the API keys that were created with it."))
        .additional_properties(Some(NOTHING_ELSE))
        .examples([json!({ "reason": "found in a public repository" })])
}

fn rotation() -> ObjectBuilder {
    let seconds = "For how many seconds the old API key can still be used.";
    let from = text("When these seconds begin: now, or when the new API key is first used.");
    ObjectBuilder::new()
        .property(
            "grace_seconds",
            integer(seconds)
                .minimum(Some(0))
                .maximum(Some(f64::from(u32::MAX)))
                .default(Some(json!(0))),
        )
        .property(
            "grace_from",
            from.enum_values(Some(["now", "first_use"])).default(Some(json!("now"))),
        )
        .additional_properties(Some(NOTHING_ELSE))
        .examples([json!({ "grace_seconds": 3600 })])
}
