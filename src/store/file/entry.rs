//! A file's list of keys, whatever its format.
//!
//! Serde's texts about a bad value often show the value, so they are not used: the place being
//! read is noted in [`Place`], and the error is made from that.

use std::{cell::Cell, collections::HashMap, fmt};

use serde_core::{
    Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};

use super::{
    error::{Fault, FileErrorKind},
    value::{Digest, Network, Time, times_as_text},
};
use crate::{
    clock::{End, Timestamp},
    key::{KeyDigest, KeyId, KeyRecord, Metadata, OwnerId, validate},
    runtime::{DigestMap, MapDigest},
};

/// The fields of a key, and what each must be.
pub(super) const FIELDS: [(&str, &str); 14] = [
    ("digest", "must be 64 hexadecimal digits: the SHA-256 of the key, not the key itself"),
    ("name", "must be a text of 1 to 100 characters"),
    ("id", "must be a UUID"),
    ("start", MUST_BE_A_START),
    ("owner", "must be a text of 1 to 255 characters"),
    ("description", "must be a text of at most 1000 characters"),
    ("scopes", "must be a list of scopes such as \"orders:read\""),
    ("tier", "must be a text of 1 to 100 characters"),
    ("limits", MUST_BE_LIMITS),
    ("allowed_addresses", "must be a list of addresses or networks such as \"192.0.2.0/24\""),
    ("not_before", MUST_BE_A_TIME),
    ("expires_at", MUST_BE_AN_END),
    ("disabled", "must be true or false"),
    ("metadata", "must be a table"),
];

const MUST_BE_A_TIME: &str = "must be a date and time such as \"2030-01-31T12:00:00Z\"";
const MUST_BE_AN_END: &str =
    "must be a date and time such as \"2030-01-31T12:00:00Z\", or a date such as \"2030-01-31\"";
const MUST_BE_LIMITS: &str = "must be a list of at most 8 limits of different names, each with \
    `name` (1 to 32 letters, digits and `_-.`), `requests`, `window_seconds` and perhaps `burst`";
const MUST_BE_A_START: &str = "must be at most 29 visible characters, the first ones of the key";

/// The longest that [`KeyFormat::start`](crate::KeyFormat::start) gives.
const MAX_START: usize = 29;

/// Nothing shorter is a key, so it may be shown.
const MIN_KEY: usize = 16;

/// The place that is being read, and the fault found there.
#[derive(Default)]
pub(super) struct Place {
    key: Cell<Option<usize>>,
    /// The field whose value is being read.
    field: Cell<Option<Field>>,
    fault: Cell<Option<Fault>>,
}

type Field = (&'static str, &'static str);

impl Place {
    /// Notes what is wrong. The error itself only ends the reading.
    fn fail<E: Error>(&self, kind: FileErrorKind, field: Option<&str>) -> E {
        let field = field.map(Into::into);
        self.fault.set(Some(Fault { kind, position: None, key: self.key.get(), field }));
        E::custom("not a file of keys")
    }

    /// The fault, once reading has failed.
    pub(super) fn into_fault(self) -> Fault {
        self.fault.take().unwrap_or_else(|| match self.field.get() {
            Some((name, message)) => Fault {
                kind: FileErrorKind::InvalidField { message },
                position: None,
                key: self.key.get(),
                field: Some(name.into()),
            },
            None => Fault { key: self.key.get(), ..FileErrorKind::Shape.into() },
        })
    }
}

/// The whole file: a table with the list `keys`.
#[derive(Clone, Copy)]
pub(super) struct File<'p> {
    pub(super) place: &'p Place,
    pub(super) now: Timestamp,
}

impl<'de> DeserializeSeed<'de> for File<'_> {
    type Value = Vec<KeyRecord>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for File<'_> {
    type Value = Vec<KeyRecord>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut keys = None;
        while let Some(name) = map.next_key::<String>()? {
            if name != "keys" {
                return Err(self.place.fail(FileErrorKind::UnknownField, shown(&name)));
            }
            if keys.is_some() {
                return Err(self.place.fail(FileErrorKind::RepeatedField, Some("keys")));
            }
            keys = Some(map.next_value_seed(Keys(self))?);
            self.place.key.set(None);
        }
        keys.ok_or_else(|| self.place.fail(FileErrorKind::MissingField, Some("keys")))
    }
}

/// The list.
struct Keys<'p>(File<'p>);

