//! What is special about Redis: other people's keys, eviction, clusters, and every kind of trouble
//! that a server can be in.

mod apply;
mod authenticate;
mod balances;
mod cluster;
mod fail_over;
mod layout;
mod lists;
mod lost_keys;
mod memory;
mod random;
mod replicas;
mod rows;
mod schema;
mod secrets;
pub(crate) mod server;
mod silence;
mod stops;
mod upgrades;
mod usage;

use std::{collections::BTreeMap, error::Error, time::Duration};

use ::redis::{Client, Connection, FromRedisValue, RedisResult};
use tower_api_key::{
    KeyId, RejectionKind,
    key::{KeyDigest, KeyRecord, LegacyHash},
    limit::{Limit, Limits, Quota},
    nonzero,
    store::{
        BalanceStore, KeyQuery, KeyRepository, KeyStore, KeyUse, RedisStore, StoreError,
        StoreErrorKind, UsageLog,
    },
    usage::{HourlyUsage, UsageOutcome, UsageQuery},
};

use crate::{
    conformance::{at, full, record},
    servers::{Server, unique_name},
};

/// A store under a prefix of its own.
pub(crate) async fn open() -> Option<(RedisStore, Prefix)> {
    let prefix = Prefix::new()?;
    Some((prefix.open().await, prefix))
}

/// What the names of the keys in Redis end with.
const PARTS: [&str; 18] = [
    "schema",
    "keys",
    "digests",
    "uses",
    "last_used",
    "ids",
    "owners",
    "ended",
    "requests",
    "legacy",
    "balances",
    "lines",
    "usage",
    "usage_hours",
    "usage_lines",
    "acts",
    "act_times",
    "watermarks",
];

/// A key that is in every index there is.
fn indexed(number: u64) -> KeyRecord {
    let mut record = full(number);
    let rotation = &mut record.details.rotation;
    rotation.lineage = Some(crate::conformance::record(7).id);
    rotation.from = Some(crate::conformance::record(8).id);
    rotation.to = Some(crate::conformance::record(9).id);
    rotation.rotated_at = Some(at(-2));
    rotation.retires_at = Some(at(i64::MAX));
    rotation.grace_after_use = Some(u64::MAX);
    rotation.is_awaited = true;
    record.details.request = Some(request(number));
    record.details.legacy_hash = Some(LegacyHash::new("$2b$04$legacy/hash.of+\"a\" \\ key"));
    let quota = Quota::new(nonzero!(100), Duration::from_millis(1_500)).unwrap();
    let limits = ["a", "b.c-d_e"].map(|name| Limit::new(name, quota).unwrap());
    record.details.limits = Limits::new(limits).unwrap();
    record.details.credits = Some(u64::MAX);
    record.details.last_used_from = Some("2001:db8::7".parse().unwrap());
    record
}

/// The lineage that is named after the `number`th key.
fn lineage(number: u64) -> KeyId {
    record(number / 30 * 30 + 1).id
}

const HOUR: i64 = 3_600_000;

/// What the `number`th key, which is nobody's, was let in in an hour.
fn counted(number: u64, hour: i64, count: u64) -> HourlyUsage {
    let (lineage, hour) = (record(number).id, at(hour * HOUR));
    HourlyUsage::new(lineage, hour, UsageOutcome::Accepted, count)
}

