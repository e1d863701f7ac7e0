//! Requests and acts that go on while things go wrong.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{task::JoinSet, time::sleep};

use crate::{
    ask::{Acted, Caller},
    clock::now,
    fleet::{Addresses, Fleet, NODES},
    is_short,
    random::Random,
    record::{Act, Record},
};

/// Whom all nodes act for.
const ADMINISTRATORS: usize = 4;
/// Keys that are good or may be again.
const LIVE: usize = 30;
/// The longest time between two acts of an administrator, in milliseconds.
const LONGEST_PAUSE: u64 = 60;

/// How many clients each node has, and the time between two requests of each.
fn clients() -> (usize, Duration) {
    if is_short() { (2, Duration::from_millis(8)) } else { (4, Duration::from_millis(3)) }
}

pub(crate) struct Load {
    is_over: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Load {
    pub(crate) fn start(fleet: &Fleet, random: &mut Random) -> Self {
        let mut load = Self { is_over: Arc::default(), tasks: JoinSet::new() };
        let (clients, pause) = clients();
        for number in 0..NODES * clients {
            let part = Part::new(fleet, &load.is_over, random);
            load.tasks.spawn(part.requests(number % NODES, pause));
        }
        for _ in 0..ADMINISTRATORS {
            let part = Part::new(fleet, &load.is_over, random);
            load.tasks.spawn(part.acts());
        }
        load
    }

    /// Returns when the last request is answered, and fails if a client has.
    pub(crate) async fn end(mut self) {
        self.is_over.store(true, Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

/// A client, or an administrator.
struct Part {
    caller: Caller,
    addresses: Addresses,
    record: Arc<Record>,
    random: Random,
    is_over: Arc<AtomicBool>,
}

impl Part {
    fn new(fleet: &Fleet, is_over: &Arc<AtomicBool>, random: &mut Random) -> Self {
        Self {
            caller: Caller::new(),
            addresses: fleet.addresses.clone(),
            record: fleet.record.clone(),
            random: Random::new(random.next()),
            is_over: is_over.clone(),
        }
    }

    async fn requests(mut self, node: usize, pause: Duration) {
        while !AtomicBool::load(&self.is_over, Relaxed) {
            let address = *self.addresses[node].lock().unwrap();
            if let Some(address) = address {
                let (key, secret) = self.record.choose(&mut self.random);
                let began = now();
                if let Some(verdict) = self.caller.ask(address, &secret).await {
                    self.record.asked(node, key, began, verdict);
                }
            }
            sleep(pause).await;
        }
    }

    async fn acts(mut self) {
        while !AtomicBool::load(&self.is_over, Relaxed) {
            let node = self.random.below(NODES);
            let address = *self.addresses[node].lock().unwrap();
            if let Some(address) = address {
                let act = self.record.begin(&mut self.random, LIVE);
                carry_out(&self.caller, &self.record, address, &act).await;
            }
            sleep(Duration::from_millis(self.random.next() % LONGEST_PAUSE)).await;
        }
    }
}

/// Returns the number of the key that it makes.
pub(crate) async fn carry_out(
    caller: &Caller,
    record: &Record,
    node: SocketAddr,
    act: &Act,
) -> Option<usize> {
    match caller.act(node, &act.path).await {
        Acted::Done(answer) => record.acknowledged(act, &answer),
        Acted::Not => {
            record.was_not_begun(act);
            None
        }
        Acted::Unsure => {
            record.is_unsure(act);
            None
        }
    }
}
