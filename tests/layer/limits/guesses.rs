//! 6. Look up: the lookup settles whether a request was a guess, also if its client has gone away.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{FutureExt, future::join_all};
use tokio::sync::Semaphore;
use tower_api_key::{
    ApiKeyLayer, KeyHasher, Peppers,
    auth::FailureThrottle,
    clock::SettableClock,
    key::{KeyDigest, KeyRecord},
    limit::Quota,
    nonzero,
    store::{KeyRepository, KeyStore, MemoryStore, StoreError},
};

use super::failures::from;
use crate::support::{Answer, clock, record, send_waiting, with_key};

const CLIENT: &str = "192.0.2.1";

/// What the store does with a lookup, once it may go on.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    Answer,
    Fail,
    Hang,
}

/// A store that is always waited for. Clones are the same store.
#[derive(Clone)]
pub(super) struct Slow {
    keys: MemoryStore,
    /// Lookups that began.
    begun: Arc<AtomicUsize>,
    /// Those that were not dropped.
    ended: Arc<AtomicUsize>,
    may_go_on: Arc<Semaphore>,
    mode: Mode,
    /// Whether all other keys most probably do not exist; `None`: the store cannot tell.
    listed: Option<Arc<Mutex<HashSet<[u8; 32]>>>>,
}

#[async_trait]
impl KeyStore for Slow {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.begun.fetch_add(1, SeqCst);
        drop(self.may_go_on.acquire().await.unwrap());
        self.ended.fetch_add(1, SeqCst);
        match self.mode {
            Mode::Answer => self.keys.find(digest).await,
            Mode::Fail => Err(StoreError::unavailable("no route to host")),
            Mode::Hang => std::future::pending().await,
        }
    }

    fn may_exist(&self, digest: &KeyDigest) -> bool {
        let listed = self.listed.as_ref();
        listed.is_none_or(|listed| listed.lock().unwrap().contains(digest.as_bytes()))
    }
}

impl Slow {
    pub(super) fn new(mode: Mode, lists: bool) -> Self {
        Self {
            keys: MemoryStore::new(),
            begun: Arc::default(),
            ended: Arc::default(),
            may_go_on: Arc::new(Semaphore::new(0)),
            mode,
            listed: lists.then(Arc::default),
        }
    }

    async fn insert(&self, record: &KeyRecord) {
        self.keys.insert(record).await.unwrap();
        if let Some(listed) = &self.listed {
            listed.lock().unwrap().insert(*record.digest.as_bytes());
        }
    }

    pub(super) fn begun(&self) -> usize {
        self.begun.load(SeqCst)
    }

    /// Lookups that were made to their end.
    pub(super) fn ended(&self) -> usize {
        self.ended.load(SeqCst)
    }

    pub(super) fn go_on(&self) {
        self.may_go_on.add_permits(1_000_000);
    }
}

pub(super) struct Door {
    pub(super) layer: ApiKeyLayer,
    pub(super) store: Slow,
    clock: SettableClock,
}

/// Lets eight failures an hour happen from an address, whatever the start of the keys.
pub(super) fn door(store: Slow) -> Door {
    let clock = clock();
    let throttle = FailureThrottle::builder(Quota::per_hour(nonzero!(8)))
        .with_per_start(Quota::per_hour(nonzero!(1_000)))
        .with_clock(clock.clone())
        .build();
    let layer = ApiKeyLayer::new(store.clone())
        .with_client_address(|request| request.extensions.get().copied())
        .with_failure_throttle(throttle)
        .unwrap();
    Door { layer, store, clock }
}

pub(super) fn guess(number: usize) -> String {
    format!("{number:06}-is-the-key-perhaps")
}

async fn let_others_run() {
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
}

impl Door {
    async fn knock(&self, key: &str) -> Answer {
        send_waiting(&self.layer, from(CLIENT, with_key(key))).await
    }

    /// Sends a request and hangs up while it waits.
    async fn hang_up(&self, key: &str) {
        let mut request = Box::pin(self.knock(key));
        assert!(request.as_mut().now_or_never().is_none(), "it waits");
        tokio::task::yield_now().await;
    }

    /// How many failures the client owes for, told by how long it has to wait; `None` if it does not
    /// have to.
    async fn owed(&self) -> Option<u64> {
        let answer = self.knock("a-key-that-nobody-has-yet").await;
        let wait = answer.response.headers().get("retry-after")?.to_str().unwrap();
        assert_eq!(answer.outcome(), "too_many_failures");
        Some(wait.parse::<u64>().unwrap() / 450 + 7)
    }
}

