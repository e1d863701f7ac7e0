//! One run: nodes under load, random acts and faults, and then quiet.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request as HttpRequest, Response};
use tokio::{
    runtime::Builder,
    task::JoinSet,
    time::{sleep, timeout},
};
use tower::{Layer, ServiceExt, service_fn};
use tower_api_key::{
    ApiKeyLayer, AuthenticatedKey, KeyManager, NewKey, Rejection, RejectionKind, Timestamp,
    clock::Clock,
    manage::{ImportKey, KeyPatch},
    store::{CachedStore, KeyStore},
};

use crate::{
    bus::Bus,
    history::{History, Promise, Request, Verdict},
    store::Store,
    world::{NodeClock, World, verdict_of},
};

const NODES: usize = 3;
const KEYS: usize = 4;
const STEPS: usize = 250;

const TTL: Duration = Duration::from_secs(30);
const STALE_IF_ERROR: Duration = Duration::from_mins(5);

/// Clocks may be set back by so much: an answer lives longer by that.
const BACK: i64 = 2_000;

const PROMISE: Promise = Promise {
    heard: Duration::from_millis(100),
    ttl: Duration::from_millis(30_100 + BACK as u64),
    not_found_ttl: Duration::from_millis(5_100 + BACK as u64),
    stale_if_error: STALE_IF_ERROR,
};

struct Node {
    layer: ApiKeyLayer,
    manager: KeyManager,
    clock: NodeClock,
    /// What goes on in it.
    tasks: JoinSet<()>,
}

struct Run {
    world: World,
    store: Store,
    bus: Bus,
    nodes: Vec<Node>,
    /// Some nodes are of an earlier version, which announces no revisions: they know of no replicas, and
    /// a server that is behind after a fail-over is believed.
    has_old_nodes: bool,
    /// How far replicas may be behind.
    lag_bound: Duration,
    /// The key of the last act: half of all requests are with that.
    last: usize,
    /// Keys with an act under way.
    busy: Arc<Mutex<BTreeSet<usize>>>,
    acts: JoinSet<()>,
}

/// The outcome of a run.
pub(crate) struct Outcome {
    pub(crate) world: World,
    pub(crate) simulated: Duration,
    pub(crate) violations: Vec<String>,
    pub(crate) history: History,
}

pub(crate) fn run(seed: u64) -> Outcome {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut run = Run::new(seed);
        for _ in 0..STEPS {
            run.step().await;
        }
        let mut violations = run.end().await;
        let history = run.world.history().clone();
        violations.extend(history.violations(PROMISE));
        Outcome { simulated: run.world.now(), world: run.world.clone(), violations, history }
    })
}

impl Run {
    fn new(seed: u64) -> Self {
        let world = World::new(seed, KEYS);
        let has_replicas = world.chance(666);
        let has_old_nodes = !has_replicas && world.chance(300);
        // A short one, so that replicas are asked between two faults.
        let lag_bound = Duration::from_secs([1, 5, 5, 60][world.below(4)]);
        let store = Store::new(&world, has_replicas);
        let bus = Bus::new(&world);
        let (busy, acts) = (Arc::default(), JoinSet::new());
        let mut run = Self {
            world,
            store,
            bus,
            nodes: Vec::new(),
            has_old_nodes,
            lag_bound,
            last: 0,
            busy,
            acts,
        };
        run.world.trace(|| format!("replicas: {has_replicas}, old nodes: {has_old_nodes}"));
        for number in 0..NODES {
            let node = run.node(number);
            run.nodes.push(node);
        }
        run
    }

    fn node(&self, number: usize) -> Node {
        let Self { world, store, bus, .. } = self;
        let is_old = self.has_old_nodes && world.chance(500);
        let clock = world.clock();
        clock.jump(i64::try_from(world.below(10_000)).unwrap() - 5_000);
        let capacity = if world.chance(200) { 1 } else { 1_000 };
        let store = store.with_max_batch(if world.chance(500) { 8 } else { 1 });
        let cache = CachedStore::builder(store)
            .with_ttl(TTL)
            .with_stale_if_error(STALE_IF_ERROR)
            .with_lag_bound(self.lag_bound)
            .with_capacity(capacity)
            .with_clock(clock.clone())
            .with_invalidations(bus.of_node(number, is_old))
            .build();
        let layer = ApiKeyLayer::new(cache.clone()).with_clock(clock.clone());
        let manager = KeyManager::new(cache).with_clock(clock.clone());
        let manager = manager.with_invalidations(bus.of_writer(number, is_old));
        Node { layer, manager, clock, tasks: JoinSet::new() }
    }

