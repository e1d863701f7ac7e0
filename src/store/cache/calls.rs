//! One lookup for all callers that miss the same thing at the same time.

use std::{
    collections::HashMap,
    future::Future,
    pin::pin,
    sync::{Arc, Weak},
};

use tokio::{runtime::Handle, time::timeout};

use super::{
    Answer, Cache, CacheKey, Failure,
    budget::{Admission, Claim, Rank, Reservation},
    one_key::{self, InLine},
    stats::Counters,
};
use crate::{
    clock::Timestamp,
    runtime::{DigestHash, Mutex, PAUSE, SharedCall, Turn, Waiter, start, sync::MutexGuard},
    store::Lookup,
};

/// The lookups that are on their way.
pub(super) struct Calls<K, V, E>(Mutex<State<K, V, E>>);

pub(super) struct State<K, V, E> {
    under_way: HashMap<K, Call<V, E>, DigestHash>,
    next_number: u64,
}

struct Call<V, E> {
    /// Tells a call from a later one for the same key.
    number: u64,
    /// Dropped without an answer when the call is abandoned.
    shared: SharedCall<Answered<V, E>>,
    tokens: Tokens,
    /// The best of all that wait.
    rank: Rank,
}

/// The tokens of the lookup budget that a call began with. The call itself owns them.
#[derive(Clone)]
enum Tokens {
    NotNeeded,
    Reserved(Weak<Reservation>),
    /// It waits for them, or has waited; under this number, if it has a place in the queue.
    Awaited(Waiter<Weak<Reservation>>, Option<u64>),
}

impl Tokens {
    /// And what tells the requests that wait for the call that it has got them.
    fn of(admission: Option<&Admission>) -> (Self, Option<SharedCall<Weak<Reservation>>>) {
        match admission {
            None | Some(Admission::Refused) => (Self::NotNeeded, None),
            Some(Admission::Granted(reservation)) => {
                (Self::Reserved(Arc::downgrade(reservation)), None)
            }
            Some(Admission::Queued(_, number)) => Self::awaited(Some(*number)),
            Some(Admission::Shared(..)) => Self::awaited(None),
        }
    }
}

impl Tokens {
    fn awaited(number: Option<u64>) -> (Self, Option<SharedCall<Weak<Reservation>>>) {
        let (reserved, waiter) = SharedCall::new();
        (Self::Awaited(waiter, number), Some(reserved))
    }
}

/// A request that waits for a call.
struct Waiting<V, E> {
    waiter: Waiter<Answered<V, E>>,
    in_line: Option<InLine>,
    /// The call was not to be waited for.
    is_answered: bool,
}

impl<V: Clone, E: Clone> Waiting<V, E> {
    /// Not under the lock of the calls: it may hand tokens to other lookups.
    fn new(waiter: Waiter<Answered<V, E>>, tokens: Tokens) -> Self {
        let in_line = match tokens {
            Tokens::NotNeeded => None,
            Tokens::Reserved(reservation) => {
                reservation.upgrade().iter().for_each(one_key::hold);
                None
            }
            Tokens::Awaited(reservation, _) => Some(InLine::new(reservation)),
        };
        Self { waiter, in_line, is_answered: false }
    }

    /// Waits for the answer; `None` if the lookup was abandoned.
    async fn answer(&mut self) -> Option<Answer<V, E>> {
        let (answer, reservation) = self.waiter.answer().await?;
        self.in_line = None;
        reservation.iter().for_each(one_key::hold);
        Some(answer)
    }
}

/// How a call gets its tokens, and the shared call of its waiters, where it has to wait itself.
type Admitted = (Admission, Option<SharedCall<Weak<Reservation>>>);

/// The answer, and what was reserved for further lookups of the same key.
type Answered<V, E> = (Answer<V, E>, Option<Arc<Reservation>>);

impl<K, V, E> Default for Calls<K, V, E> {
    fn default() -> Self {
        Self(Mutex::new(State { under_way: HashMap::default(), next_number: 0 }))
    }
}

impl<K, V, E> Calls<K, V, E> {
    pub(super) fn lock(&self) -> MutexGuard<'_, State<K, V, E>> {
        self.0.lock()
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, State<K, V, E>>> {
        self.0.try_lock()
    }
}

impl<K: CacheKey, V, E> State<K, V, E> {
    /// Callers that wait for the key, and those that miss it from now on, get a new lookup: the
    /// old one may have read the state before a change.
    pub(super) fn abandon(&mut self, key: &K) {
        self.under_way.remove(key);
    }

    pub(super) fn abandon_all(&mut self) {
        self.under_way.clear();
    }

    fn start(&mut self, key: &K, tokens: Tokens, rank: Rank) -> (u64, Waiter<Answered<V, E>>) {
        let number = self.next_number;
        self.next_number += 1;
        let (shared, waiter) = SharedCall::new();
        self.under_way.insert(key.clone(), Call { number, shared, tokens, rank });
        (number, waiter)
    }

