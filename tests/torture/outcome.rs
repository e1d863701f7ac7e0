//! What came of a run: what is against the promise, and how late nodes were.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::{Duration, Instant},
};

use tokio::time::sleep;
use tower_api_key::{
    key::KeyRecord,
    store::{KeyRepository, MySqlStore, PostgresStore},
};

use crate::{
    ask::Caller,
    fleet::{Fleet, NODES},
    history::{History, Moment, Promise, Request, Verdict},
    node::{LAG_BOUND, STALE_IF_ERROR, TTL},
    record::{Record, UNKNOWN},
    servers::Server,
};

/// What is promised of a change that was heard, and what a run on a busy machine is held to.
pub(crate) const HEARD: Duration = Duration::from_millis(100);
/// Clocks of the last tick, and a machine that is busy with something else.
const SLACK: Duration = Duration::from_secs(1);
/// Long after everything is in order again.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The promise with these nodes. What was not announced lives as long as a replica may be behind, too: one
/// that has stopped is asked until then.
pub(crate) fn promise(heard: Duration) -> Promise {
    Promise {
        heard,
        ttl: TTL + LAG_BOUND + SLACK,
        not_found_ttl: Duration::from_secs(5) + SLACK,
        stale_if_error: STALE_IF_ERROR + SLACK,
    }
}

/// Of a run.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) violations: Vec<String>,
    pub(crate) counts: Counts,
    pub(crate) lateness: Lateness,
}

/// How often each thing happened.
#[derive(Default)]
pub(crate) struct Counts(BTreeMap<&'static str, usize>);

/// For each change for the worse that was announced and acknowledged, and each node that could hear it, how
/// long after the acknowledgement the last request began that was let in.
#[derive(Default)]
pub(crate) struct Lateness {
    sorted: Vec<Duration>,
    /// Those of nodes that may have missed the announcement.
    deaf: usize,
}

impl Outcome {
    pub(crate) fn of(record: &Record, heard: Duration) -> Self {
        let (history, unexplained) = record.history();
        let mut violations = history.violations(promise(heard));
        violations.extend(unknown_after_creation(&history));
        let lateness = Lateness::of(&history);
        let mut counts = Counts::default();
        for request in &history.requests {
            counts.add(match request.verdict {
                Verdict::Accepted => "requests let in",
                Verdict::Refused(kind) => kind.code(),
            });
        }
        for key in history.keys.values().flat_map(|versions| &versions[1..]) {
            counts.add(match (key.is_acknowledged, key.announced) {
                (true, Some(_)) => "changes acknowledged and announced",
                (true, None) => "changes acknowledged, not announced",
                (false, _) => "changes of which nothing was heard",
            });
        }
        counts.0.insert("subscriptions lost without a fault", unexplained);
        Self { violations, counts, lateness }
    }
}

/// A key whose creation was acknowledged before a request began is never unknown to any node: without any
/// time for the announcement.
fn unknown_after_creation(history: &History) -> Vec<String> {
    let unknown = history.requests.iter().filter(|request| {
        let versions = &history.keys[&request.key][1..];
        let is_made = versions
            .first()
            .and_then(|made| made.returned)
            .is_some_and(|returned| returned < request.began);
        let is_deleted = versions
            .iter()
            .any(|version| version.verdict == UNKNOWN && version.committed <= request.ended);
        request.verdict == UNKNOWN && is_made && !is_deleted
    });
    unknown.map(|request| format!("{request:?} of a key that was acknowledged")).collect()
}

impl Counts {
    fn add(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub(crate) fn of(&self, what: &str) -> usize {
        self.0.get(what).copied().unwrap_or_default()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(what, count)| writeln!(f, "{count:9}  {what}"))
    }
}

impl Lateness {
    fn of(history: &History) -> Self {
        let mut accepted: HashMap<(usize, usize), Vec<&Request>> = HashMap::new();
        for request in &history.requests {
            if request.verdict == Verdict::Accepted {
                accepted.entry((request.node, request.key)).or_default().push(request);
            }
        }
        let mut lateness = Self::default();
        for (key, versions) in &history.keys {
            for (number, version) in versions.iter().enumerate().skip(1) {
                let is_worse = version.verdict != Verdict::Accepted
                    && versions[number - 1].verdict == Verdict::Accepted;
                let (true, Some(returned), Some(announced)) =
                    (is_worse, version.returned, version.announced)
                else {
                    continue;
                };
                let next = versions.get(number + 1).map_or(Moment::MAX, |next| next.committed);
                for node in 0..NODES {
                    let mut deaf = history.deaf.get(&node).into_iter().flatten();
                    if deaf.any(|span| span.began <= announced + HEARD && announced <= span.ended) {
                        lateness.deaf += 1;
                        continue;
                    }
                    let of = accepted.get(&(node, *key)).into_iter().flatten();
                    let late = of
                        .filter(|request| returned < request.began && request.ended < next)
                        .map(|request| request.began.saturating_sub(returned));
                    lateness.sorted.push(late.max().unwrap_or_default());
                }
            }
        }
        lateness.sorted.sort();
        lateness
    }

    pub(crate) fn percentile(&self, of_thousand: usize) -> Duration {
        let place = (self.sorted.len() * of_thousand).div_ceil(1_000);
        self.sorted.get(place.saturating_sub(1)).copied().unwrap_or_default()
    }

    pub(crate) fn beyond(&self, time: Duration) -> usize {
        self.sorted.iter().filter(|late| **late > time).count()
    }
}

impl fmt::Display for Lateness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} times a node heard that a key ended, and {} times it may not have; the last request let in \
             began after the acknowledgement by: p50 {:.1?}, p99 {:.1?}, p99.9 {:.1?}, max {:.1?}; {} \
             later than {HEARD:?}",
            self.sorted.len(),
            self.deaf,
            self.percentile(500),
            self.percentile(990),
            self.percentile(999),
            self.percentile(1_000),
            self.beyond(HEARD),
        )
    }
}

