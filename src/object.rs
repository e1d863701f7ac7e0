//! Structs as JSON objects, without serde's procedural macros: those take longer to build than all that
//! this crate reads and writes with them.

use std::fmt;

use serde_core::{
    de::{DeserializeSeed, Deserializer, Error, Visitor},
    ser::SerializeStruct,
};

/// Implements `Deserialize` for a struct with these fields, from an object. Each is `required`, or has a
/// `default` where it is left out, or is an `Option` that is `None` where it is left out: then a value
/// that is `sent` must be one of the type in it, and `null` is none for most types.
///
/// Another member is an error. After `..`, others are passed over.
macro_rules! read_object {
    ($type:ident { $($field:ident: $kind:ident),+ $(,)? }) => {
        $crate::object::read_object! { @impl $type true $($field $kind)+ }
    };
    ($type:ident { $($field:ident: $kind:ident),+, .. }) => {
        $crate::object::read_object! { @impl $type false $($field $kind)+ }
    };
    (@impl $type:ident $strict:literal $($field:ident $kind:ident)+) => {
        impl<'de> serde_core::Deserialize<'de> for $type {
            fn deserialize<D: serde_core::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Self, D::Error> {
                use serde_core::de::{Error, IgnoredAny, MapAccess, Visitor};

                const NAMES: &[&str] = &[$(stringify!($field)),+];
                struct Object;
                impl<'de> Visitor<'de> for Object {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$type, A::Error> {
                        $(let mut $field = None;)+
                        let names = $crate::object::Names { names: NAMES, strict: $strict };
                        while let Some(name) = map.next_key_seed(names)? {
                            $(if name == Some(stringify!($field)) {
                                if $field.is_some() {
                                    return Err(A::Error::duplicate_field(stringify!($field)));
                                }
                                $field = Some(map.next_value()?);
                                continue;
                            })+
                            map.next_value::<IgnoredAny>()?;
                        }
                        Ok($type { $($field: $crate::object::read_object!(@$kind $field)),+ })
                    }
                }
                deserializer.deserialize_struct(stringify!($type), NAMES, Object)
            }
        }
    };
    (@required $field:ident) => {
        $field.ok_or_else(|| A::Error::missing_field(stringify!($field)))?
    };
    (@default $field:ident) => {
        $field.unwrap_or_default()
    };
    (@sent $field:ident) => {
        $field
    };
}

/// Implements `Serialize` for a struct, as an object with these of its fields, after those of another
/// object where one is named after `..`.
macro_rules! write_object {
    ($type:ty { $(..$inner:ident,)? $($field:ident),+ $(,)? }) => {
        impl $crate::object::Members for $type {
            const COUNT: usize = [$(stringify!($field)),+].len();

            fn write<O: serde_core::ser::SerializeStruct>(
                &self,
                object: &mut O,
            ) -> Result<(), O::Error> {
                $($crate::object::Members::write(&self.$inner, object)?;)?
                $(object.serialize_field(stringify!($field), &self.$field)?;)+
                Ok(())
            }
        }

        impl serde_core::Serialize for $type {
            fn serialize<S: serde_core::Serializer>(
                &self,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                use serde_core::ser::SerializeStruct;

                let count = <Self as $crate::object::Members>::COUNT;
                let mut object = serializer.serialize_struct("", count)?;
                $crate::object::Members::write(self, &mut object)?;
                object.end()
            }
        }
    };
}

pub(crate) use {read_object, write_object};

/// What stands in an object, for a larger object that has it as well.
pub(crate) trait Members {
    const COUNT: usize;

    fn write<O: SerializeStruct>(&self, object: &mut O) -> Result<(), O::Error>;
}

/// Reads the name of a member: one of these, or `None` for another where those are passed over.
#[derive(Clone, Copy)]
pub(crate) struct Names {
    pub(crate) names: &'static [&'static str],
    pub(crate) strict: bool,
}

impl<'de> DeserializeSeed<'de> for Names {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Names {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        match self.names.iter().find(|name| **name == text) {
            None if self.strict => Err(E::unknown_field(text, self.names)),
            found => Ok(found.copied()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_str, to_string};

    #[derive(Debug, PartialEq)]
    #[expect(clippy::option_option, reason = "left out, null and a value are three things")]
    struct Order {
        article: u32,
        count: Option<u32>,
        note: Option<Option<String>>,
    }

    read_object!(Order { article: required, count: default, note: sent });
    write_object!(Order { article, count, note });

    #[derive(Debug, PartialEq)]
    struct Stored {
        article: u32,
    }

    read_object!(Stored { article: required, .. });

    struct Shipped {
        order: Order,
        parcels: u32,
    }

    write_object!(Shipped { ..order, parcels });

    #[test]
    fn left_out_null_and_a_value_are_told_apart() {
        for (json, count, note) in [
            (r#"{"article":1}"#, None, None),
            (r#"{"article":1,"count":null,"note":null}"#, None, Some(None)),
            (r#"{"note":"n","count":2,"article":1}"#, Some(2), Some(Some("n".to_owned()))),
        ] {
            assert_eq!(from_str::<Order>(json).unwrap(), Order { article: 1, count, note });
        }
    }

    #[test]
    fn errors_are_those_of_serde() {
        for (json, error) in [
            ("{}", "missing field `article`"),
            (r#"{"article":1,"article":1}"#, "duplicate field `article`"),
            (
                r#"{"articles":1}"#,
                "unknown field `articles`, expected one of `article`, `count`, `note`",
            ),
            (r#"{"article":null}"#, "invalid type: null, expected u32"),
            ("[1,2,3]", "invalid type: sequence, expected an object"),
        ] {
            let found = from_str::<Order>(json).unwrap_err().to_string();
            assert!(found.starts_with(error), "{json}: {found}");
        }
    }

    #[test]
    fn others_are_passed_over_where_that_is_said() {
        let stored: Stored = from_str(r#"{"later":{"than":[1]},"article":7}"#).unwrap();
        assert_eq!(stored, Stored { article: 7 });
    }

    #[test]
    fn an_object_may_stand_in_a_larger_one() {
        let order = Order { article: 1, count: None, note: Some(None) };
        let shipped = Shipped { order, parcels: 2 };
        let json = r#"{"article":1,"count":null,"note":null,"parcels":2}"#;
        assert_eq!(to_string(&shipped).unwrap(), json);
        assert_eq!(to_string(&shipped.order).unwrap(), r#"{"article":1,"count":null,"note":null}"#);
    }
}
