//! Requests that never stop.

use std::{
    collections::VecDeque,
    io::{Write, stderr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    TIMEOUT,
    node::{Key, Node, unknown_key},
    tally::{Kind, Outcome, Phase, Tally},
};

/// Callers for each kind of key: where one waits for a server that is in trouble, another goes on.
const CALLERS: usize = 2;
/// Between two requests of a caller. The machine has other things to do.
const PAUSE: Duration = Duration::from_millis(5);
/// How much longer than the lookup a request may take: much more than it does on a machine that is
/// busy with something else, and much less than for ever.
const MARGIN: Duration = Duration::from_secs(20);

/// Callers with every kind of key, until this is dropped.
pub(crate) struct Load {
    title: String,
    shared: Arc<Shared>,
    _callers: JoinSet<()>,
}

struct Shared {
    node: Node,
    cached: Pool,
    uncached: Pool,
    revoked: Pool,
    unknown: String,
    tally: watch::Sender<Tally>,
}

/// Keys to make requests with, one after the other.
type Pool = Mutex<VecDeque<Key>>;

impl Load {
    pub(crate) fn start(title: String, node: &Node, store_is_in_trouble: bool) -> Self {
        let shared = Arc::new(Shared {
            node: node.clone(),
            cached: Pool::default(),
            uncached: Pool::default(),
            revoked: Pool::default(),
            unknown: unknown_key(),
            tally: watch::Sender::new(Tally::new(store_is_in_trouble)),
        });
        let mut callers = JoinSet::new();
        for kind in [Kind::Cached, Kind::Uncached, Kind::Revoked, Kind::Unknown] {
            for _ in 0..CALLERS {
                callers.spawn(call(shared.clone(), kind));
            }
        }
        Self { title, shared, _callers: callers }
    }

    /// Makes requests with these keys, too. A key of the kind `Uncached` becomes one of the kind
    /// `Cached` when it is let in.
    pub(crate) fn add(&self, kind: Kind, keys: impl IntoIterator<Item = Key>) {
        self.shared.pool(kind).unwrap().lock().unwrap().extend(keys);
    }

    /// Goes on to the next phase. What `change` does happens at the same moment.
    pub(crate) fn enter(&self, phase: Phase, change: impl FnOnce()) {
        self.shared.tally.send_modify(|tally| {
            change();
            tally.phase = phase;
        });
    }

    /// Waits until the callers have come so far.
    pub(crate) async fn until(&self, mut so_far: impl FnMut(&Tally) -> bool) {
        let mut tally = self.shared.tally.subscribe();
        let so_far = tally.wait_for(|tally| !tally.wrong().is_empty() || so_far(tally));
        let came = timeout(TIMEOUT, so_far).await.is_ok();
        self.check();
        assert!(came, "{} went no further than{}", self.title, *self.tally());
    }

    /// Waits until every one of these keys is answered as keys of this kind are to be, one right
    /// after the other.
    pub(crate) async fn until_right(&self, kind: Kind, keys: &[Key]) {
        let all = async {
            while !self.are_right(kind, keys).await {
                sleep(PAUSE).await;
            }
        };
        let came = timeout(TIMEOUT, all).await.is_ok();
        self.check();
        assert!(came, "{}: still not {:?}{}", self.title, kind.wanted(), *self.tally());
    }

    async fn are_right(&self, kind: Kind, keys: &[Key]) -> bool {
        for key in keys {
            let answer = self.shared.node.ask(&key.secret).await;
            let outcome = Outcome::of(kind, Some(key.id), answer);
            if outcome != kind.wanted() {
                // One that was just revoked may still be let in, and any may be unavailable.
                let may_be = matches!(outcome, Outcome::Accepted | Outcome::Unavailable);
                assert!(may_be, "{}: {kind:?} key: {outcome:?}", self.title);
                return false;
            }
        }
        true
    }

    /// Of how many requests, made and answered in this phase, this has become.
    pub(crate) fn count(&self, kind: Kind, outcome: Outcome) -> usize {
        self.tally().count(kind, outcome)
    }

    /// Ends the callers and says what they have seen. Past the test harness, which shows only what
    /// failing tests print.
    pub(crate) fn finish(self) {
        self.check();
        let _ = writeln!(stderr(), "{}{}", self.title, *self.tally());
    }

    fn tally(&self) -> watch::Ref<'_, Tally> {
        self.shared.tally.borrow()
    }

    fn check(&self) {
        let tally = self.tally();
        assert!(tally.wrong().is_empty(), "{}{}\n{:#?}", self.title, *tally, tally.wrong());
    }
}

impl Shared {
    /// None for keys that nobody has.
    fn pool(&self, kind: Kind) -> Option<&Pool> {
        match kind {
            Kind::Cached => Some(&self.cached),
            Kind::Uncached => Some(&self.uncached),
            Kind::Revoked => Some(&self.revoked),
            Kind::Unknown => None,
        }
    }

    async fn request(&self, kind: Kind, key: Option<&Key>, secret: &str) -> Outcome {
        let (phase, began) = (self.tally.borrow().phase, Instant::now());
        let answer = timeout(self.node.lookup_timeout + MARGIN, self.node.ask(secret)).await;
        let outcome = match answer {
            Ok(answer) => Outcome::of(kind, key.map(|key| key.id), answer),
            Err(_) => Outcome::Hung,
        };
        self.tally.send_modify(|tally| tally.add(kind, outcome, phase, began.elapsed()));
        outcome
    }
}

/// A caller.
async fn call(shared: Arc<Shared>, kind: Kind) {
    for number in 0_u64.. {
        match shared.pool(kind) {
            // One that is asked for again and again, and others.
            None if number.is_multiple_of(2) => {
                shared.request(kind, None, &shared.unknown).await;
            }
            None => {
                shared.request(kind, None, &unknown_key()).await;
            }
            Some(pool) => {
                let key = pool.lock().unwrap().pop_front();
                if let Some(key) = key {
                    let outcome = shared.request(kind, Some(&key), &key.secret).await;
                    let is_cached_now = (kind, outcome) == (Kind::Uncached, Outcome::Accepted);
                    let pool = if is_cached_now { &shared.cached } else { pool };
                    pool.lock().unwrap().push_back(key);
                }
            }
        }
        sleep(PAUSE).await;
    }
}
