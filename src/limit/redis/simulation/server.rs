//! One server for all nodes of a run, the way to it, and all that can go wrong there.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use redis::{FromRedisValue, Value};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    random::Random,
    scripts::{Bucket, Kind, numbers},
};
use crate::{runtime::Mutex, store::StoreError};

/// A node from its start until it stops or crashes.
pub(super) type Life = u32;

/// Nanoseconds since the run began.
pub(super) type Moment = u64;

/// How long the connection of a node waits, as `src/redis/link.rs` says.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The time of the server when a run begins, in microseconds.
const EPOCH: i64 = 1_800_000_000_000_000;

/// When that was, by the server's clock.
pub(super) fn moment(time: i64) -> Moment {
    u64::try_from(time - EPOCH).unwrap() * 1_000
}

/// A script that the server has run.
#[derive(Clone, Debug, Hash)]
pub(super) struct Executed {
    pub(super) at: Moment,
    /// By the server's clock.
    pub(super) time: i64,
    pub(super) life: Life,
    pub(super) key: String,
    pub(super) kind: Kind,
    pub(super) args: Vec<String>,
    pub(super) answer: Option<Vec<i64>>,
}

/// A call of a node, and what it heard.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) life: Life,
    pub(super) key: String,
    pub(super) kind: Kind,
    pub(super) args: Vec<String>,
    pub(super) began: Moment,
    pub(super) ended: Moment,
    pub(super) answer: Result<Option<Vec<i64>>, ()>,
}

/// What is out of order, until when.
#[derive(Clone)]
pub(super) struct Faults {
    pub(super) down: Instant,
    pub(super) stalled: Instant,
    /// And the longest that a way takes meanwhile, in milliseconds.
    pub(super) slow: (Instant, usize),
    /// And how many answers of a thousand are lost meanwhile.
    pub(super) losing: (Instant, usize),
    pub(super) cut: BTreeMap<Life, Instant>,
}

impl Faults {
    fn none(now: Instant) -> Self {
        Self { down: now, stalled: now, slow: (now, 0), losing: (now, 0), cut: BTreeMap::new() }
    }
}

struct State {
    buckets: BTreeMap<String, Bucket>,
    faults: Faults,
    crashed: BTreeSet<Life>,
    /// When the last call of each node came, and its answer.
    lanes: BTreeMap<Life, (Instant, Instant)>,
    /// How many calls each node made for each bucket.
    counts: BTreeMap<(Life, String), u64>,
    executed: Vec<Executed>,
    calls: Vec<Call>,
    seen: BTreeMap<&'static str, u64>,
    taken: Option<Moment>,
}

pub(super) struct Server {
    seed: u64,
    start: Instant,
    state: Mutex<State>,
}

/// The way of one node to the server.
#[derive(Clone)]
pub(in crate::limit::redis) struct Wire {
    server: Arc<Server>,
    life: Life,
}

enum Failure {
    /// There is no connection, and the script was not run.
    Refused,
    /// The connection is gone, and the script was run or not.
    Dropped,
}

/// How it will go with a call.
struct Plan {
    comes: Instant,
    back: Duration,
    is_refused: bool,
    is_lost_before: bool,
    is_lost_after: bool,
}

