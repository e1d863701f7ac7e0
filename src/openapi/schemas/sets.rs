//! Many keys at once.

use serde_json::json;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};

use super::parts::{NOTHING_ELSE, all_required, described, id, integer, lines, text, time};

/// See [`KeySet`](crate::manage::KeySet).
pub(super) fn set() -> ObjectBuilder {
    let ids = ArrayBuilder::new().items(id("The id of an API key."));
    let ids = ids.min_items(Some(1)).description(Some("Only these API keys."));
    ObjectBuilder::new()
        .description(Some("Which API keys; one condition at least, and all of them must be met."))
        .property("owner", text("Only API keys of this owner."))
        .property("ids", ids)
        .property("issued_before", time("Only API keys created before; not in the future."))
        .property("reason", lines("Why, for the record."))
        .additional_properties(Some(NOTHING_ELSE))
        .examples([json!({ "owner": "user-1", "reason": "the account was closed" })])
}

pub(super) fn report() -> ObjectBuilder {
    let ids =
        |description: &str| ArrayBuilder::new().items(id("The id.")).description(Some(description));
    all_required([
        ("changed", integer("How many API keys were changed.").minimum(Some(0)).into()),
        ("already_ended", ids("API keys that had ended before.").into()),
        ("unknown", ids("Ids that no API key has.").into()),
    ])
    .property(
        "pending",
        described("Whether there are more API keys than were changed so far. All of them are refused already. Only where they were revoked by the time of their creation.", Type::Boolean),
    )
    .property(
        "static_keys",
        text("API keys of the configuration, which are not reached: always `untouched`. Only where API keys were revoked by the time of their creation."),
    )
}
