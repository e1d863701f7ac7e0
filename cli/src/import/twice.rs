//! Keys that one source has twice, in rows that differ.
//!
//! A table that keeps every change has a key once as it was and once as it ended. Whichever row came
//! first would decide, so such a source is refused.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
};

use serde_json::Value;
use tower_api_key::{KeyHasher, key::LegacyHash};

use super::{columns::KEY_HASH, digest, row, source::Place};
use crate::exported::Fields;

/// The mark of a row's key: half a digest, to save memory. No two of them are alike by chance,
/// and any that were made alike only stop the import.
type Mark = [u8; 16];

/// The first row of a key.
#[derive(Clone, Copy)]
struct First {
    number: u64,
    /// A hash of all that the row says.
    says: u64,
    /// Whether its key is to be written.
    comes_in: bool,
}

/// A row, before it is known what becomes of it.
pub(super) struct Sight {
    marks: Vec<Mark>,
    says: u64,
}

/// The keys of all rows so far, also of those that are left out.
#[derive(Default)]
pub(super) struct Seen {
    rows: HashMap<Mark, First>,
    hashing: RandomState,
}

impl Seen {
    /// The part to remember of a row that may have no state that is understood.
    pub(super) fn sight(&self, fields: &Fields, has_state: bool) -> Sight {
        let says = self.hashing.hash_one((Value::Object(fields.clone()).to_string(), has_state));
        Sight { marks: marks(fields), says }
    }

    /// Takes note of a row; `Some` with the number of an earlier row of the same key that says
    /// something else, if either of them is to be written.
    pub(super) fn see(&mut self, sight: &Sight, place: &Place, comes_in: bool) -> Option<u64> {
        let mut earlier = None;
        for mark in &sight.marks {
            let row = First { number: place.number, says: sight.says, comes_in };
            let first = *self.rows.entry(*mark).or_insert(row);
            if first.says != sight.says && (first.comes_in || comes_in) {
                earlier = earlier.or(Some(first.number));
            }
        }
        earlier
    }
}

/// The mark of a row's key, as far as the row says it, valid or not. That of an export is
/// known by its id as well.
fn marks(fields: &Fields) -> Vec<Mark> {
    let text = |name| fields.get(name).and_then(Value::as_str);
    let key = text(KEY_HASH).and_then(|hash| match digest::read(hash, true) {
        Ok(Some(digest)) => Some(mark(&digest.to_hex())),
        Ok(None) => LegacyHash::parse(hash).is_ok().then(|| mark(one_spelling(hash))),
        Err(_) => None,
    });
    let id = text("id").filter(|_| row::is_exported(fields));
    key.into_iter().chain(id.map(mark)).collect()
}

/// Without the part in which the programs that make bcrypt hashes differ: `$2a$`, `$2b$` or `$2y$`.
fn one_spelling(hash: &str) -> &str {
    ["$2a$", "$2b$", "$2y$"].iter().find_map(|start| hash.strip_prefix(start)).unwrap_or(hash)
}

fn mark(text: &str) -> Mark {
    let digest = KeyHasher::sha256().digest(text);
    let mut mark = Mark::default();
    mark.copy_from_slice(&digest.as_bytes()[..16]);
    mark
}
