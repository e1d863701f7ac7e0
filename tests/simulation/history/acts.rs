//! Acts, held against what became of them: each is done and announced, and what it began has its end.

use std::time::Duration;

use super::{Act, Grace, History, Moment, Verdict, Wait, judged};

/// How long an announcement takes to begin.
const AN_ATTEMPT: Duration = Duration::from_secs(1);

impl History {
    /// A key that lives on for longer than it was to.
    pub(super) fn endless(&self, grace: &Grace) -> Option<String> {
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

    /// A key that still waits for the first use of the one in its place, although that was used while everything
    /// was in order.
    pub(super) fn still_waits(&self, wait: &Wait) -> Option<String> {
        let (quiet_since, last) = (self.quiet_since?, self.keys.get(&wait.old)?.len() - 1);
        // Another key that has the digest of the new one, which was purged, takes no place.
        if self.marks.made_anew.range((wait.new, 2)..=(wait.new, usize::MAX)).next().is_some() {
            return None;
        }
        let uses = self.requests.iter().filter(|request| {
            request.key == wait.new
                && quiet_since <= request.began
                && request.verdict == Verdict::Accepted
        });
        let first = uses.map(|request| request.ended).min()?;
        let latest = first + wait.lasts + self.skew + AN_ATTEMPT;
        let has_end = self.keys[&wait.old][last].verdict != Verdict::Accepted
            || self.ends.get(&(wait.old, last)).is_some_and(|end| *end <= latest);
        (!has_end)
            .then(|| format!("{wait:?}: the new key was used at {first:?}, the old one has no end"))
    }

    /// Changes that were written, and not announced by then, although their node lived on: whatever their
    /// act said, and also where its caller went away.
    pub(super) fn unannounced(&self) -> Vec<String> {
        let Some(attempts) = &self.attempts else { return Vec::new() };
        let mut found = Vec::new();
        for ((key, place), by) in &self.writers {
            let version = self.keys.get(key).and_then(|versions| versions.get(*place));
            let Some((version, returned)) = version.and_then(|all| Some((all, all.returned?)))
            else {
                continue;
            };
            let until = returned + AN_ATTEMPT;
            let next = self.starts.get(&by.node).and_then(|starts| starts.get(by.life));
            let ended = self.crashed.get(by).or(next);
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

    /// An act that was acknowledged, and is not there.
    pub(super) fn lost(&self, act: &Act) -> Option<String> {
        let versions = self.keys.get(&act.key)?;
        let was_so = versions.iter().enumerate().any(|(place, version)| {
            let next = versions.get(place + 1).map_or(Moment::MAX, |next| next.committed);
            version.verdict == act.verdict && version.committed <= act.returned && act.began <= next
        });
        (!was_so).then(|| format!("{act:?} was acknowledged, and is not there"))
    }
}
