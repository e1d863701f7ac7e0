//! [`Calls`]: one verification for all requests with the same key, and earlier outcomes.

use std::{
    sync::{Arc, MutexGuard},
    time::Duration,
};

use super::index::Candidate;
use crate::{
    clock::Timestamp,
    key::{KeyDigest, KeyRecord},
    runtime::{DigestMap, MapDigest, Mutex, Waiter},
    store::StoreError,
};

/// The result of a verification, for every caller that waited for it.
pub(super) type Answer = Result<Option<Arc<KeyRecord>>, StoreError>;

/// How long the outcome of a key is remembered.
const MEMORY: Duration = Duration::from_mins(5);

/// Wrong keys that are remembered. To fill this, clients have to wait for as many slow hashes.
const MAX_REMEMBERED: usize = 10_000;

#[derive(Default)]
pub(super) struct Calls(Mutex<State>);

#[derive(Default)]
pub(super) struct State {
    under_way: DigestMap<Waiter<Answer>>,
    remembered: DigestMap<(Outcome, Timestamp)>,
    /// Counts how often keys were added to those that may match.
    generation: u64,
}

/// The outcome of a key.
#[derive(Clone)]
pub(super) enum Outcome {
    /// It matched no hash.
    Refused,
    /// It is this one.
    Proven(Arc<Candidate>),
}

impl Calls {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl State {
    pub(super) fn under_way(&self, digest: &KeyDigest) -> Option<&Waiter<Answer>> {
        self.under_way.get(&MapDigest::from(digest))
    }

    pub(super) fn count(&self) -> usize {
        self.under_way.len()
    }

    /// Notes a verification that begins.
    pub(super) fn start(&mut self, digest: &KeyDigest, waiter: Waiter<Answer>) {
        self.under_way.insert(MapDigest::from(digest), waiter);
    }

    pub(super) fn finish(&mut self, digest: &KeyDigest) {
        self.under_way.remove(&MapDigest::from(digest));
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// There are more keys than before: one that was refused may be among them.
    pub(super) fn begin_generation(&mut self) {
        self.generation += 1;
        self.remembered.retain(|_, (outcome, _)| matches!(outcome, Outcome::Proven(_)));
    }

    /// The recent outcome of the key.
    pub(super) fn outcome(&self, digest: &KeyDigest, now: Timestamp) -> Option<&Outcome> {
        let (outcome, until) = self.remembered.get(&MapDigest::from(digest))?;
        (now < *until).then_some(outcome)
    }

    /// Remembers the outcome of a key among the keys of this generation.
    pub(super) fn remember(
        &mut self,
        digest: &KeyDigest,
        outcome: Outcome,
        generation: u64,
        now: Timestamp,
    ) {
        if generation != self.generation && matches!(outcome, Outcome::Refused) {
            return;
        }
        if self.remembered.len() >= MAX_REMEMBERED {
            self.remembered.retain(|_, (_, until)| now < *until);
        }
        if self.remembered.len() >= MAX_REMEMBERED {
            // There are no more proven keys than keys to prove.
            self.remembered.retain(|_, (outcome, _)| matches!(outcome, Outcome::Proven(_)));
        }
        let until = now.saturating_add(MEMORY);
        self.remembered.insert(MapDigest::from(digest), (outcome, until));
    }

    pub(super) fn forget(&mut self, digest: &KeyDigest) {
        self.remembered.remove(&MapDigest::from(digest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: usize) -> KeyDigest {
        crate::key::KeyHasher::sha256().digest(n.to_string())
    }

    fn is_refused(state: &State, n: usize, millis: i64) -> bool {
        let outcome = state.outcome(&digest(n), Timestamp::from_unix_millis(millis));
        matches!(outcome, Some(Outcome::Refused))
    }

    #[test]
    fn wrong_keys_are_remembered_for_five_minutes_and_within_bounds() {
        let mut state = State::default();
        let refuse = |state: &mut State, n: usize, millis: i64| {
            let now = Timestamp::from_unix_millis(millis);
            state.remember(&digest(n), Outcome::Refused, state.generation(), now);
        };
        refuse(&mut state, 0, 0);
        assert!(is_refused(&state, 0, 299_999) && !is_refused(&state, 0, 300_000));
        for n in 0..MAX_REMEMBERED {
            refuse(&mut state, n, 1);
        }
        assert_eq!(state.remembered.len(), MAX_REMEMBERED);
        // What is too old goes first, and then everything.
        refuse(&mut state, MAX_REMEMBERED, 300_001);
        assert_eq!(state.remembered.len(), 1);
        for n in 0..=MAX_REMEMBERED {
            refuse(&mut state, n, 300_001);
            assert!(state.remembered.len() <= MAX_REMEMBERED);
            assert!(is_refused(&state, n, 300_002));
        }
    }

    #[test]
    fn what_was_refused_among_fewer_keys_is_forgotten() {
        let mut state = State::default();
        let (now, before) = (Timestamp::from_unix_millis(0), state.generation());
        state.remember(&digest(1), Outcome::Refused, before, now);
        state.begin_generation();
        state.remember(&digest(2), Outcome::Refused, before, now);
        assert!(!is_refused(&state, 1, 0) && !is_refused(&state, 2, 0));
        state.remember(&digest(2), Outcome::Refused, state.generation(), now);
        assert!(is_refused(&state, 2, 0));
    }
}
