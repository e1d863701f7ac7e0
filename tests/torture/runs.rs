//! Runs under load, with faults by chance or in an order.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    GENEROUS,
    faults::Fault,
    fleet::Fleet,
    is_short,
    load::Load,
    node::LAG_BOUND,
    outcome::{Outcome, in_the_end},
    random::Random,
    record::Key,
    seconds,
    servers::Server,
    setting, show, turn,
};

/// How long a run without floors takes to show that it fails, mostly.
const WITHOUT_FLOORS: Duration = Duration::from_secs(5);
/// How long one with floors takes, of those that follow one another.
const ROUND: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_goes_wrong_with_postgres() {
    // The rest of the time is that of the other tests.
    whatever_goes_wrong(Server::Postgres, |seconds| seconds * 2 / 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_goes_wrong_with_mysql() {
    whatever_goes_wrong(Server::MySql, |seconds| seconds / 5).await;
}

/// Rounds with faults, and such without floors in between, which must fail.
async fn whatever_goes_wrong(store: Server, share: fn(u64) -> u64) {
    let _turn = turn().await;
    let mut left = Duration::from_secs(seconds().map_or(8, share));
    let mut seed = setting("SEED").unwrap_or(1);
    let Some(mut fleet) = Fleet::start(store).await else { return };
    while !left.is_zero() {
        let began = Instant::now();
        let (mut random, title) = (Random::new(seed), format!("{store:?}, SEED={seed}"));
        with_faults(&mut fleet, &title, left.min(ROUND), &mut random).await;
        without_floors(&mut fleet, &title, &mut random).await;
        left = left.saturating_sub(began.elapsed().max(ROUND));
        seed += 1;
    }
}

async fn with_faults(fleet: &mut Fleet, title: &str, length: Duration, random: &mut Random) {
    fleet.start_nodes(true);
    let load = Load::start(fleet, random);
    let replication = fleet.replication;
    let (end, mut seen) = (Instant::now() + length, BTreeMap::new());
    while Instant::now() < end {
        sleep(Duration::from_millis(200 + random.below(2_000) as u64)).await;
        // Nodes that have just begun to listen ask no replica.
        if !is_short() && random.chance(150) {
            sleep(LAG_BOUND + Duration::from_secs(5)).await;
        }
        let first = Fault::by_chance(random, replication);
        let second = Fault::by_chance(random, replication);
        let mut faults = vec![first];
        if random.chance(400) && !first.excludes(second) {
            faults.push(second);
        }
        let mut begun = Vec::new();
        for fault in faults {
            *seen.entry(fault.to_string()).or_insert(0) += 1;
            begun.push((fault, fault.begin(fleet).await));
        }
        sleep(Duration::from_millis(100 + random.below(3_500) as u64)).await;
        for (fault, began) in begun {
            fault.end(fleet, began).await;
        }
    }
    let outcome = finish(fleet, load, title).await;
    for (fault, count) in seen {
        show(&format!("{count:9}  {fault}"));
    }
    hold(&outcome, title);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_fails_over_under_load() {
    fails_over_under_load(Server::Postgres).await;
}

/// MySQL is left out.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn maria_db_fails_over_under_load() {
    fails_over_under_load(Server::MySql).await;
}

/// The bus and the store fail over, again and again, and no node is started again.
async fn fails_over_under_load(store: Server) {
    let _turn = turn().await;
    let times = seconds().map_or(1, |seconds| seconds.div_ceil(120));
    let Some(mut fleet) = Fleet::start(store).await else { return };
    if !fleet.replication.fails_over() {
        return show("MySQL, in place of MariaDB, is left out of fail-overs");
    }
    fleet.start_nodes(true);
    let ids = |fleet: &Fleet| {
        let processes = fleet.nodes.iter().map(|node| node.process.as_ref().unwrap().id());
        processes.collect::<Vec<_>>()
    };
    let (nodes, mut took) = (ids(&fleet), Vec::new());
    let load = Load::start(&fleet, &mut Random::new(1));
    for _ in 0..times {
        for fault in [Fault::BusFailsOver, Fault::StoreFailsOver] {
            sleep(Duration::from_secs(1)).await;
            let started = Instant::now();
            let began = fault.begin(&mut fleet).await;
            took.push(started.elapsed());
            sleep(Duration::from_secs(1)).await;
            fault.end(&mut fleet, began).await;
        }
    }
    assert_eq!(nodes, ids(&fleet));
    sleep(Duration::from_secs(2)).await;
    let title = format!("{times} fail-overs of the bus and of {:?}", fleet.replication);
    let outcome = finish(&mut fleet, load, &title).await;
    took.sort();
    show(&format!("a fail-over took at most {:.1?}", took.last().unwrap()));
    hold(&outcome, &title);
}

/// The same checker, of nodes that know no floors.
async fn without_floors(fleet: &mut Fleet, title: &str, random: &mut Random) {
    // Again, where the machine was too busy.
    for _ in 0..10 {
        fleet.start_nodes(false);
        let load = Load::start(fleet, random);
        sleep(WITHOUT_FLOORS).await;
        load.end().await;
        fleet.stop_nodes();
        let outcome = Outcome::of(&fleet.record, GENEROUS);
        let (count, lateness) = (outcome.violations.len(), outcome.lateness);
        show(&format!("{title}, without floors: {count} violations\n{lateness}"));
        if count > 0 {
            return;
        }
    }
    panic!("the checker finds nothing");
}

/// The end of a run, when everything is in order again.
async fn finish(fleet: &mut Fleet, load: Load, title: &str) -> Outcome {
    load.end().await;
    let violations = in_the_end(fleet).await;
    fleet.stop_nodes();
    let mut outcome = Outcome::of(&fleet.record, GENEROUS);
    outcome.violations.extend(violations);
    let keys = fleet.record.with_keys(<[Key]>::len);
    let strict = Outcome::of(&fleet.record, crate::outcome::HEARD).violations.len();
    show(&format!(
        "{title}: {} violations, {strict} with 100 ms to the dot; {keys} keys are as they were left\n{}\n{}",
        outcome.violations.len(),
        outcome.lateness,
        outcome.counts
    ));
    outcome
}

fn hold(outcome: &Outcome, title: &str) {
    let violations = &outcome.violations;
    assert!(
        violations.is_empty(),
        "{title}: {} violations, the first:\n{}",
        violations.len(),
        violations[..violations.len().min(3)].join("\n")
    );
    assert!(outcome.counts.of("requests let in") > 0, "nothing was let in");
    assert!(outcome.counts.of("changes acknowledged and announced") > 0, "nothing was changed");
}
