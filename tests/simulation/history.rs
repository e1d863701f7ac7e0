//! The history of a run, and whether it keeps the promise: a revoked key is refused on every node soon, and
//! a good one never; an act that is acknowledged is done; and [limits, credits and uses](books) are counted
//! as the crate says.
//!
//! Times are counted from the beginning of the run.

#![allow(dead_code, reason = "tests of real servers include this, and write down less")]

#[path = "history/books.rs"]
pub(crate) mod books;

use std::{collections::BTreeMap, time::Duration};

use tower_api_key::RejectionKind;

use self::books::Books;

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

/// How long an announcement takes to begin.
const AN_ATTEMPT: Duration = Duration::from_secs(1);

/// The longest that floors last.
const A_FLOOR: Duration = Duration::from_secs(90);

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
    /// When the store failed, was behind, or took so long that a cache goes on without it.
    pub(crate) store_fails: Vec<Span>,
    /// When a version of a key ends by itself, as the old key of a rotation does: by the key and its place
    /// among the versions.
    pub(crate) ends: BTreeMap<(usize, usize), Moment>,
    /// How far replicas may be behind: an answer to a change that could not be announced is older by that.
    pub(crate) lag: Duration,
    /// By how much clocks of nodes may differ from the true time.
    pub(crate) skew: Duration,
    pub(crate) acts: Vec<Act>,
    pub(crate) graces: Vec<Grace>,
    /// When nodes asked the store for keys, by the node and the key, if that is written down.
    pub(crate) asked: Option<BTreeMap<(usize, usize), Vec<Moment>>>,
    /// When nodes began to announce changes of a key, whatever became of it, if that is written down.
    pub(crate) attempts: Option<BTreeMap<usize, Vec<Moment>>>,
    /// Which node wrote a version of a key, by the key and its place among the versions.
    pub(crate) writers: BTreeMap<(usize, usize), Life>,
    pub(crate) books: Books,
}

