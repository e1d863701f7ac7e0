//! [`Account`]: the credits of a lineage that this node holds, and what it knows of the others.

use std::{sync::Arc, time::Duration};

use super::{
    SpendOutcome,
    call::{Call, Deposit, Ended, Giving, Returned},
    lease_size::{LeaseSize, SeenRevisions},
    ledger::{Taken, Trouble},
    parts::{Back, Miss, Part, Parts},
};
use crate::{
    clock::Timestamp,
    error::StoreError,
    key::{KeyId, KeyRecord},
    runtime::{
        Mutex, SharedCall, Waiter,
        sync::{
            MutexGuard,
            atomic::{AtomicU64, Ordering},
        },
    },
};

/// What this node holds and knows of the credits of a lineage. One call of the store is on its way
/// at a time.
pub(super) struct Account {
    pub(super) lineage: KeyId,
    /// Taken from the store and not spent, without the parts that threads hold.
    held: AtomicU64,
    /// The sizes of those parts, together.
    parted: AtomicU64,
    /// The latest epoch that the store was asked about. The held credits are of this one.
    epoch: AtomicU64,
    /// The credits that the store had left when it last answered.
    left: AtomicU64,
    /// With less than this, more are taken in advance. 0 while that is happening.
    low: AtomicU64,
    state: Mutex<State>,
    /// The parts of all accounts.
    parts: Arc<Parts>,
}

#[derive(Default)]
struct State {
    /// The callers that wait for the call of the store that is on its way.
    call: Option<SharedCall<Ended>>,
    lease_size: LeaseSize,
    seen_revisions: SeenRevisions,
    /// The epoch of the balance that the held credits were taken from.
    lease: u64,
    /// The refill with which what is held ends: it would not have added up in the store either.
    until: Option<Timestamp>,
    /// The store has not enough.
    short: Option<Short>,
    /// The store did not answer.
    failure: Option<(Timestamp, StoreError)>,
    /// What `low` is when nothing is on its way.
    low: u64,
    /// What was held at the last sweep, and in how many sweeps that has not changed.
    sweeps: (u64, u32),
    /// Threads may hold parts.
    has_parts: bool,
}

/// What the store has, and that it was not enough.
struct Short {
    left: u64,
    since: Timestamp,
    until: Timestamp,
    refill: Option<(Timestamp, u64)>,
}

impl State {
    /// Why the store is not asked now. A clock that was set back makes no caller wait.
    fn rest(&self, now: Timestamp) -> Option<&StoreError> {
        let (since, error) = self.failure.as_ref()?;
        (*since..since.saturating_add(PAUSE)).contains(&now).then_some(error)
    }
}

impl Short {
    fn holds(&self, now: Timestamp) -> bool {
        (self.since..self.until).contains(&now)
    }
}

/// How long a lineage is believed to be exhausted without asking again. Top-ups are known by the
/// record; this is for what other nodes give back.
const EXHAUSTED: Duration = Duration::from_secs(1);

/// How long a store that failed is not asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// Sweeps after which unused credits are given back.
const IDLE_SWEEPS: u32 = 3;

/// How many credits a part has at most, and at least.
const MOST_IN_PART: u64 = 256;
const LEAST_IN_PART: u64 = 8;

/// So many credits for each thread stay where all threads can spend them.
const APART: u64 = 32;

impl Account {
    pub(super) fn new(lineage: KeyId, parts: Arc<Parts>) -> Self {
        Self {
            lineage,
            held: AtomicU64::new(0),
            parted: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            left: AtomicU64::new(0),
            low: AtomicU64::new(0),
            state: Mutex::default(),
            parts,
        }
    }

