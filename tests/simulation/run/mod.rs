//! One run: nodes under load, random acts and faults, and then quiet.

mod end;
mod faults;
mod stories;
mod watermarks;

use std::{
    collections::BTreeSet,
    num::NonZeroU64,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    runtime::Builder,
    task::JoinSet,
    time::{sleep, timeout},
};
use tower_api_key::{
    ApiKeyLayer, Credits, KeyFormat, KeyManager, RateLimits, UsageRecorder,
    limit::{LocalLimiter, OutagePolicy},
    store::CachedStore,
};

use crate::{
    acts::{Actor, act},
    bus::Bus,
    cancelled::cancelled_after,
    history::{History, Life, Promise, books::Flush, denials::Denials},
    limiter::Server,
    requests::{Client, request},
    store::Store,
    world::{DRIFT, NodeClock, World},
};

const NODES: usize = 3;
/// Keys, and those that take their places.
pub(crate) const SLOTS: usize = 4;
const STEPS: usize = 250;

const TTL: Duration = Duration::from_secs(30);
const STALE_IF_ERROR: Duration = Duration::from_mins(5);

/// Clocks may be set back by so much: an answer lives longer by that.
const BACK: i64 = 2_000;

/// And by this, where a clock is slow.
const SLOW: u64 = 300 * DRIFT as u64 / 1_000;

const PROMISE: Promise = Promise {
    heard: Duration::from_millis(100),
    ttl: Duration::from_millis(30_100 + BACK as u64 + SLOW),
    not_found_ttl: Duration::from_millis(5_100 + BACK as u64 + SLOW),
    stale_if_error: Duration::from_millis(300_000 + SLOW),
};

struct Node {
    life: Life,
    /// Of an earlier version.
    is_old: bool,
    /// Its cache has room for one key.
    is_forgetful: bool,
    layer: ApiKeyLayer,
    manager: KeyManager,
    cache: CachedStore<Store>,
    credits: Credits,
    usage: UsageRecorder,
    clock: NodeClock,
    /// What goes on in it.
    tasks: JoinSet<()>,
}

struct Run {
    world: World,
    store: Store,
    bus: Bus,
    /// The limiter that counts for all nodes, where they do not count each for itself.
    limiter: Option<Server>,
    nodes: Vec<Node>,
    versions: Versions,
    /// Whether keys are revoked by the time of their creation.
    has_watermarks: bool,
    /// How far replicas may be behind.
    lag_bound: Duration,
    /// How many credits a node takes at a time.
    lease: u64,
    /// The slot of the last act: half of all requests are with its keys.
    last: usize,
    /// Slots with an act under way.
    busy: Arc<Mutex<BTreeSet<usize>>>,
    acts: JoinSet<()>,
}

