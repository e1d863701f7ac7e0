//! The parts that schemas are made of.

use utoipa::openapi::{
    KnownFormat, RefOr, Schema, SchemaFormat,
    schema::{AdditionalProperties, AnyOfBuilder, ArrayBuilder, ObjectBuilder, SchemaType, Type},
};

use crate::key::characters::{BLANK, DISRUPTIVE, LAYOUT, Ranges};

/// A field of another name is refused.
pub(super) const NOTHING_ELSE: AdditionalProperties<Schema> = AdditionalProperties::FreeForm(false);

pub(super) fn all_required<'n>(
    properties: impl IntoIterator<Item = (&'n str, RefOr<Schema>)>,
) -> ObjectBuilder {
    properties.into_iter().fold(ObjectBuilder::new(), |object, (name, schema)| {
        object.property(name, schema).required(name)
    })
}

pub(super) fn or_null(other: Type) -> SchemaType {
    SchemaType::from_iter([other, Type::Null])
}

pub(super) fn described(description: &str, schema_type: impl Into<SchemaType>) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(schema_type).description(Some(description))
}

pub(in crate::openapi) fn text(description: &str) -> ObjectBuilder {
    described(description, Type::String)
}

pub(super) fn nullable_text(description: &str) -> ObjectBuilder {
    described(description, or_null(Type::String))
}

/// PostgreSQL keeps no NUL in text.
pub(in crate::openapi) fn no_nul(text: ObjectBuilder) -> ObjectBuilder {
    text.pattern(Some(r"^[^\u0000]*$"))
}

/// A text on one line that shows something.
pub(super) fn line(
    description: &str,
    schema_type: impl Into<SchemaType>,
    max: usize,
) -> ObjectBuilder {
    let (not, blank) = (class(DISRUPTIVE) + &class(LAYOUT), class(BLANK));
    described(description, schema_type)
        .min_length(Some(1))
        .max_length(Some(max))
        .pattern(Some(format!("^[^{not}]*[^{not}{blank}][^{not}]*$")))
}

/// A text of some sentences.
pub(super) fn lines(description: &str) -> ObjectBuilder {
    described(description, or_null(Type::String))
        .max_length(Some(1000))
        .pattern(Some(format!("^[^{}]*$", class(DISRUPTIVE))))
}

/// Ranges of characters as they stand between brackets in a pattern.
fn class(ranges: Ranges) -> String {
    let escaped = |c: char| match u32::from(c) {
        code @ ..=0xffff => format!("\\u{code:04x}"),
        // An escape of it is not the same to every reader.
        _ => c.to_string(),
    };
    let range = |(first, last): &(char, char)| {
        let end = if first == last { String::new() } else { format!("-{}", escaped(*last)) };
        escaped(*first) + &end
    };
    ranges.iter().map(range).collect()
}

pub(in crate::openapi) fn integer(description: &str) -> ObjectBuilder {
    described(description, Type::Integer)
}

pub(super) fn number(description: &str) -> ObjectBuilder {
    described(description, Type::Number)
}

pub(super) fn boolean(description: &str) -> ObjectBuilder {
    described(description, Type::Boolean)
}

pub(in crate::openapi) fn time(description: &str) -> ObjectBuilder {
    text(description).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
}

pub(super) fn nullable_time(description: &str) -> ObjectBuilder {
    time(description).schema_type(or_null(Type::String))
}

/// See [`Timestamp::parse_end`](crate::Timestamp::parse_end).
pub(super) fn end(description: &str) -> AnyOfBuilder {
    let of_format = |format| {
        let text = ObjectBuilder::new().schema_type(Type::String);
        text.format(Some(SchemaFormat::KnownFormat(format)))
    };
    AnyOfBuilder::new()
        .item(of_format(KnownFormat::DateTime))
        .item(of_format(KnownFormat::Date).description(Some("The end of this day in UTC.")))
        .item(ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["infinity"])))
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .description(Some(description))
}

pub(in crate::openapi) fn id(description: &str) -> ObjectBuilder {
    text(description).format(Some(SchemaFormat::Custom("uuid".to_owned())))
}

pub(super) fn nullable_id(description: &str) -> ObjectBuilder {
    id(description).schema_type(or_null(Type::String))
}

pub(super) fn strings(description: &str) -> ArrayBuilder {
    ArrayBuilder::new()
        .items(ObjectBuilder::new().schema_type(Type::String))
        .description(Some(description))
}

pub(super) fn scopes(description: &str) -> ArrayBuilder {
    ArrayBuilder::new().items(scope()).description(Some(description))
}

/// See [`Scope`](crate::scope::Scope).
pub(in crate::openapi) fn scope() -> ObjectBuilder {
    const SEGMENT: &str = r"[!#-)+-9;-\[\]-~]+";
    text("Such as `orders:read` or `orders:*`.")
        .max_length(Some(128))
        .pattern(Some(format!(r"^({SEGMENT}(:{SEGMENT})*(:\*)?|\*)$")))
}

pub(super) fn metadata() -> ObjectBuilder {
    described("Anything else to remember about it, at most 16 KiB.", Type::Object)
        .additional_properties(Some(AdditionalProperties::FreeForm(true)))
}

pub(super) fn networks() -> ArrayBuilder {
    let of_form = |format: &str| {
        let text = ObjectBuilder::new().schema_type(Type::String);
        text.format(Some(SchemaFormat::Custom(format.to_owned())))
    };
    let of_pattern =
        |pattern: &str| ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    let network = AnyOfBuilder::new()
        .item(of_form("ipv4"))
        .item(of_form("ipv6"))
        .item(of_pattern(&v4_network()))
        .item(of_pattern(V6_NETWORK))
        .description(Some("An address, or a network such as `10.0.0.0/8`."));
    ArrayBuilder::new()
        .items(network)
        .max_items(Some(100))
        .description(Some("From where it may be used; from everywhere if empty."))
}

/// Roughly: how addresses are abbreviated does not fit a readable pattern.
pub(super) const V6_NETWORK: &str =
    "^[0-9A-Fa-f]*(:[0-9A-Fa-f]*){2,7}/([1-9]?[0-9]|1[01][0-9]|12[0-8])$";

pub(super) fn v4_network() -> String {
    let octet = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
    format!(r"^({octet}\.){{3}}{octet}/([12]?[0-9]|3[0-2])$")
}
