//! [`Calls`]: one verification for all requests with the same key, and earlier outcomes.

use std::{
    collections::HashMap,
    sync::{Arc, MutexGuard},
    time::Duration,
};

use tokio::sync::oneshot;

use super::index::Candidate;
use crate::{
    clock::Timestamp,
    key::{KeyDigest, KeyRecord},
    runtime::{DigestMap, MapDigest, Mutex, Network, Waiter},
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
    under_way: DigestMap<UnderWay>,
    /// How many of them each network began, where it is known.
    by_network: HashMap<Network, usize>,
    next_number: u64,
    remembered: DigestMap<(Outcome, Timestamp)>,
    /// Counts how often keys were added to those that may match.
    generation: u64,
}

/// A verification that waits or runs.
struct UnderWay {
    /// Tells it from a later one of the same key.
    number: u64,
    waiter: Waiter<Answer>,
    network: Option<Network>,
    /// Requests that wait for it.
    seats: usize,
    /// A hash is being computed, or the key is proven: it goes on to its end.
    goes_on: bool,
    /// Dropped when the verification is given up.
    _wanted: oneshot::Sender<()>,
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
    /// Another request waits for the verification of this key, if there is one: it must
    /// [leave](Self::leave) at the end.
    pub(super) fn join(&mut self, digest: &KeyDigest) -> Option<(u64, Waiter<Answer>)> {
        let call = self.under_way.get_mut(&MapDigest::from(digest))?;
        call.seats += 1;
        Some((call.number, call.waiter.clone()))
    }

    pub(super) fn count(&self) -> usize {
        self.under_way.len()
    }

    /// How many verifications clients of a network began.
    pub(super) fn count_of(&self, network: Network) -> usize {
        self.by_network.get(&network).copied().unwrap_or(0)
    }

    /// Notes a verification that begins, and a request that waits for it, which must
    /// [leave](Self::leave) at the end. Returns its number, and a channel that closes when the
    /// verification is given up. That of a key that is proven already never is.
    pub(super) fn start(
        &mut self,
        digest: &KeyDigest,
        waiter: Waiter<Answer>,
        network: Option<Network>,
        is_proven: bool,
    ) -> (u64, oneshot::Receiver<()>) {
        let number = self.next_number;
        self.next_number += 1;
        let (wanted, is_unwanted) = oneshot::channel();
        let call =
            UnderWay { number, waiter, network, seats: 1, goes_on: is_proven, _wanted: wanted };
        self.under_way.insert(MapDigest::from(digest), call);
        if let Some(network) = network {
            *self.by_network.entry(network).or_default() += 1;
        }
        (number, is_unwanted)
    }

    /// A request does not wait any more. A verification that no request waits for is given up, unless
    /// a hash is being computed.
    pub(super) fn leave(&mut self, digest: &KeyDigest, number: u64) {
        let Some(call) = self.call(digest, number) else { return };
        call.seats = call.seats.saturating_sub(1);
        if call.seats == 0 && !call.goes_on {
            self.finish(digest, number);
        }
    }

    /// A hash is going to be computed; false if the verification was given up.
    pub(super) fn begin_hash(&mut self, digest: &KeyDigest, number: u64) -> bool {
        self.call(digest, number).map(|call| call.goes_on = true).is_some()
    }

    /// The hash is computed, and another one will be. Returns whether any request still waits for it;
    /// if not, the verification is given up.
    pub(super) fn end_hash(&mut self, digest: &KeyDigest, number: u64) -> bool {
        let Some(call) = self.call(digest, number) else { return false };
        call.goes_on = false;
        let is_wanted = call.seats > 0;
        if !is_wanted {
            self.finish(digest, number);
        }
        is_wanted
    }

    fn call(&mut self, digest: &KeyDigest, number: u64) -> Option<&mut UnderWay> {
        let call = self.under_way.get_mut(&MapDigest::from(digest))?;
        (call.number == number).then_some(call)
    }

    /// Ends a verification, if it has not ended before.
    pub(super) fn finish(&mut self, digest: &KeyDigest, number: u64) {
        let Some(network) = self.call(digest, number).map(|call| call.network) else { return };
        self.under_way.remove(&MapDigest::from(digest));
        if let Some(network) = network
            && let Some(count) = self.by_network.get_mut(&network)
        {
            *count -= 1;
            if *count == 0 {
                self.by_network.remove(&network);
            }
        }
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
