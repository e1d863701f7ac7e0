//! What a node holds of one bucket, and how it comes by more.

use std::{mem::take, time::Duration};

use super::{
    buckets::{Ask, Lent},
    leases::LEAST,
};
use crate::{
    clock::nanos,
    key::{Limits, Quota},
    limit::limiter::{LimitDecision, LimitState},
    runtime::Waiter,
    store::StoreError,
};

/// Nanoseconds since the limiter was made, by a clock that never goes back.
pub(super) type Moment = u64;

/// When more was asked for, and how many were left then.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) at: Moment,
    pub(super) left: u32,
}

/// How a request for more ended.
pub(super) type Ended = Result<(), StoreError>;

/// A round trip should bring so many requests. Where the quota is used up, a node asks less often
/// until it does, and not more often than it must once it brings twice as many.
const WORTH_A_TRIP: u32 = 64;

/// How many requests of a limit are lent at once, at the most: as many as come back while a lease
/// lasts, or a sixteenth of the burst.
pub(super) fn batch(quota: Quota, time: Duration) -> u64 {
    let share = u64::from(quota.burst().get() / 16);
    share.max(nanos(time) / quota.charge(1))
}

/// Of a batch that is worth it, this part is left when the next one is asked for.
const AHEAD: u32 = 8;

/// Requests that were lent at once.
#[derive(Clone, Copy, Default)]
struct Batch {
    /// How many may still be let in, before it ends.
    left: u32,
    lent: u32,
    ends: Moment,
    /// By the server's clock.
    since: u64,
    /// When it was asked for.
    asked: Moment,
}

impl Batch {
    /// Whether nothing of it can be let in any more.
    const fn is_over(&self, now: Moment) -> bool {
        self.left == 0 || now >= self.ends
    }

    /// Whether some of what is left has not melted yet, so that it can be given back.
    fn can_be_given_back(&self, limits: &Limits, now: Moment) -> bool {
        let age = now.saturating_sub(self.asked);
        limits.iter().any(|limit| limit.quota().charge(self.left) > age)
    }
}

/// Requests that were lent to this node, and what it has seen of its callers.
pub(super) struct Lease {
    pub(super) limits: Limits,
    batch: Batch,
    /// When `batch` took the place of the one before. What was let in earlier is not of it.
    begun: Moment,
    /// With less than this left, the next batch is asked for.
    low: u32,
    /// Lent ahead: used when `batch` is over.
    next: Option<Batch>,
    /// What was left of batches when the next took their place. To be given back, one at a time.
    rests: [Option<Batch>; 2],
    /// How many of the batch before were let in since `batch` was asked for.
    before: u32,
    /// How much was denied since then.
    denied: u32,
    /// Until then nothing is to be had for requests that cost as much, or more.
    closed: Moment,
    closed_for: u32,
    /// When there is something, at the earliest.
    retry: Moment,
    /// How long to leave the server alone when it did not give what was wanted.
    pause: u64,
    /// Of the limit that is nearest to exhaustion: what the server has, and when all is paid off.
    limit: usize,
    elsewhere: u32,
    paid: Moment,
    used: Moment,
    /// How many requests the callers that wait for more cost, together.
    waiting: u32,
    /// The same when the last lease was not enough for them.
    crowd: u32,
    pub(super) call: Option<Waiter<Ended>>,
}