impl Server {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let start = Instant::now();
        let state = State {
            buckets: BTreeMap::new(),
            faults: Faults::none(start),
            crashed: BTreeSet::new(),
            lanes: BTreeMap::new(),
            counts: BTreeMap::new(),
            executed: Vec::new(),
            calls: Vec::new(),
            seen: BTreeMap::new(),
            taken: None,
        };
        Arc::new(Self { seed, start, state: Mutex::new(state) })
    }

    pub(super) fn now(&self) -> Moment {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap()
    }

    /// For a node of this life.
    pub(super) fn wire(self: &Arc<Self>, life: Life) -> Wire {
        Wire { server: self.clone(), life }
    }

    /// A node hears nothing any more, and does nothing.
    pub(super) fn crash(&self, life: Life) {
        self.state.lock().crashed.insert(life);
    }

    fn is_crashed(&self, life: Life) -> bool {
        self.state.lock().crashed.contains(&life)
    }

    pub(super) fn with_faults<T>(&self, f: impl FnOnce(&mut Faults) -> T) -> T {
        f(&mut self.state.lock().faults)
    }

    pub(super) fn heal(&self) {
        self.state.lock().faults = Faults::none(Instant::now());
    }

    pub(super) fn see(&self, what: &'static str) {
        *self.state.lock().seen.entry(what).or_default() += 1;
    }

    /// When the server let in what a caller heard of last.
    pub(super) fn taken(&self) -> Option<Moment> {
        self.state.lock().taken.take()
    }

    pub(super) fn seen(&self) -> BTreeMap<&'static str, u64> {
        self.state.lock().seen.clone()
    }

    pub(super) fn executed(&self) -> Vec<Executed> {
        self.state.lock().executed.clone()
    }

    pub(super) fn with_executed<T>(&self, f: impl FnOnce(&[Executed]) -> T) -> T {
        f(&self.state.lock().executed)
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.state.lock().calls.clone()
    }

    /// What it holds in the end.
    pub(super) fn fields(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let state = self.state.lock();
        state.buckets.iter().map(|(key, bucket)| (key.clone(), bucket.fields())).collect()
    }

    /// By a chance of its own for each call of a node for a bucket: in which order the calls for several
    /// buckets are made changes nothing.
    fn plan(&self, life: Life, key: &str) -> Plan {
        let state = &mut *self.state.lock();
        let count = state.counts.entry((life, key.to_owned())).or_default();
        *count += 1;
        let mut hasher = DefaultHasher::new();
        (self.seed, life, key, *count).hash(&mut hasher);
        let mut random = Random::new(hasher.finish());
        let (now, faults) = (Instant::now(), &state.faults);
        let longest = if now < faults.slow.0 { faults.slow.1 } else { 4 };
        let mut way = || Duration::from_millis(random.below(longest) as u64);
        let (there, back) = (way(), way());
        let losing = if now < faults.losing.0 { faults.losing.1 } else { 0 };
        let lanes = state.lanes.entry(life).or_insert((now, now));
        let mut comes = now + there;
        // Over one connection nothing is overtaken, and sometimes there is a new one.
        if random.chance(50) {
            *state.seen.entry("a call may overtake another").or_default() += 1;
        } else {
            comes = comes.max(lanes.0);
        }
        lanes.0 = lanes.0.max(comes);
        Plan {
            comes,
            back,
            is_refused: now < faults.down
                || faults.cut.get(&life).is_some_and(|until| now < *until),
            is_lost_before: random.chance(losing / 2),
            is_lost_after: random.chance(losing),
        }
    }

    fn execute(&self, life: Life, key: &str, kind: Kind, args: &[String]) -> Executed {
        let at = self.now();
        let time = EPOCH + i64::try_from(at / 1_000).unwrap();
        let state = &mut *self.state.lock();
        let bucket = state.buckets.entry(key.to_owned()).or_default();
        let mut see = |what| *state.seen.entry(what).or_default() += 1;
        if bucket.is_forgotten(time) {
            see("a bucket was forgotten");
        }
        if kind == Kind::Lease {
            let head = numbers(&args[..7], 1, 0);
            let (want, unused, last) = (head[2], head[4], head[6]);
            if unused > 0 {
                see(if want > 0 { "a rest was given back" } else { "a batch was given back" });
                let age = (time - head[5]) * 1_000;
                let charge = numbers(&args[7..], 3, 1)[0];
                if age > 0 && unused * charge > age {
                    see("a part of what was given back had melted");
                }
                if bucket.longest(time) > last {
                    see("a lease was given back while a longer one was out");
                }
            }
        } else if kind == Kind::GiveBack && bucket.longest(time) > 0 {
            see("a request was given back while a lease was out");
        }
        let answer = bucket.run(kind, args, time);
        if let (Kind::Lease, Some([lent, ..])) = (kind, answer.as_deref()) {
            let (need, want) = (numbers(&args[1..2], 1, 0)[0], numbers(&args[2..3], 1, 0)[0]);
            if *lent > 0 && *lent < want {
                see("a server lent less than was wanted");
            } else if *lent == 0 && want >= need {
                see("a server lent nothing");
            }
        }
        let (key, args) = (key.to_owned(), args.to_vec());
        let executed = Executed { at, time, life, key, kind, args, answer };
        state.executed.push(executed.clone());
        executed
    }

    /// Runs a script when it comes, also if its caller is gone by then.
    async fn serve(
        self: Arc<Self>,
        (life, key, kind, args): (Life, String, Kind, Vec<String>),
        plan: Plan,
        answer: oneshot::Sender<Result<Executed, Failure>>,
    ) {
        sleep_until(plan.comes).await;
        loop {
            let until = self.with_faults(|faults| faults.stalled);
            if until <= Instant::now() {
                break;
            }
            sleep_until(until).await;
        }
        let is_down = self.with_faults(|faults| Instant::now() < faults.down);
        if is_down || plan.is_lost_before {
            let _ = answer.send(Err(Failure::Dropped));
            return;
        }
        if answer.is_closed() {
            self.see("a script was run whose caller was gone");
        }
        let executed = self.execute(life, &key, kind, &args);
        let now = Instant::now();
        let back = {
            let lanes = &mut self.state.lock().lanes;
            let lane = lanes.entry(life).or_insert((now, now));
            lane.1 = lane.1.max(now + plan.back);
            lane.1
        };
        sleep_until(back).await;
        if plan.is_lost_after {
            self.see("an answer was lost");
        }
        let failed = Err(Failure::Dropped);
        let _ = answer.send(if plan.is_lost_after { failed } else { Ok(executed) });
    }
}