    async fn step(&mut self) {
        let longest = match self.world.below(100) {
            0..60 => Duration::from_millis(20),
            60..90 => Duration::from_millis(500),
            90..97 => Duration::from_secs(10),
            _ => Duration::from_secs(100),
        };
        self.world.pause(longest).await;
        match self.world.below(100) {
            0..62 => {
                for _ in 0..=self.world.below(4) {
                    self.request();
                }
            }
            62..84 => self.act(),
            _ => self.fault(),
        }
        for node in &mut self.nodes {
            while node.tasks.try_join_next().is_some() {}
        }
    }

    fn request(&mut self) {
        let number = self.world.below(NODES);
        let key = if self.world.chance(500) { self.last } else { self.world.below(KEYS) };
        let (world, layer) = (self.world.clone(), self.nodes[number].layer.clone());
        let is_cancelled = world.chance(50);
        let time = Duration::from_millis(world.below(30) as u64);
        self.nodes[number].tasks.spawn(async move {
            let request = request(&world, &layer, number, key);
            if is_cancelled {
                if timeout(time, request).await.is_err() {
                    world.saw("a client went away");
                }
            } else {
                request.await;
            }
        });
    }

    /// A change of a key, which no other one changes meanwhile.
    fn act(&mut self) {
        let (number, key) = (self.world.below(NODES), self.world.below(KEYS));
        if !self.busy.lock().unwrap().insert(key) {
            return;
        }
        self.last = key;
        let (world, busy) = (self.world.clone(), self.busy.clone());
        let (manager, store) = (self.nodes[number].manager.clone(), self.store.clone());
        let choice = world.below(100);
        let is_cancelled = world.chance(50);
        let time = Duration::from_millis(world.below(30) as u64);
        self.acts.spawn(async move {
            let act = change(&world, &manager, &store, key, choice);
            let is_done = if !is_cancelled {
                // An act in a node that has crashed never returns.
                timeout(Duration::from_mins(1), act).await.unwrap_or(false)
            } else if let Ok(is_done) = timeout(time, act).await {
                is_done
            } else {
                world.saw("an administrator went away");
                // It goes on by itself, for no longer than this.
                sleep(Duration::from_secs(12)).await;
                false
            };
            world.returned(key, is_done);
            busy.lock().unwrap().remove(&key);
        });
    }

    fn fault(&mut self) {
        let (world, store, bus) = (&self.world, &self.store, &self.bus);
        let number = world.below(NODES);
        let time = world.random().time(Duration::from_mins(1));
        let fault = world.below(15);
        world.trace(|| format!("fault {fault} for {time:?}, node {number}"));
        match fault {
            0 => store.goes_down(time),
            1 => store.slows_down(time),
            2 => store.fails_sometimes(time),
            3 => store.is_unsure(time),
            4 | 5 => {
                // In percent of what is allowed.
                let lags = [0, 10, 50, 99, 99];
                store.lags(self.lag_bound * lags[world.below(lags.len())] / 100);
            }
            6 if !self.has_old_nodes => {
                let behind = world.random().time(Duration::from_secs(20));
                store.fails_over(behind, time.min(Duration::from_secs(20)));
            }
            7 => bus.goes_down(time),
            8 => bus.slows_down(time),
            9 | 10 => bus.half_opens(number),
            11 => {
                world.saw("a clock was set back");
                self.nodes[number].clock.jump(-i64::try_from(world.below(BACK as usize)).unwrap());
            }
            12 => {
                world.saw("a clock was set forward");
                self.nodes[number].clock.jump(i64::try_from(world.below(10_000)).unwrap());
            }
            13 => {
                world.saw("a node crashed");
                let node = self.node(number);
                bus.leaves(number);
                // With whatever went on in it.
                drop(std::mem::replace(&mut self.nodes[number], node));
            }
            _ => {
                store.recovers();
                bus.recovers();
            }
        }
    }

