//! Asking for more: one round trip for all callers that wait.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::{
    buckets::{Ask, Buckets, Lent, unavailable},
    lease::{Asked, Ended, Lease},
    leases::{Leases, Subject, held},
};
use crate::{
    limit::limiter::{LimitCheck, LimitDecision},
    runtime::{SharedCall, Waiter},
    store::StoreError,
};

/// The outcome of asking for more.
pub(super) enum Joined {
    /// It was not necessary.
    Decided(LimitDecision),
    /// It is on its way.
    Waiting(Waiter<Ended>),
    /// Not for this request.
    NotLeased,
}

impl Leases {
    /// Decides, or asks for more unless another caller does so already.
    pub(super) fn join(self: &Arc<Self>, buckets: &Buckets, check: &LimitCheck<'_>) -> Joined {
        let Ok(runtime) = Handle::try_current() else { return Joined::NotLeased };
        if !self.is_leased(check) {
            return Joined::NotLeased;
        }
        let (hash, now) = (self.hash(&check.subject), self.now());
        let mut shard = self.shard(hash);
        let Some(held) = held(&mut shard, hash, check, now) else { return Joined::NotLeased };
        let lease = &mut held.lease;
        if let Some(decision) = lease.decide(check.cost, now) {
            return Joined::Decided(decision);
        }
        lease.wait(check.cost);
        if let Some(call) = &lease.call {
            return Joined::Waiting(call.clone());
        }
        let (call, waiter) = SharedCall::new();
        lease.call = Some(waiter.clone());
        let ask = lease.ask(check.cost, now, self.time);
        let call = Some(call);
        let ending = Ending { leases: self.clone(), hash, subject: held.subject.clone(), call };
        drop(shard);
        self.start(&runtime, buckets, ending, ask, Asked { at: now, left: 0 });
        Joined::Waiting(waiter)
    }

    /// Asks for the next batch while requests go on to be let in from this one.
    #[cold]
    pub(super) fn ask_ahead(self: &Arc<Self>, buckets: &Buckets, check: &LimitCheck<'_>) {
        let Ok(runtime) = Handle::try_current() else { return };
        if !self.is_leased(check) {
            return;
        }
        let (hash, now) = (self.hash(&check.subject), self.now());
        let mut shard = self.shard(hash);
        let Some(held) = held(&mut shard, hash, check, now) else { return };
        let lease = &mut held.lease;
        // Another request may have been faster.
        if !lease.is_low(now) {
            return;
        }
        let (call, waiter) = SharedCall::new();
        lease.call = Some(waiter);
        let (ask, asked) = (lease.ask_ahead(now, self.time), Asked { at: now, left: lease.left() });
        let call = Some(call);
        let ending = Ending { leases: self.clone(), hash, subject: held.subject.clone(), call };
        drop(shard);
        self.start(&runtime, buckets, ending, ask, asked);
    }

    /// In a task of its own: a caller who goes away takes no other caller's requests along.
    fn start(
        self: &Arc<Self>,
        runtime: &Handle,
        buckets: &Buckets,
        mut ending: Ending,
        ask: Ask,
        asked: Asked,
    ) {
        self.sweep(runtime, buckets);
        let (buckets, key) = (buckets.clone(), buckets.key(&ending.subject.borrowed()));
        runtime.spawn(async move {
            let lent = buckets.lease(key, &ask).await;
            ending.finish(lent, &ask, asked);
        });
    }
}

/// Ends the wait for more, also when its task panics or its runtime is shut down.
struct Ending {
    leases: Arc<Leases>,
    hash: u64,
    subject: Subject,
    /// None once it is answered.
    call: Option<SharedCall<Ended>>,
}

impl Ending {
    fn finish(&mut self, lent: Result<Lent, StoreError>, ask: &Ask, asked: Asked) {
        let now = self.leases.now();
        let result = self.with(|lease| {
            let lent = lent.inspect_err(|_| lease.failed())?;
            lease.ended(&lent, ask, asked, now);
            Ok(())
        });
        if let (Some(call), Some(result)) = (self.call.take(), result) {
            call.answer(result);
        }
    }

    /// It is not forgotten before this has ended.
    fn with<T>(&self, f: impl FnOnce(&mut Lease) -> T) -> Option<T> {
        let mut shard = self.leases.shard(self.hash);
        let held = shard.get_mut(&self.hash)?;
        if held.subject.borrowed() != self.subject.borrowed() {
            return None;
        }
        held.lease.call = None;
        Some(f(&mut held.lease))
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            self.with(|_| ());
            call.answer(Err(unavailable("asking for a lease was given up")));
        }
    }
}
