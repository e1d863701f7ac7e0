//! Faults in an order that chance seldom makes.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tower_api_key::{KeyId, RejectionKind, store::KeyRepository};

use super::{NODES, Run, SLOTS, TTL, Versions};
use crate::{
    acts::act,
    history::Verdict,
    requests::{Client, request},
};

impl Run {
    /// A change is not heard of, and then the store is gone for longer than a cache may go on without it.
    pub(super) async fn long_outage(&mut self) {
        let slot = self.world.below(SLOTS);
        if !self.busy.lock().unwrap().insert(slot) {
            return;
        }
        let time = Duration::from_mins(10);
        self.ask_all(slot).await;
        self.bus.goes_down(time);
        let actor = self.actor(0, slot, 0);
        let is_done = timeout(Duration::from_secs(5), act(&actor)).await;
        self.world.returned(slot, is_done.unwrap_or(false));
        self.store.goes_down(time);
        for pause in [10, 50, 280, 40] {
            sleep(Duration::from_secs(pause)).await;
            self.ask_all(slot).await;
        }
        self.world.saw("the store was gone for longer than a cache goes on");
        self.store.recovers();
        self.bus.recovers();
        self.busy.lock().unwrap().remove(&slot);
    }

    /// Keys are again as they were before: an operator restores a backup, and tells the nodes.
    pub(super) async fn restore(&mut self) {
        let (world, bus) = (self.world.clone(), self.bus.clone());
        if world.chance(500) {
            self.disable_in_order().await;
        }
        let mut restored = Vec::new();
        for slot in 0..SLOTS {
            let is_free = self.busy.lock().unwrap().insert(slot);
            if is_free {
                let key = world.slot(slot).current;
                if self.store.restore(&world.key(key).1).await {
                    restored.push(key);
                }
                world.returned(slot, true);
                self.busy.lock().unwrap().remove(&slot);
            }
        }
        if !restored.is_empty() {
            world.saw("a backup was restored");
            self.acts.spawn(async move {
                while !bus.resets() {
                    sleep(Duration::from_secs(1)).await;
                }
            });
            for number in 0..NODES {
                let client = |key: &usize| self.client(&self.nodes[number], *key);
                let clients: Vec<_> = restored.iter().map(client).collect();
                self.nodes[number].tasks.spawn(async move {
                    // What was announced before is remembered for longer than that.
                    sleep(Duration::from_secs(3)).await;
                    for client in clients {
                        request(&client).await;
                    }
                });
            }
        }
    }

    /// A key is disabled while all is in order, so that it is to be good as soon as it is put back, whatever was
    /// announced.
    async fn disable_in_order(&mut self) {
        let slot = self.world.below(SLOTS);
        if !self.busy.lock().unwrap().insert(slot) {
            return;
        }
        self.store.recovers();
        self.bus.recovers();
        sleep(Duration::from_secs(80)).await;
        let actor = self.actor(0, slot, 20);
        let is_done = timeout(Duration::from_secs(5), act(&actor)).await;
        self.world.returned(slot, is_done.unwrap_or(false));
        self.busy.lock().unwrap().remove(&slot);
        sleep(Duration::from_secs(21)).await;
    }

    /// A server takes the place of another, and soon another of that one, and both are behind: by a change that a
    /// node has found and not heard of, and by the key itself.
    pub(super) async fn fall_back(&mut self, number: usize) {
        let (world, slot) = (self.world.clone(), self.world.below(SLOTS));
        let may_be = self.versions == Versions::New && !world.was_restored(Duration::from_secs(20));
        if !may_be || !self.busy.lock().unwrap().insert(slot) {
            return;
        }
        let second = Duration::from_secs(1);
        // A new key, and a new name.
        for (choice, is_mute) in [(70, false), (99, true)] {
            self.bus.is_mute(is_mute);
            let actor = self.actor((number + 1) % NODES, slot, choice);
            let is_done = timeout(second * 5, act(&actor)).await;
            world.returned(slot, is_done.unwrap_or(false));
            self.bus.is_mute(false);
            sleep(second).await;
        }
        let (node, key) = (&self.nodes[number], world.slot(slot).current);
        for behind in [Duration::ZERO, second * 3 / 2, second * 10] {
            if !behind.is_zero() {
                self.store.fails_over(behind, second);
            }
            node.cache.forget(&[world.key(key).1]);
            request(&self.client(node, key)).await;
        }
        self.busy.lock().unwrap().remove(&slot);
    }

