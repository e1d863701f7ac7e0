//! What the driver knows of the keys, and whether the server's answers fit.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, RwLock},
    time::{Duration, Instant},
};

use tower_api_key::RejectionKind;

use crate::{
    history::{History, Moment, Promise, Request, Verdict, Version},
    random::Random,
};

pub(crate) const UNKNOWN: Verdict = Verdict::Refused(RejectionKind::Unknown);

/// The server hears of its own changes at once.
const PROMISE: Promise = Promise {
    heard: Duration::from_millis(100),
    ttl: Duration::from_secs(30),
    not_found_ttl: Duration::from_secs(5),
    stale_if_error: Duration::from_mins(5),
};

/// Keys that are asked for, good ones and ended ones.
const ASKED: usize = 1_000;

pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) secret: String,
    versions: Mutex<Vec<Version>>,
}

pub(crate) struct Keys {
    began: Instant,
    asked: RwLock<Vec<Arc<Key>>>,
    tally: Mutex<BTreeMap<&'static str, u64>>,
    wrong: Mutex<Vec<String>>,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            asked: RwLock::default(),
            tally: Mutex::default(),
            wrong: Mutex::default(),
        }
    }
}

impl Key {
    pub(crate) fn verdict(&self) -> Verdict {
        self.versions.lock().unwrap().last().unwrap().verdict
    }
}

impl Keys {
    pub(crate) fn now(&self) -> Moment {
        self.began.elapsed()
    }

    /// A key whose creation began then, and was acknowledged by now.
    pub(crate) fn made(&self, id: &str, secret: &str, began: Moment) {
        let key = Key {
            id: id.to_owned(),
            secret: secret.to_owned(),
            versions: Mutex::new(vec![version(Moment::ZERO, UNKNOWN)]),
        };
        key.versions.lock().unwrap().push(version(began, Verdict::Accepted));
        self.is_acknowledged(&key);
        let mut asked = self.asked.write().unwrap();
        if asked.len() >= ASKED {
            asked.remove(0);
        }
        asked.push(Arc::new(key));
    }

    /// A change of a key begins.
    pub(crate) fn begins(&self, key: &Key, verdict: Verdict) {
        key.versions.lock().unwrap().push(version(self.now(), verdict));
    }

    pub(crate) fn is_acknowledged(&self, key: &Key) {
        let now = Some(self.now());
        let mut versions = key.versions.lock().unwrap();
        let last = versions.last_mut().unwrap();
        (last.returned, last.announced) = (now, now);
        (last.is_acknowledged, last.is_announced_as_sure) = (true, true);
        // An answer does not take so long that an earlier one would count.
        let surplus = versions.len().saturating_sub(6);
        versions.drain(..surplus);
    }

    pub(crate) fn any(&self, random: &mut Random) -> Option<Arc<Key>> {
        let asked = self.asked.read().unwrap();
        (!asked.is_empty()).then(|| asked[random.below(asked.len())].clone())
    }

    pub(crate) fn all(&self) -> Vec<Arc<Key>> {
        self.asked.read().unwrap().clone()
    }

    /// An answer about a key.
    pub(crate) fn answered(&self, key: &Key, began: Moment, verdict: Verdict) {
        let request = Request { node: 0, key: 0, began, ended: self.now(), verdict };
        let versions = key.versions.lock().unwrap().clone();
        let keys = BTreeMap::from([(0, versions)]);
        let history = History { requests: vec![request], keys, ..History::default() };
        self.wrong.lock().unwrap().extend(history.violations(PROMISE));
        let is_good = key.verdict() == Verdict::Accepted;
        self.saw(match verdict {
            Verdict::Accepted => "good keys let in",
            Verdict::Refused(RejectionKind::Unavailable | RejectionKind::Overloaded) if is_good => {
                "good keys denied for now"
            }
            Verdict::Refused(kind) => kind.code(),
        });
    }

    /// An answer about a key that never was.
    pub(crate) fn answered_unknown(&self, verdict: Verdict) {
        match verdict {
            UNKNOWN => self.saw("random keys refused"),
            Verdict::Refused(RejectionKind::Unavailable | RejectionKind::Overloaded) => {
                self.saw("random keys denied for now");
            }
            _ => self.is_wrong(format!("{verdict:?} for a key that never was")),
        }
    }

    pub(crate) fn is_wrong(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }

    pub(crate) fn saw(&self, what: &'static str) {
        *self.tally.lock().unwrap().entry(what).or_default() += 1;
    }

    pub(crate) fn count(&self, what: &str) -> u64 {
        self.tally.lock().unwrap().get(what).copied().unwrap_or_default()
    }

    /// The first of those that are wrong.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().iter().take(5).cloned().collect()
    }

    /// All answers that were held against what is known.
    pub(crate) fn requests(&self) -> u64 {
        let tally = self.tally.lock().unwrap();
        tally.iter().filter(|(what, _)| !NO_REQUESTS.contains(what)).map(|(_, count)| count).sum()
    }

    /// What has to happen: a run in which it did not has shown nothing of it.
    pub(crate) fn never_seen(&self) -> Vec<&'static str> {
        let tally = self.tally.lock().unwrap();
        let kinds = [RejectionKind::Revoked, RejectionKind::Disabled, RejectionKind::Expired];
        let answers = kinds.iter().map(|kind| kind.code());
        let answers = answers.chain(["good keys let in", "random keys refused"]);
        let others = ["acts acknowledged", "slow clients", "clients that went away"];
        answers.chain(others).filter(|what| !tally.contains_key(what)).collect()
    }
}

/// What is counted beside answers.
const NO_REQUESTS: [&str; 4] =
    ["acts acknowledged", "acts that failed", "slow clients", "clients that went away"];

fn version(committed: Moment, verdict: Verdict) -> Version {
    Version {
        committed,
        verdict,
        returned: None,
        announced: None,
        is_acknowledged: false,
        is_announced_as_sure: false,
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = self.tally.lock().unwrap();
        tally.iter().try_for_each(|(what, count)| writeln!(f, "{count:10}  {what}"))?;
        writeln!(f, "{:10}  wrong", self.wrong.lock().unwrap().len())
    }
}