/// Which versions the nodes of a run have. Earlier ones announce no revisions: they know of no replicas, and
/// a server that is behind after a fail-over is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Versions {
    New,
    Mixed,
    /// One node after the other is restarted with the new one; so many are.
    Upgraded(usize),
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
        let world = World::new(seed, SLOTS);
        let has_replicas = world.chance(666);
        let versions = match world.below(100) {
            0..30 if !has_replicas => Versions::Mixed,
            30..60 if !has_replicas => Versions::Upgraded(0),
            _ => Versions::New,
        };
        // A short one, so that replicas are asked between two faults.
        let lag_bound = Duration::from_secs([1, 5, 5, 60][world.below(4)]);
        let lease = [4, 16, 64][world.below(3)];
        let has_watermarks = world.chance(500);
        let store = Store::new(&world, has_replicas);
        let bus = Bus::new(&world);
        let limiter = world.chance(500).then(|| Server::new(&world));
        {
            let mut history = world.history();
            history.books.is_limiter_shared = limiter.is_some();
            (history.books.lease, history.books.skew) = (lease, history.skew);
        }
        let (busy, acts) = (Arc::default(), JoinSet::new());
        let mut run = Self {
            world,
            store,
            bus,
            limiter,
            nodes: Vec::new(),
            versions,
            has_watermarks,
            lag_bound,
            lease,
            last: 0,
            busy,
            acts,
        };
        run.world.history().denials = Some(Denials::default());
        if has_replicas {
            run.world.history().lag = lag_bound;
            run.store.lags(lag_bound * [0, 10, 50, 99][run.world.below(4)] / 100);
        }
        run.world.trace(|| format!("replicas: {has_replicas}, versions: {versions:?}"));
        for number in 0..NODES {
            let node = run.node(number);
            run.nodes.push(node);
        }
        run
    }

    fn node(&self, number: usize) -> Node {
        let Self { world, store, bus, .. } = self;
        let is_old = match self.versions {
            Versions::New => false,
            // One finishes what it takes a new version for.
            Versions::Mixed => number > 0 && world.chance(666),
            Versions::Upgraded(count) => number >= count,
        };
        world.starts(number);
        let life = world.life(number);
        if is_old {
            world.reads_rows(life);
        }
        let clock = world.clock();
        clock.jump(i64::try_from(world.below(40_000)).unwrap() - 20_000);
        let is_forgetful = world.chance(200);
        let capacity = if is_forgetful { 1 } else { 1_000 };
        let store = store.of_node(life, if world.chance(500) { 8 } else { 1 }, is_old);
        let cache = CachedStore::builder(store)
            .with_ttl(TTL)
            .with_stale_if_error(STALE_IF_ERROR)
            .with_lag_bound(self.lag_bound)
            .with_capacity(capacity)
            .with_clock(clock.clone())
            .with_invalidations(bus.of_node(number, is_old))
            .build();
        let limits = match &self.limiter {
            Some(server) => RateLimits::new(server.of_node(life)),
            None => RateLimits::new(LocalLimiter::builder().with_clock(world.true_clock()).build()),
        };
        let outage = [OutagePolicy::LocalFallback, OutagePolicy::FailClosed];
        let credits = Credits::builder(cache.clone())
            .with_clock(clock.clone())
            .with_lease(NonZeroU64::new(self.lease).unwrap())
            .with_cost(|request| if request.uri.path() == "/dear" { 3 } else { 1 })
            .build()
            .unwrap();
        let usage = UsageRecorder::builder(cache.clone()).with_clock(clock.clone());
        let usage = usage.build().unwrap();
        let manager = KeyManager::new(cache.clone())
            .with_format(KeyFormat::opaque())
            .with_clock(clock.clone())
            .with_rate_limits(limits.with_outage(outage[world.below(2)]))
            .with_credits(credits.clone())
            .with_usage(usage.clone())
            .with_invalidations(bus.of_node(number, is_old));
        let layer = manager.layer();
        let tasks = JoinSet::new();
        Node { life, is_old, is_forgetful, layer, manager, cache, credits, usage, clock, tasks }
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
            80..84 if self.has_watermarks => self.watermarks(),
            62..84 => self.act(),
            84..86 => self.flush(),
            _ => self.fault().await,
        }
        if let Some(number) = self.world.crashed() {
            self.crash(number);
        }
        for node in &mut self.nodes {
            while node.tasks.try_join_next().is_some() {}
        }
    }

    fn request(&mut self) {
        let world = self.world.clone();
        let slot = if world.chance(500) { self.last } else { world.below(SLOTS) };
        let slot = world.slot(slot);
        let key = match world.below(100) {
            0..5 => slot.next,
            5..30 => slot.former.unwrap_or(slot.current),
            _ => slot.current,
        };
        let node = &mut self.nodes[world.below(NODES)];
        let (layer, life, is_dear) = (node.layer.clone(), node.life, world.chance(200));
        let client = Client { world: world.clone(), layer, life, key, is_dear };
        let (cache, digest) = (node.cache.clone(), world.key(key).1);
        let choice = world.below(1_000);
        let time = Duration::from_millis(world.below(30) as u64);
        node.tasks.spawn(async move {
            match choice {
                // At each of its awaits, one after the other.
                0..10 => {
                    for polls in 1.. {
                        cache.forget(&[digest]);
                        if cancelled_after(polls, request(&client)).await.is_some() {
                            if polls > 3 {
                                world.saw("a client went away at each await");
                            }
                            break;
                        }
                        world.history().books.unseen += 1;
                    }
                }
                10..60 => {
                    if timeout(time, request(&client)).await.is_err() {
                        world.saw("a client went away");
                        world.history().books.unseen += 1;
                    }
                }
                _ => drop(request(&client).await),
            }
        });
    }

    /// A change of a key, which no other one changes meanwhile.
    fn act(&mut self) {
        let (number, slot) = (self.world.below(NODES), self.world.below(SLOTS));
        if !self.busy.lock().unwrap().insert(slot) {
            return;
        }
        self.last = slot;
        let (world, busy) = (self.world.clone(), self.busy.clone());
        let actor = self.actor(number, slot, world.below(100));
        let choices = [world.below(100), world.below(100)];
        let way = world.below(1_000);
        let time = Duration::from_millis(world.below(30) as u64);
        self.acts.spawn(async move {
            // An act in a node that has crashed never returns.
            let whole = || timeout(Duration::from_mins(1), act(&actor));
            match way {
                0..15 => {
                    for polls in 1.. {
                        match cancelled_after(polls, whole()).await {
                            None => {
                                sleep(GOES_ON).await;
                                world.returned(slot, false);
                            }
                            Some(is_done) => {
                                if polls > 3 {
                                    world.saw("an administrator went away at each await");
                                }
                                world.returned(slot, is_done.unwrap_or(false));
                                break;
                            }
                        }
                    }
                }
                15..65 => {
                    let is_done = timeout(time, act(&actor)).await;
                    if is_done.is_err() {
                        world.saw("an administrator went away");
                        sleep(GOES_ON).await;
                    }
                    world.returned(slot, is_done.unwrap_or(false));
                }
                65..600 => world.returned(slot, whole().await.unwrap_or(false)),
                // One after the other.
                _ => {
                    for choice in [actor.choice, choices[0], choices[1]] {
                        let actor = Actor { choice, ..actor.clone() };
                        let is_done = timeout(Duration::from_mins(1), act(&actor)).await;
                        world.returned(slot, is_done.unwrap_or(false));
                    }
                }
            }
            busy.lock().unwrap().remove(&slot);
        });
    }

    /// Uses are written in good order.
    fn flush(&mut self) {
        let node = self.world.below(NODES);
        let node = &mut self.nodes[node];
        let (world, usage, life) = (self.world.clone(), node.usage.clone(), node.life);
        node.tasks.spawn(async move { flush(&world, &usage, life).await });
    }

    fn client(&self, node: &Node, key: usize) -> Client {
        let (world, layer) = (self.world.clone(), node.layer.clone());
        Client { world, layer, life: node.life, key, is_dear: false }
    }

    fn actor(&self, node: usize, slot: usize, choice: usize) -> Actor {
        Actor {
            world: self.world.clone(),
            store: self.store.clone(),
            manager: self.nodes[node].manager.clone(),
            // To whom a client turns that has heard nothing of its payment.
            other: self.nodes[(node + 1) % NODES].manager.clone(),
            slot,
            choice,
        }
    }
}

/// For so long, an act goes on by itself whose caller went away.
const GOES_ON: Duration = Duration::from_secs(12);

async fn flush(world: &World, usage: &UsageRecorder, life: Life) {
    let began = world.now();
    world.trace(|| format!("{life:?} flushes"));
    if usage.flush().await.is_ok() {
        world.history().books.flushes.push(Flush { life, began });
    }
}
