//! A rate limiter that counts for all nodes together, as a server does: it is slow, silent and down at times.

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use tower_api_key::{
    KeyId,
    limit::{LimitCheck, LimitDecision, LimitState, LimitSubject, RateLimiter},
    store::StoreError,
};

use crate::{
    history::{Life, Moment, Span},
    world::World,
};

/// How long after an outage nodes go on counting by themselves: they ask once a second.
const AFTERMATH: Duration = Duration::from_secs(5);

/// Clones are the same.
#[derive(Clone)]
pub(crate) struct Server(Arc<State>);

struct State {
    world: World,
    /// What each lineage owes, and since when.
    owed: Mutex<BTreeMap<KeyId, (Duration, Moment)>>,
    down_until: Mutex<Moment>,
    silent_until: Mutex<Moment>,
}

/// The limiter as a node has it.
pub(crate) struct SharedLimiter {
    server: Server,
    life: Life,
}

impl Server {
    pub(crate) fn new(world: &World) -> Self {
        Self(Arc::new(State {
            world: world.clone(),
            owed: Mutex::default(),
            down_until: Mutex::default(),
            silent_until: Mutex::default(),
        }))
    }

    pub(crate) fn of_node(&self, life: Life) -> SharedLimiter {
        SharedLimiter { server: self.clone(), life }
    }

    fn fails(&self, time: Duration) {
        let now = self.0.world.now();
        let span = Span { began: now, ended: now + time + AFTERMATH };
        self.0.world.history().books.limiter_fails.push(span);
    }

    pub(crate) fn goes_down(&self, time: Duration) {
        self.fails(time);
        *self.0.down_until.lock().unwrap() = self.0.world.now() + time;
    }

    pub(crate) fn is_silent(&self, time: Duration) {
        self.fails(time);
        *self.0.silent_until.lock().unwrap() = self.0.world.now() + time;
    }

    pub(crate) fn recovers(&self) {
        *self.0.down_until.lock().unwrap() = Moment::ZERO;
        *self.0.silent_until.lock().unwrap() = Moment::ZERO;
    }

    /// What a lineage owes now.
    fn owed(&self, lineage: KeyId) -> Duration {
        let owed = self.0.owed.lock().unwrap().get(&lineage).copied();
        owed.map_or(Duration::ZERO, |(owed, since)| {
            owed.saturating_sub(self.0.world.now().saturating_sub(since))
        })
    }

    fn owes(&self, lineage: KeyId, owed: Duration) {
        self.0.owed.lock().unwrap().insert(lineage, (owed, self.0.world.now()));
    }

    /// By the only limit that keys have here, and that each request counts once for.
    fn decide(&self, check: &LimitCheck<'_>) -> LimitDecision {
        let (lineage, quota) = (lineage(check), check.limits.first().unwrap().quota());
        let (owed, room) = (self.owed(lineage), quota.interval() * quota.burst().get());
        let after = owed + quota.interval();
        if after > room {
            let state = LimitState::from_parts(0, 0, owed);
            return LimitDecision::Deny { state, retry_after: after.saturating_sub(room) };
        }
        self.owes(lineage, after);
        LimitDecision::Allow(LimitState::from_parts(0, 1, after))
    }
}

fn lineage(check: &LimitCheck<'_>) -> KeyId {
    match check.subject {
        LimitSubject::Lineage(lineage) => lineage,
        _ => unreachable!("limits are counted by lineage"),
    }
}

#[async_trait]
impl RateLimiter for SharedLimiter {
    async fn check(&self, check: &LimitCheck<'_>) -> Result<LimitDecision, StoreError> {
        let State { world, down_until, silent_until, .. } = &*self.server.0;
        world.pause(Duration::from_millis(4)).await;
        world.is_alive(self.life).await;
        if world.now() < *silent_until.lock().unwrap() {
            world.saw("the limiter was silent");
            pending::<()>().await;
        }
        if world.now() < *down_until.lock().unwrap() {
            world.saw("the limiter failed");
            return Err(StoreError::unavailable("connection refused"));
        }
        let decision = self.server.decide(check);
        world.pause(Duration::from_millis(4)).await;
        world.is_alive(self.life).await;
        Ok(decision)
    }

    fn give_back(&self, check: &LimitCheck<'_>, after: Duration) {
        // What has come back meanwhile is not given back once more.
        let interval = check.limits.first().unwrap().quota().interval();
        let given = interval.saturating_sub(after);
        self.server.0.world.saw("a request was given back to the limiter");
        let owed = self.server.owed(lineage(check));
        self.server.owes(lineage(check), owed.saturating_sub(given));
    }
}
