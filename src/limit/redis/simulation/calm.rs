//! The end of a run, in which everything is in order: what is promised can be told to a single request.

use std::{sync::Arc, time::Duration};

use super::{
    books::Admitted,
    run::{Bucket, EXACT, Run},
    scripts::{Kind, numbers},
    server::{Life, Moment},
};
use crate::{
    clock::nanos,
    key::{KeyId, Limit, Limits, Quota},
    limit::limiter::{LimitCheck, LimitDecision, LimitSubject, RateLimiter},
};

impl Run {
    pub(super) async fn calm(&mut self) {
        self.settle().await;
        // What is under way is done by then.
        self.rest(Duration::from_secs(3)).await;
        for bucket in 0..self.buckets.len() {
            self.is_whole_again(bucket).await;
        }
        self.a_denied_request_is_let_in_in_time().await;
        self.a_request_that_is_given_back_is_there_for_another().await;
        self.a_request_goes_back_into_its_batch().await;
        self.nothing_is_lost().await;
    }

    fn fresh(&mut self, id: u8, quota: Quota) -> usize {
        let limits = Arc::new(Limits::new([Limit::new("one", quota).unwrap()]).unwrap());
        let sets = [limits.clone(), limits];
        self.buckets.push(Bucket { id: KeyId::from_bytes([id; 16]), sets, current: 0 });
        self.buckets.len() - 1
    }

    fn leased_node(&mut self) -> usize {
        1 + self.random.below(self.nodes.len() - 1)
    }

    fn key(&self, bucket: usize) -> String {
        format!("simulated:lineage:{}", self.buckets[bucket].id)
    }

    /// One request, of which only this waits for the answer.
    async fn decided(&mut self, node: usize, bucket: usize, cost: u32) -> LimitDecision {
        let limits = self.buckets[bucket].sets[self.buckets[bucket].current].clone();
        self.decided_by(node, bucket, limits, cost).await
    }

    async fn decided_by(
        &mut self,
        node: usize,
        bucket: usize,
        limits: Arc<Limits>,
        cost: u32,
    ) -> LimitDecision {
        self.server.taken();
        let (limiter, life) = (self.nodes[node].limiter.clone(), self.nodes[node].life);
        let id = self.buckets[bucket].id;
        let check = LimitCheck::new(LimitSubject::Lineage(id), &limits).with_cost(cost);
        let decision = match limiter.check_now(&check) {
            Some(decision) => decision,
            None => limiter.check(&check).await.unwrap(),
        };
        let (taken, now) = (self.server.taken(), self.server.now());
        if let LimitDecision::Allow(_) = decision {
            let at = taken.unwrap_or(now);
            self.admit(life, bucket, limits.clone(), cost, (at, now), taken.is_none());
        }
        decision
    }

    fn expect(&mut self, is_true: bool, why: impl FnOnce() -> String) {
        if !is_true {
            self.violations.push(why());
        }
    }

    /// When the server last let in or lent something of this bucket.
    fn last_used(&self, bucket: usize) -> Moment {
        let key = self.key(bucket);
        let is_use = |answer: &Option<Vec<i64>>| answer.as_ref().is_some_and(|all| all[0] > 0);
        self.server.with_executed(|executed| {
            let mut uses = executed.iter().filter(|one| one.key == key && is_use(&one.answer));
            uses.next_back().map_or(0, |executed| executed.at)
        })
    }

