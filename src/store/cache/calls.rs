//! One lookup for all callers that miss the same thing at the same time.

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    mem,
    pin::pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::yield_now,
    time::{sleep, timeout},
};

use super::{
    Answer, Cache, CacheKey, Failure,
    budget::{Admission, Claim, Rank, Reservation},
    one_key::{self, InLine},
    stats::Counters,
};
use crate::{
    clock::Timestamp,
    runtime::{
        Carried, DigestHash, Leave, Mutex, PAUSE, Shareable, SharedCall, Turn, Waiter, at_once,
        later, sync::MutexGuard,
    },
    store::Lookup,
};

/// A request that makes its lookup itself is looked after so often. One that is not polled, and so does
/// not go on with it, holds up the lookup for twice as long at most, and what that has of the budget.
const WATCHED_EVERY: Duration = Duration::from_millis(50);

/// The lookups that are on their way.
pub(super) struct Calls<K, V, E>(Mutex<State<K, V, E>>);

pub(super) struct State<K, V, E> {
    under_way: HashMap<K, Call<V, E>, DigestHash>,
    /// The rests of calls that were abandoned: their requests may not be polled again for long, and hold what
    /// the lookup has of the store and of the budget.
    abandoned: Vec<Arc<dyn Leave>>,
    next_number: u64,
}

struct Call<V, E> {
    /// Tells a call from a later one for the same key.
    number: u64,
    /// Dropped without an answer when the call is abandoned. None: no request waits for it yet.
    shared: Option<SharedCall<Answered<V, E>>>,
    /// What is left of it, while the only request that waits for it makes it.
    rest: Option<Arc<dyn Leave>>,
    tokens: Tokens,
    /// The best of all that wait.
    rank: Rank,
}

impl<V, E> Call<V, E> {
    /// For another request.
    fn join(&mut self) -> Waiter<Answered<V, E>> {
        if let Some(shared) = &self.shared {
            return shared.join();
        }
        let (shared, waiter) = SharedCall::new();
        self.shared = Some(shared);
        waiter
    }
}

impl<V: Clone, E: Clone> Call<V, E> {
    /// Gives the answer to all that wait, and to the request that makes the call.
    fn answer(self, answered: Answered<V, E>) -> Answered<V, E> {
        if let Some(shared) = self.shared {
            shared.answer(answered.clone());
        }
        answered
    }
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
struct Waiting<V: Send + 'static, E: Send + 'static> {
    waiter: Waiter<Answered<V, E>>,
    rest: MadeHere<V, E>,
    /// Whether the call is to be gone on with: not in the very poll that has begun it.
    is_due: bool,
    in_line: Option<InLine>,
}

/// The call that a request makes itself, if it is the only one that waits for it.
struct MadeHere<V: Send + 'static, E: Send + 'static>(Option<Arc<Rest<V, E>>>);

impl<V: Send + 'static, E: Send + 'static> Drop for MadeHere<V, E> {
    /// The call goes on without the request, if it has not ended.
    fn drop(&mut self) {
        if let Some(rest) = &self.0 {
            rest.leave();
        }
    }
}

/// What a request keeps while it waits for a call with these tokens. Not under the lock of the calls: it
/// may hand tokens to other lookups.
fn in_line(tokens: Tokens) -> Option<InLine> {
    match tokens {
        Tokens::NotNeeded => None,
        Tokens::Reserved(reservation) => {
            reservation.upgrade().iter().for_each(one_key::hold);
            None
        }
        Tokens::Awaited(reservation, _) => Some(InLine::new(reservation)),
    }
}

impl<V: Clone + Send, E: Failure> Waiting<V, E> {
    /// Waits for the answer; `None` if the lookup was abandoned.
    async fn answer(&mut self) -> Option<Answer<V, E>> {
        let Self { waiter, rest: MadeHere(rest), is_due, in_line } = self;
        let mut waits = pin!(waiter.answer());
        let outcome = poll_fn(|context| {
            if mem::replace(is_due, true)
                && let Some(rest) = rest
                && let Poll::Ready(outcome) = one_key::apart(|| rest.poll(context))
            {
                return Poll::Ready(outcome.unwrap_or_else(|| Some(given_up())));
            }
            waits.as_mut().poll(context)
        });
        ended(outcome.await, in_line)
    }
}

/// The answer, for the request that waited for it.
fn ended<V, E>(outcome: Outcome<V, E>, in_line: &mut Option<InLine>) -> Option<Answer<V, E>> {
    let (answer, reservation) = outcome?;
    *in_line = None;
    reservation.iter().for_each(one_key::hold);
    Some(answer)
}

/// Of a call that has panicked.
fn given_up<V, E: Failure>() -> Answered<V, E> {
    (Err(E::given_up(GIVEN_UP)), None)
}

const GIVEN_UP: &str = "the lookup was given up";

/// How a call gets its tokens, and the shared call of its waiters, where it has to wait itself.
type Admitted = (Admission, Option<SharedCall<Weak<Reservation>>>);

/// The answer, and what was reserved for further lookups of the same key.
type Answered<V, E> = (Answer<V, E>, Option<Arc<Reservation>>);

/// How a call ends: `None` if it was abandoned.
type Outcome<V, E> = Option<Answered<V, E>>;

/// What is left of a call that has begun.
type Rest<V, E> = Shareable<Outcome<V, E>>;

impl<K, V, E> Default for Calls<K, V, E> {
    fn default() -> Self {
        let state = State { under_way: HashMap::default(), abandoned: Vec::new(), next_number: 0 };
        Self(Mutex::new(state))
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
        let call = self.under_way.remove(key);
        self.abandoned.extend(call.and_then(|call| call.rest));
    }