    /// Everything is in order again: after a while each node knows what there is, and nothing is denied for
    /// now.
    async fn end(&mut self) -> Vec<String> {
        self.store.recovers();
        self.bus.recovers();
        sleep(Duration::from_mins(4)).await;
        while self.acts.join_next().await.is_some() {}
        sleep(Duration::from_secs(1)).await;
        let mut violations = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            for key in 0..KEYS {
                let verdict = request(&self.world, &node.layer, number, key).await;
                let expected = self.world.history().keys[&key].last().unwrap().verdict;
                if verdict != expected {
                    violations.push(format!(
                        "in the end, key {key} at node {number}: {verdict:?} in place of {expected:?}"
                    ));
                }
            }
        }
        violations
    }
}

/// Asks a node, and writes down its answer.
async fn request(world: &World, layer: &ApiKeyLayer, node: usize, key: usize) -> Verdict {
    let service = layer.layer(service_fn(|request: HttpRequest<()>| async move {
        let mut response = Response::new(());
        response.extensions_mut().extend(request.extensions().clone());
        Ok::<_, Infallible>(response)
    }));
    let text = &world.key(key).0;
    let began = world.now();
    let request = HttpRequest::builder().header("x-api-key", text).body(()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    let verdict = if let Some(rejection) = response.extensions().get::<Rejection>() {
        Verdict::Refused(rejection.kind())
    } else {
        let key = response.extensions().get::<AuthenticatedKey>().unwrap();
        // What is let in is what the record says.
        assert_eq!(verdict_of(key.record()), Verdict::Accepted);
        Verdict::Accepted
    };
    let ended = world.now();
    match verdict {
        Verdict::Accepted if ended > began => world.saw("a request waited and was let in"),
        Verdict::Accepted => world.saw("a request was let in from memory"),
        Verdict::Refused(RejectionKind::Revoked) => world.saw("a revoked key was refused"),
        Verdict::Refused(RejectionKind::Disabled) => world.saw("a disabled key was refused"),
        Verdict::Refused(RejectionKind::Unknown) => world.saw("an unknown key was refused"),
        Verdict::Refused(_) => world.saw("a request was denied for now"),
    }
    world.trace(|| {
        format!("node {node}, key {key}: {verdict:?} after {:?}", ended.saturating_sub(began))
    });
    world.history().requests.push(Request { node, key, began, ended, verdict });
    verdict
}

/// Does something to a key that can be done with it now, and says whether it is done.
async fn change(
    world: &World,
    manager: &KeyManager,
    store: &Store,
    key: usize,
    choice: usize,
) -> bool {
    let digest = world.key(key).1;
    // As the administrator sees it, who asks the authority.
    let Ok(found) = store.find_fresh(&digest).await else { return false };
    let Some(found) = found else {
        let new = ImportKey::from_digest(digest, NewKey::named("k"));
        if choice < 30 {
            world.saw("deleted keys were purged");
            // Longer ago than clocks differ: a key that is made anew has a greater revision.
            let before = world.clock().now().as_unix_millis() - 120_000;
            let _ = manager.purge(Timestamp::from_unix_millis(before)).await;
        }
        let report = manager.import(&[new]).await;
        let is_new = report.is_ok_and(|report| !report.imported.is_empty());
        if is_new {
            world.saw("a key was created");
        }
        return is_new;
    };
    let is_done = match choice {
        0..25 => {
            world.saw("a key was revoked");
            manager.revoke(found.id, None).await.is_ok()
        }
        25..45 => manager.disable(found.id).await.is_ok(),
        45..70 => manager.enable(found.id).await.is_ok(),
        70..85 => {
            world.saw("a key was deleted");
            manager.delete(found.id).await.is_ok()
        }
        _ => {
            let patch = KeyPatch { name: Some(format!("{choice}")), ..KeyPatch::default() };
            manager.update(found.id, patch).await.is_ok()
        }
    };
    if !is_done {
        world.saw("an act failed");
    }
    is_done
}
