//! Hearing of changes that others make. Tokio's clock is paused: it moves to the next timer when
//! nothing else is left to do.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::Instant,
};
use tower_api_key::{
    KeyManager, NewKey,
    key::KeyDigest,
    store::{
        Announcement, CachedStore, Invalidations, KeyRepository, LocalInvalidations, MemoryStore,
        StoreError, StoreErrorKind, StoreId, Subscription, Watermark,
    },
};

use crate::support::{
    Answer::{Good, Revoked, Unknown},
    Fixture, MILLISECOND, Mode, NOW, TTL, digest, find, record, until,
};

/// A bus that the tests cut.
#[derive(Clone, Default)]
pub(crate) struct Bus(Arc<State>);

type Message = Result<Announcement, StoreError>;

#[derive(Default)]
struct State {
    is_down: AtomicBool,
    attempts: Mutex<Vec<Instant>>,
    subscriptions: Mutex<Vec<UnboundedSender<Message>>>,
}

impl Bus {
    /// Waits until there were so many subscriptions.
    pub(crate) async fn subscribed(&self, times: usize) {
        wait_until(|| self.0.subscriptions.lock().unwrap().len() >= times).await;
    }

    pub(crate) fn attempts(&self) -> usize {
        self.0.attempts.lock().unwrap().len()
    }

    fn say(&self, message: Message) {
        self.last().send(message).unwrap();
    }

    pub(crate) fn cut(&self) {
        self.0.is_down.store(true, SeqCst);
        self.say(Err(StoreError::unavailable("connection reset")));
    }

    pub(crate) fn mend(&self) {
        self.0.is_down.store(false, SeqCst);
    }

    /// The last subscription.
    fn last(&self) -> UnboundedSender<Message> {
        self.0.subscriptions.lock().unwrap().last().unwrap().clone()
    }
}

