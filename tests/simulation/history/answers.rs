//! The answers to requests, held against the states of their keys.

use std::{collections::BTreeMap, time::Duration};

use tower_api_key::RejectionKind;

use super::{History, Moment, Promise, Request, Span, Verdict, Version, judged};

/// The longest that floors last.
const A_FLOOR: Duration = Duration::from_secs(90);

/// How late a reset may be heeded.
const LATEST: Duration = Duration::from_secs(6);

impl History {
    /// The answers that a key may have when all is quiet.
    pub(crate) fn in_the_end(&self, key: usize, now: Moment) -> Vec<Verdict> {
        let Some((place, last)) =
            self.keys.get(&key).and_then(|all| Some((all.len() - 1, all.last()?)))
        else {
            return Vec::new();
        };
        let answers = self.answers(key, place, last).into_iter();
        answers
            .filter(|(_, from, to)| (*from..=*to).contains(&now))
            .map(|answer| answer.0)
            .collect()
    }

    /// The answers that a version of a key may have: each with the time from which it may be given, and up
    /// to which.
    fn answers(
        &self,
        key: usize,
        place: usize,
        version: &Version,
    ) -> Vec<(Verdict, Moment, Moment)> {
        let Version { committed, verdict, .. } = *version;
        let Some(end) = self.ends.get(&(key, place)) else {
            return vec![(verdict, committed, Moment::MAX)];
        };
        // By the clock of the node, which is read for each request.
        let from = committed.max(end.saturating_sub(self.skew));
        vec![
            (verdict, committed, *end + self.skew),
            (Verdict::Refused(RejectionKind::Expired), from, Moment::MAX),
        ]
    }

    pub(super) fn violation(&self, request: &Request, promise: Promise) -> Option<String> {
        let is_denied_for_now = matches!(
            request.verdict,
            Verdict::Refused(
                RejectionKind::Unavailable
                    | RejectionKind::Overloaded
                    | RejectionKind::LimiterUnavailable
            )
        );
        if is_denied_for_now {
            return None;
        }
        let versions = self.keys.get(&request.key)?;
        let is_legal = versions.iter().enumerate().any(|(number, version)| {
            let until = versions.get(number + 1).map_or(Moment::MAX, |next| {
                self.allowed_until(version, (number + 1, next), request, promise)
            });
            let answers = self.answers(request.key, number, version);
            answers.into_iter().any(|(verdict, from, to)| {
                self.may_be(verdict, request)
                    && from <= request.ended
                    && request.began <= until.min(to)
            })
        });
        (!is_legal).then(|| {
            let versions: Vec<_> = versions
                .iter()
                .filter(|version| version.committed <= request.ended)
                .map(|version| {
                    let Version { committed, verdict, returned, announced, .. } = version;
                    format!("  {committed:?} {verdict:?}, returned {returned:?}, announced {announced:?}")
                })
                .collect();
            let deaf = self.deaf.get(&request.node);
            let versions = versions[versions.len().saturating_sub(4)..].join("\n");
            format!("{request:?} is against\n{versions}\ndeaf: {deaf:?}\nfails: {:?}", self.store_fails)
        })
    }

    /// Whether this state may have this answer. An authority that is behind knows nothing of a key that was
    /// made and has come to its end since: it is refused all the same. Nor is it held to more than was heard,
    /// where an act may have deleted the key or not.
    fn may_be(&self, state: Verdict, request: &Request) -> bool {
        let is_unknown = request.verdict == Verdict::Refused(RejectionKind::Unknown);
        let fails =
            || self.store_fails.iter().any(|span| span.overlaps(request.began, request.ended));
        let is_unsure = || {
            let unsure = self.unsure.get(&request.key).into_iter().flatten();
            unsure.into_iter().any(|at| *at <= request.ended && request.began <= *at + A_FLOOR)
        };
        state == judged(request.verdict)
            || (is_unknown && fails() && (state != Verdict::Accepted || is_unsure()))
    }

