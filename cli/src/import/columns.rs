//! Which of their columns is which of ours.
//!
//! An allow-list: a column that is neither known, nor mapped, nor given up by its name stops the
//! import. It may say that a key has ended, in words that no list foresees.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    row::Bad,
    state::{self, Meaning, Says, State},
    time,
};
use crate::{
    exported::{Fields, VERSION},
    failure::Failure,
    output::plain,
};

pub(super) const KEY_HASH: &str = "key_hash";

/// The state that all state columns of a row say together, under a name of its own.
pub(super) const STATE: &str = "state";

/// A column of ours.
struct Known {
    name: &'static str,
    /// How it says the state of a key, if it does.
    says: Option<Says>,
    /// Its other names, in lower case and without `_`, `-` and spaces.
    spellings: &'static [&'static str],
}

const fn field(name: &'static str, spellings: &'static [&'static str]) -> Known {
    Known { name, says: None, spellings }
}

const fn state(name: &'static str, says: Says, spellings: &'static [&'static str]) -> Known {
    Known { name, says: Some(says), spellings }
}

/// The columns that can be imported.
static KNOWN: [Known; 24] = [
    field(KEY_HASH, &["keyhash", "hashedkey"]),
    field("key_prefix", &["keyprefix"]),
    field("name", &["name"]),
    field("user_id", &["userid", "owner", "ownerid"]),
    field("scopes", &["scopes"]),
    field(
        "expires_at",
        &[
            "expiresat",
            "expires",
            "expireson",
            "expireat",
            "expiry",
            "expiryat",
            "expirydate",
            "expiration",
            "expirationdate",
        ],
    ),
    field("last_used_at", &["lastusedat", "lastused"]),
    field("created_at", &["createdat", "created"]),
    field("description", &["description"]),
    field("tier", &["tier", "ratelimittier"]),
    field("limits", &["limits"]),
    field("credits", &["credits"]),
    field("not_before", &["notbefore"]),
    field("allowed_addresses", &["allowedaddresses"]),
    field("metadata", &["metadata"]),
    state("is_active", Says::Active, &["isactive", "active", "enabled", "isenabled"]),
    state("is_disabled", Says::Inactive, &["isdisabled", "disabled"]),
    state("status", Says::Word, &["status", "state"]),
    state("is_revoked", Says::Ended, &["isrevoked"]),
    state("is_deleted", Says::Ended, &["isdeleted"]),
    state("revoked_at", Says::EndedAt, &["revokedat"]),
    state("deleted_at", Says::EndedAt, &["deletedat"]),
    state("revoked", Says::EndedOrAt, &["revoked"]),
    state("deleted", Says::EndedOrAt, &["deleted"]),
];

/// Columns that need no remark: keys get other ids here, and the rest begins anew.
const PASSED_OVER: [&str; 3] = ["id", "updatedat", "usecount"];

fn plain_name(name: &str) -> String {
    let letters = name.chars().filter(|c| !matches!(c, '_' | '-' | ' '));
    letters.flat_map(char::to_lowercase).collect()
}

fn known(name: &str) -> Option<&'static Known> {
    let name = plain_name(name);
    KNOWN.iter().find(|known| known.spellings.contains(&name.as_str()))
}

/// A column of ours and their name for it.
#[derive(Clone)]
pub(super) struct Renamed {
    ours: &'static Known,
    theirs: String,
}

/// Reads `ours=theirs`.
pub(super) fn renamed(text: &str) -> Result<Renamed, String> {
    let (ours, theirs) = text.split_once('=').ok_or("must be like key_hash=their_name")?;
    let names = || KNOWN.iter().map(|known| known.name).collect::<Vec<_>>().join(", ");
    let ours = known(ours).ok_or_else(|| format!("there are {}", names()))?;
    Ok(Renamed { ours, theirs: theirs.to_owned() })
}

/// The caller's options about columns and their values.
#[derive(Clone)]
pub(super) struct Mapping {
    pub(super) renamed: Vec<Renamed>,
    pub(super) ignored: Vec<String>,
    pub(super) ignore_others: bool,
    pub(super) states: Vec<Meaning>,
    pub(super) times: time::Reading,
}

/// A row under our names.
pub(super) struct Picked {
    pub(super) fields: Fields,
    /// Whether its state is understood. If not, the row still says whose key it is.
    pub(super) state: Result<(), Bad>,
}

/// The meaning of a column of theirs.
enum Column {
    Known(&'static Known),
    Ignored,
    Unknown,
}

pub(super) struct Columns {
    mapping: Mapping,
    /// The columns that were there, with their meanings.
    seen: BTreeMap<String, &'static Known>,
    unknown: BTreeSet<String>,
    /// Columns of ours for which a row had several.
    twice: BTreeSet<&'static str>,
    /// In how many rows each column was that says the state of a key, of those that have not ended.
    with_state: BTreeMap<&'static str, u64>,
    not_ended: u64,
    rows: u64,
}

impl Columns {
    pub(super) fn new(mapping: Mapping) -> Self {
        Self {
            mapping,
            seen: BTreeMap::new(),
            unknown: BTreeSet::new(),
            twice: BTreeSet::new(),
            with_state: BTreeMap::new(),
            not_ended: 0,
            rows: 0,
        }
    }

    fn column(&self, name: &str) -> Column {
        let Mapping { renamed, ignored, .. } = &self.mapping;
        if let Some(renamed) = renamed.iter().find(|renamed| renamed.theirs == name) {
            return Column::Known(renamed.ours);
        }
        if ignored.iter().any(|ignored| ignored == name) {
            return Column::Ignored;
        }
        // Another column that is called like one that was mapped is not read in its place. But
        // everything that says the state counts.
        let is_taken = |known: &Known| {
            known.says.is_none() && renamed.iter().any(|renamed| renamed.ours.name == known.name)
        };
        match known(name) {
            Some(known) if !is_taken(known) => Column::Known(known),
            _ if PASSED_OVER.contains(&plain_name(name).as_str()) => Column::Ignored,
            _ => Column::Unknown,
        }
    }

    /// Takes note of a column.
    fn see(&mut self, name: &str) -> Column {
        /// No person reads more, and rows that each have other columns shall not fill the memory.
        const MAX: usize = 100;
        let column = self.column(name);
        match column {
            Column::Unknown if self.unknown.len() < MAX => {
                self.unknown.insert(name.chars().take(MAX).collect());
            }
            Column::Known(known) if self.seen.len() < MAX => {
                self.seen.insert(name.to_owned(), known);
            }
            _ => {}
        }
        column
    }

    /// Takes note of all columns, where they are known before the rows, and refuses bad ones.
    pub(super) fn header(&mut self, header: &[String]) -> Result<(), Failure> {
        if header.iter().any(|column| column == VERSION) {
            return self.check_export(header.iter());
        }
        let mut ours = BTreeSet::new();
        for column in header {
            if let Column::Known(known) = self.see(column)
                && known.says.is_none()
                && !ours.insert(known.name)
            {
                self.twice.insert(known.name);
            }
        }
        // First: a file without a header has keys there, which are not to be shown.
        self.check_needed()?;
        let is_unique = |(place, column)| !header[..place].contains(column);
        if !header.iter().enumerate().all(is_unique) {
            return Err(Failure::Usage("there are two columns of the same name".to_owned()));
        }
        self.check_known()
    }

    /// The same, where each row has its own, after the last.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.rows == 0 {
            return Ok(());
        }
        self.check_needed()?;
        self.check_known()?;
        // A row without the member that says the state would be active, whatever that means.
        let partial = self.with_state.iter().find(|(_, rows)| **rows < self.not_ended);
        partial.map_or(Ok(()), |(column, rows)| {
            Err(Failure::Usage(format!(
                "{column} is in {rows} of {} rows: add it to the others, or give it up with \
                 --ignore-column",
                self.not_ended
            )))
        })
    }

    fn check_export<'c>(
        &self,
        mut columns: impl Iterator<Item = &'c String>,
    ) -> Result<(), Failure> {
        let text = if !self.mapping.renamed.is_empty() {
            "the columns of an export are not to be mapped"
        } else if !columns.any(|column| column == KEY_HASH) {
            "this export has no digests of keys, its column key_hash is missing: make one with `export \
             --with-digests`"
        } else {
            return Ok(());
        };
        Err(Failure::Usage(text.to_owned()))
    }

    fn check_needed(&self) -> Result<(), Failure> {
        let is_missing = |renamed: &&Renamed| !self.seen.contains_key(&renamed.theirs);
        if let Some(renamed) = self.mapping.renamed.iter().find(is_missing) {
            return Err(Failure::Usage(format!("there is no column {:?}", renamed.theirs)));
        }
        if self.seen.values().any(|known| known.name == KEY_HASH) {
            return Ok(());
        }
        let text = "there is no column key_hash (or hashed_key), which has the digests of the keys; say \
                    what it is called with --column key_hash=NAME";
        Err(Failure::Usage(text.to_owned()))
    }

    fn check_known(&self) -> Result<(), Failure> {
        if let Some(ours) = self.twice.first() {
            let several = self.seen.iter().filter(|(_, known)| known.name == *ours);
            let several: Vec<_> = several.map(|(theirs, _)| plain(theirs)).collect();
            return Err(Failure::Usage(format!(
                "several columns may be {ours}: {}; give up all but one with --ignore-column",
                several.join(", ")
            )));
        }
        if self.mapping.ignore_others || self.unknown.is_empty() {
            return Ok(());
        }
        let unknown: Vec<_> = self.unknown.iter().map(|name| plain(name)).collect();
        Err(Failure::Usage(format!(
            "these columns are not known: {}. Say what each of them is with --column OURS=THEIRS, \
             or give it up with --ignore-column NAME; --ignore-other-columns gives up all",
            unknown.join(", ")
        )))
    }

    /// Which of these columns are to be read.
    pub(super) fn wanted<'h>(&self, header: &'h [String]) -> Vec<&'h str> {
        let is_known = |name: &&str| matches!(self.column(name), Column::Known(_));
        header.iter().map(String::as_str).filter(is_known).collect()
    }

    /// The row under our names, with nothing else in it. A row of an export stays as it is.
    pub(super) fn pick(&mut self, theirs: Fields) -> Result<Picked, Failure> {
        if theirs.contains_key(VERSION) {
            self.check_export(theirs.keys())?;
            return Ok(Picked { fields: theirs, state: Ok(()) });
        }
        self.rows += 1;
        let (mut ours, mut state, mut with_state) = (Fields::new(), Ok(None), BTreeSet::new());
        for (name, value) in theirs {
            let Column::Known(known) = self.see(&name) else { continue };
            let Some(says) = known.says else {
                if ours.insert(known.name.to_owned(), value).is_some() {
                    self.twice.insert(known.name);
                }
                continue;
            };
            if !matches!(says, Says::EndedAt | Says::EndedOrAt) {
                with_state.insert(known.name);
            }
            let Mapping { states, times, .. } = &self.mapping;
            let says = state::read(known.name, says, &value, states, times);
            state = state.and_then(|state| Ok(state.max(Some(says?))));
        }
        let state = match state {
            Ok(state) => state,
            Err(bad) => return Ok(Picked { fields: ours, state: Err(bad) }),
        };
        if state != Some(State::Ended) {
            self.not_ended += 1;
            for column in with_state {
                *self.with_state.entry(column).or_insert(0) += 1;
            }
        }
        let state = state.map(State::name);
        ours.extend(state.map(|state| (STATE.to_owned(), state.into())));
        Ok(Picked { fields: ours, state: Ok(()) })
    }

    /// The columns that the caller gave up without naming them.
    pub(super) fn given_up(&self) -> impl Iterator<Item = &str> {
        self.unknown.iter().map(String::as_str)
    }
}
