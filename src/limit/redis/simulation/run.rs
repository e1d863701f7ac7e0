//! The nodes of a run, their callers, and what happens to them.

use std::{
    collections::BTreeMap,
    env,
    future::poll_fn,
    hash::{DefaultHasher, Hash, Hasher},
    num::NonZeroU32,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Instant, advance, sleep},
};

use super::{
    super::{RedisLimiter, buckets::Buckets, leases::Leases},
    books::{Admitted, Books, Denied, Failed},
    random::Random,
    server::{Executed, Life, Moment, Server},
};
use crate::{
    key::{KeyId, Limit, Limits, Quota},
    limit::limiter::{LimitCheck, LimitDecision, LimitSubject, RateLimiter},
    redis::Client,
    runtime::Mutex,
    store::StoreError,
};

pub(super) const STEPS: usize = 50;

/// How long the leases of a node may be, in milliseconds.
const TIMES: [u64; 8] = [10, 30, 100, 250, 500, 1_000, 2_000, 60_000];

/// The place of the node that is exact.
pub(super) const EXACT: usize = 0;

type Answer = Result<LimitDecision, StoreError>;

pub(super) struct Node {
    pub(super) limiter: RedisLimiter,
    pub(super) life: Life,
    pub(super) time: Option<Duration>,
    /// It stops in good order.
    closing: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// The keys of one bucket have one of two sets of limits.
pub(super) struct Bucket {
    pub(super) id: KeyId,
    pub(super) sets: [Arc<Limits>; 2],
    pub(super) current: usize,
}

/// A request that waits.
struct Caller {
    node: usize,
    life: Life,
    bucket: usize,
    limits: Arc<Limits>,
    cost: u32,
    began: Moment,
    /// It takes all that is left, if it is let in.
    is_greedy: bool,
    /// It goes away at an await, so often in a thousand.
    leaves: usize,
    woken: Arc<Woken>,
    answer: Pin<Box<dyn Future<Output = Answer> + Send>>,
}

/// Whether a caller can go on. They are looked through in order, whichever is woken first.
#[derive(Default)]
struct Woken {
    is_woken: AtomicBool,
    run: Mutex<Option<Waker>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::Relaxed);
        if let Some(run) = &*self.run.lock() {
            run.wake_by_ref();
        }
    }
}

/// Requests that come evenly.
struct Flow {
    node: usize,
    bucket: usize,
    cost: u32,
    /// How many come at once.
    count: usize,
    until: Instant,
}

pub(super) struct Run {
    pub(super) random: Random,
    pub(super) server: Arc<Server>,
    pub(super) nodes: Vec<Node>,
    pub(super) buckets: Vec<Bucket>,
    pub(super) books: Books,
    pub(super) violations: Vec<String>,
    /// How many requests were denied.
    pub(super) denials: usize,
    callers: Vec<Caller>,
    flows: Vec<Flow>,
    lives: Life,
}

/// What became of a run.
pub(super) struct Outcome {
    pub(super) violations: Vec<String>,
    pub(super) simulated: Duration,
    pub(super) requests: usize,
    pub(super) seen: BTreeMap<&'static str, u64>,
    pub(super) executed: Vec<Executed>,
    pub(super) fields: BTreeMap<String, BTreeMap<String, String>>,
    /// Of all that happened.
    pub(super) digest: u64,
}

pub(super) fn run(seed: u64) -> Outcome {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut run = Run::new(seed);
        for _ in 0..STEPS {
            run.step().await;
        }
        run.calm().await;
        run.outcome()
    })
}

/// As a node of this life has it.
pub(super) fn limiter(server: &Arc<Server>, life: Life, time: Option<Duration>) -> RedisLimiter {
    let client = Client::of("redis://simulated").unwrap();
    let buckets = Buckets::simulated(client, "simulated", server.wire(life));
    RedisLimiter { buckets, leases: time.map(|time| Arc::new(Leases::of_a_few_buckets(time))) }
}

fn number(number: usize) -> NonZeroU32 {
    NonZeroU32::new(u32::try_from(number).unwrap()).unwrap()
}

fn quota(random: &mut Random) -> Quota {
    let per_second = |requests| Quota::per_second(number(requests));
    match random.below(7) {
        0 => per_second(1_000),
        1 => per_second(200).with_burst(number(400)),
        2 => Quota::new(number(160), Duration::from_secs(10)).unwrap(),
        3 => per_second(50).with_burst(number(150)),
        4 => per_second(1 + random.below(20)),
        _ => {
            let window = Duration::from_millis(200 + random.below(2_000) as u64);
            let quota = Quota::new(number(100 + random.below(2_000)), window).unwrap();
            quota.with_burst(number(20 + random.below(400)))
        }
    }
}

