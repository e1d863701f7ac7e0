//! What a node holds of one bucket, and how it comes by more.

use std::{mem::take, time::Duration};

use super::buckets::{Ask, Lent, nanos};
use crate::{
    key::{Limits, Quota},
    limit::limiter::{LimitDecision, LimitState},
    runtime::Waiter,
    store::StoreError,
};

/// Nanoseconds since the limiter was made, by a clock that never goes back.
pub(super) type Moment = u64;

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

/// Requests that were lent to this node, and what it has seen of its callers.
pub(super) struct Lease {
    pub(super) limits: Limits,
    /// How many may still be let in, before it ends.
    left: u32,
    lent: u32,
    ends: Moment,
    /// By the server's clock.
    since: u64,
    /// When it was asked for.
    asked: Moment,
    /// How much was denied since.
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
            left: 0,
            lent: 0,
            ends: 0,
            since: 0,
            asked: 0,
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
        if now < self.ends && cost <= self.left {
            self.left -= cost;
            return Some(LimitDecision::Allow(self.state(self.left, now)));
        }
        if now < self.closed && cost >= self.closed_for {
            self.denied = self.denied.saturating_add(cost);
            let left = if now < self.ends { self.left } else { 0 };
            let retry_after = Duration::from_nanos(self.closed.max(self.retry) - now);
            return Some(LimitDecision::Deny { state: self.state(left, now), retry_after });
        }
        None
    }

    #[inline]
    fn state(&self, left: u32, now: Moment) -> LimitState {
        let reset = Duration::from_nanos(self.paid.saturating_sub(now));
        LimitState { limit: self.limit, remaining: self.elsewhere.saturating_add(left), reset }
    }

    /// A request that was let in and is not used. It can only be one of this lease's.
    pub(super) fn give_back(&mut self, cost: u32, now: Moment) {
        if now < self.ends && cost <= self.lent - self.left {
            self.left += cost;
        }
    }

    /// Notes that a caller waits for more.
    pub(super) fn wait(&mut self, cost: u32) {
        self.waiting = self.waiting.saturating_add(cost);
    }

    /// What to ask for: what callers will use in most of the time that a lease takes, going by what
    /// they used of the last one.
    pub(super) fn ask(&mut self, cost: u32, now: Moment, time: Duration) -> Ask {
        let used = u64::from(self.lent - self.left) + u64::from(self.denied);
        let passed = now.saturating_sub(self.asked).max(1);
        let expected = u128::from(used) * u128::from(nanos(time) / 10 * 9) / u128::from(passed);
        // One more, since part of a request is of no use.
        let expected = u64::try_from(expected).unwrap_or(u64::MAX).saturating_add(1);
        let want = expected.min(used.saturating_mul(8)).max(self.crowd.into());
        let want = want.min(self.most(time)).max(cost.into());
        let (unused, since) = (self.unused(now).unwrap_or_default(), self.since);
        self.left = 0;
        Ask {
            limits: self.limits.clone(),
            time,
            need: cost,
            want: u32::try_from(want).unwrap_or(u32::MAX),
            unused,
            since,
        }
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

    /// The answer has come.
    pub(super) fn ended(&mut self, lent: &Lent, ask: &Ask, asked: Moment, now: Moment) {
        let time = nanos(ask.time);
        (self.left, self.lent, self.since) = (lent.requests, lent.requests, lent.since);
        // From before the server was asked: it lent them later, and lent them for as long.
        (self.asked, self.ends, self.denied) = (asked, asked.saturating_add(time), 0);
        let state = LimitState::nearest(&self.limits, lent.owed.iter().copied());
        (self.limit, self.elsewhere) = (state.limit, state.remaining);
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
        self.call.is_none() && (self.left == 0 || now >= self.ends)
    }

    /// How much is left that has not melted yet, so that it can be given back.
    fn unused(&self, now: Moment) -> Option<u32> {
        let age = now.saturating_sub(self.asked);
        let is_there = |limit: &crate::key::Limit| limit.quota().charge(self.left) > age;
        self.limits.iter().any(is_there).then_some(self.left)
    }

    /// Takes what can be given back.
    pub(super) fn take_unused(&mut self, now: Moment) -> Option<Ask> {
        let unused = self.unused(now)?;
        (self.lent, self.left) = (self.lent - unused, 0);
        Some(Ask {
            limits: self.limits.clone(),
            time: Duration::ZERO,
            // More than there is.
            need: u32::MAX,
            want: 0,
            unused,
            since: self.since,
        })
    }
}