    /// Ends a call, unless it was abandoned.
    fn finish(&mut self, key: &K, number: u64) -> Option<Call<V, E>> {
        self.under_way.get(key).filter(|call| call.number == number)?;
        self.under_way.remove(key)
    }
}

impl<K: CacheKey, V: Clone + Send + Sync + 'static, E: Failure> Cache<K, V, E> {
    /// Asks, together with all other callers that ask for this. Where tokens are scarce, it has
    /// this claim to them, which may change while others ask.
    pub(crate) async fn look_up<F>(
        self: &Arc<Self>,
        key: &K,
        claim: impl Fn() -> Claim,
        ask: impl Fn() -> F,
    ) -> Answer<V, E>
    where
        F: Future<Output = Answer<V, E>> + Send + 'static,
    {
        let lookups = one_key::next_lookups();
        loop {
            let mut waiting = match self.join_or_start(key, lookups, claim(), &ask)? {
                Start::Answered(Lookup::Found(value)) => return Ok(Some(value)),
                Start::Answered(Lookup::NotFound) => return Ok(None),
                Start::Waiting(waiting) => waiting,
            };
            let answer = if !waiting.is_answered && self.last_known(key).is_some() {
                let answers = self.breaker.answers();
                if let Ok(answer) = timeout(self.settings.soft_timeout, waiting.answer()).await {
                    answer
                } else {
                    self.breaker.failed(self.settings.clock.now(), answers);
                    if let Some(value) = self.go_on_with_last_known(key) {
                        return Ok(Some(value));
                    }
                    waiting.answer().await
                }
            } else {
                waiting.answer().await
            };
            return match answer {
                Some(Ok(found)) => Ok(found),
                // Asked again, since it may have been forgotten meanwhile.
                Some(Err(error)) => self.go_on_with_last_known(key).map(Some).ok_or(error),
                // It was changed after the store was asked.
                None => continue,
            };
        }
    }

    fn join_or_start<F>(
        self: &Arc<Self>,
        key: &K,
        lookups: u32,
        claim: Claim,
        ask: impl FnOnce() -> F,
    ) -> Result<Start<V, E>, E>
    where
        F: Future<Output = Answer<V, E>> + Send + 'static,
    {
        let runtime =
            Handle::try_current().map_err(|_| E::given_up("there is no tokio runtime"))?;
        let now = self.settings.clock.now();
        let mut calls = self.calls.lock();
        if let Some(call) = calls.under_way.get_mut(key) {
            Counters::count(&self.counters.coalesced);
            let (waiter, tokens) = (call.shared.join(), call.tokens.clone());
            let is_better = claim.rank > call.rank;
            call.rank = call.rank.max(claim.rank);
            drop(calls);
            if let (Rank::Listed, true, Some(budget)) = (claim.rank, is_better, &self.budget)
                && let Tokens::Awaited(_, Some(number)) = &tokens
            {
                budget.promote(*number);
            }
            return Ok(Start::Waiting(Waiting::new(waiter, tokens)));
        }
        // One may have ended since the caller looked.
        if let Some(recalled) = self.recall(key, now).filter(|recalled| !recalled.is_stale) {
            self.counters.count_hit(key.jitter());
            return Ok(Start::Answered(recalled.lookup));
        }
        // A thing that is known to exist is not part of any flood.
        let budget = self.budget.as_ref().filter(|_| !self.memory.is_known(key));
        let admission = budget.map(|budget| one_key::admit(budget, lookups, claim));
        if matches!(admission, Some(Admission::Refused)) {
            self.counters.count_shed(claim.rank);
            return Err(E::overloaded());
        }
        let (tokens, reserved) = Tokens::of(admission.as_ref());
        let (number, waiter) = calls.start(key, tokens.clone(), claim.rank);
        drop(calls);
        let call = self.make(key, number, admission.map(|tokens| (tokens, reserved)), ask());
        // Before it begins: a request that waits in line keeps no tokens from its own call.
        let mut waiting = Waiting::new(waiter, tokens);
        waiting.is_answered = one_key::apart(|| start(&runtime, call));
        Ok(Start::Waiting(waiting))
    }

    /// Asks again for a known thing, in the background, unless a lookup is under way. Never
    /// waits: if it cannot be now, the next request will do.
    #[cold]
    pub(super) fn refresh<F>(self: &Arc<Self>, key: &K, ask: impl FnOnce() -> F)
    where
        F: Future<Output = Answer<V, E>> + Send + 'static,
    {
        let Ok(runtime) = Handle::try_current() else { return };
        let Some(mut calls) = self.calls.try_lock() else { return };
        let now = self.settings.clock.now();
        // One may have ended since the caller looked.
        let is_due = self.recall(key, now).is_some_and(|recalled| recalled.is_due);
        if is_due && !calls.under_way.contains_key(key) && self.breaker.turn(|| now) != Turn::Down {
            let (number, _) = calls.start(key, Tokens::NotNeeded, Rank::default());
            drop(calls);
            Counters::count(&self.counters.refreshes);
            // Not begun here: the request that finds the thing due does not wait for the next one.
            runtime.spawn(self.make(key, number, None, ask()));
        }
    }

    /// The call, which goes on without its callers: one that goes away takes no other caller's answer
    /// along.
    fn make(
        self: &Arc<Self>,
        key: &K,
        number: u64,
        admission: Option<Admitted>,
        lookup: impl Future<Output = Answer<V, E>> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        // Boxed: each future that passes it on would hold it twice.
        let lookup = Box::pin(lookup);
        let asked_at = self.settings.clock.now();
        let (cache, key) = (self.clone(), key.clone());
        let mut ending = Ending { cache, key, number, asked_at, reservation: None };
        async move {
            let answer = ending.ask(admission, lookup).await;
            ending.finish(answer);
        }
    }

    /// The token of the lookup budget, if there is a budget. Waits in line for one no longer than
    /// a lookup may take.
    async fn reserve(
        &self,
        key: &K,
        number: u64,
        admission: Option<Admitted>,
    ) -> Result<Option<Arc<Reservation>>, E> {
        let (Some(budget), Some(admission)) = (&self.budget, admission) else { return Ok(None) };
        let (admission, reserved) = match admission {
            (Admission::Granted(reservation), None) => return Ok(Some(reservation)),
            admission => admission,
        };
        let turn = timeout(self.settings.lookup_timeout, budget.reserve(admission)).await;
        let is_refused = matches!(turn, Ok(None));
        let Ok(Some(reservation)) = turn else {
            let call = self.calls.lock().finish(key, number);
            // One that was refused, and then joined by a request for a listed thing, begins anew: those
            // are never refused.
            if let Some(call) = call.filter(|call| !is_refused || call.rank != Rank::Listed) {
                self.counters.count_shed(call.rank);
                call.shared.answer((Err(E::overloaded()), None));
            }
            return Err(E::overloaded());
        };
        if let Some(reserved) = reserved {
            reserved.answer(Arc::downgrade(&reservation));
        }
        Ok(Some(reservation))
    }

    async fn wait_for(&self, lookup: impl Future<Output = Answer<V, E>>) -> Answer<V, E> {
        let Self { settings, breaker, .. } = self;
        let answers = breaker.answers();
        let mut lookup = pin!(timeout(settings.lookup_timeout, lookup));
        let answer = loop {
            match timeout(settings.soft_timeout, &mut lookup).await {
                Ok(answer) => break answer.unwrap_or_else(|_| Err(E::timeout())),
                // The next caller need not find out anew.
                Err(_) => breaker.failed(settings.clock.now(), answers),
            }
        };
        match &answer {
            Ok(_) => breaker.answered(),
            Err(error) => {
                error.report();
                if error.is_outage() {
                    breaker.failed(settings.clock.now(), answers);
                }
            }
        }
        answer
    }
}

