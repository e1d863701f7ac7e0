//! The reference server at full speed: good, ended and unknown keys, keys that are made, changed and ended
//! meanwhile, slow clients and such that vanish. The checker of the [simulation](history) holds every answer
//! against the history of its key.
//!
//! Some seconds as a test, which only counts; `scripts/soak` does it for minutes with an optimized server, and
//! holds its memory.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(clippy::cast_precision_loss, reason = "of figures that are shown")]

mod administrator;
mod clients;
#[path = "../simulation/history/mod.rs"]
mod history;
mod keys;
#[path = "../support/process.rs"]
mod process;
#[path = "../simulation/random.rs"]
mod random;
mod sample;

use std::{
    env,
    io::{Write, stderr},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{keys::Keys, process::Server, random::Random, sample::Samples};

const ADMIN_KEY: &str = "an-administrators-key-for-tests";

/// How long the server waits for a client.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections with good and ended keys, and with unknown ones.
const CLIENTS: usize = 24;
const FLOODS: usize = 4;
/// Clients that are slow, and such that go away.
const BAD_CLIENTS: usize = 8;

/// Far longer than anything takes, also on a machine that is busy with something else.
const TIMEOUT: Duration = Duration::from_mins(2);

/// Until when the load goes on.
#[derive(Clone)]
pub(crate) struct End(Arc<AtomicBool>);

impl End {
    pub(crate) fn has_come(&self) -> bool {
        self.0.load(Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_right() {
    let seconds: Option<u64> =
        env::var("SOAK_SECONDS").ok().map(|text| text.trim().parse().expect("a number"));
    let time = Duration::from_secs(seconds.unwrap_or(3));
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let database = directory.path().join("keys.db");
    let mut command = Command::new(process::example("server"));
    for variable in ["CACHE_TTL", "REDIS_URL", "FAILURES_PER_MINUTE", "MAX_CONNECTIONS", "KEY_SEAL"]
    {
        command.env_remove(variable);
    }
    command
        .env("ADDR", "127.0.0.1:0")
        .env("DATABASE_URL", format!("sqlite://{}", database.display()))
        .env("ADMIN_API_KEY", ADMIN_KEY)
        .env("CLIENT_TIMEOUT", CLIENT_TIMEOUT.as_secs().to_string())
        // What it logs stays in the memory of this test.
        .env("RUST_LOG", "error");
    let server = Server::start(&mut command);
    let before = sample::descriptors(server.id());

    let keys = Arc::new(Keys::default());
    let (end, mut random) = (End(Arc::default()), Random::new(1));
    let mut load = JoinSet::new();
    let address = server.address();
    load.spawn(administrator::acts(address, keys.clone(), end.clone(), Random::new(random.next())));
    for _ in 0..CLIENTS {
        let random = Random::new(random.next());
        load.spawn(clients::asks(address, keys.clone(), end.clone(), random));
    }
    for _ in 0..FLOODS {
        load.spawn(clients::floods(address, keys.clone(), end.clone()));
    }
    for number in 0..BAD_CLIENTS {
        let random = Random::new(random.next());
        load.spawn(clients::misbehaves(address, number, keys.clone(), end.clone(), random));
    }
    let began = Instant::now();
    let mut samples = Samples::default();
    // A machine that is busy with something else is slow.
    while began.elapsed() < time || !keys.never_seen().is_empty() {
        assert!(began.elapsed() < time + TIMEOUT, "these never happened: {:?}", keys.never_seen());
        sleep(Duration::from_secs(1).min(time)).await;
        samples.take(server.id(), keys.count("random keys refused"));
        // A client that has failed.
        while let Some(ended) = load.try_join_next() {
            ended.unwrap();
        }
    }
    end.0.store(true, Relaxed);
    let ended = async {
        while let Some(ended) = load.join_next().await {
            ended.unwrap();
        }
    };
    timeout(TIMEOUT, ended).await.expect("clients end");
    let took = began.elapsed();

    let lost = administrator::check(address, &keys).await;
    let after = sample::descriptors_in_the_end(server.id(), before.sockets).await;
    let report = format!(
        "{:.0} s, {:.0} requests a second\n{keys}{samples}before: {before:?}\nafter: {after:?}",
        took.as_secs_f64(),
        keys.requests() as f64 / took.as_secs_f64(),
    );
    let _ = writeln!(stderr(), "{report}");
    assert_eq!(keys.wrong(), Vec::<String>::new());
    assert_eq!(lost, Vec::<String>::new());
    let left = (after.sockets, after.others);
    assert_eq!(left, (before.sockets, before.others), "descriptors are left");
    if seconds.is_some() {
        samples.must_be_flat();
    }
}
