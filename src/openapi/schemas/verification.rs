//! A question about a key, and its answer.

use serde_json::json;
use utoipa::openapi::{
    Components, ComponentsBuilder,
    schema::{AnyOfBuilder, ObjectBuilder, Type},
};

use super::{
    add_problem,
    parts::{
        NOTHING_ELSE, all_required, boolean, described, integer, nullable_id, nullable_text,
        nullable_time, or_null, scopes, text,
    },
};

pub(in crate::openapi) const QUESTION: &str = "ApiKeyQuestion";
pub(in crate::openapi) const ANSWER: &str = "ApiKeyAnswer";

pub(in crate::openapi) fn components() -> Components {
    let mut components =
        ComponentsBuilder::new().schema(QUESTION, question()).schema(ANSWER, answer()).build();
    add_problem(&mut components);
    components
}

fn question() -> ObjectBuilder {
    let cost = "How many requests it counts for, and how many credits it spends, with `spend`.";
    let cost = integer(cost).minimum(Some(1)).maximum(Some(f64::from(u32::MAX)));
    let spend =
        "Whether the request counts: limits, credits, uses. Otherwise they are not looked at.";
    ObjectBuilder::new()
        .property("key", text("The API key, as the client sent it.").write_only(true))
        .property("address", address())
        .property("scopes", scopes("The API key needs all of them."))
        .property("cost", cost.default(Some(json!(1))))
        .property("spend", boolean(spend).default(Some(json!(false))))
        .required("key")
        .additional_properties(Some(NOTHING_ELSE))
        .examples([json!({
            "key": "the-key-that-the-client-sent",
            "address": "192.0.2.7",
            "scopes": ["orders:read"],
        })])
}

fn address() -> AnyOfBuilder {
    let of_form = |format: &str| {
        let text = ObjectBuilder::new().schema_type(Type::String);
        text.format(Some(utoipa::openapi::SchemaFormat::Custom(format.to_owned())))
    };
    AnyOfBuilder::new()
        .item(of_form("ipv4"))
        .item(of_form("ipv6"))
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .description(Some("The address of the client that sent it. Guesses are charged to it."))
}

fn answer() -> ObjectBuilder {
    let retry_after = "After how many seconds to try again, where that is known.";
    let granted = scopes("The scopes of the API key.").schema_type(or_null(Type::Array));
    all_required([
        ("valid", boolean("Whether the API key is good for this request.").into()),
        ("code", nullable_text("Why it is not.").into()),
        ("key_id", nullable_id("The id of a good API key.").into()),
        ("owner", nullable_text("Its owner.").into()),
        ("scopes", granted.into()),
        ("expires_at", nullable_time("When it ends.").into()),
        ("retry_after", described(retry_after, or_null(Type::Integer)).into()),
    ])
    .description(Some("All members but `valid` are null where there is nothing to say."))
    .examples([json!({
        "valid": false,
        "code": "expired_key",
        "key_id": null,
        "owner": null,
        "scopes": null,
        "expires_at": null,
        "retry_after": null,
    })])
}
