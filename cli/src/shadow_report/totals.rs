//! [`Totals`]: the events of logs, summed up.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashSet},
};

use serde::Serialize;

use super::event::{Event, Kind};

#[derive(Default)]
pub(super) struct Totals {
    denials: BTreeMap<String, Denied>,
    differences: BTreeMap<(String, String, String), u64>,
    keys: BTreeMap<String, OfKey>,
    undecided: u64,
    unreadable: u64,
}

#[derive(Default)]
struct Denied {
    requests: u64,
    keys: HashSet<String>,
    first: String,
    last: String,
}

#[derive(Default)]
struct OfKey {
    requests: u64,
    codes: BTreeSet<String>,
}

/// The requests that would be denied for one reason.
#[derive(Serialize)]
pub(super) struct Denial<'t> {
    pub(super) would_deny: &'t str,
    pub(super) requests: u64,
    /// Known ones.
    pub(super) keys: usize,
    pub(super) first: &'t str,
    pub(super) last: &'t str,
}

/// The requests that the other check answered in one other way.
#[derive(Serialize)]
pub(super) struct Differing<'t> {
    pub(super) difference: &'t str,
    /// The denial, or `-`.
    pub(super) code: &'t str,
    pub(super) status: &'t str,
    pub(super) requests: u64,
}

/// The requests of a key that would be denied.
#[derive(Serialize)]
pub(super) struct DeniedOften<'t> {
    pub(super) key: &'t str,
    pub(super) requests: u64,
    pub(super) codes: Vec<&'t str>,
}

#[derive(Serialize)]
pub(super) struct Undecided {
    pub(super) undecided: u64,
}

impl Totals {
    pub(super) fn add(&mut self, event: Event) {
        match event.kind {
            Kind::WouldDeny { code } => {
                if let Some(key) = &event.key {
                    let of_key = self.keys.entry(key.clone()).or_default();
                    of_key.requests += 1;
                    of_key.codes.insert(code.clone());
                }
                self.denials.entry(code).or_default().add(event.at, event.key);
            }
            Kind::Undecided => self.undecided += 1,
            Kind::Differs { difference, code, status } => {
                let code = code.unwrap_or_else(|| "-".to_owned());
                *self.differences.entry((difference, code, status)).or_default() += 1;
            }
        }
    }

    pub(super) fn add_unreadable(&mut self) {
        self.unreadable += 1;
    }

    /// How many lines could not be read.
    pub(super) fn unreadable(&self) -> u64 {
        self.unreadable
    }

    pub(super) fn is_empty(&self) -> bool {
        self.denials.is_empty() && self.differences.is_empty() && self.undecided == 0
    }

    pub(super) fn denials(&self) -> impl Iterator<Item = Denial<'_>> {
        let mut denials: Vec<_> = self.denials.iter().collect();
        denials.sort_by_key(|(_, denied)| Reverse(denied.requests));
        denials.into_iter().map(|(code, denied)| Denial {
            would_deny: code,
            requests: denied.requests,
            keys: denied.keys.len(),
            first: &denied.first,
            last: &denied.last,
        })
    }

    pub(super) fn differences(&self) -> impl Iterator<Item = Differing<'_>> {
        self.differences.iter().map(|((difference, code, status), requests)| Differing {
            difference,
            code,
            status,
            requests: *requests,
        })
    }

    /// The keys with the most requests.
    pub(super) fn keys(&self, most: usize) -> impl Iterator<Item = DeniedOften<'_>> {
        let mut keys: Vec<_> = self.keys.iter().collect();
        keys.sort_by_key(|(_, of_key)| Reverse(of_key.requests));
        keys.into_iter().take(most).map(|(key, of_key)| DeniedOften {
            key,
            requests: of_key.requests,
            codes: of_key.codes.iter().map(String::as_str).collect(),
        })
    }

    pub(super) fn undecided(&self) -> Undecided {
        Undecided { undecided: self.undecided }
    }
}

impl Denied {
    /// Times of RFC 3339 in UTC order as texts.
    fn add(&mut self, at: String, key: Option<String>) {
        self.requests += 1;
        self.keys.extend(key);
        if self.first.is_empty() || at < self.first {
            self.first.clone_from(&at);
        }
        if at > self.last {
            self.last = at;
        }
    }
}
