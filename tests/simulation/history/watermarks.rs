//! Keys that were revoked by the time of their creation, held against the watermarks that revoked them.
//!
//! A watermark makes a version of each key that it covers, from its commit on. The row of the key follows, and
//! makes no further version.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tower_api_key::{OwnerId, RejectionKind, Timestamp, store::Watermark};

use super::{History, Life, Moment, Request, Verdict};

/// A watermark from its commit on.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) watermark: Watermark,
    pub(crate) committed: Moment,
    /// When the store removed it. None: it stands.
    pub(crate) removed: Option<Moment>,
}

/// A version of a key that a watermark made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Covered {
    /// The place of the watermark.
    pub(crate) mark: usize,
    /// When the row of the key was written.
    pub(crate) row: Option<Moment>,
}

/// An act that was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct MarkAct {
    pub(crate) watermark: Watermark,
    pub(crate) began: Moment,
    pub(crate) returned: Moment,
}

/// A key that took the place of another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Successor {
    pub(crate) key: usize,
    /// The answer that the other one asked for when this one was written.
    pub(crate) former: Verdict,
}

/// A new key as the store was given it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Created {
    pub(crate) key: usize,
    /// By its record.
    pub(crate) dated: Moment,
    pub(crate) committed: Moment,
}

/// The watermarks of a run, and what they revoked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    pub(crate) all: Vec<Mark>,
    /// By the key and the place of the version.
    pub(crate) covered: BTreeMap<(usize, usize), Covered>,
    pub(crate) acts: Vec<MarkAct>,
    pub(crate) successors: Vec<Successor>,
    pub(crate) created: Vec<Created>,
    /// Versions of keys that are new: another key with this digest, if there was one, was purged.
    pub(crate) made_anew: BTreeSet<(usize, usize)>,
    /// Nodes of an earlier version, which read the rows alone.
    pub(crate) read_rows: BTreeSet<Life>,
    /// Whether all rows are to be written.
    pub(crate) are_finished: bool,
}

impl Marks {
    /// The watermarks that stand, with their places.
    pub(crate) fn current(&self) -> impl Iterator<Item = (usize, &Watermark)> {
        let stand = self.all.iter().enumerate().filter(|(_, mark)| mark.removed.is_none());
        stand.map(|(place, mark)| (place, &mark.watermark))
    }

    /// Which of those that stand revokes a key of this owner that was created at this time.
    pub(crate) fn covering(&self, created: Timestamp, owner: Option<&OwnerId>) -> Option<usize> {
        self.current().find(|(_, mark)| is_meant(mark, created, owner)).map(|(place, _)| place)
    }
}

/// Whether a watermark means a key: by the documentation, and not by the crate.
pub(crate) fn is_meant(mark: &Watermark, created: Timestamp, owner: Option<&OwnerId>) -> bool {
    let is_of_owner = match &mark.owner {
        Some(of) => owner == Some(of),
        None => true,
    };
    is_of_owner && created.as_unix_millis() < mark.issued_before.as_unix_millis()
}

/// How long a watermark stands at least.
const LASTS: Duration = Duration::from_mins(1);

const REVOKED: Verdict = Verdict::Refused(RejectionKind::Revoked);
const UNKNOWN: Verdict = Verdict::Refused(RejectionKind::Unknown);

impl History {
    /// What is against the promise of watermarks, beside the answers.
    pub(super) fn against_watermarks(&self) -> Vec<String> {
        let Marks { all, covered, acts, successors, created, made_anew, are_finished, .. } =
            &self.marks;
        let mut found = Vec::new();
        for ((key, place), of) in covered {
            let mark = &all[of.mark];
            // Only by being deleted does it come to another end.
            let next = self.keys.get(key).and_then(|versions| versions.get(place + 1));
            let next = next.filter(|_| !made_anew.contains(&(*key, place + 1)));
            if next.is_some_and(|next| ![REVOKED, UNKNOWN].contains(&next.verdict)) {
                found.push(format!("key {key} came back after {mark:?}: {next:?}"));
            }
            let is_late = |until: Moment| of.row.is_none_or(|row| until < row);
            if mark.removed.is_some_and(is_late) {
                found.push(format!("{mark:?} was removed before the row of key {key}: {of:?}"));
            }
            if *are_finished && of.row.is_none() {
                found.push(format!("the row of key {key} was never written: {mark:?}"));
            }
        }
        for mark in all {
            // Keys that were being added have come by then.
            if mark.removed.is_some_and(|removed| removed < mark.committed + LASTS) {
                found.push(format!("{mark:?} was removed too soon"));
            }
        }
        for act in acts {
            let is_there = all.iter().any(|mark| {
                mark.watermark == act.watermark
                    && mark.committed <= act.returned
                    && mark.removed.is_none_or(|removed| act.began <= removed)
            });
            if !is_there {
                found.push(format!("{act:?} was acknowledged, and is not there"));
            }
        }
        for successor in successors {
            if [REVOKED, UNKNOWN].contains(&successor.former) {
                found.push(format!("{successor:?} took the place of a key that had ended"));
            }
        }
        for key in created {
            // One that a watermark is to revoke would be too young for it.
            if key.dated > key.committed {
                found.push(format!("{key:?} is of a time that had not come"));
            }
        }
        found
    }

    /// When a version that a watermark made counts for a node of an earlier version: with its row. None: this
    /// is no such node, or no such version.
    pub(super) fn row_of(&self, request: &Request, key: usize, place: usize) -> Option<Moment> {
        let covered = self.marks.covered.get(&(key, place))?;
        let starts = self.starts.get(&request.node).into_iter().flatten();
        let life = starts.filter(|at| **at <= request.began).count();
        let life = Life { node: request.node, life };
        self.marks.read_rows.contains(&life).then(|| covered.row.unwrap_or(Moment::MAX))
    }

    /// Whether an authority was behind in this time, and this version was made by a watermark. The first
    /// answer of the authority tells whether there is such a thing, so that one which is behind is believed.
    pub(super) fn is_disproved(
        &self,
        key: usize,
        place: usize,
        since: Moment,
        until: Moment,
    ) -> bool {
        self.marks.covered.contains_key(&(key, place))
            && self.behind.iter().any(|span| span.overlaps(since, until))
    }
}
