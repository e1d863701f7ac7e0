//! What may become of a request, and what became of all of them.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, time::Duration};

use tower_api_key::{KeyId, RejectionKind};

/// Where the test is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    #[default]
    Before,
    /// From just before the trouble begins.
    During,
    /// The same, after what is known about keys has become too old to be used.
    TooLong,
    /// From the end of the trouble until all are served again.
    Recovering,
    After,
}

/// What kind of key a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A good one that is in the cache.
    Cached,
    /// A good one that nobody has asked for before.
    Uncached,
    /// One that was revoked before the trouble began.
    Revoked,
    /// One that was never issued.
    Unknown,
}

impl Kind {
    /// Why a request with it has to be refused.
    fn reason(self) -> Option<RejectionKind> {
        match self {
            Self::Cached | Self::Uncached => None,
            Self::Revoked => Some(RejectionKind::Revoked),
            Self::Unknown => Some(RejectionKind::Unknown),
        }
    }

    /// What is to become of a request with it, where there is no trouble.
    pub(crate) fn wanted(self) -> Outcome {
        if self.reason().is_none() { Outcome::Accepted } else { Outcome::Refused }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Accepted,
    /// 401, with the reason that is the key's.
    Refused,
    /// 503.
    Unavailable,
    /// Let in as somebody else.
    Mistaken,
    /// Denied for any other reason.
    Denied(&'static str),
    /// No answer long after the lookup's time was up.
    Hung,
}

impl Outcome {
    /// What an answer means for a key of this kind, which is `id`'s if it was ever issued.
    pub(crate) fn of(kind: Kind, id: Option<KeyId>, answer: Result<KeyId, RejectionKind>) -> Self {
        match (kind, answer) {
            (_, Ok(admitted)) if id.is_none_or(|id| id == admitted) => Self::Accepted,
            (_, Ok(_)) => Self::Mistaken,
            (_, Err(RejectionKind::Unavailable | RejectionKind::Overloaded)) => Self::Unavailable,
            (_, Err(reason)) if kind.reason() == Some(reason) => Self::Refused,
            (_, Err(reason)) => Self::Denied(reason.code()),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Seen {
    counts: BTreeMap<(Kind, Outcome), usize>,
    slowest: Duration,
}

/// What became of all requests so far.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) phase: Phase,
    /// Whether the keys are in the server that is in trouble.
    store_is_in_trouble: bool,
    /// By the phases in which requests were made and answered.
    seen: BTreeMap<(Phase, Phase), Seen>,
    /// What must not be.
    wrong: Vec<String>,
}

impl Tally {
    pub(crate) fn new(store_is_in_trouble: bool) -> Self {
        let (seen, wrong) = (BTreeMap::new(), Vec::new());
        Self { phase: Phase::Before, store_is_in_trouble, seen, wrong }
    }

    /// Adds a request that was made in the phase `began` and is answered now.
    pub(crate) fn add(&mut self, kind: Kind, outcome: Outcome, began: Phase, took: Duration) {
        let phases = began..=self.phase;
        if !self.allows(kind, outcome, &phases) {
            self.wrong.push(format!("{kind:?} key: {outcome:?} in {phases:?}"));
        }
        let seen = self.seen.entry((began, self.phase)).or_default();
        *seen.counts.entry((kind, outcome)).or_default() += 1;
        seen.slowest = seen.slowest.max(took);
    }

    /// Whether this may become of a request that was made and answered in these phases.
    ///
    /// Never a wrong key let in, never a good one called bad, and known keys go on. Where there is
    /// no trouble, others may be unavailable all the same: on a machine that is busy enough, the
    /// time for a lookup passes. There the test waits until every key is answered as it should be.
    fn allows(&self, kind: Kind, outcome: Outcome, phases: &RangeInclusive<Phase>) -> bool {
        let may_be_too_old = phases.contains(&Phase::TooLong)
            || phases.contains(&Phase::Recovering) && self.was_too_long();
        match (kind, outcome) {
            (_, outcome) if outcome == kind.wanted() => true,
            (Kind::Cached, Outcome::Unavailable) => may_be_too_old,
            (_, Outcome::Unavailable) => self.store_is_in_trouble,
            _ => false,
        }
    }

    fn was_too_long(&self) -> bool {
        self.seen.keys().any(|(_, answered)| *answered == Phase::TooLong)
    }

    /// Of how many requests, made and answered in this phase, this has become.
    pub(crate) fn count(&self, kind: Kind, outcome: Outcome) -> usize {
        let seen = self.seen.get(&(self.phase, self.phase));
        seen.and_then(|seen| seen.counts.get(&(kind, outcome))).copied().unwrap_or(0)
    }

    /// What must not be, and is.
    pub(crate) fn wrong(&self) -> &[String] {
        &self.wrong
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((made, answered), Seen { counts, slowest }) in &self.seen {
            let phases = if made == answered {
                format!("{made:?}")
            } else {
                format!("{made:?} to {answered:?}")
            };
            write!(f, "\n  {phases:21}")?;
            let mut last = None;
            for ((kind, outcome), count) in counts {
                match last.replace(kind) {
                    Some(last) if last == kind => {}
                    Some(_) => write!(f, "; {kind:?}:")?,
                    None => write!(f, " {kind:?}:")?,
                }
                write!(f, " {count} {outcome:?}")?;
            }
            write!(f, "; slowest {slowest:.1?}")?;
        }
        Ok(())
    }
}
