//! The buckets in Redis: what scripts are told about them, and what they answer.

use std::{sync::Arc, time::Duration};

use crate::{
    Bucket, Decision, LimitCheck, Limits, Standing,
    redis::{Client, Link, Script},
    store::StoreError,
};

/// A script with what all of them begin with.
macro_rules! script {
    ($file:literal) => {
        concat!(include_str!("clock.lua"), include_str!("bucket.lua"), include_str!($file))
    };
}

struct Scripts {
    probe: Script,
    take: Script,
    give_back: Script,
}

/// Where the limits are counted.
#[derive(Clone)]
pub(super) struct Buckets {
    link: Arc<Link>,
    scripts: Arc<Scripts>,
    pub(super) prefix: Arc<str>,
}

impl Buckets {
    pub(super) fn new(client: Client, prefix: &str) -> Self {
        let scripts = Scripts {
            probe: Script::new("return 'done'", true),
            // What was counted twice is not let in twice.
            take: Script::new(script!("take.lua"), true),
            give_back: Script::new(script!("give_back.lua"), false),
        };
        Self { link: Link::new(client), scripts: Arc::new(scripts), prefix: prefix.into() }
    }

    /// The only key that a script gets, so a cluster may have each bucket anywhere.
    pub(super) fn key(&self, bucket: &Bucket<'_>) -> String {
        match bucket {
            Bucket::Line(id) => format!("{}:line:{id}", self.prefix),
            Bucket::Owner(owner) => {
                format!("{}:owner:{}", self.prefix, hex::encode(owner.as_str()))
            }
        }
    }

    /// Whether there is a server that runs scripts.
    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        let key = format!("{}:probe", self.prefix);
        self.link.run::<String>(&self.scripts.probe, &[key], &[]).await.map(drop)
    }

    /// Asks for one request.
    pub(super) async fn take(&self, check: &LimitCheck<'_>) -> Result<Decision, StoreError> {
        let key = self.key(&check.bucket);
        let args = take_args(check);
        let answer: Vec<u64> = self.link.run(&self.scripts.take, &[key], &texts(&args)).await?;
        decision(check, &answer).ok_or_else(unexpected)
    }

    /// Takes one back, with what [`give_back_args`] says of it.
    pub(super) async fn give_back(&self, key: String, args: &[String]) -> Result<(), StoreError> {
        let args = texts(args);
        self.link.run::<String>(&self.scripts.give_back, &[key], &args).await.map(drop)
    }
}

fn texts(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

fn unexpected() -> StoreError {
    StoreError::corrupt("a script returned what it never returns")
}

pub(super) fn take_args(check: &LimitCheck<'_>) -> Vec<String> {
    let each = |limit: &crate::Limit| {
        let charge = limit.quota().charge(check.cost);
        let room = limit.quota().room().max(charge);
        [limit.name().to_owned(), charge.to_string(), room.to_string()]
    };
    check.limits.iter().flat_map(each).collect()
}

pub(super) fn give_back_args(check: &LimitCheck<'_>) -> Vec<String> {
    let each = |limit: &crate::Limit| {
        [limit.name().to_owned(), limit.quota().charge(check.cost).to_string()]
    };
    check.limits.iter().flat_map(each).collect()
}

/// What the answer to [`take_args`] means, if it is one.
pub(super) fn decision(check: &LimitCheck<'_>, answer: &[u64]) -> Option<Decision> {
    let (is_allowed, owed) = answer.split_first()?;
    if owed.len() != check.limits.len() {
        return None;
    }
    match is_allowed {
        1 => Some(Decision::Allow(Standing::nearest(check.limits, owed.iter().copied()))),
        _ => denial(check.limits, check.cost, owed),
    }
}

/// The limit that has to be waited for the longest.
pub(super) fn denial(limits: &Limits, cost: u32, owed: &[u64]) -> Option<Decision> {
    let waits = limits.iter().zip(owed).enumerate().filter_map(|(place, (limit, owed))| {
        let quota = limit.quota();
        quota.admit(*owed, quota.charge(cost)).err().map(|wait| (wait, place, *owed))
    });
    // The first, where several take as long.
    let (wait, place, owed) = waits.rev().max_by_key(|(wait, ..)| *wait)?;
    // The server's clock counts microseconds.
    let retry_after = Duration::from_micros(wait.div_ceil(1_000));
    Some(Decision::Deny { standing: Standing::new(limits, place, owed), retry_after })
}