impl Wire {
    /// Runs a script, as the connection of a node does: within its timeout, and once more if that
    /// does no harm.
    pub(in crate::limit::redis) async fn run<T: FromRedisValue>(
        &self,
        kind: Kind,
        is_repeatable: bool,
        key: String,
        args: Vec<String>,
    ) -> Result<T, StoreError> {
        let server = &*self.server;
        // Its tasks may still be there, and do nothing.
        if server.is_crashed(self.life) {
            return Err(StoreError::unavailable("there is no node"));
        }
        let began = server.now();
        let answer = timeout(TIMEOUT, async {
            let mut answer = self.once(kind, &key, &args).await;
            if is_repeatable && matches!(answer, Err(Failure::Dropped)) {
                server.see("a call was repeated");
                answer = self.once(kind, &key, &args).await;
            }
            answer.map_err(|_| StoreError::unavailable("there is no connection"))
        });
        let answer = answer.await.unwrap_or_else(|_| {
            server.see("a call was silent");
            Err(StoreError::timeout())
        });
        if server.is_crashed(self.life) {
            return Err(StoreError::unavailable("there is no node"));
        }
        let (life, ended) = (self.life, server.now());
        let heard = answer.as_ref().map(|executed| executed.answer.clone()).map_err(|_| ());
        let mut state = server.state.lock();
        state.calls.push(Call { life, key, kind, args, began, ended, answer: heard });
        let executed = answer?;
        if kind == Kind::Take {
            state.taken = Some(executed.at);
        }
        let numbers = |numbers: Vec<i64>| numbers.into_iter().map(Value::Int).collect();
        let value = executed.answer.map_or_else(
            || Value::BulkString(b"done".to_vec()),
            |answer| Value::Array(numbers(answer)),
        );
        redis::from_redis_value(value).map_err(StoreError::corrupt)
    }

    async fn once(&self, kind: Kind, key: &str, args: &[String]) -> Result<Executed, Failure> {
        let plan = self.server.plan(self.life, key);
        if plan.is_refused {
            self.server.see("a call was refused");
            sleep(plan.back).await;
            return Err(Failure::Refused);
        }
        let (answer, waiter) = oneshot::channel();
        let call = (self.life, key.to_owned(), kind, args.to_vec());
        tokio::spawn(self.server.clone().serve(call, plan, answer));
        waiter.await.unwrap_or(Err(Failure::Dropped))
    }
}