    pub(super) fn abandon_all(&mut self) {
        let calls = self.under_way.drain();
        self.abandoned.extend(calls.filter_map(|(_, call)| call.rest));
    }

    /// The number of a call that begins.
    fn start(&mut self, key: &K, tokens: Tokens, rank: Rank) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        let call = Call { number, shared: None, rest: None, tokens, rank };
        self.under_way.insert(key.clone(), call);
        number
    }

    /// Those below this number that are still made by a request, which makes them no longer.
    fn take_rests(&mut self, below: u64) -> Vec<Arc<dyn Leave>> {
        let calls = self.under_way.values_mut().filter(|call| call.number < below);
        let late = calls.filter_map(|call| call.rest.take());
        late.chain(mem::take(&mut self.abandoned)).collect()
    }

    /// Whether no request makes a call any more.
    fn has_no_rests(&self) -> bool {
        self.abandoned.is_empty() && self.under_way.values().all(|call| call.rest.is_none())
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
            let start = poll_fn(|context| {
                Poll::Ready(self.join_or_start(key, lookups, claim(), &ask, context))
            });
            let answer = match start.await? {
                Start::Answered(Lookup::Found(value)) => return Ok(Some(value)),
                Start::Answered(Lookup::NotFound) => return Ok(None),
                Start::Ended(answer) => answer,
                Start::Waiting(mut waiting) if self.last_known(key).is_some() => {
                    let answers = self.breaker.answers();
                    let soft = self.settings.soft_timeout;
                    if let Ok(answer) = timeout(soft, waiting.answer()).await {
                        answer
                    } else {
                        self.breaker.failed(self.settings.clock.now(), answers);
                        if let Some(value) = self.go_on_with_last_known(key) {
                            return Ok(Some(value));
                        }
                        waiting.answer().await
                    }
                }
                Start::Waiting(mut waiting) => waiting.answer().await,
            };
            return match answer {
                Some(Ok(found)) => Ok(found),
                // Asked again, since it may have been forgotten meanwhile.
                Some(Err(error)) => self.go_on_with_last_known(key).map(Some).ok_or(error),
                // It was changed after the store was asked. Other tasks go on before it is asked anew, or
                // what changes it with each lookup, such as a runtime that is shut down, could not end.
                None => {
                    yield_now().await;
                    continue;
                }
            };
        }
    }

    fn join_or_start<F>(
        self: &Arc<Self>,
        key: &K,
        lookups: u32,
        claim: Claim,
        ask: impl FnOnce() -> F,
        context: &mut Context<'_>,
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
            let (waiter, tokens, rest) = (call.join(), call.tokens.clone(), call.rest.take());
            let is_better = claim.rank > call.rank;
            call.rank = call.rank.max(claim.rank);
            drop(calls);
            // The other request may be held up: this one must not be for that.
            if let Some(rest) = rest {
                rest.leave();
            }
            if let (Rank::Listed, true, Some(budget)) = (claim.rank, is_better, &self.budget)
                && let Tokens::Awaited(_, Some(number)) = &tokens
            {
                budget.promote(*number);
            }
            let rest = MadeHere(None);
            let in_line = in_line(tokens);
            return Ok(Start::Waiting(Waiting { waiter, rest, is_due: true, in_line }));
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
        let number = calls.start(key, tokens.clone(), claim.rank);
        drop(calls);
        let call = self.make(key, number, now, admission.map(|tokens| (tokens, reserved)), ask());
        // Before it begins: a request that waits in line keeps no tokens from its own call.
        let in_line = in_line(tokens);
        Ok(self.begin(key, number, Carried::new(runtime, call), in_line, context))
    }

    /// Makes a call, as far as it goes without waiting.
    fn begin(
        self: &Arc<Self>,
        key: &K,
        number: u64,
        mut call: Carried<Outcome<V, E>>,
        mut in_line: Option<InLine>,
        context: &mut Context<'_>,
    ) -> Start<V, E> {
        if let Poll::Ready(outcome) = one_key::apart(|| call.poll(context)) {
            let outcome = outcome.unwrap_or_else(|| Some(given_up()));
            return Start::Ended(ended(outcome, &mut in_line));
        }
        let mut calls = self.calls.lock();
        let started = calls.under_way.get_mut(key).filter(|started| started.number == number);
        let Some(started) = started else {
            drop(calls);
            // It was abandoned, and goes on for the sake of its tokens.
            drop(call);
            return Start::Ended(None);
        };
        let is_shared = started.shared.is_some();
        let waiter = started.join();
        if is_shared {
            drop(calls);
            drop(call);
            return Start::Waiting(Waiting { waiter, rest: MadeHere(None), is_due: true, in_line });
        }
        let runtime = call.runtime().clone();
        let rest = Arc::new(Shareable::new(call));
        started.rest = Some(rest.clone());
        drop(calls);
        self.watch(&runtime);
        Start::Waiting(Waiting { waiter, rest: MadeHere(Some(rest)), is_due: false, in_line })
    }

    /// Looks after calls that are made by requests, as long as there are any: those that take long have
    /// tasks from then on.
    fn watch(self: &Arc<Self>, runtime: &Handle) {
        let Some(mut running) = self.watch.begin() else { return };
        let cache = Arc::downgrade(self);
        runtime.spawn(async move {
            let mut seen = 0;
            loop {
                sleep(WATCHED_EVERY).await;
                let Some(cache) = cache.upgrade() else { return };
                let mut calls = cache.calls.lock();
                let late = calls.take_rests(seen);
                seen = calls.next_number;
                drop(calls);
                // Not under the lock: where the runtime has ended, the calls end here.
                for rest in late {
                    rest.leave();
                }
                let is_done = || cache.calls.lock().has_no_rests();
                match running.unless(is_done) {
                    Some(still) => running = still,
                    None => return,
                }
            }
        });
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
            let number = calls.start(key, Tokens::NotNeeded, Rank::default());
            drop(calls);
            Counters::count(&self.counters.refreshes);
            // Not begun here: the request that finds the thing due does not wait for the next one.
            runtime.spawn(self.make(key, number, now, None, ask()));
        }
    }

    /// The call, which goes on without its callers: one that goes away takes no other caller's answer
    /// along. One that waits alone makes it itself.
    fn make(
        self: &Arc<Self>,
        key: &K,
        number: u64,
        asked_at: Timestamp,
        admission: Option<Admitted>,
        lookup: impl Future<Output = Answer<V, E>> + Send + 'static,
    ) -> impl Future<Output = Outcome<V, E>> + Send + 'static {
        // Boxed: each future that passes it on would hold it twice.
        let lookup = Box::pin(lookup);
        let (cache, key) = (self.clone(), key.clone());
        let mut ending =
            Ending { cache, key, number, asked_at, reservation: None, has_ended: false };
        async move {
            match ending.ask(admission, lookup).await {
                Ok(answer) => ending.finish(answer),
                Err(outcome) => outcome,
            }
        }
    }

    /// The token of the lookup budget, if there is a budget. Waits in line for one no longer than
    /// a lookup may take, and then ends the call.
    async fn reserve(
        &self,
        key: &K,
        number: u64,
        admission: Option<Admitted>,
    ) -> Result<Option<Arc<Reservation>>, Outcome<V, E>> {
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
            let call = call.filter(|call| !is_refused || call.rank != Rank::Listed);
            return Err(call.map(|call| {
                self.counters.count_shed(call.rank);
                call.answer((Err(E::overloaded()), None))
            }));
        };
        if let Some(reserved) = reserved {
            reserved.answer(Arc::downgrade(&reservation));
        }
        Ok(Some(reservation))
    }

    async fn wait_for(&self, lookup: impl Future<Output = Answer<V, E>>) -> Answer<V, E> {
        let Self { settings, breaker, .. } = self;
        let answers = breaker.answers();
        let mut lookup = pin!(lookup);
        let answer = if let Some(answer) = at_once(lookup.as_mut()).await {
            answer
        } else {
            let mut lookup = pin!(timeout(settings.lookup_timeout, later(lookup)));
            loop {
                match timeout(settings.soft_timeout, &mut lookup).await {
                    Ok(answer) => break answer.unwrap_or_else(|_| Err(E::timeout())),
                    // The next caller need not find out anew.
                    Err(_) => breaker.failed(settings.clock.now(), answers),
                }
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
enum Start<V: Send + 'static, E: Send + 'static> {
    /// It was not necessary.
    Answered(Lookup<V>),
    /// It did not have to be waited for: `None` if it was abandoned.
    Ended(Option<Answer<V, E>>),
    Waiting(Waiting<V, E>),
}

/// Ends a call, also when its task panics or its runtime is shut down.
struct Ending<K: CacheKey, V: Clone + Send + Sync + 'static, E: Failure> {
    cache: Arc<Cache<K, V, E>>,
    key: K,
    number: u64,
    asked_at: Timestamp,
    reservation: Option<Arc<Reservation>>,
    has_ended: bool,
}

impl<K: CacheKey, V: Clone + Send + Sync + 'static, E: Failure> Ending<K, V, E> {
    /// Asks the store as soon as the budget allows it.
    async fn ask(
        &mut self,
        admission: Option<Admitted>,
        lookup: impl Future<Output = Answer<V, E>>,
    ) -> Result<Answer<V, E>, Outcome<V, E>> {
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
        Ok(answer)
    }

    /// Keeps the answer and gives it to all waiters, unless the call was abandoned.
    fn finish(&mut self, answer: Answer<V, E>) -> Outcome<V, E> {
        self.has_ended = true;
        let Cache { calls, memory, settings, .. } = &*self.cache;
        // Held until the answer is kept: see `Memory`.
        let mut calls = calls.lock();
        let call = calls.finish(&self.key, self.number)?;
        match &answer {
            Ok(found) => memory.keep(&self.key, self.asked_at, found.as_ref()),
            Err(error) if error.contradicts_memory() => memory.forget(&self.key),
            Err(_) => memory.let_rest(&self.key, settings.clock.now(), PAUSE),
        }
        drop(calls);
        Some(call.answer((answer, self.reservation.take())))
    }
}

impl<K: CacheKey, V: Clone + Send + Sync + 'static, E: Failure> Drop for Ending<K, V, E> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.finish(Err(E::given_up(GIVEN_UP)));
        }
    }
}
