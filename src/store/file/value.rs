//! Values of a key's fields, as the formats write them.

use std::{fmt, marker::PhantomData, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde_core::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value;

use crate::key::KeyDigest;

/// In metadata, which are JSON, TOML's times are texts. They come as tables of one field.
pub(super) fn times_as_text(value: &mut Value) {
    const TOML_TIME: &str = "$__toml_private_datetime";
    match value {
        Value::Array(list) => list.iter_mut().for_each(times_as_text),
        Value::Object(table) => match table.get_mut(TOML_TIME) {
            Some(time) => *value = time.take(),
            None => table.values_mut().for_each(times_as_text),
        },
        _ => {}
    }
}

pub(super) struct Digest(pub(super) KeyDigest);

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        KeyDigest::from_hex(&text).map(Self).ok_or_else(|| D::Error::custom("not a digest"))
    }
}

pub(super) struct Network(pub(super) IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(Self).map_err(|_| D::Error::custom("not a network"))
    }
}

/// A [`Timestamp`](crate::Timestamp) or an [`End`](crate::clock::End) as text, or as TOML's own, which comes as a table.
pub(super) struct Time<T>(pub(super) T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Time<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TimeVisitor(PhantomData))
    }
}

struct TimeVisitor<T>(PhantomData<T>);

impl<'de, T: FromStr<Err: fmt::Display>> Visitor<'de> for TimeVisitor<T> {
    type Value = Time<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a date and time")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Time<T>, E> {
        text.parse().map(Time).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Time<T>, A::Error> {
        let time = toml::value::Datetime::deserialize(MapAccessDeserializer::new(map))?;
        self.visit_str(&time.to_string())
    }
}