#[tokio::test]
async fn two_thousand_guesses_of_a_client_that_hangs_up() {
    let door = door(Slow::new(Mode::Answer, true));
    for number in 0..2_000 {
        door.hang_up(&guess(number)).await;
    }
    let_others_run().await;
    assert_eq!(door.store.begun(), 16, "so many are pending at a time");
    door.store.go_on();
    let_others_run().await;
    // Those that waited for a place have gone, and have cost nothing.
    assert_eq!(door.store.begun(), 16);
    assert_eq!(door.owed().await, Some(16), "each lookup is charged");
}

#[tokio::test]
async fn guesses_at_once_cost_no_more_lookups_than_are_admitted_and_pending() {
    three_hundred_guesses_at_once(&door(Slow::new(Mode::Answer, true))).await;
}

/// The other system kept hashes of keys, and none that may be of these.
#[cfg(feature = "legacy-hashes")]
#[tokio::test]
async fn nor_do_guesses_that_have_no_slow_hash() {
    let legacy = tower_api_key::legacy::LegacyHashes::new(MemoryStore::new());
    legacy.refresh().await.unwrap();
    let door = door(Slow::new(Mode::Answer, true));
    let layer = door.layer.clone().with_legacy_hashes(legacy);
    three_hundred_guesses_at_once(&Door { layer, ..door }).await;
}