    /// A key is revoked, of which nothing is announced. A node finds it so, and has forgotten that by the time at
    /// which it asks a replica that is behind.
    pub(super) async fn unheard_end(&mut self) {
        let (world, slot) = (self.world.clone(), self.world.below(SLOTS));
        let Some(number) = self.nodes.iter().position(|node| node.is_forgetful) else { return };
        let has_replicas = !world.history().lag.is_zero();
        if !has_replicas || !self.busy.lock().unwrap().insert(slot) {
            return;
        }
        // What was announced before no longer counts, and replicas have it.
        self.store.lags(Duration::ZERO);
        sleep(TTL + self.lag_bound).await;
        let key = world.slot(slot).current;
        self.bus.is_mute(true);
        let actor = self.actor((number + 1) % NODES, slot, 0);
        let is_done = timeout(Duration::from_secs(5), act(&actor)).await;
        world.returned(slot, is_done.unwrap_or(false));
        self.bus.is_mute(false);
        let node = &self.nodes[number];
        let verdict = request(&self.client(node, key)).await;
        self.store.lags(self.lag_bound * 99 / 100);
        for other in (0..SLOTS).filter(|other| *other != slot) {
            request(&self.client(node, world.slot(other).current)).await;
        }
        if verdict == Verdict::Refused(RejectionKind::Revoked) {
            world.saw("a node was asked again for a key whose end it had found and not heard of");
            request(&self.client(node, key)).await;
        }
        self.busy.lock().unwrap().remove(&slot);
    }

    /// A balance is set anew, and a node that does not hear of it goes on to take from it. Mostly it holds
    /// some of the balance before.
    pub(super) async fn unheard_balance(&mut self, number: usize) {
        let slot = 2;
        if !self.busy.lock().unwrap().insert(slot) {
            return;
        }
        let world = self.world.clone();
        let some = |run: &Self| Client {
            is_dear: run.world.chance(500),
            ..run.client(&run.nodes[number], run.world.slot(slot).current)
        };
        // Where little is left, a node takes no more than its callers want.
        if world.chance(750) {
            self.set_balance(number, slot).await;
        }
        request(&some(self)).await;
        self.bus.half_opens(number);
        self.set_balance((number + 1) % NODES, slot).await;
        let (lineage, node) = (self.lineage(slot).await, &self.nodes[number]);
        let holds = || lineage.map_or(0, |lineage| node.credits.held(lineage));
        let epoch = || world.history().books.taken_last(node.life, lineage?);
        for _ in 0..=world.below(6) {
            let (held, before) = (holds(), epoch());
            request(&some(self)).await;
            if held > 0 && before < epoch() {
                world.saw("a node that held credits took some of a balance that was set anew");
            }
        }
        self.busy.lock().unwrap().remove(&slot);
    }

    async fn set_balance(&self, node: usize, slot: usize) {
        let actor = self.actor(node, slot, 91);
        let is_done = timeout(Duration::from_secs(5), act(&actor)).await;
        self.world.returned(slot, is_done.unwrap_or(false));
    }

    /// The lineage of the key of this slot, if there is one.
    async fn lineage(&self, slot: usize) -> Option<KeyId> {
        let id = self.world.id(&self.world.key(self.world.slot(slot).current).1)?;
        let found = self.store.authority().get(id).await.unwrap()?;
        Some(found.lineage())
    }

    /// Each node is asked for the key of this slot.
    async fn ask_all(&self, slot: usize) {
        for node in &self.nodes {
            request(&self.client(node, self.world.slot(slot).current)).await;
        }
    }
}