/// Everything is in order again: each node comes to know each key as it is, and nothing that was acknowledged
/// is lost.
pub(crate) async fn in_the_end(fleet: &Fleet) -> Vec<String> {
    let expected: Vec<_> = fleet.record.with_keys(|keys| {
        keys.iter()
            .map(|key| {
                let last = key.changes.last().map_or(UNKNOWN, |change| change.verdict);
                (key.id.parse().unwrap(), key.secret.clone(), last, key.is_unsure)
            })
            .collect()
    });
    let url = fleet.store.url();
    let store: Box<dyn KeyRepository> = if fleet.store.server() == Server::Postgres {
        Box::new(PostgresStore::connect(&url).await.unwrap())
    } else {
        Box::new(MySqlStore::connect(&url).await.unwrap())
    };
    let mut violations = Vec::new();
    let caller = Caller::new();
    let give_up = Instant::now() + TIMEOUT;
    for (id, secret, last, is_unsure) in expected {
        let found = loop {
            match store.get(id).await {
                Ok(found) => break found,
                Err(error) => assert!(Instant::now() < give_up, "{error}"),
            }
        };
        let kept = found.map_or(UNKNOWN, |record| verdict_of(&record));
        if kept != last && !is_unsure {
            violations.push(format!("lost: key {id} was {last:?} and is {kept:?}"));
        }
        for node in 0..NODES {
            let address = fleet.addresses[node].lock().unwrap().unwrap();
            loop {
                let verdict = caller.ask(address, &secret).await;
                if verdict == Some(kept) {
                    break;
                }
                if Instant::now() > give_up {
                    violations.push(format!(
                        "in the end, key {id} at node {node}: {verdict:?} in place of {kept:?}"
                    ));
                    break;
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
    violations
}

/// The answer that a record asks for.
fn verdict_of(record: &KeyRecord) -> Verdict {
    use tower_api_key::RejectionKind::{Disabled, Expired, Revoked};
    if record.is_deleted() {
        UNKNOWN
    } else if record.details.revoked_at.is_some() {
        Verdict::Refused(Revoked)
    } else if record.disabled {
        Verdict::Refused(Disabled)
    } else if record.ends_at().is_some() {
        Verdict::Refused(Expired)
    } else {
        Verdict::Accepted
    }
}
