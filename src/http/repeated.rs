//! JSON objects with two members of one name.

use std::{collections::HashSet, fmt};

use serde_core::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::key::characters::shown;

/// The name of a member that [`Value`](serde_json::Value) takes for JSON of its own where another
/// crate has turned on `raw_value`, as axum does: the text in it would be parsed anew, past this
/// check and past the parser's bound on depth.
const RAW: &str = "$serde_json::private::RawValue";

/// JSON without such objects, at any depth. Parsers differ in which of the members counts
/// (RFC 8259 §4), so a proxy that checks a body may read something else than its service.
pub(super) struct Unrepeated;

impl<'de> Deserialize<'de> for Unrepeated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

macro_rules! scalars {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E: Error>(self, _: $type) -> Result<Self, E> {
            Ok(self)
        })*
    };
}

impl<'de> Visitor<'de> for Unrepeated {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    scalars!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E: Error>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if name == RAW {
                return Err(A::Error::custom(format_args!("`{}` is no name", shown(&name))));
            }
            members.next_value::<Self>()?;
            if names.contains(&name) {
                return Err(A::Error::custom(format_args!("`{}` is there twice", shown(&name))));
            }
            names.insert(name);
        }
        Ok(self)
    }
}