    /// Up to when a state may still decide a request after the next one.
    pub(super) fn allowed_until(
        &self,
        version: &Version,
        (place, next): (usize, &Version),
        request: &Request,
        promise: Promise,
    ) -> Moment {
        let row = self.row_of(request, request.key, place);
        // An act that said nothing may take effect whenever the store has it.
        let Some(returned) = row.or(next.returned) else { return Moment::MAX };
        let deaf = self.deaf.get(&request.node).map_or(&[][..], |spans| spans);
        let is_unknown = version.verdict == Verdict::Refused(RejectionKind::Unknown);
        let ttl = if is_unknown { promise.not_found_ttl } else { promise.ttl };
        let fails = self.store_fails.iter().any(|span| span.overlaps(returned, request.ended));
        // A key is unknown for a while after it was made only where it was tried before.
        let was_tried = || {
            let Some(asked) = &self.asked else { return true };
            let asked = asked.get(&(request.node, request.key)).into_iter().flatten();
            asked.into_iter().any(|at| *at <= returned && request.began <= *at + ttl)
        };
        if is_unknown && !fails && !was_tried() {
            return returned;
        }
        let longest = ttl + if fails { promise.stale_if_error } else { Duration::ZERO };
        let lived = returned.saturating_add(longest);
        // Rows are not announced one by one.
        let Some(announced) = next.announced.filter(|_| row.is_none()) else {
            return lived.saturating_add(self.lag);
        };
        // Of an act that said nothing, a node knows that it may have been done.
        if fails
            && (!next.is_acknowledged
                || !next.is_announced_as_sure
                || self.is_disproved(request.key, place, returned, request.ended)
                || self.has_forgotten(request, announced))
        {
            return lived;
        }
        let missed = deaf.iter().filter(|span| span.overlaps(announced, announced + promise.heard));
        let known = match missed.map(|span| span.ended).max() {
            None => announced,
            // It trusts nothing that it has read before once it listens again, as long as the store answers.
            Some(listens) if !fails => listens,
            Some(_) => return lived,
        };
        lived.min(known.max(returned).saturating_add(promise.heard))
    }

    /// A key that a node has refused for good is never accepted there again: only one that was purged, and
    /// made anew.
    pub(super) fn revived(&self, promise: Promise) -> Vec<String> {
        let mut refused: BTreeMap<(usize, usize), Vec<Moment>> = BTreeMap::new();
        for request in &self.requests {
            if request.verdict == Verdict::Refused(RejectionKind::Revoked) {
                refused.entry((request.node, request.key)).or_default().push(request.ended);
            }
        }
        let revived = self.requests.iter().filter(|request| {
            let Some(refused) = refused.get(&(request.node, request.key)) else { return false };
            // A node that was restarted remembers nothing.
            let starts = self.starts.get(&request.node).into_iter().flatten();
            let start =
                starts.filter(|at| **at <= request.began).max().copied().unwrap_or_default();
            let last = refused.iter().filter(|at| start <= **at && **at < request.began).max();
            judged(request.verdict) == Verdict::Accepted
                && last.is_some_and(|at| !self.is_made_anew(request, *at, promise))
        });
        revived.map(|request| format!("{request:?} came after a refusal for good")).collect()
    }

    /// Whether the key became good after what was refused at this moment.
    fn is_made_anew(&self, request: &Request, refused: Moment, promise: Promise) -> bool {
        let is_revoked = |version: &Version| {
            version.verdict == Verdict::Refused(RejectionKind::Revoked)
                && version.committed <= refused
        };
        let Some(versions) = self.keys.get(&request.key) else { return false };
        let Some(place) = versions.iter().rposition(is_revoked) else { return false };
        let revoked = &versions[place];
        // Without a floor, an authority that is behind is believed once what was found has left the cache for
        // want of room.
        let fails = |span: &Span| span.overlaps(refused, request.ended);
        let has_floor = || {
            self.has_heard(request, revoked, promise)
                && !self.is_disproved(request.key, place, revoked.committed, request.ended)
        };
        if self.store_fails.iter().any(fails) && !has_floor() {
            return true;
        }
        versions.iter().any(|version| {
            version.verdict == Verdict::Accepted
                && version.committed > revoked.committed
                && version.committed <= request.ended
        })
    }

    /// Whether a node has heard of a change, and remembers it.
    fn has_heard(&self, request: &Request, change: &Version, promise: Promise) -> bool {
        let Some(announced) =
            change.announced.filter(|at| change.is_announced_as_sure && *at < request.began)
        else {
            return false;
        };
        let deaf = self.deaf.get(&request.node).into_iter().flatten();
        let mut missed = deaf.filter(|span| span.overlaps(announced, announced + promise.heard));
        missed.next().is_none() && !self.has_forgotten(request, announced)
    }

    /// Whether a node knows of no floor any more that was announced at this moment, so that it believes an
    /// authority which is behind: it has started since, or was told that what it heard no longer counts.
    fn has_forgotten(&self, request: &Request, announced: Moment) -> bool {
        let mut starts = self.starts.get(&request.node).into_iter().flatten();
        let mut resets = self.restores.iter().filter_map(|restore| restore.reset);
        starts.any(|at| announced <= *at && *at <= request.ended)
            || resets.any(|at| announced <= at + LATEST && at <= request.ended)
    }
}