/// All of them wait, and none hangs up.
async fn three_hundred_guesses_at_once(door: &Door) {
    let keys: Vec<_> = (0..300).map(guess).collect();
    let knocks = join_all(keys.iter().map(|key| door.knock(key)));
    let open = async {
        let_others_run().await;
        door.store.go_on();
    };
    let (answers, ()) = tokio::join!(knocks, open);
    let count = |outcome: &str| answers.iter().filter(|a| a.outcome() == outcome).count();
    assert_eq!(count("unknown_key"), 16);
    assert_eq!(count("too_many_failures"), 256, "they waited, and were judged again");
    assert_eq!(count("lookup_overloaded"), 300 - 16 - 256, "there was no room to wait");
    assert_eq!(door.store.begun(), 16);
    let shed = answers.iter().find(|answer| answer.outcome() == "lookup_overloaded").unwrap();
    assert_eq!(shed.response.status(), 503);
    assert_eq!(shed.cause(), "too many lookups of this network wait");
    assert!(shed.response.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn each_guess_is_charged_once_whether_or_not_its_client_waits() {
    for (lists, hangs_up) in [(false, false), (false, true), (true, false), (true, true)] {
        let door = door(Slow::new(Mode::Answer, lists));
        if !hangs_up {
            door.store.go_on();
        }
        for number in 0..7 {
            if hangs_up {
                door.hang_up(&guess(number)).await;
            } else {
                assert_eq!(door.knock(&guess(number)).await.outcome(), "unknown_key");
            }
        }
        door.store.go_on();
        let_others_run().await;
        assert_eq!(door.store.begun(), 7);
        // The eighth may still fail, and the ninth may not.
        assert_eq!(door.knock(&guess(8)).await.outcome(), "unknown_key", "{lists} {hangs_up}");
        assert_eq!(door.knock(&guess(9)).await.outcome(), "too_many_failures");
        assert_eq!(door.store.begun(), 8, "without a lookup");
        door.clock.advance(Duration::from_secs(450));
        assert_eq!(door.knock(&guess(9)).await.outcome(), "unknown_key");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_finds_the_key_or_fails_is_no_failure() {
    for mode in [Mode::Answer, Mode::Fail, Mode::Hang] {
        let door = door(Slow::new(mode, true));
        let keys: Vec<_> = (0..50).map(guess).collect();
        if let Mode::Answer = mode {
            for key in &keys {
                door.store.insert(&record(key)).await;
            }
        }
        for key in &keys {
            door.hang_up(key).await;
        }
        door.store.go_on();
        let_others_run().await;
        // Longer than a lookup may take.
        tokio::time::sleep(Duration::from_secs(6)).await;
        let expected = match mode {
            Mode::Answer => "admitted",
            Mode::Fail | Mode::Hang => "store_unavailable",
        };
        for key in &keys[..10] {
            assert_eq!(door.knock(key).await.outcome(), expected);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_its_turn_no_longer_than_for_a_lookup() {
    let door = door(Slow::new(Mode::Hang, true));
    let first = join_all((0..16).map(|number| {
        let key = guess(number);
        let door = &door;
        async move { door.knock(&key).await.outcome() }
    }));
    let late = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = tokio::time::Instant::now();
        let answer = door.layer.clone().with_lookup_timeout(Duration::from_secs(3));
        let answer = send_waiting(&answer, from(CLIENT, with_key(&guess(99)))).await;
        (answer.outcome(), before.elapsed().as_secs())
    };
    let (first, late) = tokio::join!(first, late);
    assert!(first.iter().all(|outcome| outcome == "store_unavailable"), "{first:?}");
    assert_eq!(late, ("lookup_overloaded".to_owned(), 3));
    assert_eq!(door.store.begun(), 16);
    // Nothing was found out about any of them.
    assert_eq!(door.knock(&guess(1)).await.outcome(), "store_unavailable");
}

/// An office in the morning, after a restart.
#[tokio::test]
async fn a_hundred_good_cold_keys_behind_one_address_get_in() {
    // Also where other programs have just written them, so that the store does not list them yet.
    for lists in [None, Some(true), Some(false)] {
        let door = door(Slow::new(Mode::Answer, lists.is_some()));
        let keys: Vec<_> = (0..100).map(|number| format!("good-{}", guess(number))).collect();
        for key in &keys {
            match lists {
                Some(false) => door.store.keys.insert(&record(key)).await.unwrap(),
                _ => door.store.insert(&record(key)).await,
            }
        }
        let knocks = join_all(keys.iter().map(|key| door.knock(key)));
        let open = async {
            let_others_run().await;
            door.store.go_on();
        };
        let (answers, ()) = tokio::join!(knocks, open);
        assert!(answers.iter().all(|answer| answer.outcome() == "admitted"), "{lists:?}");
        assert_eq!(door.store.begun(), 100);
    }
}

/// The guesser sends its guesses first, and of some it does not wait for the answer.
#[tokio::test]
async fn a_guesser_among_them_is_slowed_and_keeps_none_of_them_out() {
    let door = door(Slow::new(Mode::Answer, true));
    let good: Vec<_> = (0..100).map(|number| format!("good-{}", guess(number))).collect();
    for key in &good {
        door.store.insert(&record(key)).await;
    }
    for number in 0..50 {
        door.hang_up(&guess(number)).await;
    }
    let bad: Vec<_> = (50..150).map(guess).collect();
    let guesses = join_all(bad.iter().map(|key| door.knock(key)));
    let knocks = join_all(good.iter().map(|key| door.knock(key)));
    let open = async {
        let_others_run().await;
        door.store.go_on();
    };
    let (guesses, answers, ()) = tokio::join!(guesses, knocks, open);
    assert!(answers.iter().all(|answer| answer.outcome() == "admitted"));
    assert!(guesses.iter().all(|answer| answer.outcome() == "too_many_failures"));
    assert_eq!(door.store.begun(), 16 + 100);
    // From now on it gets one guess for each that the quota admits.
    door.clock.advance(Duration::from_secs(450 * 9));
    assert_eq!(door.knock(&guess(900)).await.outcome(), "unknown_key");
    assert_eq!(door.knock(&guess(901)).await.outcome(), "too_many_failures");
}

#[tokio::test]
async fn so_many_may_be_pending_as_the_throttle_says() {
    let store = Slow::new(Mode::Answer, true);
    let throttle = FailureThrottle::builder(Quota::per_hour(nonzero!(8))).with_pending(3).build();
    let layer = door(store.clone()).layer.with_failure_throttle(throttle).unwrap();
    let wait = |address: &str, number: usize| {
        let mut request =
            Box::pin(send_waiting(&layer, from(address, with_key(&guess(number)))).map(drop));
        assert!(request.as_mut().now_or_never().is_none());
        request
    };
    // Of one /48, and of one address.
    let mut waiting = Vec::new();
    for number in 0..20 {
        waiting.push(wait(&format!("2001:db8:7:{number:x}::1"), number));
    }
    let_others_run().await;
    assert_eq!(store.begun(), 3);
    for number in 20..40 {
        waiting.push(wait(CLIENT, number));
    }
    waiting.push(wait("2001:db8:8::1", 40));
    let_others_run().await;
    assert_eq!(store.begun(), 3 + 3 + 1);
}

/// All lookups under other peppers are one guess.
#[tokio::test]
async fn a_key_is_one_guess_under_all_peppers() {
    let store = Slow::new(Mode::Answer, true);
    let peppers = Peppers::new(b"the new pepper of the tests, 32 bytes").unwrap();
    let peppers = peppers.with_retired(b"the old pepper of the tests, 32 bytes").unwrap();
    let door = door(store.clone());
    let layer = door.layer.clone().with_hasher(KeyHasher::hmac_sha256(peppers));
    let door = Door { layer, ..door };
    for number in 0..8 {
        door.hang_up(&guess(number)).await;
    }
    store.go_on();
    let_others_run().await;
    assert!(store.begun() >= 16, "under two peppers each");
    assert_eq!(door.owed().await, Some(8));
}
