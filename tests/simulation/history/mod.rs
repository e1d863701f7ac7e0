//! The history of a run, and whether it keeps the promise: a revoked key is refused on every node soon, and
//! a good one never; an act that is acknowledged is done; and [limits, credits and uses](books) are counted
//! as the crate says.
//!
//! Times are counted from the beginning of the run.

#![allow(dead_code, reason = "tests of real servers include this, and write down less")]

mod acts;
mod answers;
pub(crate) mod books;
pub(crate) mod denials;
#[cfg(test)]
mod tests;
pub(crate) mod watermarks;

use std::{collections::BTreeMap, time::Duration};

use tower_api_key::RejectionKind;

use self::{
    books::Books,
    denials::{Denials, Restore},
    watermarks::Marks,
};

pub(crate) type Moment = Duration;

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    Refused(RejectionKind),
}

/// A node from its start to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life {
    pub(crate) node: usize,
    /// How often a node with this number was started before.
    pub(crate) life: usize,
}

/// An act that was acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Act {
    pub(crate) key: usize,
    pub(crate) began: Moment,
    pub(crate) returned: Moment,
    /// The answer that the key asks for once this is done.
    pub(crate) verdict: Verdict,
}

/// An old key of a rotation that was acknowledged, and lives on for so long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grace {
    pub(crate) key: usize,
    pub(crate) began: Moment,
    pub(crate) returned: Moment,
    pub(crate) lasts: Duration,
}

/// An old key of a rotation that was acknowledged, and lives on for so long after the first use of the new one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) old: usize,
    pub(crate) new: usize,
    pub(crate) lasts: Duration,
}

/// A request with a key to a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) node: usize,
    pub(crate) key: usize,
    pub(crate) began: Moment,
    pub(crate) ended: Moment,
    pub(crate) verdict: Verdict,
}

/// A state of a key, from the moment in which the authority has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Version {
    pub(crate) committed: Moment,
    /// The answer that this state asks for. A key that does not exist is `Unknown`.
    pub(crate) verdict: Verdict,
    /// When the act returned, whatever it said. None: it never did.
    pub(crate) returned: Option<Moment>,
    /// Whether it said that it is done.
    pub(crate) is_acknowledged: bool,
    /// Whether the announcement says that it was done.
    pub(crate) is_announced_as_sure: bool,
    /// When it was announced, if the bus took it.
    pub(crate) announced: Option<Moment>,
}

/// A time in which something was out of order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) began: Moment,
    pub(crate) ended: Moment,
}

impl Span {
    pub(crate) fn overlaps(self, from: Moment, to: Moment) -> bool {
        self.began <= to && from <= self.ended
    }
}

/// The answer as far as the key goes: one that is beyond its limits is good.
pub(crate) fn judged(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Refused(RejectionKind::RateLimited | RejectionKind::CreditsExhausted) => {
            Verdict::Accepted
        }
        other => other,
    }
}

/// What is promised.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promise {
    /// From the acknowledgement of a change to its effect, where it was heard.
    pub(crate) heard: Duration,
    /// The time to live, and what clocks and ticks add; of a key that was not found, its own.
    pub(crate) ttl: Duration,
    pub(crate) not_found_ttl: Duration,
    pub(crate) stale_if_error: Duration,
}

/// Everything that happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) requests: Vec<Request>,
    /// Of each key, in the order of their commits. The first is that it does not exist.
    pub(crate) keys: BTreeMap<usize, Vec<Version>>,
    /// When a node may have missed announcements: up to the moment at which it listened again.
    pub(crate) deaf: BTreeMap<usize, Vec<Span>>,
    /// When an act on a key was announced of which nothing is known.
    pub(crate) unsure: BTreeMap<usize, Vec<Moment>>,
    /// When nodes started.
    pub(crate) starts: BTreeMap<usize, Vec<Moment>>,
    /// When nodes crashed that were not replaced at once.
    pub(crate) crashed: BTreeMap<Life, Moment>,
    /// When the store failed, was behind, or took so long that a cache goes on without it.
    pub(crate) store_fails: Vec<Span>,
    /// When the authority was behind, as after a fail-over.
    pub(crate) behind: Vec<Span>,
    /// When a version of a key ends by itself, as the old key of a rotation does: by the key and its place
    /// among the versions.
    pub(crate) ends: BTreeMap<(usize, usize), Moment>,
    /// How far replicas may be behind: an answer to a change that could not be announced is older by that.
    pub(crate) lag: Duration,
    /// By how much clocks of nodes may differ from the true time.
    pub(crate) skew: Duration,
    pub(crate) acts: Vec<Act>,
    pub(crate) graces: Vec<Grace>,
    pub(crate) waits: Vec<Wait>,
    /// Keys that were restored from a backup.
    pub(crate) restores: Vec<Restore>,
    /// When requests may be denied for now, if that is judged.
    pub(crate) denials: Option<Denials>,
    /// When nodes asked the store for keys, by the node and the key, if that is written down.
    pub(crate) asked: Option<BTreeMap<(usize, usize), Vec<Moment>>>,
    /// When nodes began to announce changes of a key, whatever became of it, if that is written down.
    pub(crate) attempts: Option<BTreeMap<usize, Vec<Moment>>>,
    /// Which node wrote a version of a key, by the key and its place among the versions.
    pub(crate) writers: BTreeMap<(usize, usize), Life>,
    /// Since when everything is in order.
    pub(crate) quiet_since: Option<Moment>,
    pub(crate) marks: Marks,
    pub(crate) books: Books,
}

impl History {
    /// What is against the promise. Nothing, if all is well.
    pub(crate) fn violations(&self, promise: Promise) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for request in &self.requests {
            found.extend(self.violation(request, promise));
            found.extend(self.denied(request, promise));
        }
        found.extend(self.revived(promise));
        found.extend(self.acts.iter().filter_map(|act| self.lost(act)));
        found.extend(self.graces.iter().filter_map(|grace| self.endless(grace)));
        found.extend(self.waits.iter().filter_map(|wait| self.still_waits(wait)));
        found.extend(self.unannounced());
        found.extend(self.against_watermarks());
        found.extend(self.books.violations());
        found
    }
}