    /// Spends held credits, where the calling thread has none of its own. True if it is time to take
    /// more.
    pub(super) fn spend(
        self: &Arc<Self>,
        epoch: u64,
        cost: u64,
        miss: Miss,
    ) -> Option<(SpendOutcome, bool)> {
        if miss.ended > 0 {
            self.lower_parted(miss.ended);
        }
        // Before `held` is read, since it is emptied before this is raised.
        if self.epoch.load(Ordering::Acquire) < epoch {
            return None;
        }
        // What the thread has is not enough.
        if miss.is_held {
            drop(self.lock());
        }
        let held = self.spend_held(cost).or_else(|| {
            // Others may have some.
            let _state = self.lock();
            self.spend_held(cost)
        })?;
        let remaining = held.saturating_add(self.elsewhere());
        if miss.is_wanted {
            self.part();
        }
        Some((SpendOutcome::Done { remaining }, held < self.low.load(Ordering::Relaxed)))
    }

    fn spend_held(&self, cost: u64) -> Option<u64> {
        let spend = |held: u64| held.checked_sub(cost);
        let held = self.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, spend).ok()?;
        Some(held - cost)
    }

    /// The credits that are left and not held here, as far as is known.
    fn elsewhere(&self) -> u64 {
        let left = self.left.load(Ordering::Relaxed);
        left.saturating_add(self.parted.load(Ordering::Relaxed))
    }

    /// Gives the calling thread a part, while there is plenty.
    #[cold]
    fn part(&self) {
        // Otherwise the account is about to change. The thread comes again.
        let Some(mut state) = self.state.try_lock() else { return };
        let threads = self.parts.threads().max(1);
        let apart = self.low.load(Ordering::Relaxed).max(APART * threads);
        let size = (self.held_apart() / (8 * threads)).min(MOST_IN_PART);
        if size < LEAST_IN_PART {
            return;
        }
        let take = |held: u64| held.checked_sub(size).filter(|rest| *rest >= apart);
        let Ok(held) = self.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, take) else {
            return;
        };
        let (lineage, epoch) = (self.lineage, self.epoch.load(Ordering::Acquire));
        let elsewhere = (held - size).saturating_add(self.elsewhere());
        if self.parts.put(Part { lineage, epoch, left: size, size, elsewhere }) {
            state.has_parts = true;
            self.parted.fetch_add(size, Ordering::Relaxed);
        } else {
            self.add(size);
        }
    }

    /// The state, once all parts are back that threads hold.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        if state.has_parts {
            state.has_parts = false;
            let Back { left, size } = self.parts.take_back(self.lineage);
            self.lower_parted(size);
            self.add(left);
        }
        state
    }

    /// An account that was forgotten may have parted with some of it.
    fn lower_parted(&self, size: u64) {
        let lower = |parted: u64| Some(parted.saturating_sub(size));
        let _ = self.parted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, lower);
    }

    /// A denial without asking the store, where it has just said that it has not enough.
    #[cold]
    pub(super) fn refuse(
        &self,
        record: &KeyRecord,
        epoch: u64,
        cost: u64,
        now: Timestamp,
    ) -> Option<SpendOutcome> {
        let state = self.lock();
        let short = state.short.as_ref()?;
        let holds = short.holds(now)
            && self.epoch.load(Ordering::Acquire) >= epoch
            && !state.seen_revisions.is_news(record);
        let held = self.held_apart();
        if !holds || cost.saturating_sub(held) <= short.left {
            return None;
        }
        // A refill of less than the cost is nothing to wait for.
        let refill = short.refill.filter(|(_, amount)| *amount >= cost);
        Some(SpendOutcome::Short {
            remaining: short.left.saturating_add(held),
            retry_after: refill.map(|(at, _)| at.saturating_since(now)),
        })
    }

    /// Puts back what was spent by a request that did not get on. Only where it surely is of the
    /// same epoch.
    pub(super) fn put_back(&self, epoch: u64, cost: u64) {
        let state = self.lock();
        if self.epoch.load(Ordering::Acquire) == epoch && state.lease_size.epoch <= epoch {
            self.add(cost);
        }
    }

    fn add(&self, amount: u64) {
        let add = |held: u64| Some(held.saturating_add(amount));
        let _ = self.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
    }

    /// The credits held of a balance of this epoch.
    pub(super) fn held_of(&self, epoch: u64) -> u64 {
        let state = self.lock();
        if state.lease == epoch { self.held_apart() } else { 0 }
    }

    pub(super) fn held(&self) -> u64 {
        let _state = self.lock();
        self.held_apart()
    }

    /// Without the parts of threads.
    fn held_apart(&self) -> u64 {
        self.held.load(Ordering::Acquire)
    }

    /// The credits that are left, as far as this node knows.
    pub(super) fn remaining(&self) -> u64 {
        self.held().saturating_add(self.left.load(Ordering::Relaxed))
    }

    /// Waits for the call that is on its way, or begins one, whose call is then the caller's to
    /// make.
    pub(super) fn join(
        self: &Arc<Self>,
        record: &KeyRecord,
        epoch: u64,
        cost: u64,
        now: Timestamp,
    ) -> Result<(Waiter<Ended>, Option<Call>), StoreError> {
        let mut state = self.lock();
        if let Some(error) = state.rest(now) {
            return Err(error.clone());
        }
        state.lease_size.add(cost);
        state.seen_revisions.add(record);
        if epoch > self.epoch.load(Ordering::Acquire) && epoch > state.lease_size.epoch {
            state.lease_size.epoch = epoch;
            // The balance was set anew.
            self.held.store(0, Ordering::Release);
        }
        if let Some(call) = &state.call {
            return Ok((call.join(), None));
        }
        let waiter = self.start(&mut state);
        Ok((waiter, Some(Call::of(self))))
    }

    /// Begins to take more in advance, if nothing is on its way.
    pub(super) fn join_in_advance(self: &Arc<Self>, now: Timestamp) -> Option<Call> {
        let mut state = self.state.try_lock()?;
        if state.call.is_some() || state.rest(now).is_some() {
            return None;
        }
        self.start(&mut state);
        Some(Call::of(self))
    }

    fn start(&self, state: &mut State) -> Waiter<Ended> {
        self.low.store(0, Ordering::Relaxed);
        let (call, waiter) = SharedCall::new();
        state.call = Some(call);
        waiter
    }

    /// What callers wait for now, just before the store is asked.
    pub(super) fn lease_size(&self) -> LeaseSize {
        let mut state = self.lock();
        state.seen_revisions.store_is_asked();
        LeaseSize { held: self.held_apart(), ..state.lease_size }
    }

    /// Takes the held credits out, to be given back.
    pub(super) fn give(self: &Arc<Self>, now: Timestamp) -> Giving {
        let mut state = self.lock();
        if let Some(call) = &state.call {
            return Giving::Busy(call.join());
        }
        self.end_with_refill(&mut state, now);
        match self.held.swap(0, Ordering::AcqRel) {
            0 => Giving::Nothing,
            amount => {
                self.start(&mut state);
                Giving::Off(Call::of(self), Deposit { amount, epoch: state.lease })
            }
        }
    }

    /// One more sweep of the background task: what is held ends with its refill. True if the rest
    /// has not been used for a while.
    pub(super) fn sweep(&self, now: Timestamp) -> bool {
        let mut state = self.lock();
        self.end_with_refill(&mut state, now);
        let held = self.held_apart();
        let (before, sweeps) = state.sweeps;
        state.sweeps = if held == before { (held, sweeps.saturating_add(1)) } else { (held, 0) };
        held > 0 && state.sweeps.1 >= IDLE_SWEEPS
    }

    /// Whether nothing is lost when this is forgotten.
    pub(super) fn is_forgettable(&self, now: Timestamp) -> bool {
        let state = self.lock();
        let knows = state.short.as_ref().is_some_and(|short| short.holds(now));
        self.held_apart() == 0 && state.call.is_none() && !knows && state.rest(now).is_none()
    }

    fn end_with_refill(&self, state: &mut State, now: Timestamp) {
        if state.until.is_some_and(|until| until <= now) {
            self.held.store(0, Ordering::Release);
            state.until = None;
        }
    }

    /// The store has answered.
    pub(super) fn took(&self, size: &LeaseSize, taken: &Taken, most: u64) {
        let mut state = self.lock();
        state.failure = None;
        state.lease_size.is_careful = false;
        // Set anew after the store was asked: what it gave is of a balance that is gone.
        let is_outdated =
            state.lease_size.epoch > size.epoch && taken.epoch < state.lease_size.epoch;
        self.end_with_refill(&mut state, taken.at);
        if taken.epoch != state.lease {
            self.held.store(0, Ordering::Release);
        }
        // The store's word is the last, also about an epoch that it does not know.
        self.epoch.fetch_max(taken.epoch.max(size.epoch), Ordering::AcqRel);
        state.lease = taken.epoch;
        self.left.store(taken.left, Ordering::Relaxed);
        if taken.amount > 0 && !is_outdated {
            state.until = taken.until;
            self.add(taken.amount);
        }
        let is_plenty = LeaseSize::default().amount(taken.left, most) > 0;
        state.low = if is_plenty { most / 4 } else { 0 };
        if taken.amount == 0 && size.least() > taken.left {
            let until = taken.at.saturating_add(EXHAUSTED);
            let until = taken.refill.map_or(until, |(at, _)| until.min(at));
            let Taken { left, at: since, refill, .. } = *taken;
            state.short = Some(Short { left, since, until, refill });
        } else {
            state.short = None;
            state.seen_revisions = SeenRevisions::default();
        }
        self.finish(state, Ended::Took(Ok(())));
    }

    /// The store has not.
    pub(super) fn took_not(&self, trouble: Trouble, now: Timestamp) {
        let mut state = self.lock();
        state.failure = Some((now, trouble.error.clone()));
        state.lease_size.is_careful |= trouble.lost > 0;
        self.finish(state, Ended::Took(Err(trouble.error)));
    }

    /// Credits on their way back have arrived, or not.
    pub(super) fn gave(&self, deposit: Deposit, returned: Returned) {
        let mut state = self.lock();
        match returned {
            Returned::Done { left } => {
                self.left.store(left, Ordering::Relaxed);
                state.short = None;
            }
            // Set anew meanwhile, there is nothing to hold again.
            Returned::NotMade if state.lease_size.epoch <= deposit.epoch => {
                self.add(deposit.amount);
            }
            Returned::NotMade | Returned::Unknown => {}
        }
        self.finish(state, Ended::Gave);
    }

    /// The task that was to call it is gone.
    pub(super) fn gave_up(&self) {
        let error = StoreError::unavailable("the call of the store was given up");
        let mut state = self.lock();
        state.lease_size.is_careful = true;
        self.finish(state, Ended::Took(Err(error)));
    }

    fn finish(&self, mut state: MutexGuard<'_, State>, ended: Ended) {
        let LeaseSize { epoch, is_careful, .. } = state.lease_size;
        state.lease_size = LeaseSize { epoch, is_careful, ..LeaseSize::default() };
        self.low.store(state.low, Ordering::Relaxed);
        let call = state.call.take();
        drop(state);
        if let Some(call) = call {
            call.answer(ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::act_as_thread;

    /// The less the more threads there are, and none where little would be left for all of them.
    #[test]
    fn a_thread_gets_a_part_while_there_is_plenty() {
        for (threads, held, low, part) in [
            (1, 4_096, 0, MOST_IN_PART),
            (1, 1_024, 0, 128),
            (1, 1_024, 896, 128),
            (1, 1_024, 897, 0),
            (1, 64, 0, LEAST_IN_PART),
            (1, 63, 0, 0),
            (4, 1_024, 0, 32),
            (4, 255, 0, 0),
        ] {
            let lineage = KeyId::generate(Timestamp::UNIX_EPOCH).unwrap();
            let parts = Arc::new(Parts::default());
            for thread in (0..threads).rev() {
                act_as_thread(thread);
                assert!(parts.spend(lineage, 0, 1).is_err());
            }
            let account = Account::new(lineage, parts.clone());
            account.add(held);
            account.low.store(low, Ordering::Relaxed);
            account.part();
            assert_eq!(account.held_apart(), held - part, "{held} of {threads} threads");
            assert_eq!(account.elsewhere(), part);
            assert_eq!(parts.take_back(lineage).left, part);
        }
    }
}
