//! A bus that accepts and says nothing: few acts wait for it, and none goes unannounced for that.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use tower_api_key::{
    KeyManager, NewKey,
    key::KeyDigest,
    store::{Announcement, Invalidations, MemoryStore, StoreError, Subscription},
};

/// How long a bus in another process waits for its server.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);

/// A bus in another process. Clones are the same.
#[derive(Clone, Default)]
struct Remote(Arc<State>);

#[derive(Default)]
struct State {
    is_silent: AtomicBool,
    answers: Notify,
    calls: AtomicUsize,
    heard: Mutex<Vec<KeyDigest>>,
}

impl Remote {
    fn fall_silent(&self) {
        self.0.is_silent.store(true, SeqCst);
    }

    fn answer(&self) {
        self.0.is_silent.store(false, SeqCst);
        self.0.answers.notify_waiters();
    }

    fn calls(&self) -> usize {
        self.0.calls.load(SeqCst)
    }

    fn has_heard(&self, digest: &KeyDigest) -> bool {
        self.0.heard.lock().unwrap().contains(digest)
    }
}

#[async_trait]
impl Invalidations for Remote {
    async fn publish(&self, announcement: &Announcement) -> Result<(), StoreError> {
        self.0.calls.fetch_add(1, SeqCst);
        let answer = async {
            let answers = self.0.answers.notified();
            tokio::task::yield_now().await;
            if self.0.is_silent.load(SeqCst) {
                answers.await;
            }
            self.0.heard.lock().unwrap().extend(announcement.digests());
        };
        timeout(SERVER_TIMEOUT, answer).await.map_err(|_| StoreError::timeout())
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, StoreError> {
        Err(StoreError::unavailable("for these tests"))
    }
}

struct Fixture {
    bus: Remote,
    manager: KeyManager,
    digests: Vec<KeyDigest>,
}

impl Fixture {
    fn new() -> Self {
        let bus = Remote::default();
        let manager = KeyManager::new(MemoryStore::new()).with_invalidations(bus.clone());
        Self { bus, manager, digests: Vec::new() }
    }

    /// Creates a key and revokes it: two acts, of which the second is announced if the first is not.
    async fn act(&mut self) -> Duration {
        let start = Instant::now();
        let key = self.manager.create(NewKey::named("key")).await.unwrap().record;
        self.manager.revoke(key.id, None).await.unwrap();
        self.digests.push(key.digest);
        start.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn few_acts_wait_for_it() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.act().await, Duration::ZERO);
    fixture.bus.fall_silent();
    let before = fixture.bus.calls();
    let first = fixture.act().await;
    assert!(first >= SERVER_TIMEOUT, "{first:?}");
    for _ in 0..500 {
        assert_eq!(fixture.act().await, Duration::ZERO);
        sleep(Duration::from_millis(20)).await;
    }
    // One after the other, each as long as it may be.
    let calls = fixture.bus.calls() - before;
    assert!((5..=8).contains(&calls), "{calls} calls in ten seconds");
}

/// What came while it was silent is announced when it answers; each by itself would have been given
/// up by then, had it been as late.
#[tokio::test(start_paused = true)]
async fn what_no_act_waits_for_is_announced_all_the_same() {
    let mut fixture = Fixture::new();
    fixture.bus.fall_silent();
    fixture.act().await;
    let lost = fixture.digests.len();
    for _ in 0..100 {
        fixture.act().await;
    }
    fixture.bus.answer();
    sleep(Duration::from_millis(1)).await;
    for digest in &fixture.digests[lost..] {
        assert!(fixture.bus.has_heard(digest));
    }
    // And then acts wait again, for an answer that comes at once.
    let before = fixture.bus.calls();
    fixture.act().await;
    assert!(fixture.bus.has_heard(fixture.digests.last().unwrap()));
    assert!(fixture.bus.calls() > before);
}

/// The end of the program is none of the acts.
#[tokio::test(start_paused = true)]
async fn closing_the_manager_waits_for_what_no_act_did() {
    let mut fixture = Fixture::new();
    fixture.bus.fall_silent();
    fixture.act().await;
    fixture.act().await;
    let bus = fixture.bus.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(1)).await;
        bus.answer();
    });
    fixture.manager.close().await.unwrap();
    assert!(fixture.bus.has_heard(fixture.digests.last().unwrap()));
}