impl History {
    /// What is against the promise. Nothing, if all is well.
    pub(crate) fn violations(&self, promise: Promise) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for request in &self.requests {
            found.extend(self.violation(request, promise));
        }
        found.extend(self.revived(promise));
        found.extend(self.acts.iter().filter_map(|act| self.lost(act)));
        found.extend(self.graces.iter().filter_map(|grace| self.endless(grace)));
        found.extend(self.unannounced());
        found.extend(self.books.violations());
        found
    }

    /// A key that lives on for longer than it was to.
    fn endless(&self, grace: &Grace) -> Option<String> {
        let Grace { key, began, returned, lasts } = *grace;
        let versions = self.keys.get(&key)?.iter().enumerate();
        let mut written =
            versions.filter(|(_, version)| (began..=returned).contains(&version.committed));
        let ends = written.any(|(place, version)| {
            let end = self.ends.get(&(key, place));
            judged(version.verdict) != Verdict::Accepted
                || end.is_some_and(|end| *end <= returned + lasts + self.skew)
        });
        (!ends).then(|| format!("{grace:?} has no end"))
    }

    /// Changes that were written, and not announced by then, although their node lived on: whatever their
    /// act said, and also where its caller went away.
    fn unannounced(&self) -> Vec<String> {
        let Some(attempts) = &self.attempts else { return Vec::new() };
        let mut found = Vec::new();
        for ((key, place), by) in &self.writers {
            let version = self.keys.get(key).and_then(|versions| versions.get(*place));
            let Some((version, returned)) = version.and_then(|all| Some((all, all.returned?)))
            else {
                continue;
            };
            let until = returned + AN_ATTEMPT;
            let ended = self.starts.get(&by.node).and_then(|starts| starts.get(by.life));
            let attempts = attempts.get(key).map_or(&[][..], |attempts| attempts);
            let is_announced = attempts.iter().any(|at| (version.committed..=until).contains(at));
            if !is_announced && ended.is_none_or(|at| until < *at) {
                found.push(format!("{version:?} of key {key}, by {by:?}, was not announced"));
            }
        }
        // Also where there was nothing to do: an act before may not have come to announce it.
        for act in &self.acts {
            let attempts = attempts.get(&act.key).map_or(&[][..], |attempts| attempts);
            if !attempts.iter().any(|at| (act.began..=act.returned + AN_ATTEMPT).contains(at)) {
                found.push(format!("{act:?} was not announced"));
            }
        }
        found
    }

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

    /// An act that was acknowledged, and is not there.
    fn lost(&self, act: &Act) -> Option<String> {
        let versions = self.keys.get(&act.key)?;
        let was_so = versions.iter().enumerate().any(|(place, version)| {
            let next = versions.get(place + 1).map_or(Moment::MAX, |next| next.committed);
            version.verdict == act.verdict && version.committed <= act.returned && act.began <= next
        });
        (!was_so).then(|| format!("{act:?} was acknowledged, and is not there"))
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

    fn violation(&self, request: &Request, promise: Promise) -> Option<String> {
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
            let until = versions
                .get(number + 1)
                .map_or(Moment::MAX, |next| self.allowed_until(version, next, request, promise));
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
    fn allowed_until(
        &self,
        version: &Version,
        next: &Version,
        request: &Request,
        promise: Promise,
    ) -> Moment {
        // An act that said nothing may take effect whenever the store has it.
        let Some(returned) = next.returned else { return Moment::MAX };
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
        let lived = returned + ttl + if fails { promise.stale_if_error } else { Duration::ZERO };
        let Some(announced) = next.announced else { return lived + self.lag };
        // A node that has started since knows of no floor, so it believes an authority that is behind.
        let starts = self.starts.get(&request.node).map_or(&[][..], |starts| starts);
        // Of an act that said nothing, a node knows that it may have been done.
        if fails
            && (!next.is_acknowledged
                || !next.is_announced_as_sure
                || starts.iter().any(|at| announced <= *at && *at <= request.ended))
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
    fn revived(&self, promise: Promise) -> Vec<String> {
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
        let is_revoked = |version: &&Version| {
            version.verdict == Verdict::Refused(RejectionKind::Revoked)
                && version.committed <= refused
        };
        let Some(versions) = self.keys.get(&request.key) else { return false };
        let Some(revoked) = versions.iter().rfind(is_revoked) else { return false };
        // Without a floor, an authority that is behind is believed once what was found has left the cache for
        // want of room.
        let fails = |span: &Span| span.overlaps(refused, request.ended);
        let has_floor = || self.has_heard(request, revoked, promise);
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
        let starts = self.starts.get(&request.node).into_iter().flatten();
        let mut forgot = starts.filter(|at| announced <= **at && **at <= request.ended);
        missed.next().is_none() && forgot.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMISE: Promise = Promise {
        heard: Duration::from_millis(100),
        ttl: Duration::from_secs(30),
        not_found_ttl: Duration::from_secs(5),
        stale_if_error: Duration::from_mins(5),
    };
    const UNKNOWN: Verdict = Verdict::Refused(RejectionKind::Unknown);
    const REVOKED: Verdict = Verdict::Refused(RejectionKind::Revoked);
    const UNAVAILABLE: Verdict = Verdict::Refused(RejectionKind::Unavailable);

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    /// A change that was committed, acknowledged 5 ms later and announced in between.
    fn change(committed: u64, verdict: Verdict) -> Version {
        let returned = Some(at(committed + 5));
        let announced = Some(at(committed + 3));
        Version {
            committed: at(committed),
            verdict,
            returned,
            announced,
            is_acknowledged: true,
            is_announced_as_sure: true,
        }
    }

    /// A key that is created after a second and revoked after ten.
    fn history(requests: &[(u64, u64, Verdict)]) -> History {
        let request = |(began, ended, verdict): &(u64, u64, Verdict)| Request {
            node: 0,
            key: 7,
            began: at(*began),
            ended: at(*ended),
            verdict: *verdict,
        };
        let versions = vec![
            Version {
                committed: at(0),
                verdict: UNKNOWN,
                returned: None,
                announced: None,
                is_acknowledged: false,
                is_announced_as_sure: false,
            },
            change(1_000, Verdict::Accepted),
            change(10_000, REVOKED),
        ];
        let requests = requests.iter().map(request).collect();
        History { requests, keys: BTreeMap::from([(7, versions)]), ..History::default() }
    }

    fn is_legal(history: &History) -> bool {
        history.violations(PROMISE).is_empty()
    }

    #[test]
    fn answers_by_the_state_of_the_key_are_legal() {
        for request in [
            (500, 501, UNKNOWN),
            // The answer may come from either side of a change that is under way.
            (999, 1_001, UNKNOWN),
            (999, 1_001, Verdict::Accepted),
            (1_104, 1_105, UNKNOWN),
            (2_000, 2_001, Verdict::Accepted),
            (9_999, 10_001, Verdict::Accepted),
            (10_001, 10_002, REVOKED),
            (10_105, 10_106, Verdict::Accepted),
            (20_000, 20_001, REVOKED),
            (2_000, 2_001, UNAVAILABLE),
            (20_000, 20_001, UNAVAILABLE),
        ] {
            assert!(is_legal(&history(&[request])), "{request:?}");
        }
    }

    /// Each of these must fail: the checker would be worth nothing otherwise.
    #[test]
    fn answers_against_the_promise_are_found() {
        for request in [
            // Before it was created, and before it was revoked.
            (500, 501, Verdict::Accepted),
            (9_000, 9_001, REVOKED),
            // A good key is refused: its creation was acknowledged.
            (1_106, 1_107, UNKNOWN),
            (5_000, 5_001, UNKNOWN),
            // A revoked key is accepted.
            (10_106, 10_107, Verdict::Accepted),
            (30_000, 30_001, Verdict::Accepted),
            // No state asks for this.
            (5_000, 5_001, Verdict::Refused(RejectionKind::Disabled)),
            (20_000, 20_001, UNKNOWN),
        ] {
            assert!(!is_legal(&history(&[request])), "{request:?}");
        }
    }

    #[test]
    fn a_node_that_was_deaf_has_the_time_to_live() {
        let deaf = |request, began, ended| {
            let mut history = history(&[request]);
            history.deaf.insert(0, vec![Span { began: at(began), ended: at(ended) }]);
            is_legal(&history)
        };
        let late = (20_000, 20_001, Verdict::Accepted);
        assert!(deaf(late, 9_000, 30_000));
        assert!(deaf(late, 10_103, 30_000), "the announcement was on its way");
        assert!(!deaf(late, 9_000, 10_002), "it listened before the announcement");
        assert!(!deaf(late, 10_104, 30_000), "it had heard by then");
        assert!(!deaf(late, 9_000, 19_899), "it has distrusted everything since");
        assert!(
            !deaf((40_006, 40_007, Verdict::Accepted), 9_000, 90_000),
            "beyond the time to live"
        );
        let mut other = history(&[late]);
        other.deaf.insert(1, vec![Span { began: at(9_000), ended: at(30_000) }]);
        assert!(!is_legal(&other), "another node was");
    }

    #[test]
    fn what_was_not_announced_has_the_time_to_live() {
        for (request, expected) in [
            ((40_005, 40_006, Verdict::Accepted), true),
            ((40_006, 40_007, Verdict::Accepted), false),
        ] {
            let mut history = history(&[request]);
            history.keys.get_mut(&7).unwrap()[2].announced = None;
            assert_eq!(is_legal(&history), expected);
            history.lag = Duration::from_millis(1);
            assert!(is_legal(&history), "a replica may add what it lags");
        }
    }

    /// A node goes on with what it knew while the store fails, but not against what it has heard.
    #[test]
    fn stale_answers_are_for_outages_of_both() {
        let fails = |request, is_announced: bool| {
            let mut history = history(&[request]);
            history.store_fails.push(Span { began: at(15_000), ended: at(400_000) });
            if !is_announced {
                history.keys.get_mut(&7).unwrap()[2].announced = None;
            }
            is_legal(&history)
        };
        assert!(fails((200_000, 200_001, Verdict::Accepted), false));
        assert!(!fails((200_000, 200_001, Verdict::Accepted), true));
        assert!(!fails((340_006, 340_007, Verdict::Accepted), false));
    }

    #[test]
    fn what_a_node_refused_for_good_does_not_come_back() {
        let lagging = |requests: &[_]| {
            let mut history = history(requests);
            history.keys.get_mut(&7).unwrap()[2].announced = None;
            is_legal(&history)
        };
        let (accepted, refused) = ((12_000, 12_001, Verdict::Accepted), (11_000, 11_001, REVOKED));
        assert!(lagging(&[accepted]) && lagging(&[refused]));
        assert!(!lagging(&[refused, accepted]));
        // At the same time, on two threads.
        assert!(lagging(&[(11_000, 12_500, REVOKED), accepted]));
    }

    /// The key is rotated after five seconds, and lives on for one.
    #[test]
    fn a_key_that_was_replaced_ends_with_its_grace() {
        let expired = Verdict::Refused(RejectionKind::Expired);
        for (request, expected) in [
            ((5_500, 5_501, Verdict::Accepted), true),
            ((5_500, 5_501, expired), false),
            ((6_001, 6_002, expired), true),
            ((6_001, 6_002, Verdict::Accepted), true),
            ((6_006, 6_007, expired), true),
            // The end holds on a node that had not heard of it for no longer than any change.
            ((6_106, 6_107, Verdict::Accepted), false),
        ] {
            let mut history = history(&[request]);
            history.skew = Duration::from_millis(5);
            history.keys.get_mut(&7).unwrap().insert(2, change(5_000, Verdict::Accepted));
            history.ends.insert((7, 2), at(6_000));
            assert_eq!(is_legal(&history), expected, "{request:?}");
            // The one before it had no end.
            history.keys.get_mut(&7).unwrap()[2].announced = None;
            assert!(is_legal(&history) || request.2 == expired, "{request:?}");
        }
    }

    #[test]
    fn a_grace_has_an_end() {
        for (end, lasts, expected) in
            [(Some(6_000), 1_000, true), (Some(6_011), 1_000, false), (None, 1_000, false)]
        {
            let mut history = history(&[]);
            history.skew = Duration::from_millis(5);
            history.keys.get_mut(&7).unwrap().insert(2, change(5_000, Verdict::Accepted));
            history.ends.extend(end.map(|end| ((7, 2), at(end))));
            let (began, returned, lasts) = (at(4_990), at(5_005), Duration::from_millis(lasts));
            history.graces.push(Grace { key: 7, began, returned, lasts });
            assert_eq!(is_legal(&history), expected, "{end:?}");
        }
    }

    #[test]
    fn denials_by_limits_and_credits_are_those_of_a_good_key() {
        for kind in [RejectionKind::RateLimited, RejectionKind::CreditsExhausted] {
            assert!(is_legal(&history(&[(5_000, 5_001, Verdict::Refused(kind))])));
            assert!(!is_legal(&history(&[(500, 501, Verdict::Refused(kind))])));
            assert!(!is_legal(&history(&[(30_000, 30_001, Verdict::Refused(kind))])));
        }
    }

    #[test]
    fn a_new_key_is_unknown_for_a_while_only_where_it_was_tried() {
        for (tried, expected) in [(None, true), (Some(999), true), (Some(1_006), false)] {
            let mut history = history(&[(5_000, 5_001, UNKNOWN)]);
            history.keys.get_mut(&7).unwrap()[1].announced = None;
            let tried = tried.map(|tried| BTreeMap::from([((0, 7), vec![at(tried)])]));
            history.asked = tried;
            assert_eq!(is_legal(&history), expected);
        }
    }

    #[test]
    fn what_is_written_is_announced_as_long_as_its_node_lives() {
        for (attempt, starts, expected) in [
            (10_003, &[0][..], true),
            (9_999, &[0], false),
            (11_006, &[0], false),
            (9_999, &[0, 10_500], true),
            (9_999, &[0, 12_000], false),
        ] {
            let mut history = history(&[]);
            history.writers.insert((7, 2), Life { node: 1, life: 1 });
            history.attempts = Some(BTreeMap::from([(7, vec![at(attempt)])]));
            history.starts.insert(1, starts.iter().copied().map(at).collect());
            assert_eq!(is_legal(&history), expected, "{attempt}");
        }
    }

    #[test]
    fn an_act_that_is_repeated_is_announced_again() {
        for (attempt, expected) in [(20_005, true), (10_003, false)] {
            let mut history = history(&[]);
            history.attempts = Some(BTreeMap::from([(7, vec![at(attempt)])]));
            let (began, returned) = (at(20_000), at(20_010));
            history.acts.push(Act { key: 7, began, returned, verdict: REVOKED });
            assert_eq!(is_legal(&history), expected);
        }
    }

    #[test]
    fn an_act_that_was_acknowledged_is_there() {
        for (began, returned, verdict, expected) in [
            (9_990, 10_005, REVOKED, true),
            // It was so already.
            (20_000, 20_010, REVOKED, true),
            (1_500, 1_510, Verdict::Accepted, true),
            (9_980, 9_990, REVOKED, false),
            (10_001, 10_005, Verdict::Accepted, false),
            (5_000, 5_010, Verdict::Refused(RejectionKind::Disabled), false),
        ] {
            let mut history = history(&[]);
            let (began, returned) = (at(began), at(returned));
            history.acts.push(Act { key: 7, began, returned, verdict });
            assert_eq!(is_legal(&history), expected, "{began:?} {verdict:?}");
        }
    }

    /// It may have been written or not, for ever.
    #[test]
    fn an_act_that_never_returned_may_have_happened_or_not() {
        for verdict in [Verdict::Accepted, REVOKED] {
            let mut history = history(&[(50_000, 50_001, verdict)]);
            history.keys.get_mut(&7).unwrap()[2].returned = None;
            assert!(is_legal(&history));
        }
    }
}
