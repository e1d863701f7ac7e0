//! [`DecisionSpan`]: the decision about a request, for `tracing`.
//!
//! A span costs more than a whole decision, and a client makes as many as it sends requests. So only some are
//! told: ten a second of each outcome, and ten of requests that wait.

#[cfg(feature = "tracing")]
use tracing::{Level, Span, field, span::EnteredSpan};

use super::Decided;
#[cfg(feature = "tracing")]
use super::sampled::{self, Sampled};
use crate::key::{KeyId, OwnerId, RejectionKind};

/// The target of these spans, so that they can be chosen apart from events.
#[cfg(feature = "tracing")]
const TARGET: &str = "tower_api_key::decision";

/// The span of one decision, open until it is dropped.
#[cfg(feature = "tracing")]
pub(crate) struct DecisionSpan(Span);

/// There is none.
#[cfg(not(feature = "tracing"))]
pub(crate) enum DecisionSpan {}

/// What is known of a decision.
#[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "there is no span for it"))]
pub(crate) struct Decision<'d> {
    pub(crate) decided: Decided,
    pub(crate) denied: Option<RejectionKind>,
    pub(crate) key: Option<KeyId>,
    pub(crate) owner: Option<&'d OwnerId>,
    /// The family of the source that held the key.
    pub(crate) source: Option<&'static str>,
    /// Whether memory knew the answer, if a key was looked for.
    pub(crate) is_cached: Option<bool>,
}

impl Decision<'_> {
    /// Of which nothing else is known.
    pub(crate) const fn new(decided: Decided) -> Self {
        Self { decided, denied: None, key: None, owner: None, source: None, is_cached: None }
    }
}

/// Whether a subscriber wants spans of decisions.
#[inline]
pub(crate) fn wants_decisions() -> bool {
    #[cfg(feature = "tracing")]
    return tracing::span_enabled!(target: TARGET, Level::TRACE);
    #[cfg(not(feature = "tracing"))]
    return false;
}

#[cfg(feature = "tracing")]
impl DecisionSpan {
    /// That of a request which has not waited, if it is one of those that are told.
    pub(crate) fn at_once(decided: Decided, denied: Option<RejectionKind>) -> Option<Self> {
        static DECIDED: [Sampled; Decided::ALL.len()] =
            [const { Sampled::new() }; Decided::ALL.len()];
        static DENIED: [Sampled; RejectionKind::COUNT] =
            [const { Sampled::new() }; RejectionKind::COUNT];

        let of_outcome = &DECIDED[decided as usize];
        Self::if_due(denied.map_or(of_outcome, |kind| &DENIED[kind as usize]))
    }

    /// That of a request which waits, if it is one of those that are told. The outcome is not known yet.
    pub(crate) fn of_waiting() -> Option<Self> {
        static WAITING: Sampled = Sampled::new();

        Self::if_due(&WAITING)
    }

    fn if_due(sampled: &Sampled) -> Option<Self> {
        let span = || {
            tracing::trace_span!(
                target: TARGET,
                "api_key",
                outcome = field::Empty,
                code = field::Empty,
                key = field::Empty,
                owner = field::Empty,
                source = field::Empty,
                cache = field::Empty,
            )
        };
        (wants_decisions() && sampled.is_due(sampled::now())).then(|| Self(span()))
    }

    /// What happens until the guard is dropped is inside.
    pub(crate) fn enter(&self) -> EnteredSpan {
        self.0.clone().entered()
    }

    /// Writes the decision into it.
    pub(crate) fn tell(&self, decision: &Decision<'_>) {
        let Self(span) = self;
        span.record("outcome", decision.decided.label());
        if let Some(kind) = decision.denied {
            span.record("code", kind.code());
        }
        if let Some(key) = decision.key {
            span.record("key", field::display(key));
        }
        if let Some(owner) = decision.owner {
            span.record("owner", owner.as_str());
        }
        if let Some(source) = decision.source {
            span.record("source", source);
        }
        if let Some(is_cached) = decision.is_cached {
            span.record("cache", if is_cached { "hit" } else { "miss" });
        }
    }
}

#[cfg(not(feature = "tracing"))]
impl DecisionSpan {
    pub(crate) fn at_once(_: Decided, _: Option<RejectionKind>) -> Option<Self> {
        None
    }

    pub(crate) fn of_waiting() -> Option<Self> {
        None
    }

    pub(crate) fn enter(&self) {
        match *self {}
    }

    pub(crate) fn tell(&self, _: &Decision<'_>) {
        match *self {}
    }
}
