//! A request makes its lookup itself while it is the only one that waits for it. At whatever point it goes
//! away or is held up, the lookup goes on, and no other request waits in vain.

use std::{
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::{task::yield_now, time::timeout};
use tower_api_key::{
    key::{KeyDigest, KeyRecord},
    store::{CachedStore, KeyStore, Lookup, StoreError},
};

use crate::support::{digest, record, until};

/// A store that waits so often before it answers.
struct SlowStore {
    steps: usize,
    max_batch: usize,
    asked: AtomicUsize,
    answered: AtomicUsize,
}

#[async_trait]
impl KeyStore for SlowStore {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.asked.fetch_add(1, SeqCst);
        for _ in 0..self.steps {
            yield_now().await;
        }
        self.answered.fetch_add(1, SeqCst);
        Ok(Some(Arc::new(record(*digest))))
    }

    fn max_batch(&self) -> usize {
        self.max_batch
    }
}

/// What becomes of the request that makes the lookup.
#[derive(Clone, Copy, Debug, PartialEq)]
enum First {
    GoesAway,
    /// It is there, and is not polled.
    IsHeldUp,
}

/// When another request asks for the same key, if one does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Other {
    None,
    Before,
    After,
}

type Finding<'f> =
    Pin<Box<dyn Future<Output = Result<Option<Arc<KeyRecord>>, StoreError>> + Send + 'f>>;

/// Polls so often, and says whether there was an answer.
async fn polled(finding: &mut Finding<'_>, times: usize) -> bool {
    for _ in 0..times {
        if finding.now_or_never().is_some() {
            return true;
        }
        yield_now().await;
    }
    false
}

async fn case(steps: usize, max_batch: usize, polls: usize, first: First, other: Other) {
    let counts = (AtomicUsize::new(0), AtomicUsize::new(0));
    let store = Arc::new(SlowStore { steps, max_batch, asked: counts.0, answered: counts.1 });
    let (cache, key) = (CachedStore::new(store.clone()), digest(1));
    let mut finding = cache.find(&key);
    if polled(&mut finding, polls).await {
        return;
    }
    let mut second = cache.find(&key);
    let is_answered = other == Other::Before && polled(&mut second, 1).await;
    let mut held_up = Some(finding);
    if first == First::GoesAway {
        held_up = None;
    }
    if other == Other::None {
        if first == First::GoesAway && polls > 0 {
            until(|| matches!(cache.find_now(&key), Some(Lookup::Found(_)))).await;
        }
    } else if !is_answered {
        let answer = timeout(Duration::from_secs(5), second).await.expect("it does not hang");
        assert!(answer.unwrap().is_some());
    }
    if let Some(held_up) = held_up {
        let answer = timeout(Duration::from_secs(5), held_up).await.expect("it does not hang");
        assert!(answer.unwrap().is_some());
    }
    let begun = polls > 0 || other != Other::None || first == First::IsHeldUp;
    assert_eq!(store.asked.load(SeqCst), usize::from(begun));
    assert_eq!(store.answered.load(SeqCst), usize::from(begun));
    assert_eq!(cache.stats().misses, u64::from(begun));
}

#[tokio::test]
async fn at_every_await() {
    for (steps, max_batch) in [(0, 1), (3, 1), (0, 8), (3, 8)] {
        for polls in 0..8 {
            for first in [First::GoesAway, First::IsHeldUp] {
                for other in [Other::None, Other::Before, Other::After] {
                    println!(
                        "{steps} steps, {max_batch} at once, {polls} polls: {first:?}, {other:?}"
                    );
                    case(steps, max_batch, polls, first, other).await;
                }
            }
        }
    }
}

/// It does not keep what it has of the lookup budget.
#[tokio::test(start_paused = true)]
async fn one_that_is_held_up_alone_is_not_waited_for() {
    let (asked, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let store = Arc::new(SlowStore { steps: 3, max_batch: 1, asked, answered });
    let (cache, keys) = (CachedStore::new(store.clone()), [digest(1), digest(2)]);
    let mut held_up = keys.each_ref().map(|key| cache.find(key));
    for finding in &mut held_up {
        assert!(finding.now_or_never().is_none());
    }
    tokio::time::sleep(Duration::from_millis(101)).await;
    for key in &keys {
        assert!(matches!(cache.find_now(key), Some(Lookup::Found(_))));
    }
    for finding in held_up {
        assert!(finding.await.unwrap().is_some());
    }
    assert_eq!(store.asked.load(SeqCst), 2);
}

/// A store whose key changes with each lookup, until something else stops that.
struct RestlessStore {
    cache: OnceLock<CachedStore<Arc<RestlessStore>>>,
    asked: AtomicUsize,
    rests: AtomicBool,
}

#[async_trait]
impl KeyStore for RestlessStore {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        assert!(self.asked.fetch_add(1, SeqCst) < 1_000, "nothing else can go on");
        if !self.rests.load(SeqCst) {
            self.cache.get().unwrap().forget(&[*digest]);
        }
        Ok(Some(Arc::new(record(*digest))))
    }
}

/// Its lookups never wait, and each is in vain: the request must not keep its thread for that.
#[tokio::test]
async fn one_that_changes_with_each_lookup_lets_others_go_on() {
    let (asked, rests) = (AtomicUsize::new(0), AtomicBool::new(false));
    let store = Arc::new(RestlessStore { cache: OnceLock::new(), asked, rests });
    let cache = CachedStore::new(store.clone());
    store.cache.set(cache.clone()).ok().unwrap();
    let rest = async {
        for _ in 0..3 {
            yield_now().await;
        }
        store.rests.store(true, SeqCst);
    };
    let (found, ()) = tokio::join!(tokio::spawn(async move { cache.find(&digest(1)).await }), rest);
    assert!(found.unwrap().unwrap().is_some());
    assert!(store.asked.load(SeqCst) > 1);
}

/// What it holds of the store and of the budget must not depend on a request that is not polled.
#[tokio::test(start_paused = true)]
async fn one_that_is_held_up_and_forgotten_ends_as_well() {
    for all in [false, true] {
        let (asked, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let store = Arc::new(SlowStore { steps: 3, max_batch: 1, asked, answered });
        let (cache, key) = (CachedStore::new(store.clone()), digest(1));
        let mut held_up = cache.find(&key);
        assert!((&mut held_up).now_or_never().is_none());
        if all {
            cache.clear();
        } else {
            cache.forget(&[key]);
        }
        tokio::time::sleep(Duration::from_millis(101)).await;
        assert_eq!(store.answered.load(SeqCst), 1, "all: {all}");
        assert!(held_up.await.unwrap().is_some());
        assert_eq!(store.asked.load(SeqCst), 2, "asked anew, for the change");
    }
}

/// Also while both run at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_two_threads() {
    for round in 0..2_000 {
        let (asked, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let store = Arc::new(SlowStore { steps: round % 5, max_batch: 1, asked, answered });
        let (cache, key) = (CachedStore::new(store.clone()), digest(1));
        let find = || {
            let cache = cache.clone();
            tokio::spawn(async move { cache.find(&key).await })
        };
        let (first, second) = (find(), find());
        if round % 3 > 0 {
            yield_now().await;
        }
        first.abort();
        let answer = timeout(Duration::from_secs(5), second).await.expect("it does not hang");
        assert!(answer.unwrap().unwrap().is_some());
        assert!(store.asked.load(SeqCst) <= 1);
    }
}
