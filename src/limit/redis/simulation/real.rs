//! The scripts, read once more, answer as they do in a real server.

use std::collections::BTreeMap;

use redis::{Client, Connection, Script};

use super::{
    random::Random,
    run,
    scripts::{Bucket, Kind},
};
use crate::store::servers::{Server, unique_name};

/// In the place of `clock.lua`: the last argument is the time, by which a bucket is forgotten, too.
const CLOCK: &str = "
local ends, today = KEYS[1] .. ':ends', 0
local function clock()
  today = tonumber(table.remove(ARGV))
  local over = tonumber(redis.call('GET', ends) or math.huge)
  if math.floor(today / 1000) > over then
    redis.call('DEL', KEYS[1], ends)
  end
  return today
end
local function forget(key, after)
  local over = tonumber(redis.call('GET', ends) or 0)
  redis.call('SET', ends, string.format('%.0f', math.max(over, math.floor(today / 1000) + after)))
end
";

/// Buckets that only this test has.
struct Redis {
    connection: Connection,
    name: String,
    keys: Vec<String>,
}

impl Redis {
    fn new() -> Option<Self> {
        let url = Server::Redis.url()?;
        let connection = Client::open(url).and_then(|client| client.get_connection());
        let connection = connection.unwrap_or_else(|error| Server::Redis.missing(error));
        Some(Self { connection, name: unique_name(), keys: Vec::new() })
    }

    /// The key that a bucket has there.
    fn key(&mut self, key: &str) -> String {
        let key = format!("{}:{key}", self.name);
        if !self.keys.contains(&key) {
            self.keys.push(key.clone());
        }
        key
    }

    fn run(&mut self, kind: Kind, key: &str, args: &[String], now: i64) -> Option<Vec<i64>> {
        let key = self.key(key);
        let script = match kind {
            Kind::Take => include_str!("../take.lua"),
            Kind::GiveBack => include_str!("../give_back.lua"),
            Kind::Lease => include_str!("../lease.lua"),
        };
        let script = Script::new(&[CLOCK, include_str!("../bucket.lua"), script].concat());
        let mut call = script.key(key);
        let call = call.arg(args).arg(now);
        if kind == Kind::GiveBack {
            let done: String = call.invoke(&mut self.connection).unwrap();
            assert_eq!(done, "done");
            return None;
        }
        Some(call.invoke(&mut self.connection).unwrap())
    }

    fn fields(&mut self, key: &str) -> BTreeMap<String, String> {
        let key = self.key(key);
        redis::cmd("HGETALL").arg(key).query(&mut self.connection).unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        for key in &self.keys {
            let of_this = [key.clone(), format!("{key}:ends")];
            let _: () = redis::cmd("DEL").arg(&of_this).query(&mut self.connection).unwrap();
        }
    }
}

/// Every call of some runs, in the order in which the server got them.
#[test]
fn a_real_server_answers_as_the_simulated_one_does() {
    for seed in 0..10 {
        let Some(mut redis) = Redis::new() else { return };
        let outcome = run::run(seed);
        for call in &outcome.executed {
            let answer = redis.run(call.kind, &call.key, &call.args, call.time);
            assert_eq!(answer, call.answer, "SEED={seed}: {call:?}");
        }
        for (key, fields) in &outcome.fields {
            assert_eq!(redis.fields(key), *fields, "SEED={seed}: {key}");
        }
    }
}

/// Calls that no node makes: with any debt, of any age, and a clock that is set back.
#[test]
fn a_real_server_counts_as_the_simulated_one_does() {
    let Some(mut redis) = Redis::new() else { return };
    let mut random = Random::new(7);
    let (mut lent, mut denied) = (0, 0);
    for run in 0..60 {
        let (mut bucket, key) = (Bucket::default(), run.to_string());
        let mut now = 1_800_000_000_000_000;
        let mut before = now;
        let charge = 1 + random.below(1_000_000_000) as i64;
        let room = charge * (1 + random.below(500) as i64) + random.below(1_000) as i64;
        for _ in 0..50 {
            now += match random.below(10) {
                0 => 0,
                1 => -(random.below(1_000_000) as i64),
                2 => random.below(1_000_000_000) as i64,
                _ => random.below(room as usize / 5_000 + 2) as i64,
            };
            let names = [["one", "two"], ["two", "three"]][random.below(2)];
            let mut any = |numbers: &mut dyn FnMut(&mut Random) -> Vec<i64>| {
                let each = names.iter().flat_map(|name| {
                    let numbers = numbers(&mut random);
                    [(*name).to_owned()]
                        .into_iter()
                        .chain(numbers.iter().map(i64::to_string))
                        .collect::<Vec<_>>()
                });
                each.collect::<Vec<_>>()
            };
            let (kind, args) = match now % 5 {
                0 => (Kind::GiveBack, any(&mut |random| vec![random.below(room as usize) as i64])),
                1 => {
                    let cost = |random: &mut Random| charge * (1 + random.below(40) as i64);
                    (Kind::Take, any(&mut |random| vec![cost(random), room.max(charge * 40)]))
                }
                _ => {
                    let limits = any(&mut |_| vec![charge, room]);
                    let time = random.below(room as usize) as i64;
                    let last = random.below(room as usize) as i64;
                    let unused = if random.chance(500) { random.below(50) as i64 } else { 0 };
                    let need = if random.chance(100) { i64::from(u32::MAX) } else { 1 };
                    let want = random.below(600) as i64;
                    let fair = 1 + random.below(20) as i64;
                    let head = [time, need, want, fair, unused, before, last];
                    let head = head.iter().map(i64::to_string);
                    (Kind::Lease, head.chain(limits).collect())
                }
            };
            if random.chance(300) {
                before = now;
            }
            let answer = bucket.run(kind, &args, now);
            let real = redis.run(kind, &key, &args, now);
            assert_eq!(real, answer, "{kind:?} {args:?} at {now}");
            lent += i64::from(kind == Kind::Lease && answer.as_ref().is_some_and(|a| a[0] > 0));
            denied += i64::from(kind == Kind::Take && answer.as_ref().is_some_and(|a| a[0] == 0));
        }
        assert_eq!(redis.fields(&key), bucket.fields());
    }
    assert!(lent > 100 && denied > 20, "{lent} lent, {denied} denied");
}