fn request(number: u64) -> KeyDigest {
    let mut bytes = [0x5a; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    KeyDigest::from_bytes(bytes)
}

/// The part of a server under one prefix, removed when dropped.
pub(crate) struct Prefix {
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

    /// A store, which is still to be migrated.
    fn store(&self) -> RedisStore {
        RedisStore::new(&self.url).unwrap().with_prefix(&self.name).unwrap()
    }

    async fn open(&self) -> RedisStore {
        let store = self.store();
        store.migrate().await.unwrap();
        store
    }

    /// As a node that is gone after the first step.
    fn one_step_of_migration(&self) {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/redis");
        let text = |file| std::fs::read_to_string(format!("{directory}/{file}")).unwrap();
        let script = text("common.lua") + &text("migrate.lua");
        let names = PARTS.map(|part| self.key(part));
        let mut command = ::redis::cmd("EVAL");
        command.arg(script).arg(names.len()).arg(&names);
        assert_eq!(command.query::<String>(&mut self.connect()).unwrap(), "more");
    }

    /// As another program would connect.
    pub(crate) fn connect(&self) -> Connection {
        connect(&self.url)
    }

    /// The name of one of the keys.
    pub(crate) fn key(&self, part: &str) -> String {
        format!("{{{}}}:{part}", self.name)
    }

    /// The names of all keys with the prefix, in order.
    fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> =
            run(&mut self.connect(), &["KEYS", &format!("*{}*", self.name)]);
        keys.sort();
        keys
    }

    /// Everything there is.
    fn contents(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let mut other = self.connect();
        let read = |key: String| {
            let kind: String = run(&mut other, &["TYPE", &key]);
            let contents = match kind.as_str() {
                "hash" => run(&mut other, &["HGETALL", &key]),
                "zset" => run(&mut other, &["ZRANGE", &key, "0", "-1", "WITHSCORES"]),
                _ => BTreeMap::new(),
            };
            (key, contents)
        };
        self.keys().into_iter().map(read).collect()
    }
}

impl Drop for Prefix {
    fn drop(&mut self) {
        // A server of the test's own may be gone already.
        let Ok(mut connection) = Client::open(&*self.url).unwrap().get_connection() else { return };
        for part in PARTS {
            let _: RedisResult<()> = ::redis::cmd("DEL").arg(self.key(part)).query(&mut connection);
        }
    }
}

fn connect(url: &str) -> Connection {
    Client::open(url).unwrap().get_connection().unwrap()
}

/// Runs one command.
pub(crate) fn run<T: FromRedisValue>(connection: &mut Connection, command: &[&str]) -> T {
    ::redis::cmd(command[0]).arg(&command[1..]).query(connection).unwrap()
}

/// An error and all that caused it, as a log would have it.
fn texts(error: &dyn Error) -> String {
    let mut text = format!("{error}: {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn is_outage(error: &StoreError) -> bool {
    matches!(error.kind(), StoreErrorKind::Unavailable | StoreErrorKind::Timeout)
        && error.source().is_some()
}

/// Calls every method, and asserts that each says that it could not do it.
async fn assert_outage(store: &RedisStore) {
    let uses = [KeyUse::new(record(1).id, 1, at(1))];
    let usage = [counted(1, 0, 1)];
    let (small, large, one) = (record(1), full(1), KeyQuery::new(1));
    let (lineages, everything) = ([record(1).id], UsageQuery::new(at(0), at(1)));
    // At once, so that a silent server is waited for once.
    let (readings, writings, counts) = tokio::join!(
        async {
            let keys = (store.find(&small.digest), store.get(record(1).id), store.list(&one));
            tokio::join!(keys.0, keys.1, keys.2, store.balances(&lineages))
        },
        async {
            tokio::join!(
                store.insert(&small),
                store.update(&large, &large),
                store.record_uses(&uses),
                store.purge(at(0), None),
                store.migrate(),
            )
        },
        async {
            tokio::join!(
                store.record_usage(&usage),
                store.usage(&everything),
                store.busiest(&everything, 1),
                store.forget_usage(at(0)),
            )
        },
    );
    let (find, get, list, balances) = readings;
    let (insert, update, record_uses, purge, migrate) = writings;
    let (record_usage, usage, busiest, forget_usage) = counts;
    for error in [
        find.unwrap_err(),
        get.unwrap_err(),
        list.unwrap_err(),
        balances.unwrap_err(),
        insert.unwrap_err(),
        update.unwrap_err(),
        record_uses.unwrap_err(),
        purge.unwrap_err(),
        migrate.unwrap_err(),
        record_usage.unwrap_err(),
        usage.unwrap_err(),
        busiest.unwrap_err(),
        forget_usage.unwrap_err(),
    ] {
        assert!(is_outage(&error), "{error:?}");
    }
}

/// A key was not judged, whatever it is: a 503, which `ask` has looked at more closely.
fn assert_unavailable<T: std::fmt::Debug>(denied: Result<T, tower_api_key::Rejection>) {
    let rejection = denied.unwrap_err();
    assert_eq!(rejection.kind(), RejectionKind::Unavailable);
    assert_eq!(rejection.kind().code(), "store_unavailable");
}