impl<'de> DeserializeSeed<'de> for Keys<'_> {
    type Value = Vec<KeyRecord>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = Vec<KeyRecord>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let place = self.0.place;
        let (mut digests, mut ids) = (DigestMap::default(), HashMap::new());
        let mut keys = Vec::new();
        loop {
            let number = keys.len() + 1;
            // Noted before it is known whether there is one: a list that ends is no error.
            place.key.set(Some(number));
            let key = Key { file: self.0, number, digests: &mut digests, ids: &mut ids };
            let Some(record) = list.next_element_seed(key)? else { return Ok(keys) };
            keys.push(record);
        }
    }
}

/// One key, with the numbers of those before it.
struct Key<'p, 'k> {
    file: File<'p>,
    number: usize,
    digests: &'k mut DigestMap<usize>,
    ids: &'k mut HashMap<KeyId, usize>,
}

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = KeyRecord;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Key<'_, '_> {
    type Value = KeyRecord;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<KeyRecord, A::Error> {
        let File { place, now } = self.file;
        let invalid =
            |field, message| place.fail(FileErrorKind::InvalidField { message }, Some(field));
        // These values are replaced below: no key is without them.
        let nothing = KeyDigest::from_bytes([0; 32]);
        let mut record = KeyRecord::new(KeyId::from_bytes([0; 16]), nothing, "", now);
        let (mut digest, mut id) = (None, None);
        let mut read = Vec::with_capacity(FIELDS.len());
        while let Some(text) = map.next_key::<String>()? {
            let Some(field) = FIELDS.into_iter().find(|(name, _)| *name == text) else {
                return Err(place.fail(FileErrorKind::UnknownField, shown(&text)));
            };
            let (name, _) = field;
            if read.contains(&name) {
                return Err(place.fail(FileErrorKind::RepeatedField, Some(name)));
            }
            read.push(name);
            place.field.set(Some(field));
            match name {
                "digest" => digest = Some(map.next_value::<Digest>()?.0),
                "name" => record.name = map.next_value::<String>()?.into(),
                "id" => id = Some(map.next_value()?),
                "start" => record.start = map.next_value::<String>()?.into(),
                "owner" => record.owner = Some(OwnerId::new(map.next_value::<String>()?)),
                "description" => {
                    record.details.description = Some(map.next_value::<String>()?.into());
                }
                "scopes" => record.scopes = map.next_value()?,
                "tier" => record.details.tier = Some(map.next_value::<String>()?.into()),
                "limits" => record.details.limits = map.next_value()?,
                "allowed_addresses" => {
                    let networks = map.next_value::<Vec<Network>>()?;
                    record.details.allowed_addresses =
                        networks.into_iter().map(|net| net.0).collect();
                }
                "not_before" => {
                    record.details.not_before = Some(map.next_value::<Time<_>>()?.0);
                }
                "expires_at" => record.expires_at = map.next_value::<Time<End>>()?.0.0,
                "disabled" => record.disabled = map.next_value()?,
                // The last of `FIELDS`.
                _ => {
                    record.details.metadata = map.next_value::<Metadata>()?;
                    record.details.metadata.values_mut().for_each(times_as_text);
                }
            }
            place.field.set(None);
        }
        let missing = |field| place.fail(FileErrorKind::MissingField, Some(field));
        if !read.contains(&"name") {
            return Err(missing("name"));
        }
        record.digest = digest.ok_or_else(|| missing("digest"))?;
        record.id = id.unwrap_or_else(|| KeyId::from_name(&record.name));
        let visible = record.start.bytes().all(|byte| byte.is_ascii_graphic());
        if !visible || record.start.len() > MAX_START {
            return Err(invalid("start", MUST_BE_A_START));
        }
        validate::record(&record).map_err(|error| invalid(error.field(), error.message()))?;
        if let Some(earlier) = self.digests.insert(MapDigest::from(&record.digest), self.number) {
            return Err(place.fail(FileErrorKind::DuplicateDigest { earlier }, Some("digest")));
        }
        if let Some(earlier) = self.ids.insert(record.id, self.number) {
            // Without an `id` here, the earlier key's is the one of this name: it has that name,
            // or was given the very id.
            return Err(match id {
                Some(_) => place.fail(FileErrorKind::DuplicateId { earlier }, Some("id")),
                None => place.fail(FileErrorKind::DuplicateName { earlier }, Some("name")),
            });
        }
        Ok(record)
    }
}

/// An unknown field's name, unless it could be a key that was pasted into the wrong place.
fn shown(name: &str) -> Option<&str> {
    Some(name).filter(|name| name.len() < MIN_KEY)
}
