//! The formats that a file of keys may have.

#[cfg(feature = "file-yaml")]
use std::marker::PhantomData;
use std::{ffi::OsStr, path::Path};

use serde_core::de::{DeserializeSeed, IgnoredAny};

use super::{
    entry::{File, Place},
    error::{Fault, FileErrorKind, Position},
};
use crate::{clock::Timestamp, key::KeyRecord};

/// How a file is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Format {
    Toml,
    Json,
    #[cfg(feature = "file-yaml")]
    Yaml,
}

impl Format {
    /// As the file's name says.
    pub(super) fn of(path: &Path) -> Result<Self, Fault> {
        match path.extension().and_then(OsStr::to_str) {
            Some("toml") => Ok(Self::Toml),
            Some("json") => Ok(Self::Json),
            #[cfg(feature = "file-yaml")]
            Some("yaml" | "yml") => Ok(Self::Yaml),
            #[cfg(not(feature = "file-yaml"))]
            Some("yaml" | "yml") => Err(FileErrorKind::Feature { feature: "file-yaml" }.into()),
            _ => Err(FileErrorKind::Extension.into()),
        }
    }

    /// The keys that a file holds. Those of its records that are new were made `now`.
    pub(super) fn parse(self, bytes: &[u8], now: Timestamp) -> Result<Vec<KeyRecord>, Fault> {
        let text = str::from_utf8(bytes).map_err(|error| {
            let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            syntax(Some(position(&good)))
        })?;
        // Some editors on Windows put a byte order mark first.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let place = Place::default();
        let file = File { place: &place, now };
        // Read twice: first for the syntax alone, so that a value that breaks off is not taken for
        // one of the wrong kind.
        let read = match self {
            Self::Toml => {
                let parsed = toml::Deserializer::parse(text)
                    .map_err(|error| syntax(toml_position(text, &error)))?;
                file.deserialize(parsed).map_err(|error| toml_position(text, &error))
            }
            Self::Json => {
                serde_json::from_str::<IgnoredAny>(text)
                    .map_err(|error| syntax(Some(json_position(&error))))?;
                file.deserialize(&mut serde_json::Deserializer::from_str(text))
                    .map_err(|error| Some(json_position(&error)))
            }
            #[cfg(feature = "file-yaml")]
            Self::Yaml => {
                yaml(text, PhantomData::<IgnoredAny>).map_err(syntax)?;
                yaml(text, file)
            }
        };
        read.map_err(|position| Fault { position, ..place.into_fault() })
    }
}

/// Reads the one document of `text`.
#[cfg(feature = "file-yaml")]
fn yaml<'t, S: DeserializeSeed<'t>>(text: &'t str, seed: S) -> Result<S::Value, Option<Position>> {
    // Repeated fields are ours to report, and errors need no copy of the text.
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::PassThrough,
        with_snippet: false,
    };
    let read = |document: serde_saphyr::Deserializer<'t, '_>| seed.deserialize(document);
    serde_saphyr::with_deserializer_from_str_with_options(text, options, read).map_err(|error| {
        let location = error.location()?;
        Some(Position { line: location.line(), column: location.column() })
    })
}

fn syntax(position: Option<Position>) -> Fault {
    Fault { position, ..FileErrorKind::Syntax.into() }
}

fn toml_position(text: &str, error: &toml::de::Error) -> Option<Position> {
    error.span().map(|span| position(text.get(..span.start).unwrap_or(text)))
}

fn json_position(error: &serde_json::Error) -> Position {
    let count = |n| u64::try_from(n).unwrap_or(u64::MAX);
    Position { line: count(error.line()), column: count(error.column()) }
}

/// The position after `before`.
fn position(before: &str) -> Position {
    let line = before.rsplit('\n').next().unwrap_or("");
    let count = |n| u64::try_from(n).unwrap_or(u64::MAX);
    Position {
        line: count(before.matches('\n').count()).saturating_add(1),
        column: count(line.chars().count()).saturating_add(1),
    }
}
