//! What all nodes of a run share: time, chance, and the history that is written.

use std::{
    collections::BTreeMap,
    env,
    io::{Write, stderr},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tower_api_key::{
    Timestamp,
    clock::Clock,
    key::{KeyDigest, KeyHasher, KeyRecord},
};

use crate::{
    history::{History, Moment, Span, Verdict, Version},
    random::Random,
};
use tower_api_key::RejectionKind;

/// When runs take place: 2026-11-23T00:00:00Z.
const BEGIN: Timestamp = Timestamp::from_unix_millis(1_795_392_000_000);

/// Clones are the same.
#[derive(Clone)]
pub(crate) struct World(Arc<State>);

struct State {
    began: Instant,
    random: Mutex<Random>,
    history: Mutex<History>,
    /// The revision of each version in the history, to find it by its announcement.
    revisions: Mutex<BTreeMap<(usize, u64), usize>>,
    keys: Vec<(String, KeyDigest)>,
    traces: bool,
    /// How often each thing happened that must happen sometimes.
    seen: Mutex<BTreeMap<&'static str, u64>>,
}

impl World {
    pub(crate) fn new(seed: u64, keys: usize) -> Self {
        let text = |number: usize| format!("simulated-key-{seed:016x}-{number:04}");
        let hash = |text: String| (text.clone(), KeyHasher::sha256().digest(&text));
        let mut history = History::default();
        for key in 0..keys {
            let verdict = Verdict::Refused(RejectionKind::Unknown);
            let nothing = Version {
                committed: Moment::ZERO,
                verdict,
                returned: None,
                announced: None,
                is_acknowledged: false,
                is_announced_as_sure: false,
            };
            history.keys.insert(key, vec![nothing]);
        }
        Self(Arc::new(State {
            began: Instant::now(),
            random: Mutex::new(Random::new(seed)),
            history: Mutex::new(history),
            revisions: Mutex::default(),
            keys: (0..keys).map(|number| hash(text(number))).collect(),
            traces: env::var_os("TRACE").is_some(),
            seen: Mutex::default(),
        }))
    }

    pub(crate) fn now(&self) -> Moment {
        self.0.began.elapsed()
    }

    pub(crate) fn random(&self) -> MutexGuard<'_, Random> {
        self.0.random.lock().unwrap()
    }

    pub(crate) fn chance(&self, in_thousand: usize) -> bool {
        self.random().chance(in_thousand)
    }

    pub(crate) fn below(&self, end: usize) -> usize {
        self.random().below(end)
    }

    pub(crate) async fn pause(&self, longest: Duration) {
        let time = self.random().time(longest);
        sleep(time).await;
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.0.history.lock().unwrap()
    }

    /// Tells what happens, where `TRACE` is set.
    pub(crate) fn trace(&self, what: impl FnOnce() -> String) {
        if self.0.traces {
            let _ = writeln!(stderr(), "{:9.3} {}", self.now().as_secs_f64(), what());
        }
    }

    /// Notes that something happened which must happen in some runs.
    pub(crate) fn saw(&self, what: &'static str) {
        *self.0.seen.lock().unwrap().entry(what).or_default() += 1;
    }

    pub(crate) fn seen(&self) -> BTreeMap<&'static str, u64> {
        self.0.seen.lock().unwrap().clone()
    }

    pub(crate) fn key(&self, number: usize) -> &(String, KeyDigest) {
        &self.0.keys[number]
    }

    fn number(&self, digest: &KeyDigest) -> Option<usize> {
        self.0.keys.iter().position(|(_, known)| known == digest)
    }

    /// The authority has this from now on.
    pub(crate) fn committed(&self, digest: &KeyDigest, record: &KeyRecord) {
        let Some(key) = self.number(digest) else { return };
        let verdict = verdict_of(record);
        self.trace(|| format!("key {key} is {verdict:?} from revision {} on", record.revision));
        let committed = self.now();
        let mut history = self.history();
        let versions = history.keys.get_mut(&key).unwrap();
        versions.push(Version {
            committed,
            verdict,
            returned: None,
            announced: None,
            is_acknowledged: false,
            is_announced_as_sure: false,
        });
        let place = versions.len() - 1;
        self.0.revisions.lock().unwrap().insert((key, record.revision), place);
    }

    /// The bus has taken an announcement of this revision, or of a later one.
    pub(crate) fn announced(&self, digest: &KeyDigest, revision: Option<u64>, is_sure: bool) {
        let Some(key) = self.number(digest) else { return };
        self.trace(|| format!("key {key} is announced with revision {revision:?}"));
        let now = self.now();
        let mut history = self.history();
        if !is_sure {
            history.unsure.entry(key).or_default().push(now);
        }
        let versions = history.keys.get_mut(&key).unwrap();
        let revisions = self.0.revisions.lock().unwrap();
        for ((_, written), place) in revisions.range((key, 0)..=(key, u64::MAX)) {
            if revision.is_none_or(|announced| announced <= *written) {
                let version = &mut versions[*place];
                if version.announced.is_none() {
                    (version.announced, version.is_announced_as_sure) = (Some(now), is_sure);
                }
            }
        }
    }

    /// An act on this key has returned, and says whether it is done.
    pub(crate) fn returned(&self, key: usize, is_done: bool) {
        let now = self.now();
        let mut history = self.history();
        for version in history.keys.get_mut(&key).unwrap() {
            if version.returned.is_none() {
                (version.returned, version.is_acknowledged) = (Some(now), is_done);
            }
        }
    }

    pub(crate) fn store_fails(&self, time: Duration) {
        // A cache goes on without the store for a while after it has failed.
        let span = Span { began: self.now(), ended: self.now() + time + Duration::from_secs(15) };
        self.history().store_fails.push(span);
    }

    /// A node starts, and does not listen yet.
    pub(crate) fn starts(&self, node: usize) {
        let now = self.now();
        self.history().starts.entry(node).or_default().push(now);
        self.deaf(node, now, Moment::MAX);
    }

    pub(crate) fn deaf(&self, node: usize, began: Moment, ended: Moment) {
        self.history().deaf.entry(node).or_default().push(Span { began, ended });
    }

    /// A clock of a node.
    pub(crate) fn clock(&self) -> NodeClock {
        NodeClock { world: self.clone(), offset: Arc::default() }
    }
}

/// The answer that a record asks for.
pub(crate) fn verdict_of(record: &KeyRecord) -> Verdict {
    let kind = if record.is_deleted() {
        RejectionKind::Unknown
    } else if record.details.revoked_at.is_some() {
        RejectionKind::Revoked
    } else if record.disabled {
        RejectionKind::Disabled
    } else {
        return Verdict::Accepted;
    };
    Verdict::Refused(kind)
}

/// Shows another time than those of other nodes. Clones are the same clock.
#[derive(Clone)]
pub(crate) struct NodeClock {
    world: World,
    offset: Arc<AtomicI64>,
}

impl NodeClock {
    /// By so many milliseconds, as long as it does not differ from others by more than a minute.
    pub(crate) fn jump(&self, by: i64) {
        let jumped = self.offset.load(SeqCst) + by;
        if jumped.abs() < 30_000 {
            self.offset.store(jumped, SeqCst);
        }
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.world.now().as_millis()).unwrap();
        let offset = self.offset.load(SeqCst);
        Timestamp::from_unix_millis(BEGIN.as_unix_millis() + passed + offset)
    }
}
