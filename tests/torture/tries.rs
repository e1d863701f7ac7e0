//! A replica that is two seconds behind: how long a revoked key is let in, key by key, and that a new one is
//! good at once.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::{task::JoinSet, time::sleep};
use tower_api_key::RejectionKind::{Overloaded, Unavailable};

use crate::{
    GENEROUS,
    ask::Caller,
    clock::now,
    fleet::{Fleet, NODES},
    history::Verdict,
    load::carry_out,
    node::LAG_BOUND,
    outcome::{HEARD, Outcome},
    record::Record,
    seconds,
    servers::Server,
    show, turn,
};

/// Between two revocations.
const PACE: Duration = Duration::from_millis(50);
/// Longer than the replica is behind and what it says lives.
const AFTERWARDS: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replica_that_is_behind_lets_nobody_in() {
    let _turn = turn().await;
    // 1,000 in ten minutes.
    let tries = seconds().map_or(20, |seconds| usize::try_from(seconds * 5 / 3).unwrap().max(20));
    let Some(mut fleet) = Fleet::start(Server::Postgres).await else { return };

    let with = tried(&mut fleet, true, tries).await;
    show(&format!("with floors: {}", with.lateness));
    assert_eq!(with.violations, Vec::<String>::new());

    let without = tried(&mut fleet, false, tries.div_ceil(4)).await;
    let count = without.lateness.beyond(Duration::from_secs(1));
    show(&format!("without floors: {}; {count} later than 1 s", without.lateness));
    assert!(!without.violations.is_empty(), "the checker finds nothing");
}

async fn tried(fleet: &mut Fleet, has_floors: bool, tries: usize) -> Outcome {
    fleet.start_nodes(has_floors);
    let record = fleet.record.clone();
    let addresses: Vec<_> =
        fleet.addresses.iter().map(|address| address.lock().unwrap().unwrap()).collect();
    // Nodes with floors ask the replica when they have listened for so long.
    let listened = if has_floors { LAG_BOUND } else { Duration::ZERO };
    sleep(listened + Duration::from_secs(1)).await;

    let (caller, mut keys, mut good) = (Caller::new(), Vec::new(), 0);
    for number in 0..tries {
        let key = loop {
            let act = Record::begin_creation();
            if let Some(key) = carry_out(&caller, &record, addresses[number % NODES], &act).await {
                break key;
            }
        };
        let first_uses = addresses.iter().enumerate();
        let first_uses =
            first_uses.map(|(node, address)| decided(&caller, &record, *address, node, key));
        let first_uses = join_all(first_uses).await;
        good += first_uses.iter().filter(|verdict| **verdict == Verdict::Accepted).count();
        keys.push(key);
    }
    show(&format!("{good} of {} first uses of new keys are let in", tries * NODES));
    // Without floors, a node remembers for no time that the replica did not have it.
    assert_eq!(good, tries * NODES);
    sleep(AFTERWARDS).await;
    for key in &keys {
        for (node, address) in addresses.iter().enumerate() {
            let verdict = decided(&caller, &record, *address, node, *key).await;
            assert_eq!(verdict, Verdict::Accepted);
        }
    }

    let mut watchers = JoinSet::new();
    for (number, key) in keys.into_iter().enumerate() {
        let act = record.begin_revocation(key);
        // Asked while it is revoked, and afterwards.
        for (node, address) in addresses.iter().enumerate() {
            watchers.spawn(watch(*address, record.clone(), node, key));
        }
        carry_out(&caller, &record, addresses[number % NODES], &act).await;
        if number == tries / 2 {
            let behind = "SELECT (now() - pg_last_xact_replay_timestamp())::text";
            show(&format!("the replica is {} behind", fleet.replica_says(behind).await));
        }
        sleep(PACE).await;
    }
    while let Some(watched) = watchers.join_next().await {
        watched.unwrap();
    }
    fleet.stop_nodes();
    Outcome::of(&record, GENEROUS)
}

async fn ask(
    caller: &Caller,
    record: &Record,
    address: SocketAddr,
    node: usize,
    key: usize,
) -> Option<Verdict> {
    let began = now();
    let verdict = caller.ask(address, &record.secret(key)).await?;
    record.asked(node, key, began, verdict);
    Some(verdict)
}

/// What the node decides. On a machine that is busy with something else, its servers may keep it waiting.
async fn decided(
    caller: &Caller,
    record: &Record,
    address: SocketAddr,
    node: usize,
    key: usize,
) -> Verdict {
    loop {
        match ask(caller, record, address, node, key).await {
            None | Some(Verdict::Refused(Unavailable | Overloaded)) => {
                show("a good key is denied for now");
            }
            Some(verdict) => return verdict,
        }
    }
}

/// Asks for a key that is about to be revoked, again and again: often at first, and then until long after
/// the replica has it.
async fn watch(address: SocketAddr, record: Arc<Record>, node: usize, key: usize) {
    let caller = Caller::new();
    loop {
        let _ = ask(&caller, &record, address, node, key).await;
        let Ok(changed) = record.changed(key) else { return };
        match changed.map(|at| now().saturating_sub(at)) {
            Some(since) if since > AFTERWARDS => return,
            Some(since) if since > 3 * HEARD => sleep(Duration::from_millis(100)).await,
            _ => sleep(Duration::from_millis(3)).await,
        }
    }
}
