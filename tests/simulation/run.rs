//! One run: nodes under load, random acts and faults, and then quiet.

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
    ApiKeyLayer, Credits, KeyFormat, KeyId, KeyManager, RateLimits, RejectionKind, UsageRecorder,
    limit::{LocalLimiter, OutagePolicy},
    store::{CachedStore, KeyRepository},
};

use crate::{
    acts::{Actor, OWNERS, Revoker, act},
    bus::Bus,
    cancelled::cancelled_after,
    history::{
        History, Life, Promise, Verdict,
        books::{Flush, Recorded},
        denials::Denials,
        judged,
    },
    limiter::Server,
    requests::{Client, request},
    store::Store,
    world::{DRIFT, NodeClock, World, moment_of},
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

    /// Keys are revoked by the time of their creation, what was begun is finished, or a watermark is made up.
    fn watermarks(&mut self) {
        let (world, number) = (self.world.clone(), self.world.below(NODES));
        let (node, other) = (&self.nodes[number], &self.nodes[(number + 1) % NODES]);
        // Earlier versions know of none.
        if node.is_old {
            return;
        }
        let owner = if world.chance(700) { OWNERS[world.below(SLOTS)] } else { None };
        // Those that are asked for now are mostly meant.
        let is_late = world.chance(500);
        let longest = if is_late { Duration::from_secs(30) } else { Duration::from_mins(10) };
        // Or of this moment, while keys are made: some of before are written after it.
        let is_of_now = world.chance(300);
        let longest = if is_of_now { Duration::from_millis(5) } else { longest };
        let ago = world.random().time(longest);
        let (manager, other) = (node.manager.clone(), other);
        let other = if other.is_old { &manager } else { &other.manager }.clone();
        let clock = if is_of_now { world.true_clock() } else { node.clock.clone() };
        let revoker = Revoker { world: world.clone(), manager, other, clock, owner, ago };
        // At the same time as another act, which may come across it.
        if world.chance(500) {
            self.act();
        }
        if is_late {
            self.ask_before_and_after();
        }
        if is_of_now {
            (0..SLOTS).for_each(|_| self.act());
        }
        match world.below(100) {
            0..25 => {
                let node = &mut self.nodes[number];
                node.tasks.spawn(async move { drop(revoker.manager.finish_revocations().await) });
            }
            25..40 => self.bus.makes_up(revoker.watermark()),
            way => drop(self.acts.spawn(async move {
                if is_late || is_of_now {
                    sleep(Duration::from_millis(20)).await;
                }
                revoke(revoker, way).await;
            })),
        }
    }

    /// Lookups of the authority begin just before a watermark is written, and are answered after it was heard of.
    fn ask_before_and_after(&mut self) {
        self.store.answers_late(LATE);
        let slots = [(); NODES].map(|()| self.world.below(SLOTS));
        for (number, slot) in slots.into_iter().enumerate() {
            let key = |slot| self.world.slot(slot).current;
            let of_slot = |slot| self.client(&self.nodes[number], key(slot));
            let (client, all) = (of_slot(slot), [0, 1, 2, 3].map(of_slot));
            let node = &mut self.nodes[number];
            node.cache.forget(&[self.world.key(client.key).1]);
            node.tasks.spawn(async move {
                request(&client).await;
                for pause in [400, 1_000, 3_000] {
                    sleep(Duration::from_millis(pause)).await;
                    for client in &all {
                        request(client).await;
                    }
                }
            });
        }
    }

    /// Uses are written in good order.
    fn flush(&mut self) {
        let node = self.world.below(NODES);
        let node = &mut self.nodes[node];
        let (world, usage, life) = (self.world.clone(), node.usage.clone(), node.life);
        node.tasks.spawn(async move { flush(&world, &usage, life).await });
    }

    async fn fault(&mut self) {
        let (world, store, bus) = (&self.world, &self.store, &self.bus);
        let number = world.below(NODES);
        let time = world.random().time(Duration::from_mins(1));
        let fault = world.below(23);
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
            // All servers have the backup by then.
            6 if self.versions == Versions::New && !world.was_restored(Duration::from_secs(20)) => {
                let behind = world.random().time(Duration::from_secs(20));
                store.fails_over(behind, time.min(Duration::from_secs(20)));
            }
            7 => bus.goes_down(time),
            8 => bus.slows_down(time),
            9 | 10 => bus.half_opens(number),
            11 => {
                world.saw("a clock was set back");
                world.troubles(Duration::from_secs(3));
                self.nodes[number].clock.jump(-i64::try_from(world.below(BACK as usize)).unwrap());
            }
            12 => {
                world.saw("a clock was set forward");
                self.nodes[number].clock.jump(i64::try_from(world.below(10_000)).unwrap());
            }
            13 => {
                world.saw("a node crashed");
                self.crash(number);
            }
            14 => self.restart(number).await,
            15 => {
                if let Some(limiter) = &self.limiter {
                    limiter.goes_down(time);
                }
            }
            16 => {
                if let Some(limiter) = &self.limiter {
                    limiter.is_silent(time);
                }
            }
            17 if matches!(self.versions, Versions::Upgraded(count) if count < NODES) => {
                let Versions::Upgraded(count) = self.versions else { return };
                self.versions = Versions::Upgraded(count + 1);
                world.saw("a node was upgraded");
                self.restart(count).await;
            }
            18 if world.chance(100) => self.long_outage().await,
            19 if self.versions == Versions::New => self.restore().await,
            20 if world.chance(200) => self.unheard_balance(number).await,
            21 if world.chance(150) => self.unheard_end().await,
            22 if world.chance(150) => self.fall_back(number).await,
            _ => {
                store.recovers();
                bus.recovers();
                if let Some(limiter) = &self.limiter {
                    limiter.recovers();
                }
            }
        }
    }

    /// A change is not heard of, and then the store is gone for longer than a cache may go on without it.
    async fn long_outage(&mut self) {
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
    async fn restore(&mut self) {
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
    async fn fall_back(&mut self, number: usize) {
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
    async fn unheard_end(&mut self) {
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
    async fn unheard_balance(&mut self, number: usize) {
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

    /// With whatever went on in it.
    fn crash(&mut self, number: usize) {
        let held = |node: &Node| {
            self.world.lineages().iter().map(|lineage| node.credits.held(*lineage)).sum::<u64>()
        };
        if held(&self.nodes[number]) > 0 {
            self.world.saw("a lease was lost with its node");
        }
        {
            let books = &mut self.world.history().books;
            books.crashes += 1;
            books.crashed.insert(self.nodes[number].life);
        }
        self.replace(number);
    }

    fn replace(&mut self, number: usize) {
        let node = self.node(number);
        self.bus.leaves(number);
        drop(std::mem::replace(&mut self.nodes[number], node));
    }

    /// In good order, if the store allows it.
    async fn restart(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.tasks.shutdown().await;
        let began = self.world.now();
        match timeout(Duration::from_secs(10), node.manager.close()).await {
            Ok(Ok(())) => {
                self.world.saw("a node was restarted in good order");
                self.world.history().books.flushes.push(Flush { life: node.life, began });
                self.replace(number);
            }
            _ => self.crash(number),
        }
    }

    /// Everything is in order again: after a while each node knows what there is, and nothing is denied for
    /// now.
    async fn end(&mut self) -> Vec<String> {
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

/// How late answers of the authority are that were read before a watermark was written: not so late that a cache
/// goes on without.
const LATE: Duration = Duration::from_millis(200);

/// For so long, an act goes on by itself whose caller went away.
const GOES_ON: Duration = Duration::from_secs(12);

/// Revokes keys by the time of their creation: to the end, or as an administrator who goes away.
async fn revoke(revoker: Revoker, way: usize) {
    let world = &revoker.world;
    // At each await, one after the other.
    if (40..50).contains(&way) {
        for polls in 1.. {
            let (watermark, began) = (revoker.watermark(), world.now());
            let whole = timeout(Duration::from_mins(1), revoker.revoke(&watermark));
            let is_done = cancelled_after(polls, whole).await;
            if is_done.is_none() {
                sleep(GOES_ON).await;
            } else if polls > 1 {
                world.saw("an administrator of a watermark went away at each await");
            }
            let is_over = matches!(is_done, Some(Ok(true)));
            world.mark_returned(&watermark, began, is_over);
            if is_done.is_some() {
                break;
            }
        }
    } else {
        let longest = if way < 60 { Duration::from_millis(30) } else { Duration::from_mins(1) };
        let (watermark, began) = (revoker.watermark(), world.now());
        let is_done = timeout(longest, revoker.revoke(&watermark)).await;
        if is_done.is_err() {
            sleep(GOES_ON).await;
        }
        world.mark_returned(&watermark, began, is_done.unwrap_or(false));
    }
}

async fn flush(world: &World, usage: &UsageRecorder, life: Life) {
    let began = world.now();
    world.trace(|| format!("{life:?} flushes"));
    if usage.flush().await.is_ok() {
        world.history().books.flushes.push(Flush { life, began });
    }
}