/// How a lookup begins.
enum Start<V, E> {
    /// It was not necessary.
    Answered(Lookup<V>),
    Waiting(Waiting<V, E>),
}

/// Ends a call, also when its task panics or its runtime is shut down.
struct Ending<K: CacheKey, V: Clone + Send + Sync + 'static, E: Failure> {
    cache: Arc<Cache<K, V, E>>,
    key: K,
    number: u64,
    asked_at: Timestamp,
    reservation: Option<Arc<Reservation>>,
}

impl<K: CacheKey, V: Clone + Send + Sync + 'static, E: Failure> Ending<K, V, E> {
    /// Asks the store as soon as the budget allows it.
    async fn ask(
        &mut self,
        admission: Option<Admitted>,
        lookup: impl Future<Output = Answer<V, E>>,
    ) -> Answer<V, E> {
        let has_waited = !matches!(admission, None | Some((Admission::Granted(_), _)));
        self.reservation = self.cache.reserve(&self.key, self.number, admission).await?;
        if has_waited {
            self.asked_at = self.cache.settings.clock.now();
        }
        Counters::count(&self.cache.counters.misses);
        if let Some(reservation) = &self.reservation {
            reservation.begin();
        }
        let answer = self.cache.wait_for(lookup).await;
        if let (Some(reservation), Ok(Some(_))) = (&self.reservation, &answer) {
            reservation.found();
        }
        // It ends here, unless the key may yet be found by another digest.
        self.reservation.take_if(|reserved| !reserved.is_for_several());
        answer
    }

    /// Keeps the answer and gives it to all waiters, unless the call was abandoned.
    fn finish(&mut self, answer: Answer<V, E>) {
        let Cache { calls, memory, settings, .. } = &*self.cache;
        // Held until the answer is kept: see `Memory`.
        let mut calls = calls.lock();
        let Some(call) = calls.finish(&self.key, self.number) else { return };
        match &answer {
            Ok(found) => memory.keep(&self.key, self.asked_at, found.as_ref()),
            Err(_) => memory.let_rest(&self.key, settings.clock.now(), PAUSE),
        }
        drop(calls);
        call.shared.answer((answer, self.reservation.take()));
    }
}

impl<K: CacheKey, V: Clone + Send + Sync + 'static, E: Failure> Drop for Ending<K, V, E> {
    fn drop(&mut self) {
        self.finish(Err(E::given_up("the lookup was given up")));
    }
}
