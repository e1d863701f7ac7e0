//! `RedisLimiter`: one count for all nodes.

mod cluster;
mod exact;
mod leased;
mod nodes;
#[path = "../../store/redis/server.rs"]
#[allow(dead_code, reason = "not everything that is done to servers is done here")]
mod server;
mod trouble;

use std::time::Duration;

use ::redis::{Client, Connection, FromRedisValue, RedisResult};
use tower_api_key::{
    KeyId, Timestamp,
    limit::{
        Limit, LimitCheck, LimitDecision, LimitState, LimitSubject, Limits, Quota, RateLimiter,
        RedisLimiter, RedisLimiterBuilder,
    },
    nonzero,
    store::RedisStore,
};

use crate::servers::{Server, unique_name};

/// The part of a server under one prefix, removed when dropped.
struct Prefix {
    url: String,
    name: String,
}

impl Prefix {
    /// On the server that all tests share. `None` when its tests are left out.
    fn new() -> Option<Self> {
        let url = Server::Redis.url()?;
        if let Err(error) = Client::open(&*url).and_then(|client| client.get_connection()) {
            Server::Redis.missing(error);
        }
        Some(Self { url, name: unique_name() })
    }

    /// A node of its own, with its own connection.
    fn node(&self) -> RedisLimiter {
        self.builder().build().unwrap()
    }

    fn builder(&self) -> RedisLimiterBuilder {
        RedisLimiter::builder(&self.url).with_prefix(&self.name)
    }

    fn connect(&self) -> Connection {
        connect(&self.url)
    }

    fn keys(&self) -> Vec<String> {
        run(&mut self.connect(), &["KEYS", &format!("{}:*", self.name)])
    }
}

impl Drop for Prefix {
    fn drop(&mut self) {
        let Ok(mut connection) = Client::open(&*self.url).unwrap().get_connection() else { return };
        for key in self.keys() {
            let _: RedisResult<()> = ::redis::cmd("DEL").arg(key).query(&mut connection);
        }
    }
}

fn connect(url: &str) -> Connection {
    Client::open(url).unwrap().get_connection().unwrap()
}

/// A store for credits, in a place of its own.
pub(crate) async fn store() -> Option<(RedisStore, impl Sized)> {
    let prefix = Prefix::new()?;
    let store = RedisStore::new(&prefix.url).unwrap().with_prefix(&prefix.name).unwrap();
    store.migrate().await.unwrap();
    Some((store, StorePrefix(prefix)))
}

/// What a store has under a prefix, removed when dropped.
struct StorePrefix(Prefix);

impl Drop for StorePrefix {
    fn drop(&mut self) {
        let mut connection = self.0.connect();
        let keys: Vec<String> = run(&mut connection, &["KEYS", &format!("{{{}}}:*", self.0.name)]);
        for key in keys {
            let _: RedisResult<()> = ::redis::cmd("DEL").arg(key).query(&mut connection);
        }
    }
}

/// Runs one command.
fn run<T: FromRedisValue>(connection: &mut Connection, command: &[&str]) -> T {
    ::redis::cmd(command[0]).arg(&command[1..]).query(connection).unwrap()
}

/// How many scripts a server has run, or was asked for and did not know.
fn scripts(url: &str) -> u64 {
    let text: String = run(&mut connect(url), &["INFO", "commandstats"]);
    let calls = |command: &str| {
        let start = format!("cmdstat_{command}:calls=");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    };
    calls("eval") + calls("evalsha")
}

fn lineage() -> KeyId {
    KeyId::generate(Timestamp::UNIX_EPOCH).unwrap()
}

fn limits<const N: usize>(limits: [(&str, Quota); N]) -> Limits {
    Limits::new(limits.map(|(name, quota)| Limit::new(name, quota).unwrap())).unwrap()
}

/// So slow that no test is as slow as for one to come back.
fn hourly(burst: u32) -> Quota {
    Quota::per_hour(nonzero!(1)).with_burst(burst.try_into().unwrap())
}

/// As the layer asks.
async fn ask(limiter: &RedisLimiter, check: &LimitCheck<'_>) -> LimitDecision {
    match limiter.check_now(check) {
        Some(decision) => decision,
        None => limiter.check(check).await.unwrap(),
    }
}

fn allowed(decision: LimitDecision) -> LimitState {
    match decision {
        LimitDecision::Allow(state) => state,
        LimitDecision::Deny { .. } => panic!("{decision:?}"),
    }
}

fn denied(decision: LimitDecision) -> (LimitState, Duration) {
    match decision {
        LimitDecision::Deny { state, retry_after } => (state, retry_after),
        LimitDecision::Allow(_) => panic!("{decision:?}"),
    }
}

async fn remaining(limiter: &RedisLimiter, subject: LimitSubject<'_>, limits: &Limits) -> u32 {
    let check = LimitCheck::new(subject, limits);
    allowed(ask(limiter, &check).await).remaining + 1
}