    /// The whole burst can be used once as much time has passed as it takes to come back.
    async fn is_whole_again(&mut self, bucket: usize) {
        let Bucket { sets, current, .. } = &self.buckets[bucket];
        let limits = sets[*current].clone();
        let rooms = sets.iter().flat_map(|set| set.iter()).map(|limit| limit.quota().room());
        let key = self.key(bucket);
        // One that cost more than a burst may have been counted for a caller that did not hear of it.
        let charged = self.server.with_executed(|executed| {
            let takes = executed.iter().filter(|one| one.key == key && one.kind == Kind::Take);
            takes.flat_map(|take| numbers(&take.args, 3, 1)).max().unwrap_or_default()
        });
        let charged = u64::try_from(charged).unwrap();
        let owed = rooms.max().unwrap().max(charged);
        let ends = self.last_used(bucket) + owed;
        self.rest(Duration::from_nanos(ends.saturating_sub(self.server.now()))).await;
        for limit in &*limits {
            let one = Arc::new(Limits::new([limit.clone()]).unwrap());
            let burst = limit.quota().burst().get();
            // Nodes with leases have it counted by the server.
            let node = self.node();
            let decision = self.decided_by(node, bucket, one, burst).await;
            self.expect(matches!(decision, LimitDecision::Allow(_)), || {
                format!("{key} is not whole again: {limit:?}, {decision:?}")
            });
        }
    }

    /// A node that has a bucket for itself is denied as long as it was told.
    async fn a_denied_request_is_let_in_in_time(&mut self) {
        let quota = Quota::per_second(crate::nonzero!(200)).with_burst(crate::nonzero!(400));
        let (bucket, node) = (self.fresh(11, quota), self.leased_node());
        let cost = 2 + u32::try_from(self.random.below(3)).unwrap();
        let (mut told, mut in_a_row) = (0, 0);
        while told < 3 {
            match self.decided(node, bucket, cost).await {
                LimitDecision::Allow(_) => in_a_row = 0,
                LimitDecision::Deny { retry_after, .. } => {
                    // At first it may be told when there is one, which is not enough for it.
                    in_a_row += 1;
                    self.expect(in_a_row < 3, || format!("denied once more, for {retry_after:?}"));
                    self.server.see("a denied request came again in time");
                    told += 1;
                    self.rest(retry_after).await;
                }
            }
        }
    }

    /// Also where the node denies from memory.
    async fn a_request_that_is_given_back_is_there_for_another(&mut self) {
        let (bucket, node) =
            (self.fresh(10, Quota::per_hour(crate::nonzero!(3))), self.leased_node());
        for _ in 0..3 {
            self.decided(node, bucket, 1).await;
        }
        for _ in 0..2 {
            let decision = self.decided(node, bucket, 1).await;
            self.expect(matches!(decision, LimitDecision::Deny { .. }), || {
                "one request too many".to_owned()
            });
        }
        self.give_back(self.books.admitted.len() - 1);
        self.rest(Duration::from_millis(20)).await;
        let decision = self.decided(node, bucket, 1).await;
        self.expect(matches!(decision, LimitDecision::Allow(_)), || {
            format!("denied although one was given back: {decision:?}")
        });
    }

    /// While a batch is in use.
    async fn a_request_goes_back_into_its_batch(&mut self) {
        let quota = Quota::per_hour(crate::nonzero!(36)).with_burst(crate::nonzero!(3_200));
        let (bucket, node) = (self.fresh(12, quota), self.leased_node());
        // Otherwise it ends meanwhile.
        if self.nodes[node].time < Some(Duration::from_millis(500)) {
            return;
        }
        for _ in 0..3 {
            self.decided(node, bucket, 1).await;
        }
        self.rest(Duration::from_millis(20)).await;
        let life = self.nodes[node].life;
        let left = self.lent(life, bucket) - self.used(bucket, |admitted| admitted.life == life);
        self.decided(node, bucket, 3).await;
        self.give_back(self.books.admitted.len() - 1);
        self.server.see("a request went back into its batch");
        let before = self.server.with_executed(<[_]>::len);
        for _ in 0..left {
            self.decided(node, bucket, 1).await;
        }
        let is_all = self.server.with_executed(<[_]>::len) == before;
        self.expect(is_all, || "a request did not go back into its batch".to_owned());
    }

