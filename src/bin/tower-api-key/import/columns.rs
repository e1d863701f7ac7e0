//! Which of their columns is which of ours.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::failure::Failure;

/// A row, by column.
pub(super) type Fields = Map<String, Value>;

pub(super) const KEY_HASH: &str = "key_hash";

/// What can be imported, and what else a column with it is called.
const KNOWN: [(&str, &[&str]); 18] = [
    (KEY_HASH, &[]),
    ("key_prefix", &[]),
    ("name", &[]),
    ("user_id", &[]),
    ("scopes", &[]),
    ("is_active", &[]),
    ("expires_at", &[]),
    ("last_used_at", &[]),
    ("created_at", &[]),
    ("description", &[]),
    ("tier", &["rate_limit_tier"]),
    ("limits", &[]),
    ("credits", &[]),
    ("not_before", &[]),
    ("allowed_addresses", &[]),
    ("metadata", &[]),
    ("revoked_at", &["revoked", "is_revoked"]),
    ("deleted_at", &["deleted", "is_deleted"]),
];

/// Columns that need no remark: keys get other ids here, and the rest begins anew.
const PASSED_OVER: [&str; 3] = ["id", "updated_at", "use_count"];

/// A column of ours and what they call it.
#[derive(Clone)]
pub(super) struct Renamed {
    ours: &'static str,
    theirs: String,
}

/// Reads `ours=theirs`.
pub(super) fn renamed(text: &str) -> Result<Renamed, String> {
    let names = || KNOWN.map(|(name, _)| name).join(", ");
    let (ours, theirs) = text.split_once('=').ok_or("must be like key_hash=their_name")?;
    let known = KNOWN.iter().find(|(name, _)| *name == ours);
    let (ours, _) = known.ok_or_else(|| format!("there are {}", names()))?;
    Ok(Renamed { ours, theirs: theirs.to_owned() })
}

pub(super) struct Columns {
    renamed: Vec<Renamed>,
    /// Columns that were there and are not read.
    unread: BTreeSet<String>,
}

impl Columns {
    pub(super) fn new(renamed: Vec<Renamed>) -> Self {
        Self { renamed, unread: BTreeSet::new() }
    }

    /// Everything that a column of ours may be called, the likeliest first.
    fn names(&self) -> impl Iterator<Item = (&'static str, Vec<&str>)> {
        KNOWN.iter().map(|(ours, others)| {
            let renamed = self.renamed.iter().find(|renamed| renamed.ours == *ours);
            let names = match renamed {
                Some(renamed) => vec![renamed.theirs.as_str()],
                None => std::iter::once(*ours).chain(others.iter().copied()).collect(),
            };
            (*ours, names)
        })
    }

    /// Whether what is needed is there, where the columns are known before the rows.
    pub(super) fn check(&self, header: &[String]) -> Result<(), Failure> {
        let is_there = |name: &str| header.iter().any(|column| column == name);
        let missing = self.renamed.iter().find(|renamed| !is_there(&renamed.theirs));
        let hash_is_renamed = self.renamed.iter().any(|renamed| renamed.ours == KEY_HASH);
        let text = match missing {
            Some(renamed) => format!("there is no column {:?}", renamed.theirs),
            None if hash_is_renamed || is_there(KEY_HASH) => return Ok(()),
            None => "there is no column key_hash; say what it is called with \
                     --column key_hash=NAME"
                .to_owned(),
        };
        Err(Failure::Usage(text))
    }

    /// Which of these columns are to be read.
    pub(super) fn wanted<'h>(&self, header: &'h [String]) -> Vec<&'h str> {
        let names: Vec<_> = self.names().flat_map(|(_, names)| names).collect();
        header.iter().map(String::as_str).filter(|column| names.contains(column)).collect()
    }

    /// The row under our names, with nothing else in it.
    pub(super) fn pick(&mut self, mut theirs: Fields) -> Fields {
        let mut ours = Fields::new();
        for (name, names) in self.names() {
            let values: Vec<_> = names.iter().filter_map(|name| theirs.remove(*name)).collect();
            ours.extend(values.into_iter().next().map(|value| (name.to_owned(), value)));
        }
        self.leave(theirs.into_iter().map(|(name, _)| name));
        ours
    }

    /// Remembers columns that are not read.
    pub(super) fn leave(&mut self, columns: impl IntoIterator<Item = String>) {
        /// Nobody reads more, and whoever sends other ones in each row shall not fill the memory.
        const MOST: usize = 50;
        for column in columns {
            if self.unread.len() < MOST && !PASSED_OVER.contains(&column.as_str()) {
                self.unread.insert(column);
            }
        }
    }

    pub(super) fn unread(&self) -> impl Iterator<Item = &str> {
        self.unread.iter().map(String::as_str)
    }
}
