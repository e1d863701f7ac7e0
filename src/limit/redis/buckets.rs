//! The buckets in Redis: what scripts are told about them, and what they answer.

use std::{error::Error, sync::Arc, time::Duration};

use redis::FromRedisValue;

#[cfg(test)]
use super::simulation::{Kind, Wire};
use crate::{
    clock::nanos,
    key::Limits,
    limit::limiter::{LimitCheck, LimitDecision, LimitState, LimitSubject},
    redis::{Client, Link, Script},
    store::{BackEnd, StoreError},
    text::hex,
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
    lease: Script,
    /// The same, giving back what is left of the last one.
    renew: Script,
}

/// Where the limits are counted.
#[derive(Clone)]
pub(super) struct Buckets {
    link: Arc<Link>,
    scripts: Arc<Scripts>,
    pub(super) prefix: Arc<str>,
    /// Is asked in the place of Redis.
    #[cfg(test)]
    simulated: Option<Wire>,
}

impl Buckets {
    pub(super) fn new(client: Client, prefix: &str) -> Self {
        let scripts = Scripts {
            probe: Script::new("return 'done'", true),
            // What was counted twice is not let in twice.
            take: Script::new(script!("take.lua"), true),
            give_back: Script::new(script!("give_back.lua"), false),
            lease: Script::new(script!("lease.lua"), true),
            renew: Script::new(script!("lease.lua"), false),
        };
        Self {
            link: Link::new(client),
            scripts: Arc::new(scripts),
            prefix: prefix.into(),
            #[cfg(test)]
            simulated: None,
        }
    }

    #[cfg(test)]
    pub(super) fn simulated(client: Client, prefix: &str, wire: Wire) -> Self {
        Self { simulated: Some(wire), ..Self::new(client, prefix) }
    }

    /// The only key that a script gets, so a cluster may have each bucket anywhere.
    pub(super) fn key(&self, subject: &LimitSubject<'_>) -> String {
        match subject {
            LimitSubject::Lineage(id) => format!("{}:lineage:{id}", self.prefix),
            LimitSubject::Owner(owner) => {
                format!("{}:owner:{}", self.prefix, hex(owner.as_str()))
            }
        }
    }

    /// Whether there is a server that runs scripts.
    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        let key = format!("{}:probe", self.prefix);
        self.run::<String>(&self.scripts.probe, key, &[]).await.map(drop)
    }

    /// Asks for one request.
    pub(super) async fn take(&self, check: &LimitCheck<'_>) -> Result<LimitDecision, StoreError> {
        let key = self.key(&check.subject);
        let args = take_args(check);
        let answer: Vec<u64> = self.run(&self.scripts.take, key, &args).await?;
        decision(check, &answer).ok_or_else(unexpected)
    }

    /// Takes one back, with what [`give_back_args`] says of it.
    pub(super) async fn give_back(&self, key: String, args: &[String]) -> Result<(), StoreError> {
        self.run::<String>(&self.scripts.give_back, key, args).await.map(drop)
    }

    /// Asks for requests to let in later.
    pub(super) async fn lease(&self, key: String, ask: &Ask) -> Result<Lent, StoreError> {
        let scripts = &self.scripts;
        let script = if ask.unused == 0 { &scripts.lease } else { &scripts.renew };
        let answer: Vec<u64> = self.run(script, key, &lease_args(ask)).await?;
        Lent::from_answer(&answer, ask).ok_or_else(unexpected)
    }

    async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        key: String,
        args: &[String],
    ) -> Result<T, StoreError> {
        #[cfg(test)]
        if let Some(wire) = &self.simulated {
            let answer = wire.run(self.kind(script), script.repeatable, key, args.to_vec()).await;
            return answer.map_err(|error| error.of(BackEnd::RateLimiter));
        }
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let answer = self.link.run(script, &[key], &args).await;
        answer.map_err(|error: StoreError| error.of(BackEnd::RateLimiter))
    }

    #[cfg(test)]
    fn kind(&self, script: &Script) -> Kind {
        let is = |other: &Script| std::ptr::eq(script, other);
        match &*self.scripts {
            scripts if is(&scripts.take) => Kind::Take,
            scripts if is(&scripts.give_back) => Kind::GiveBack,
            _ => Kind::Lease,
        }
    }
}