impl Lease {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            batch: Batch::default(),
            begun: 0,
            low: 0,
            next: None,
            rests: [None; 2],
            before: 0,
            denied: 0,
            closed: 0,
            closed_for: 0,
            retry: 0,
            pause: 0,
            limit: 0,
            elsewhere: 0,
            paid: 0,
            used: 0,
            waiting: 0,
            crowd: 0,
            call: None,
        }
    }

    /// Lets a request in or denies it, if that can be said without the server.
    #[inline]
    pub(super) fn decide(&mut self, cost: u32, now: Moment) -> Option<LimitDecision> {
        self.used = now;
        if now < self.batch.ends && cost <= self.batch.left {
            self.batch.left -= cost;
            return Some(LimitDecision::Allow(self.state(self.batch.left, now)));
        }
        self.decide_without(cost, now)
    }

    /// The same, where what is left of the batch is not enough.
    fn decide_without(&mut self, cost: u32, now: Moment) -> Option<LimitDecision> {
        if let Some(next) = self.next.take() {
            self.elsewhere = self.elsewhere.saturating_sub(next.lent);
            self.begin(next, now);
            return self.decide(cost, now);
        }
        if now < self.closed && cost >= self.closed_for {
            self.denied = self.denied.saturating_add(cost);
            let left = if now < self.batch.ends { self.batch.left } else { 0 };
            let retry_after = Duration::from_nanos(self.closed.max(self.retry) - now);
            return Some(LimitDecision::Deny { state: self.state(left, now), retry_after });
        }
        None
    }

    /// Whether it is time to ask for the next batch.
    #[inline]
    pub(super) fn is_low(&self, now: Moment) -> bool {
        self.batch.left < self.low && now >= self.closed && self.call.is_none()
    }

    /// Keeps what is left of the batch, to be given back when more is asked for.
    fn keep_rest(&mut self, now: Moment) {
        if !self.batch.can_be_given_back(&self.limits, now) {
            return;
        }
        let left = |rest: &Option<Batch>| rest.map_or(0, |rest| rest.left);
        // There are seldom as many, and the smallest is the one to lose.
        if let Some(smallest) = self.rests.iter_mut().min_by_key(|rest| left(rest))
            && left(smallest) < self.batch.left
        {
            *smallest = Some(self.batch);
        }
    }

    /// Puts a batch in the place of the one before.
    fn begin(&mut self, batch: Batch, now: Moment) {
        self.keep_rest(now);
        self.low = if batch.lent < LEAST { 0 } else { batch.lent / AHEAD + 1 };
        (self.batch, self.begun) = (batch, now);
    }

    #[inline]
    fn state(&self, left: u32, now: Moment) -> LimitState {
        let reset = Duration::from_nanos(self.paid.saturating_sub(now));
        LimitState { limit: self.limit, remaining: self.elsewhere.saturating_add(left), reset }
    }

    /// Takes back a request that was let in at that moment and is not used. False if it is lost: the
    /// batch that counted it has ended, or the next one has taken its place.
    pub(super) fn give_back(&mut self, cost: u32, let_in: Moment, now: Moment) -> bool {
        let batch = &mut self.batch;
        let is_of_this = let_in >= self.begun && cost <= batch.lent - batch.left;
        let is_back = is_of_this && now < batch.ends;
        if is_back {
            batch.left += cost;
        }
        is_back
    }

    /// Notes that a caller waits for more.
    pub(super) fn wait(&mut self, cost: u32) {
        self.waiting = self.waiting.saturating_add(cost);
    }

    /// What to ask for: what callers will use in most of the time that a lease takes, going by what
    /// they used of the last one.
    pub(super) fn ask(&mut self, cost: u32, now: Moment, time: Duration) -> Ask {
        self.keep_rest(now);
        let ask = self.ask_within(cost, now, time, nanos(time) / 10 * 9);
        self.batch.left = 0;
        ask
    }

    /// The same before the batch is used up, which goes on meanwhile. It is a little less, as the
    /// next one has to wait for its turn.
    pub(super) fn ask_ahead(&mut self, now: Moment, time: Duration) -> Ask {
        self.low = 0;
        self.ask_within(1, now, time, nanos(time) / 10 * 8)
    }

    fn ask_within(&mut self, cost: u32, now: Moment, time: Duration, within: u64) -> Ask {
        let used = self.before.saturating_add(self.batch.lent - self.batch.left);
        let used = u64::from(used) + u64::from(self.denied);
        let passed = now.saturating_sub(self.batch.asked).max(1);
        let expected = u128::from(used) * u128::from(within) / u128::from(passed);
        // One more, since part of a request is of no use.
        let expected = u64::try_from(expected).unwrap_or(u64::MAX).saturating_add(1);
        let want = expected.min(used.saturating_mul(8)).max(self.crowd.into());
        let want = want.min(self.most(time)).max(cost.into());
        for rest in &mut self.rests {
            *rest = rest.filter(|rest| rest.can_be_given_back(&self.limits, now));
        }
        let rest = self.rests.iter_mut().find_map(Option::take).unwrap_or_default();
        Ask {
            limits: self.limits.clone(),
            time,
            need: cost,
            want: u32::try_from(want).unwrap_or(u32::MAX),
            unused: rest.left,
            since: rest.since,
            last: time,
        }
    }

    /// How many are left.
    pub(super) const fn left(&self) -> u32 {
        self.batch.left
    }

    /// As much as is lent at once, if callers use it.
    fn most(&self, time: Duration) -> u64 {
        let most = self.limits.iter().map(|limit| batch(limit.quota(), time));
        most.min().unwrap_or_default()
    }

    /// No answer has come.
    pub(super) fn failed(&mut self) {
        (self.waiting, self.crowd) = (0, 0);
    }

    /// The server has denied a request that asked for itself: nothing comes back sooner.
    pub(super) fn denied(
        &mut self,
        cost: u32,
        decision: &LimitDecision,
        now: Moment,
        time: Duration,
    ) {
        if let LimitDecision::Deny { state, retry_after } = decision {
            self.closed = now.saturating_add(nanos(time.min(*retry_after)));
            self.closed_for = cost;
            self.retry = now.saturating_add(nanos(*retry_after));
            (self.limit, self.elsewhere) = (state.limit, state.remaining);
            self.paid = now.saturating_add(nanos(state.reset));
        }
    }

    /// Something that was taken is there again.
    pub(super) fn reopen(&mut self) {
        self.closed = 0;
    }

    /// The answer has come. When it was asked for, so many were left of the batch before.
    pub(super) fn ended(&mut self, lent: &Lent, ask: &Ask, asked: Asked, now: Moment) {
        let time = nanos(ask.time);
        let Asked { at: asked, left } = asked;
        let state = LimitState::nearest(&self.limits, lent.owed.iter().copied());
        (self.limit, self.elsewhere) = (state.limit, state.remaining);
        // From before the server was asked: it lent them later, and lent them for as long.
        let ends = asked.saturating_add(time);
        let (requests, since) = (lent.requests, lent.since);
        let batch = Batch { left: requests, lent: requests, ends, since, asked };
        // What is left now will be used before this batch is.
        (self.before, self.denied) = (left, 0);
        if self.batch.is_over(now) {
            self.before = left.saturating_sub(self.batch.left);
            self.begin(batch, now);
        } else if requests > 0 {
            self.elsewhere = self.elsewhere.saturating_add(requests);
            self.next = Some(batch);
        }
        self.paid = now.saturating_add(nanos(state.reset));
        self.crowd = take(&mut self.waiting).saturating_sub(lent.requests);

        if lent.requests == ask.want {
            (self.closed, self.pause) = (0, self.pause / 2);
            return;
        }
        self.pause = match lent.requests {
            ..WORTH_A_TRIP => self.pause.saturating_mul(2),
            few if few / 2 < WORTH_A_TRIP => self.pause,
            _ => self.pause / 2,
        };
        self.pause = self.pause.clamp(time / 8, time);
        self.closed_for = if lent.requests == 0 { ask.need } else { 1 };
        let (wait, limit) = self.wait_for(self.closed_for, lent, time);
        self.closed = asked.saturating_add(wait.min(time).max(self.pause));
        self.retry = now.saturating_add(wait);
        if wait > 0 {
            let owed = lent.owed.get(limit).copied().unwrap_or_default();
            let state = LimitState::new(&self.limits, limit, owed);
            (self.limit, self.elsewhere) = (limit, state.remaining);
            self.paid = now.saturating_add(nanos(state.reset));
        }
    }

    /// How long it takes until the server lends so many more, and because of which limit.
    fn wait_for(&self, need: u32, lent: &Lent, time: u64) -> (u64, usize) {
        let waits = self.limits.iter().zip(&lent.owed).map(|(limit, owed)| {
            let quota = limit.quota();
            let after = (*owed).max(time).saturating_add(quota.charge(need));
            after.saturating_sub(quota.room())
        });
        let waits = waits.enumerate().map(|(limit, wait)| (wait, limit));
        waits.rev().max_by_key(|(wait, _)| *wait).unwrap_or_default()
    }

    /// Whether no caller has asked for anything for so long.
    pub(super) fn is_idle(&self, now: Moment, time: u64) -> bool {
        self.call.is_none() && now.saturating_sub(self.used) >= time
    }

    /// Whether there is nothing of it that could be let in.
    pub(super) fn is_over(&self, now: Moment) -> bool {
        let is_next_over = self.next.is_none_or(|next| next.is_over(now));
        self.call.is_none() && self.batch.is_over(now) && is_next_over
    }

    /// Takes what can be given back.
    pub(super) fn take_unused(&mut self, now: Moment, time: Duration) -> Vec<Ask> {
        let rests = take(&mut self.rests).into_iter();
        let mut unused: Vec<Batch> = rests.chain([self.next.take()]).flatten().collect();
        if self.batch.can_be_given_back(&self.limits, now) {
            unused.push(self.batch);
            (self.batch.lent, self.batch.left) = (self.batch.lent - self.batch.left, 0);
        }
        unused.retain(|batch| batch.can_be_given_back(&self.limits, now));
        let give_back = |batch: Batch| Ask {
            limits: self.limits.clone(),
            time: Duration::ZERO,
            // More than there is.
            need: u32::MAX,
            want: 0,
            unused: batch.left,
            since: batch.since,
            last: time,
        };
        unused.into_iter().map(give_back).collect()
    }
}
