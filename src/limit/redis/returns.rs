//! Giving back unused requests, and forgetting idle buckets.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{runtime::Handle, task::JoinSet};

use super::{
    buckets::{Ask, Buckets},
    leases::{Leases, Shard},
};
use crate::{clock::nanos, observe, runtime::Mutex};

/// A bucket that no caller asked for this long is forgotten, once its unused requests are given back.
const IDLE: Duration = Duration::from_secs(10);

/// Not so often that looking for unused requests is work.
const SHORTEST: Duration = Duration::from_millis(100);

impl Leases {
    /// Asks for nothing any more, and gives back all there is.
    pub(super) async fn close(&self, buckets: &Buckets) {
        self.is_closed.store(true, Ordering::Relaxed);
        for shard in &self.shards {
            let calls: Vec<_> = {
                let shard = shard.lock();
                shard.values().filter_map(|held| held.lease.call.clone()).collect()
            };
            for mut call in calls {
                // An error says that it was given up, which is an end as well.
                let _ = call.answer().await;
            }
            give_back(self.clear(shard, Duration::ZERO, buckets), buckets).await;
        }
    }

    /// Takes requests that were not used for so long, and forgets idle buckets.
    fn clear(
        &self,
        shard: &Mutex<Shard>,
        unused_for: Duration,
        buckets: &Buckets,
    ) -> Vec<(String, Ask)> {
        let now = self.now();
        let mut unused = Vec::new();
        let mut shard = shard.lock();
        shard.retain(|_, held| {
            let lease = &mut held.lease;
            if lease.is_idle(now, nanos(unused_for)) {
                let key = || buckets.key(&held.subject.borrowed());
                unused
                    .extend(lease.take_unused(now, self.time).into_iter().map(|ask| (key(), ask)));
            }
            !lease.is_idle(now, nanos(IDLE.max(unused_for)))
        });
        if shard.len() < shard.capacity() / 4 {
            shard.shrink_to_fit();
        }
        unused
    }

    /// Starts the task that gives back and forgets. It ends with the limiter.
    pub(super) fn sweep(self: &Arc<Self>, runtime: &Handle, buckets: &Buckets) {
        let Some(running) = self.sweeping.begin() else { return };
        let (leases, buckets) = (Arc::downgrade(self), buckets.clone());
        let unused_for = (self.time / 2).max(SHORTEST);
        runtime.spawn(async move {
            let _running = running;
            loop {
                tokio::time::sleep(unused_for).await;
                let Some(leases) = leases.upgrade() else { return };
                for shard in &leases.shards {
                    give_back(leases.clear(shard, unused_for, &buckets), &buckets).await;
                }
            }
        });
    }
}

/// Many at once.
async fn give_back(unused: Vec<(String, Ask)>, buckets: &Buckets) {
    let mut returns = JoinSet::new();
    for (key, ask) in unused {
        let buckets = buckets.clone();
        returns.spawn(async move {
            if let Err(error) = buckets.lease(key, &ask).await {
                observe::not_given_back(&error);
            }
        });
        if returns.len() >= 64 {
            returns.join_next().await;
        }
    }
    while returns.join_next().await.is_some() {}
}
