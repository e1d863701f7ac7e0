//! Requests with good keys that were denied for now: only while something is out of order.

use std::time::Duration;

use tower_api_key::RejectionKind;

use super::{History, Moment, Promise, Request, Span, Verdict};

/// When requests may be denied for now, beside the times in which the store fails.
#[derive(Clone, Debug, Default)]
pub(crate) struct Denials {
    /// When the store did not say what became of writes, and just after a clock was set back: a node looks up
    /// no more keys than its budget has by that clock.
    pub(crate) troubles: Vec<Span>,
}

/// A key that is again as it was before, since the store was restored from a backup.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restore {
    pub(crate) key: usize,
    pub(crate) at: Moment,
    /// When the reset was announced.
    pub(crate) reset: Option<Moment>,
    /// When it was announced once more, as for nodes that did not hear of it.
    pub(crate) again: Option<Moment>,
}

/// Resets that come together are heeded once in this time.
const RESETS_EVERY: Duration = Duration::from_secs(1);

impl History {
    /// A request with a good key that was denied for now while everything was in order. Of one that has ended,
    /// it is all the same how it is refused.
    pub(super) fn denied(&self, request: &Request, promise: Promise) -> Option<String> {
        let denials = self.denials.as_ref()?;
        let Request { began, ended, verdict, .. } = *request;
        let is_denied = matches!(
            verdict,
            Verdict::Refused(RejectionKind::Unavailable | RejectionKind::Overloaded)
        );
        let fails = self.store_fails.iter().chain(&denials.troubles);
        let may_be = fails.into_iter().any(|span| span.overlaps(began, ended))
            || self.restores.iter().any(|restore| {
                let until = self.believed_at(restore, request.node, promise);
                restore.key == request.key && restore.at <= ended && began <= until
            });
        (is_denied && !may_be && self.is_good(request) && !self.changes_now(request, promise))
            .then(|| format!("{request:?} was denied while everything was in order"))
    }

    /// Whether the key is good from the beginning of a request to its end.
    fn is_good(&self, request: &Request) -> bool {
        let Some(versions) = self.keys.get(&request.key) else { return false };
        let until = |place: usize| {
            let next = versions.get(place + 1).map_or(Moment::MAX, |next| next.committed);
            let end = self.ends.get(&(request.key, place)).copied().unwrap_or(Moment::MAX);
            next.min(end)
        };
        versions.iter().enumerate().any(|(place, version)| {
            version.verdict == Verdict::Accepted
                && version.committed <= request.began
                && request.ended < until(place)
        })
    }

    /// Whether a change of the key may not be known yet: what was heard before contradicts it.
    fn changes_now(&self, request: &Request, promise: Promise) -> bool {
        let versions = self.keys.get(&request.key).into_iter().flatten();
        versions.clone().zip(versions.skip(1).enumerate()).any(|(version, (place, next))| {
            let until = || self.allowed_until(version, (place + 1, next), request, promise);
            next.committed <= request.ended && request.began <= until()
        })
    }

    /// When a node believes at last what a key was restored to: one that does not hear of the reset holds to what
    /// it knows.
    pub(super) fn believed_at(&self, restore: &Restore, node: usize, promise: Promise) -> Moment {
        let deaf = self.deaf.get(&node).into_iter().flatten();
        let is_heard = |reset: &Moment| {
            !deaf.clone().any(|span| span.overlaps(*reset, *reset + promise.heard))
        };
        let mut resets = restore.reset.into_iter().chain(restore.again);
        resets.find(is_heard).map_or(Moment::MAX, |reset| reset + promise.heard + RESETS_EVERY)
    }
}