/// The lease that a node asks for.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) limits: Limits,
    pub(super) time: Duration,
    /// The fewest requests that are of use.
    pub(super) need: u32,
    pub(super) want: u32,
    /// How many are left of the last lease, when that was, as [`Lent`] says, and how long it was.
    pub(super) unused: u32,
    pub(super) since: u64,
    pub(super) last: Duration,
}

/// The lease that a node got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lent {
    pub(super) requests: u32,
    /// By the server's clock.
    pub(super) since: u64,
    pub(super) owed: Vec<u64>,
}

impl Lent {
    pub(super) fn from_answer(answer: &[u64], ask: &Ask) -> Option<Self> {
        let [requests, since, owed @ ..] = answer else { return None };
        let is_whole = owed.len() == ask.limits.len();
        let requests = u32::try_from(*requests).ok().filter(|_| is_whole)?;
        Some(Self { requests, since: *since, owed: owed.to_vec() })
    }
}

/// The limiter does not work, and this is why.
pub(super) fn unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::unavailable(source).of(BackEnd::RateLimiter)
}

fn unexpected() -> StoreError {
    StoreError::corrupt("a script returned what it never returns").of(BackEnd::RateLimiter)
}

pub(super) fn take_args(check: &LimitCheck<'_>) -> Vec<String> {
    let each = |limit: &crate::key::Limit| {
        let charge = limit.quota().charge(check.cost);
        let room = limit.quota().room().max(charge);
        [limit.name().to_owned(), charge.to_string(), room.to_string()]
    };
    check.limits.iter().flat_map(each).collect()
}

pub(super) fn give_back_args(check: &LimitCheck<'_>, after: Duration) -> Vec<String> {
    let each = |limit: &crate::key::Limit| {
        // What has melted already is no longer there to be given back.
        let charge = limit.quota().charge(check.cost).saturating_sub(nanos(after));
        [limit.name().to_owned(), charge.to_string()]
    };
    check.limits.iter().flat_map(each).collect()
}

pub(super) fn lease_args(ask: &Ask) -> Vec<String> {
    // A sixteenth of a burst is fair, and one request at least.
    let share = |limit: &crate::key::Limit| limit.quota().burst().get() / 16;
    let fair = ask.limits.iter().map(share).min().unwrap_or_default().max(1);
    let Ask { need, want, unused, since, last, .. } = ask;
    let head = [nanos(ask.time), (*need).into(), (*want).into(), fair.into()];
    let tail = [(*unused).into(), *since, nanos(*last)];
    let each = |limit: &crate::key::Limit| {
        let quota = limit.quota();
        [limit.name().to_owned(), quota.charge(1).to_string(), quota.room().to_string()]
    };
    let head = head.into_iter().chain(tail).map(|number| number.to_string());
    head.chain(ask.limits.iter().flat_map(each)).collect()
}

/// The meaning of the answer to [`take_args`], if it is one.
pub(super) fn decision(check: &LimitCheck<'_>, answer: &[u64]) -> Option<LimitDecision> {
    let (is_allowed, owed) = answer.split_first()?;
    if owed.len() != check.limits.len() {
        return None;
    }
    match is_allowed {
        1 => Some(LimitDecision::Allow(LimitState::nearest(check.limits, owed.iter().copied()))),
        _ => denial(check.limits, check.cost, owed),
    }
}

/// The limit that has to be waited for the longest.
pub(super) fn denial(limits: &Limits, cost: u32, owed: &[u64]) -> Option<LimitDecision> {
    let waits = limits.iter().zip(owed).enumerate().filter_map(|(place, (limit, owed))| {
        let quota = limit.quota();
        quota.admit(*owed, quota.charge(cost)).err().map(|wait| (wait, place, *owed))
    });
    // The first, where several take as long.
    let (wait, place, owed) = waits.rev().max_by_key(|(wait, ..)| *wait)?;
    // The server's clock counts microseconds.
    let retry_after = Duration::from_micros(wait.div_ceil(1_000));
    Some(LimitDecision::Deny { state: LimitState::new(limits, place, owed), retry_after })
}
