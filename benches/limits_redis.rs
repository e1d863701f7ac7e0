//! `RedisLimiter`: the cost of a request that is decided from memory and of one that is not, and how
//! much of a quota nodes with leases can use, with how many round trips.
//!
//! `cargo bench --all-features --bench limits_redis`. Takes a minute and a half, and a Redis
//! without other users, at `TEST_REDIS_URL` or its usual port. Compare lines of one run.

#![allow(clippy::print_stdout, reason = "that is what a bench is for")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]
#![allow(clippy::cast_precision_loss, reason = "what is counted here is far less than 2⁵³")]

#[path = "support/mode.rs"]
mod mode;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use tokio::{runtime::Builder, task::JoinSet, time::sleep_until};
use tower_api_key::{
    KeyId, Timestamp,
    limit::{
        Limit, LimitCheck, LimitDecision, LimitSubject, Limits, Quota, RateLimiter, RedisLimiter,
        RedisLimiterBuilder,
    },
    nonzero,
};

const PHASE: Duration = Duration::from_secs(4);
const QUOTA: Quota = Quota::per_second(nonzero!(1_000));

fn url() -> String {
    std::env::var("TEST_REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned())
}

fn node() -> RedisLimiterBuilder {
    RedisLimiter::builder(&url()).with_prefix("bench")
}

fn lineage() -> KeyId {
    KeyId::generate(Timestamp::UNIX_EPOCH).unwrap()
}

fn limits(quotas: &[Quota]) -> Limits {
    let limit = |(place, quota): (usize, &Quota)| Limit::new(&place.to_string(), *quota).unwrap();
    Limits::new(quotas.iter().enumerate().map(limit)).unwrap()
}

/// How many scripts the server has run.
fn scripts() -> u64 {
    let mut connection = redis::Client::open(url()).unwrap().get_connection().unwrap();
    let text: String = redis::cmd("INFO").arg("commandstats").query(&mut connection).unwrap();
    let calls = |command: &str| -> u64 {
        let start = format!("cmdstat_{command}:calls=");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    };
    calls("eval") + calls("evalsha")
}

async fn ask(limiter: &RedisLimiter, check: &LimitCheck<'_>) -> bool {
    let decision = match limiter.check_now(check) {
        Some(decision) => decision,
        None => limiter.check(check).await.unwrap(),
    };
    matches!(decision, LimitDecision::Allow(_))
}

/// Nanoseconds of a decision from memory, the quickest of several runs.
async fn from_memory(name: &str, quotas: &[Quota], keys: usize) {
    const COUNT: usize = 20_000;
    let limiter = node().with_lease_time(Duration::from_mins(1)).build().unwrap();
    let limits = limits(quotas);
    let lineages: Vec<_> = (0..keys).map(|_| lineage()).collect();
    let check =
        |number: usize| LimitCheck::new(LimitSubject::Lineage(lineages[number % keys]), &limits);
    let mut quickest = f64::MAX;
    for _ in 0..20 {
        // Until there is enough for a run.
        for number in 0..keys {
            let enough = u32::try_from(COUNT / keys).unwrap() + 1;
            let check = check(number).with_cost(enough);
            assert!(ask(&limiter, &check).await);
            limiter.give_back(&check, Duration::ZERO);
        }
        let start = Instant::now();
        for number in 0..COUNT {
            let decision = black_box(&limiter).check_now(black_box(&check(number)));
            assert!(matches!(black_box(decision), Some(LimitDecision::Allow(_))));
        }
        quickest = quickest.min(start.elapsed().as_secs_f64() * 1e9 / COUNT as f64);
    }
    println!("{name:<50} {quickest:>8.0} ns");
}

async fn round_trips() {
    let limiter = node().build().unwrap();
    let limits = limits(&[Quota::per_hour(nonzero!(1_000_000))]);
    let lineage = lineage();
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
    let (start, mut count) = (Instant::now(), 0_u32);
    while start.elapsed() < PHASE / 2 {
        ask(&limiter, &check).await;
        count += 1;
    }
    let micros = start.elapsed().as_secs_f64() * 1e6 / f64::from(count);
    println!("{:<50} {micros:>8.0} µs", "exact, one request after the other");
}

/// Numbers that look random, the same in every run.
struct Random(u64);

impl Random {
    /// Between 0 and 1.
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A node's callers: asks so often a second, evenly or as chance has it.
async fn callers(
    limiter: RedisLimiter,
    (lineage, limits): (KeyId, Limits),
    rate: f64,
    is_random: bool,
    mut random: Random,
    from: Instant,
) -> (u32, u32) {
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
    let (mut allowed, mut asked, mut next) = (0, 0, random.next() / rate);
    // What happens first is not counted.
    let (warm, end) = (PHASE.as_secs_f64() / 4.0, PHASE.as_secs_f64() * 1.25);
    while next < end {
        sleep_until((from + Duration::from_secs_f64(next)).into()).await;
        let is_allowed = ask(&limiter, &check).await;
        if next >= warm {
            asked += 1;
            allowed += u32::from(is_allowed);
        }
        next += if is_random { -random.next().max(1e-9).ln() / rate } else { 1.0 / rate };
    }
    (allowed, asked)
}

/// Nodes whose callers ask for so much of the quota, together.
async fn leased(nodes: u32, share: f64, is_random: bool) {
    let (lineage, limits, start) = (lineage(), limits(&[QUOTA]), Instant::now());
    let mut tasks = JoinSet::new();
    for number in 0..nodes {
        let rate = 1_000.0 * share / f64::from(nodes);
        let random = Random(0x9e37_79b9_7f4a_7c15 + u64::from(number));
        let bucket = (lineage, limits.clone());
        tasks.spawn(callers(
            node().leased().build().unwrap(),
            bucket,
            rate,
            is_random,
            random,
            start,
        ));
    }
    sleep_until((start + PHASE / 4).into()).await;
    let before = scripts();
    sleep_until((start + PHASE / 4 + PHASE).into()).await;
    let scripts = scripts() - before;
    let (allowed, asked) = tasks
        .join_all()
        .await
        .into_iter()
        .fold((0, 0), |sum, node| (sum.0 + node.0, sum.1 + node.1));
    let usable = f64::from(allowed) / f64::from(asked).min(1_000.0 * PHASE.as_secs_f64());
    println!(
        "{nodes} leased, {:>3.0} % of the quota, {} {:>6.1} % of it usable, {:>4.0} requests a \
         round trip",
        share * 100.0,
        if is_random { "random:" } else { "even:  " },
        usable * 100.0,
        f64::from(if share > 1.0 { allowed } else { asked }) / scripts as f64,
    );
}

fn main() {
    if !mode::measures() {
        return; // It wants a Redis for itself.
    }
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let many = Quota::per_hour(nonzero!(3_600_000_000));
        from_memory("leased, one key", &[many], 1).await;
        from_memory("leased, three limits", &[many, many, many], 1).await;
        from_memory("leased, 1,000 keys", &[many], 1_000).await;
        round_trips().await;
        for is_random in [false, true] {
            for nodes in [1, 2, 8] {
                for share in [0.95, 1.0, 2.0] {
                    leased(nodes, share, is_random).await;
                }
            }
        }
    });
}