    /// How many requests were lent to a node and not given back.
    fn lent(&self, life: Life, bucket: usize) -> i64 {
        let key = self.key(bucket);
        self.server.with_executed(|executed| {
            let of_this = executed.iter().filter(|one| one.life == life && one.key == key);
            let leases = of_this.filter(|one| one.kind == Kind::Lease);
            let kept = |lent: &[i64], args| lent[0] - numbers(args, 1, 4)[0];
            leases.map(|one| kept(one.answer.as_ref().unwrap(), &one.args[..7])).sum()
        })
    }

    /// How many were counted by the server, one after the other.
    fn taken(&self, bucket: usize) -> i64 {
        let key = self.key(bucket);
        let one = i64::try_from(nanos(self.buckets[bucket].sets[0][0].quota().interval())).unwrap();
        self.server.with_executed(|executed| {
            let takes = executed.iter().filter(|one| one.key == key && one.kind == Kind::Take);
            let allowed = takes.filter(|one| one.answer.as_ref().unwrap()[0] == 1);
            allowed.map(|allowed| numbers(&allowed.args, 3, 1)[0] / one).sum()
        })
    }

    /// How many of these were used.
    fn used(&self, bucket: usize, is_one: impl Fn(&Admitted) -> bool) -> i64 {
        let used = self.books.admitted.iter().filter(|admitted| {
            admitted.bucket == bucket && admitted.back.is_none() && is_one(admitted)
        });
        used.map(|admitted| i64::from(admitted.cost)).sum()
    }

    /// Of a bucket of which hardly anything comes back, all is there that was not used, once the nodes
    /// have nothing to do or have ended. A node that crashes takes along what it holds, and no more.
    async fn nothing_is_lost(&mut self) {
        let quota = Quota::per_day(crate::nonzero!(86)).with_burst(crate::nonzero!(3_200));
        let bucket = self.fresh(13, quota);
        let before = self.denials;
        while self.used(bucket, |_| true) < 400 {
            let (node, count) = (self.leased_node(), 1 + self.random.below(8));
            for _ in 0..count {
                let cost = 1 + u32::try_from(self.random.below(9)).unwrap();
                self.call(node, bucket, cost, false);
            }
            let time = self.random.time(Duration::from_millis(60));
            self.rest(time).await;
        }
        let how = self.random.below(3);
        let mut crashed = None;
        if how == 2 {
            let node = self.leased_node();
            crashed = Some(self.nodes[node].life);
            self.crash(node);
            self.server.see("a crash cost no more than what was held");
        }
        if how > 0 {
            // With what is under way.
            (1..self.nodes.len()).for_each(|node| self.close(node));
            self.server.see("nodes that were closed gave back what they had");
        }
        self.settle().await;
        self.expect(self.denials == before, || "denied where there is room".to_owned());
        if how == 0 {
            // As long as it takes to see that no caller comes, and what is asked for by then.
            let times = self.nodes.iter().filter_map(|node| node.time).max().unwrap();
            self.rest(times.max(Duration::from_millis(200)) + Duration::from_millis(50)).await;
            self.server.see("idle nodes gave back what they had");
        }
        self.rest(Duration::from_millis(50)).await;
        // What the server counted for a caller that was gone by then, and what a node took along.
        let mut lost = self.taken(bucket) - self.used(bucket, |admitted| !admitted.is_leased);
        if let Some(life) = crashed {
            let used = |admitted: &Admitted| admitted.is_leased && admitted.life == life;
            lost += self.lent(life, bucket) - self.used(bucket, used);
        }
        let LimitDecision::Allow(state) = self.decided(EXACT, bucket, 1).await else {
            self.violations.push("nothing is left".to_owned());
            return;
        };
        // This one is used as well.
        let (used, left) = (self.used(bucket, |_| true), i64::from(state.remaining));
        let most = 3_200 - used;
        // Of the one that comes back meanwhile, a part was given back.
        self.expect((most - lost - 2..=most).contains(&left), || {
            format!("{left} are left of {most}, and {lost} were lost with a node")
        });
        // Without nodes that look after what they have, a month is a moment.
        self.nodes.truncate(EXACT + 1);
        self.is_whole_again(bucket).await;
    }
}
