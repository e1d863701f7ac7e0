//! The end of a run: everything is in order again, and the books are closed.

use std::time::Duration;

use tokio::time::sleep;
use tower_api_key::store::KeyRepository;

use super::{Run, flush};
use crate::{
    history::{books::Recorded, judged},
    requests::request,
    world::moment_of,
};

impl Run {
    /// Everything is in order again: after a while each node knows what there is, and nothing is denied for
    /// now.
    pub(super) async fn end(&mut self) -> Vec<String> {
        self.world.is_quiet();
        while let Some(number) = self.world.crashed() {
            self.crash(number);
        }
        self.store.recovers();
        self.store.lags(Duration::from_millis(50));
        self.bus.recovers();
        if let Some(limiter) = &self.limiter {
            limiter.recovers();
        }
        sleep(Duration::from_mins(2)).await;
        let mut violations = self.finish_revocations().await;
        // Some may not have heard of it.
        if self.world.was_restored(Duration::MAX) {
            self.bus.resets();
        }
        sleep(Duration::from_mins(2)).await;
        while self.acts.join_next().await.is_some() {}
        sleep(Duration::from_secs(1)).await;
        violations.extend(self.finish_revocations().await);
        self.world.history().marks.are_finished = true;
        let watermarks = self.store.authority().watermarks().unwrap();
        for mark in watermarks.current().await.unwrap() {
            violations.push(format!("in the end, {mark:?} stands"));
        }
        for node in &self.nodes {
            for key in self.world.known_keys() {
                let verdict = request(&self.client(node, key)).await;
                let expected = self.world.history().in_the_end(key, self.world.now());
                if !expected.contains(&judged(verdict)) {
                    let node = node.life.node;
                    violations.push(format!(
                        "in the end, key {key} at node {node}: {verdict:?} in place of {expected:?}"
                    ));
                }
            }
        }
        sleep(Duration::from_secs(1)).await;
        violations.extend(self.close().await);
        violations
    }

    /// What was begun to be revoked is finished by some node.
    async fn finish_revocations(&self) -> Vec<String> {
        let Some(node) = self.nodes.iter().find(|node| !node.is_old) else { return Vec::new() };
        let done = node.manager.finish_revocations().await;
        done.err()
            .map(|error| format!("revocations could not be finished: {error}"))
            .into_iter()
            .collect()
    }

    /// A store that is down takes no credits back: nodes hold them still, and give them back later. The books show
    /// that only of a balance that was never set anew, which is seldom.
    async fn give_back_in_vain(&self) -> Vec<String> {
        let mut violations = Vec::new();
        self.store.goes_down(Duration::from_mins(1));
        for node in &self.nodes {
            let held =
                || self.world.lineages().iter().map(|of| node.credits.held(*of)).sum::<u64>();
            let before = held();
            if node.credits.close().await.is_err() {
                self.world.saw("a lease could not be given back at first");
                if held() == 0 {
                    violations.push(format!("{before} credits were lost that no store took back"));
                }
            }
        }
        self.store.recovers();
        violations
    }

    /// All nodes stop, and the books are closed.
    async fn close(&mut self) -> Vec<String> {
        let mut violations = Vec::new();
        for node in &mut self.nodes {
            while node.tasks.join_next().await.is_some() {}
        }
        violations.extend(self.give_back_in_vain().await);
        for node in &mut self.nodes {
            flush(&self.world, &node.usage, node.life).await;
            if let Err(error) = node.manager.close().await {
                violations.push(format!("a node could not be closed in the end: {error}"));
            }
            for lineage in self.world.lineages() {
                if node.credits.held(lineage) > 0 {
                    violations.push(format!("a node that is closed holds credits of {lineage}"));
                }
            }
        }
        let authority = self.store.authority();
        let lineages = self.world.lineages();
        let balances = authority.balance_store().unwrap().balances(&lineages).await.unwrap();
        let balances = balances.items.into_iter().map(|(lineage, left)| (lineage, left.remaining));
        self.world.history().books.balances = balances.collect();
        for id in self.world.ids() {
            if let Some(record) = authority.get(id).await.unwrap() {
                let last_used = record.last_used_at.map(moment_of);
                let recorded = Recorded { count: record.use_count, last_used };
                self.world.history().books.recorded.insert(id, recorded);
            }
        }
        violations
    }
}