#[async_trait]
impl Invalidations for Bus {
    async fn publish(&self, announcement: &Announcement) -> Result<(), StoreError> {
        self.say(Ok(announcement.clone()));
        Ok(())
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, StoreError> {
        self.0.attempts.lock().unwrap().push(Instant::now());
        if self.0.is_down.load(SeqCst) {
            return Err(StoreError::unavailable("connection refused"));
        }
        let (sender, receiver) = unbounded_channel();
        self.0.subscriptions.lock().unwrap().push(sender);
        Ok(Box::new(Subscriber(receiver)))
    }
}

struct Subscriber(UnboundedReceiver<Message>);

#[async_trait]
impl Subscription for Subscriber {
    async fn next(&mut self) -> Message {
        self.0.recv().await.unwrap()
    }
}

/// A cache that listens to a bus, and knows these keys.
pub(crate) async fn listening(keys: &[KeyDigest]) -> (Fixture, Bus) {
    let bus = Bus::default();
    let fixture = Fixture::with(|cache| cache.with_invalidations(bus.clone()));
    bus.subscribed(1).await;
    until(|| fixture.cache.stats().resets == 1).await;
    fixture.know(keys).await;
    (fixture, bus)
}

/// Waits until everything cached was distrusted so often.
pub(crate) async fn reset(fixture: &Fixture, times: u64) {
    wait_until(|| fixture.cache.stats().resets >= times).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_announced_is_looked_up_again() {
    let (fixture, bus) = listening(&[digest(1), digest(2), digest(3)]).await;
    for number in 1..=3 {
        fixture.store.revoke(&digest(number)).await;
    }
    bus.publish(&[digest(1), digest(2), digest(9)].into()).await.unwrap();
    until(|| fixture.find_now(&digest(2)).is_none()).await;
    assert_eq!(fixture.find(&digest(1)).await, Ok(Revoked));
    assert_eq!(fixture.find(&digest(2)).await, Ok(Revoked));
    assert_eq!(fixture.find(&digest(3)).await, Ok(Good), "nobody said so");
    // A key that others were told does not exist.
    assert_eq!(fixture.find(&digest(4)).await, Ok(Unknown));
    bus.publish(&[digest(4)].into()).await.unwrap();
    until(|| fixture.find_now(&digest(4)).is_none()).await;
}

/// They may say that any key has changed. A second's worth of them costs one look at each key.
#[tokio::test(start_paused = true)]
async fn messages_that_cannot_be_read_have_everything_looked_up_again_once_a_second() {
    let (fixture, bus) = listening(&[digest(1), digest(2)]).await;
    let unreadable = format!("{},hello", digest(2).to_hex());
    let unreadable = || bus.say(Ok(Announcement::parse(unreadable.as_bytes())));
    unreadable();
    until(|| fixture.cache.stats().resets == 2).await;
    assert_eq!(fixture.find_now(&digest(1)), None);
    fixture.find(&digest(1)).await.unwrap();
    fixture.find(&digest(2)).await.unwrap();
    for _ in 0..100 {
        unreadable();
    }
    // Those that can be read are forgotten at once.
    until(|| fixture.find_now(&digest(2)).is_none()).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(fixture.cache.stats().resets, 2);
    assert_eq!(fixture.find_now(&digest(1)), Some(Good));
    // But for none of the others is it left out.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(fixture.cache.stats().resets, 3);
    assert_eq!(fixture.find_now(&digest(1)), None);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(fixture.cache.stats().resets, 3);
    // The subscription goes on.
    assert_eq!(bus.attempts(), 1);
    fixture.know(&[digest(3)]).await;
    bus.publish(&[digest(3)].into()).await.unwrap();
    until(|| fixture.find_now(&digest(3)).is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_announced_of_another_store_is_passed_over() {
    let (own, other) = (StoreId::from_bytes([1; 16]), StoreId::from_bytes([2; 16]));
    let (fixture, bus) = listening(&[digest(1), digest(2), digest(3), digest(4)]).await;
    let of = |store: Option<StoreId>, number| Announcement::from([digest(number)]).of_store(store);
    let unreadable = Announcement::parse(b"hello").of_store(other);
    fixture.store.identify(Some(own));
    for message in [&of(Some(other), 1), &unreadable, &of(Some(own), 2)] {
        bus.publish(message).await.unwrap();
    }
    until(|| fixture.find_now(&digest(2)).is_none()).await;
    assert_eq!(fixture.find_now(&digest(1)), Some(Good));
    assert_eq!(fixture.cache.stats().resets, 1);
    // Of whichever store.
    bus.publish(&of(None, 3)).await.unwrap();
    until(|| fixture.find_now(&digest(3)).is_none()).await;
    // The table was made anew, or the store cannot say which one it is.
    for identity in [Some(other), None] {
        fixture.store.identify(identity);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(fixture.find(&digest(1)).await, Ok(Good));
        bus.publish(&of(Some(other), 1)).await.unwrap();
        until(|| fixture.find_now(&digest(1)).is_none()).await;
        assert_eq!(fixture.find_now(&digest(4)), Some(Good));
    }
}

/// A manager says whose keys it has changed.
#[tokio::test]
async fn two_stores_on_one_bus_leave_each_other_alone() {
    let bus = LocalInvalidations::new();
    let node = |store: MemoryStore| {
        let cache = CachedStore::builder(store).with_invalidations(bus.clone()).build();
        (KeyManager::new(cache.clone()).with_invalidations(bus.clone()), cache)
    };
    let (store, other) = (MemoryStore::new(), MemoryStore::new());
    let ((here, _), (_, there), (_, apart)) =
        (node(store.clone()), node(store.clone()), node(other.clone()));
    until(|| there.stats().resets == 1 && apart.stats().resets == 1).await;
    let key = record(digest(1));
    for store in [&store, &other] {
        store.insert(&key).await.unwrap();
    }
    assert_eq!(find(&there, &digest(1)).await, Ok(Good));
    assert_eq!(find(&apart, &digest(1)).await, Ok(Good));
    let asked = apart.stats().misses;
    here.revoke(key.id, None).await.unwrap();
    while find(&there, &digest(1)).await == Ok(Good) {
        tokio::task::yield_now().await;
    }
    // Its message came as well.
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert_eq!(find(&apart, &digest(1)).await, Ok(Good));
    assert_eq!(apart.stats().misses, asked);
}

#[tokio::test]
async fn nodes_tell_each_other() {
    let (store, bus) = (MemoryStore::new(), LocalInvalidations::new());
    let node = || {
        let cache = CachedStore::builder(store.clone()).with_invalidations(bus.clone()).build();
        (KeyManager::new(cache.clone()).with_invalidations(bus.clone()), cache)
    };
    let ((here, near), (_, far)) = (node(), node());
    until(|| far.stats().resets == 1).await;
    let issued = here.create(NewKey::named("test")).await.unwrap();
    let digest = issued.record.digest;
    assert_eq!(find(&far, &digest).await, Ok(Good));
    here.revoke(issued.record.id, None).await.unwrap();
    assert_eq!(find(&near, &digest).await, Ok(Revoked));
    let asked = far.stats().misses;
    // The message is on its way: this ends with it, long before the time to live.
    while find(&far, &digest).await == Ok(Good) {
        tokio::task::yield_now().await;
    }
    assert_eq!(far.stats().misses, asked + 1);
}

#[tokio::test(start_paused = true)]
async fn when_the_subscription_is_lost_everything_is_looked_up_again() {
    let (fixture, bus) = listening(&[digest(1), digest(2)]).await;
    let misses = fixture.store.lookups();
    bus.cut();
    reset(&fixture, 2).await;
    assert_eq!(fixture.find_now(&digest(1)), None);
    assert_eq!(fixture.find(&digest(1)).await, Ok(Good));
    // Until there is a new one, the time to live holds.
    fixture.at(TTL - MILLISECOND);
    assert_eq!(fixture.find_now(&digest(1)), Some(Good));
    assert_eq!(fixture.store.lookups(), misses + 1);
    fixture.at(Duration::ZERO);
    bus.mend();
    bus.subscribed(2).await;
    reset(&fixture, 3).await;
    assert_eq!(fixture.find_now(&digest(1)), None, "it may have changed before the subscription");
    assert_eq!(fixture.find(&digest(1)).await, Ok(Good));
    assert_eq!(fixture.find_now(&digest(1)), Some(Good));
    // And the new one is heard.
    bus.publish(&[digest(1)].into()).await.unwrap();
    until(|| fixture.find_now(&digest(1)).is_none()).await;
}

/// The bus and the store may be one database, and go together.
#[tokio::test(start_paused = true)]
async fn that_takes_nothing_from_known_keys_while_the_store_fails() {
    let (fixture, bus) = listening(&[digest(1)]).await;
    fixture.store.set(Mode::Fail(StoreErrorKind::Unavailable));
    bus.cut();
    reset(&fixture, 2).await;
    assert_eq!(fixture.find(&digest(1)).await, Ok(Good));
    fixture.store.revoke(&digest(1)).await;
    fixture.store.set(Mode::Answer);
    bus.mend();
    fixture.at(Duration::from_secs(3));
    assert_eq!(fixture.find(&digest(1)).await, Ok(Revoked));
}

/// What came too soon after other work was not swept yet: the keys are forgotten all the same.
#[tokio::test(start_paused = true)]
async fn but_from_those_that_were_revoked_by_their_age() {
    let (fixture, bus) = listening(&[digest(1)]).await;
    fixture.store.set(Mode::Fail(StoreErrorKind::Unavailable));
    let all = Watermark::new(NOW.saturating_add(MILLISECOND));
    let none = Watermark { owner: Some("no key's".into()), ..all.clone() };
    for watermark in [none, all] {
        bus.publish(&Announcement::default().with_watermarks([watermark])).await.unwrap();
    }
    bus.cut();
    reset(&fixture, 2).await;
    assert_ne!(fixture.find(&digest(1)).await, Ok(Good));
}

#[tokio::test(start_paused = true)]
async fn attempts_are_spaced_out() {
    let (_fixture, bus) = listening(&[]).await;
    let start = Instant::now();
    bus.cut();
    wait_until(|| bus.attempts() >= 11).await;
    let attempts = bus.0.attempts.lock().unwrap().clone();
    let pauses: Vec<_> = std::iter::once(start)
        .chain(attempts[1..].iter().copied())
        .collect::<Vec<_>>()
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_millis())
        .collect();
    assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000, 10_000]);
    // From the beginning after a success.
    bus.mend();
    bus.subscribed(2).await;
    let start = Instant::now();
    let before = bus.attempts();
    bus.cut();
    wait_until(|| bus.attempts() > before).await;
    let attempt = bus.0.attempts.lock().unwrap()[before];
    assert_eq!(attempt - start, Duration::from_millis(100));
}

/// Sleeps and not only yields, so that the paused clock moves on.
pub(crate) async fn wait_until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(MILLISECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_last_clone() {
    let (fixture, bus) = listening(&[digest(1)]).await;
    let clone = fixture.cache.clone();
    drop(fixture);
    tokio::task::yield_now().await;
    assert!(!bus.last().is_closed());
    drop(clone);
    bus.last().closed().await;

    // Also between two attempts.
    let (fixture, bus) = listening(&[]).await;
    bus.cut();
    wait_until(|| bus.attempts() >= 2).await;
    drop(fixture);
    let attempts = bus.attempts();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(bus.attempts(), attempts);
}

#[tokio::test(start_paused = true)]
async fn a_cache_listens_once_whatever_is_set_after_its_bus() {
    let bus = Bus::default();
    let fixture = Fixture::with(|cache| {
        cache.with_invalidations(bus.clone()).with_capacity(100).with_ttl(TTL / 2)
    });
    reset(&fixture, 1).await;
    assert_eq!(bus.attempts(), 1);
    fixture.know(&[digest(1)]).await;
    bus.publish(&[digest(1)].into()).await.unwrap();
    until(|| fixture.find_now(&digest(1)).is_none()).await;
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

#[test]
fn a_store_that_is_made_outside_of_a_runtime_starts_with_the_first_lookup() {
    let bus = Bus::default();
    let fixture = Fixture::with(|cache| cache.with_invalidations(bus.clone()));
    assert_eq!(bus.attempts(), 0);
    runtime().block_on(async {
        assert_eq!(fixture.find(&digest(1)).await, Ok(Unknown));
        bus.subscribed(1).await;
    });
}

#[test]
fn one_whose_runtime_was_shut_down_starts_again() {
    let bus = Bus::default();
    let fixture = Fixture::with(|cache| cache.with_invalidations(bus.clone()));
    runtime().block_on(async {
        fixture.find(&digest(0)).await.unwrap();
        reset(&fixture, 1).await;
        fixture.know(&[digest(1)]).await;
        assert_eq!(fixture.find_now(&digest(1)), Some(Good));
    });
    assert_eq!(fixture.find_now(&digest(1)), None, "nobody listens");
    runtime().block_on(async {
        fixture.store.revoke(&digest(1)).await;
        assert_eq!(fixture.find(&digest(1)).await, Ok(Revoked));
        bus.subscribed(2).await;
    });
}
