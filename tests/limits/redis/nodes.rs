//! Several nodes, which together let in no request too many.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use tower_api_key::{
    KeyId,
    limit::{LimitCheck, LimitDecision, LimitSubject, Limits, Quota, RateLimiter, RedisLimiter},
    nonzero,
};

use super::{Prefix, limits, lineage, scripts, server::OwnServer};

/// A request that was let in at some time between these.
#[derive(Clone, Copy)]
pub(super) struct Admission {
    pub(super) asked: Instant,
    pub(super) answered: Instant,
}

/// The server's clock counts microseconds; and what else there may be between two clocks.
const INACCURACY: Duration = Duration::from_millis(1);

/// Whatever stretch of time one looks at, it has no more requests than the quota admits. Those
/// count that were asked and answered within it: they were let in within it, however slow the
/// machine is.
pub(super) fn assert_never_over(admissions: &mut [Admission], quota: Quota) {
    admissions.sort_by_key(|admission| admission.answered);
    for first in admissions.iter() {
        let mut count = 0;
        for last in admissions.iter().filter(|last| last.asked >= first.asked) {
            count += 1;
            let most = quota.most_within(last.answered - first.asked + INACCURACY);
            assert!(count <= most, "{count} requests where {most} are admitted");
        }
    }
}

/// Asks without a pause, `tasks` times at once on every node.
pub(super) async fn flood(
    nodes: &[RedisLimiter],
    tasks: usize,
    (lineage, limits): (KeyId, &Limits),
    until: Instant,
) -> Vec<Admission> {
    let mut asking = tokio::task::JoinSet::new();
    for node in nodes {
        for _ in 0..tasks {
            let (node, limits) = (node.clone(), limits.clone());
            asking.spawn(async move {
                let check = LimitCheck::new(LimitSubject::Lineage(lineage), &limits);
                let mut admissions = Vec::new();
                while Instant::now() < until {
                    let asked = Instant::now();
                    let decision = match node.check_now(&check) {
                        Some(decision) => decision,
                        None => node.check(&check).await.unwrap(),
                    };
                    if let LimitDecision::Allow(_) = decision {
                        admissions.push(Admission { asked, answered: Instant::now() });
                    }
                    tokio::task::yield_now().await;
                }
                admissions
            });
        }
    }
    asking.join_all().await.concat()
}

async fn exact(nodes: usize) {
    let Some(prefix) = Prefix::new() else { return };
    let burst = NonZeroU32::new(40).unwrap();
    let quota = Quota::per_second(NonZeroU32::new(300).unwrap()).with_burst(burst);
    let limits = limits([("second", quota)]);
    let nodes: Vec<_> = (0..nodes).map(|_| prefix.node()).collect();
    let until = Instant::now() + Duration::from_secs(2);
    let mut admissions = flood(&nodes, 3, (lineage(), &limits), until).await;
    assert_never_over(&mut admissions, quota);
    assert!(admissions.len() >= 40, "the burst is there at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_exact_nodes_are_never_over_the_quota() {
    exact(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_exact_nodes_are_never_over_the_quota() {
    exact(8).await;
}

/// Asks at a steady rate, all nodes together so often a second, one after the other.
async fn steady(
    nodes: &[RedisLimiter],
    rate: u32,
    (lineage, limits): (KeyId, &Limits),
    time: Duration,
) -> (Vec<Admission>, u32) {
    let check = LimitCheck::new(LimitSubject::Lineage(lineage), limits);
    let (start, mut admissions, mut asked) = (Instant::now(), Vec::new(), 0);
    while start.elapsed() < time {
        // What is due by now. A machine that was busy asks for all of it at once.
        while f64::from(asked) < start.elapsed().as_secs_f64() * f64::from(rate) {
            let node = &nodes[asked as usize % nodes.len()];
            asked += 1;
            let asked = Instant::now();
            let decision = match node.check_now(&check) {
                Some(decision) => decision,
                None => node.check(&check).await.unwrap(),
            };
            if let LimitDecision::Allow(_) = decision {
                admissions.push(Admission { asked, answered: Instant::now() });
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (admissions, asked)
}

const THOUSAND: Quota = Quota::per_second(nonzero!(1_000));

/// A server of its own, since all scripts that it runs are counted. Two thirds is far less than
/// there is to be had, and one in 40 more often than it has to be asked: a busy machine may not be
/// what fails. `benches/limits_redis.rs` measures both.
async fn leased(nodes: usize) {
    let Some(server) = OwnServer::start(&[]) else { return };
    let limits = limits([("second", THOUSAND)]);
    let node = || RedisLimiter::builder(&server.url()).leased().build().unwrap();
    let nodes: Vec<_> = (0..nodes).map(|_| node()).collect();

    let until = Instant::now() + Duration::from_secs(2);
    let mut admissions = flood(&nodes, 2, (lineage(), &limits), until).await;
    assert_never_over(&mut admissions, THOUSAND);

    let lineage = lineage();
    steady(&nodes, 950, (lineage, &limits), Duration::from_secs(1)).await;
    let before = scripts(&server.url());
    let (mut admissions, asked) =
        steady(&nodes, 950, (lineage, &limits), Duration::from_secs(3)).await;
    assert_never_over(&mut admissions, THOUSAND);
    let (used, scripts) = (admissions.len(), scripts(&server.url()) - before);
    assert!(used * 3 >= asked as usize * 2, "{used} of {asked}");
    assert!(scripts * 40 <= u64::from(asked), "{scripts} for {asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_leased_nodes_are_never_over_the_quota() {
    leased(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_leased_nodes_are_never_over_the_quota() {
    leased(8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leased_node_is_never_over_the_quota() {
    leased(1).await;
}