fn limits(random: &mut Random) -> Arc<Limits> {
    let names = ["one", "two"];
    let (first, count) = if random.chance(400) { (0, 2) } else { (random.below(2), 1) };
    let names = names.iter().skip(first).take(count);
    let limits = names.map(|name| Limit::new(name, quota(random)).unwrap());
    Arc::new(Limits::new(limits.collect::<Vec<_>>()).unwrap())
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let bucket = |place| {
            let first = limits(&mut random);
            // Often nothing is ever changed.
            let other = if random.chance(500) { first.clone() } else { limits(&mut random) };
            Bucket { id: KeyId::from_bytes([place; 16]), sets: [first, other], current: 0 }
        };
        let buckets = (1..=2).map(bucket).collect();
        let mut run = Self {
            random,
            server: Server::new(seed),
            nodes: Vec::new(),
            buckets,
            books: Books::default(),
            violations: Vec::new(),
            denials: 0,
            callers: Vec::new(),
            flows: Vec::new(),
            lives: 0,
        };
        let nodes = 3 + run.random.below(2);
        for place in 0..nodes {
            let time = run.time_of(place);
            let node = run.begin(time);
            run.nodes.push(node);
        }
        run
    }

    fn time_of(&mut self, place: usize) -> Option<Duration> {
        let time = TIMES[self.random.below(TIMES.len())];
        (place != EXACT).then(|| Duration::from_millis(time))
    }

    /// A node starts.
    pub(super) fn begin(&mut self, time: Option<Duration>) -> Node {
        self.lives += 1;
        let life = self.lives;
        self.books.lives.insert(life, time);
        Node { limiter: limiter(&self.server, life, time), life, time, closing: None }
    }

    fn see(&self, what: &'static str) {
        self.server.see(what);
    }

    pub(super) fn node(&mut self) -> usize {
        self.random.below(self.nodes.len())
    }

    fn bucket(&mut self) -> usize {
        // The first one has most of the requests.
        let other = self.random.below(self.buckets.len());
        if self.random.chance(500) { 0 } else { other }
    }

    fn cost(&mut self, bucket: usize) -> u32 {
        let bucket = &self.buckets[bucket];
        let bursts = bucket.sets[bucket.current].iter().map(|limit| limit.quota().burst().get());
        let burst = bursts.min().unwrap() as usize;
        let cost = match self.random.below(20) {
            0..8 => 1,
            8..12 => 1 + self.random.below(7),
            12..16 => burst / (8 + self.random.below(32)),
            16..19 => burst / (2 + self.random.below(8)),
            _ if self.random.chance(200) => {
                self.see("a request cost more than a burst");
                burst + 1 + self.random.below(20)
            }
            _ => burst,
        };
        u32::try_from(cost.max(1)).unwrap()
    }

    async fn step(&mut self) {
        let (bucket, node) = (self.bucket(), self.node());
        match self.random.below(100) {
            0..24 => {
                let count = 1 + self.random.below(12);
                self.ask(node, bucket, count);
            }
            24..36 => {
                let count = 1 + self.random.below(8);
                (0..self.nodes.len()).for_each(|node| self.ask(node, bucket, count));
            }
            36..46 => self.squeeze(node, bucket).await,
            46..48 => self.give_back_slowly(bucket).await,
            48..60 => {
                let (cost, count) = (self.cost(bucket), 1 + self.random.below(2));
                let until = Instant::now() + self.random.time(Duration::from_secs(3));
                self.flows.push(Flow { node, bucket, cost, count, until });
            }
            60..72 => self.give_back_some(),
            72..76 => self.call(EXACT, bucket, 1, true),
            76..88 => self.fault(node),
            88..92 => self.restart(node),
            92..95 if self.random.chance(700) => {
                self.buckets[bucket].current ^= 1;
                self.see("limits were changed");
            }
            _ => {
                for caller in &mut self.callers {
                    caller.leaves = 300;
                }
            }
        }
        if self.random.chance(100) {
            advance(Duration::from_micros(self.random.below(1_000) as u64)).await;
        }
        let time = self.random.time(Duration::from_millis(1_500));
        self.pass(time).await;
    }

    /// Several requests at once.
    pub(super) fn ask(&mut self, node: usize, bucket: usize, count: usize) {
        let cost = self.cost(bucket);
        for _ in 0..count {
            self.call(node, bucket, cost, false);
        }
    }

    /// Two nodes hold batches, and the first one may give its own back. Shortly before the end of the other,
    /// all is used that there is.
    async fn squeeze(&mut self, node: usize, bucket: usize) {
        let other = self.node();
        let nodes = if self.random.chance(700) { &[node, other][..] } else { &[node] };
        for (place, node) in nodes.iter().enumerate() {
            for _ in 0..4 {
                self.ask(*node, bucket, 3);
                self.rest(Duration::from_millis(4)).await;
            }
            if place > 0 && self.random.chance(500) && self.nodes[nodes[0]].closing.is_none() {
                self.close(nodes[0]);
            }
            let time = self.nodes[*node].time.unwrap_or_default().min(Duration::from_secs(2));
            let most = usize::try_from(time.as_millis()).unwrap() + 1;
            let held = match self.random.below(3) {
                0 if nodes.len() > place + 1 => 0,
                1 => self.random.below(most),
                _ => most * 9 / 10,
            };
            self.rest(Duration::from_millis(held as u64)).await;
        }
        for _ in 0..3 {
            (0..self.nodes.len()).for_each(|node| self.drain(node, bucket));
            self.call(EXACT, bucket, 1, true);
            let pause = Duration::from_millis(5 + self.random.below(20) as u64);
            self.rest(pause).await;
        }
    }

    /// What was let in is given back, and is on its way while others take what comes back.
    async fn give_back_slowly(&mut self, bucket: usize) {
        self.call(EXACT, bucket, 1, true);
        self.rest(Duration::from_millis(20)).await;
        let life = self.nodes[EXACT].life;
        let last = self.books.admitted.iter().rposition(|admitted| admitted.life == life);
        let until = Instant::now() + Duration::from_millis(500);
        self.server.with_faults(|faults| faults.slow = (until, 400));
        if let Some(last) = last {
            self.give_back(last);
        }
        while Instant::now() < until {
            let pause = Duration::from_millis(10 + self.random.below(60) as u64);
            self.rest(pause).await;
            (0..self.nodes.len()).for_each(|node| self.call(node, bucket, 1, true));
        }
    }

    /// Uses all that a node has in memory.
    fn drain(&mut self, node: usize, bucket: usize) {
        let mut cost = 64;
        for _ in 0..100 {
            let limits = self.limits(bucket);
            if cost == 0 {
                return;
            }
            if !self.call_now(node, bucket, &limits, cost) {
                cost /= 2;
            }
        }
    }

    fn limits(&mut self, bucket: usize) -> Arc<Limits> {
        let bucket = &self.buckets[bucket];
        // Another key of the same owner, perhaps.
        let set = if self.random.chance(50) { 1 - bucket.current } else { bucket.current };
        bucket.sets[set].clone()
    }

    /// Whether a node lets a request in from memory.
    fn call_now(&mut self, node: usize, bucket: usize, limits: &Arc<Limits>, cost: u32) -> bool {
        let Node { limiter, life, .. } = &self.nodes[node];
        let life = *life;
        let check = LimitCheck::new(LimitSubject::Lineage(self.buckets[bucket].id), limits);
        let tasks = || Handle::current().metrics().num_alive_tasks();
        let before = tasks();
        let Some(LimitDecision::Allow(_)) = limiter.check_now(&check.with_cost(cost)) else {
            return false;
        };
        if tasks() > before {
            self.see("the next batch was asked for ahead");
        }
        self.see("a request was let in from memory");
        let at = self.server.now();
        self.admit(life, bucket, limits.clone(), cost, (at, at), true);
        true
    }

    /// A request comes.
    pub(super) fn call(&mut self, node: usize, bucket: usize, cost: u32, is_greedy: bool) {
        let limits = self.limits(bucket);
        if self.call_now(node, bucket, &limits, cost) {
            return;
        }
        let (limiter, id) = (self.nodes[node].limiter.clone(), self.buckets[bucket].id);
        let (life, began) = (self.nodes[node].life, self.server.now());
        let asked = limits.clone();
        let answer = Box::pin(async move {
            let check = LimitCheck::new(LimitSubject::Lineage(id), &asked).with_cost(cost);
            match limiter.check_now(&check) {
                Some(decision) => Ok(decision),
                None => limiter.check(&check).await,
            }
        });
        let leaves = if self.random.chance(50) { 200 } else { 0 };
        let woken = Arc::new(Woken { is_woken: AtomicBool::new(true), run: Mutex::default() });
        let caller =
            Caller { node, life, bucket, limits, cost, began, is_greedy, leaves, woken, answer };
        self.callers.push(caller);
    }

    pub(super) fn admit(
        &mut self,
        life: Life,
        bucket: usize,
        limits: Arc<Limits>,
        cost: u32,
        (at, heard): (Moment, Moment),
        is_leased: bool,
    ) {
        let key = format!("simulated:lineage:{}", self.buckets[bucket].id);
        let admitted =
            Admitted { life, bucket, key, limits, cost, at, is_leased, heard, back: None };
        self.books.admitted.push(admitted);
    }

    /// All callers go on as far as they can, always in the same order.
    fn poll(&mut self, context: &mut Context<'_>) {
        let mut shared: BTreeMap<(Life, usize), usize> = BTreeMap::new();
        let mut waiting = Vec::new();
        for mut caller in std::mem::take(&mut self.callers) {
            *caller.woken.run.lock() = Some(context.waker().clone());
            if !caller.woken.is_woken.swap(false, Ordering::Relaxed) {
                waiting.push(caller);
                continue;
            }
            self.server.taken();
            let waker = caller.woken.clone().into();
            match caller.answer.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(answer) => {
                    let taken = self.server.taken();
                    if taken.is_none() && answer.is_ok() {
                        *shared.entry((caller.life, caller.bucket)).or_default() += 1;
                    }
                    self.answered(&caller, &answer, taken);
                }
                Poll::Pending if self.random.chance(caller.leaves) => {
                    self.see("a caller went away");
                }
                Poll::Pending => waiting.push(caller),
            }
        }
        if shared.values().any(|count| *count > 1) {
            self.see("callers shared a call");
        }
        if !self.callers.is_empty() {
            context.waker().wake_by_ref();
        }
        waiting.append(&mut self.callers);
        self.callers = waiting;
        for place in 0..self.nodes.len() {
            let Some(closing) = &mut self.nodes[place].closing else { continue };
            if closing.as_mut().poll(context).is_ready() {
                self.see("a node was closed");
                let time = self.time_of(place);
                self.nodes[place] = self.begin(time);
            }
        }
    }

    fn answered(&mut self, caller: &Caller, answer: &Answer, taken: Option<Moment>) {
        let Caller { life, bucket, cost, began, .. } = *caller;
        let now = self.server.now();
        let is_exact = self.books.lives[&life].is_none();
        match answer {
            Ok(LimitDecision::Allow(state)) => {
                self.see(match taken {
                    None => "a request waited for a lease",
                    Some(_) if is_exact => "a request was counted by the server",
                    Some(_) => "a request of a node with leases was counted by the server",
                });
                let at = taken.unwrap_or(now);
                self.admit(life, bucket, caller.limits.clone(), cost, (at, now), taken.is_none());
                if caller.is_greedy && state.remaining > 0 {
                    self.call(caller.node, bucket, state.remaining, false);
                }
            }
            Ok(LimitDecision::Deny { .. }) => {
                self.denials += 1;
                self.see(if taken.is_some() {
                    "a request was denied by the server"
                } else {
                    "a request was denied from memory"
                });
                if taken.is_none() {
                    let key = format!("simulated:lineage:{}", self.buckets[bucket].id);
                    self.books.denied.push(Denied { life, key, cost, at: now });
                }
            }
            Err(_) => {
                self.see("a request could not be counted");
                self.books.failed.push(Failed { life, began, at: now });
            }
        }
    }

    fn give_back_some(&mut self) {
        for _ in 0..=self.random.below(6) {
            let recent = self.books.admitted.len().min(60);
            if recent == 0 {
                return;
            }
            let place = self.books.admitted.len() - 1 - self.random.below(recent);
            self.give_back(place);
        }
    }

    /// A request is denied after all.
    pub(super) fn give_back(&mut self, place: usize) {
        let now = self.server.now();
        let admitted = &mut self.books.admitted[place];
        let node = self.nodes.iter().find(|node| node.life == admitted.life);
        let (Some(node), None) = (node, admitted.back) else { return };
        let after = now - admitted.heard;
        admitted.back = Some(now);
        let subject = LimitSubject::Lineage(self.buckets[admitted.bucket].id);
        let check = LimitCheck::new(subject, &admitted.limits).with_cost(admitted.cost);
        node.limiter.give_back(&check, Duration::from_nanos(after));
        self.server.see(match node.time {
            Some(time) if admitted.is_leased && after > time.as_nanos() as u64 => {
                "a request was given back after its lease had ended"
            }
            Some(_) if admitted.is_leased => "a request was given back to a node",
            _ => "a request was given back to the server",
        });
    }

    fn fault(&mut self, node: usize) {
        let until = Instant::now() + self.random.time(Duration::from_secs(4));
        let life = self.nodes[node].life;
        let kind = self.random.below(6);
        let (slowest, lost) = (10 + self.random.below(600), 50 + self.random.below(500));
        self.server.with_faults(|faults| match kind {
            0 => faults.down = until,
            1 => faults.stalled = until,
            2 | 3 => faults.slow = (until, slowest),
            4 => faults.losing = (until, lost),
            _ => drop(faults.cut.insert(life, until)),
        });
        self.see(match kind {
            0 => "the server was down",
            1 => "the server was silent",
            2 | 3 => "the server was slow",
            4 => "answers were lost",
            _ => "a node was cut off",
        });
    }

    fn restart(&mut self, place: usize) {
        if self.nodes[place].closing.is_some() {
            return;
        }
        if self.random.chance(500) {
            self.crash(place);
            return;
        }
        self.close(place);
    }

    /// A node stops in good order, and another takes its place.
    pub(super) fn close(&mut self, place: usize) {
        let limiter = self.nodes[place].limiter.clone();
        self.nodes[place].closing = Some(Box::pin(async move { limiter.close().await }));
    }

    /// A node is gone, and another takes its place.
    pub(super) fn crash(&mut self, place: usize) {
        self.see("a node crashed");
        let life = self.nodes[place].life;
        self.server.crash(life);
        self.books.crashed.insert(life, self.server.now());
        self.callers.retain(|caller| caller.life != life);
        let time = self.time_of(place);
        self.nodes[place] = self.begin(time);
    }

    /// Time goes on, with the requests of all flows.
    async fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let now = Instant::now();
            self.flows.retain(|flow| now < flow.until);
            for place in 0..self.flows.len() {
                let Flow { node, bucket, cost, count, .. } = self.flows[place];
                for _ in 0..count {
                    self.call(node, bucket, cost, false);
                }
            }
            let gap = if self.flows.is_empty() { time } else { Duration::from_millis(10) };
            self.rest(gap.min(end.saturating_duration_since(now))).await;
            if Instant::now() >= end {
                return;
            }
        }
    }

    /// Time goes on.
    pub(super) async fn rest(&mut self, time: Duration) {
        let mut sleep = pin!(sleep(time));
        poll_fn(|context| {
            self.poll(context);
            sleep.as_mut().poll(context)
        })
        .await;
    }

    /// Everything is in order again, and all callers have their answers.
    pub(super) async fn settle(&mut self) {
        self.flows.clear();
        self.server.heal();
        // Four leases and a request, each waited for twice as long as a connection waits.
        let end = Instant::now() + Duration::from_secs(20);
        while !self.callers.is_empty() || self.nodes.iter().any(|node| node.closing.is_some()) {
            self.rest(Duration::from_millis(100)).await;
            if Instant::now() > end {
                self.violations.push(format!("{} callers wait for ever", self.callers.len()));
                return;
            }
        }
    }

    fn outcome(mut self) -> Outcome {
        let simulated = Duration::from_nanos(self.server.now());
        self.books.calls = self.server.calls();
        self.books.executed = self.server.executed();
        let mut violations = self.violations;
        violations.extend(self.books.violations());
        let mut hasher = DefaultHasher::new();
        self.books.executed.hash(&mut hasher);
        for admitted in &self.books.admitted {
            (admitted.life, admitted.at, admitted.cost, admitted.back).hash(&mut hasher);
        }
        if env::var_os("TRACE").is_some() {
            self.books.tell();
        }
        let mut seen = self.server.seen();
        seen.extend(self.books.seen.iter().map(|what| (*what, 1)));
        Outcome {
            violations,
            simulated,
            requests: self.books.admitted.len() + self.books.denied.len() + self.books.failed.len(),
            seen,
            executed: self.books.executed,
            fields: self.server.fields(),
            digest: hasher.finish(),
        }
    }
}
