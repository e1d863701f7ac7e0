//! Clients that go away while their key waits for a slow hash, and many from one network.
//!
//! The one thread for blocking work is held, so that a hash that has begun goes on when a test lets it.

use std::{future::Future, net::IpAddr, pin::Pin, sync::mpsc, time::Duration};

use futures_util::{FutureExt, future::join_all};
use tokio::runtime::{Builder, Runtime};
use tower_api_key::{
    ApiKeyLayer,
    auth::FailureThrottle,
    legacy::{LegacyHashes, LegacyHashesBuilder},
    limit::Quota,
    nonzero,
    store::{KeyRepository, MemoryStore},
};

use super::{bcrypt_of, import, imported, key};
use crate::support::{Answer, clock, send_waiting, with_key};

const GUESSER: &str = "198.51.100.1";
const CALLER: &str = "192.0.2.1";

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap()
}

/// No hash is computed until this is dropped.
struct Held(#[expect(dead_code, reason = "its end is what counts")] mpsc::Sender<()>);

fn hold() -> Held {
    let (held, release) = mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || release.recv());
    Held(held)
}

struct Door {
    layer: ApiKeyLayer,
    legacy: LegacyHashes,
}

/// Keys of another system with the numbers 1 and 2, and one hash at a time.
async fn door(change: impl FnOnce(LegacyHashesBuilder) -> LegacyHashesBuilder) -> Door {
    let store = MemoryStore::new();
    import(&store, [1, 2]).await;
    let legacy = LegacyHashes::builder(store.clone()).with_clock(clock()).with_max_at_once(1);
    let legacy = change(legacy).build();
    legacy.refresh().await.unwrap();
    let layer = ApiKeyLayer::new(store)
        .with_client_address(|request| request.extensions.get::<IpAddr>().copied())
        .with_lookup_timeout(Duration::from_mins(1))
        .with_legacy_hashes(legacy.clone());
    Door { layer, legacy }
}

type Knock<'d> = Pin<Box<dyn Future<Output = Answer> + 'd>>;

impl Door {
    /// A request that has come to where it waits.
    fn knock(&self, address: &str, key: &str) -> Knock<'_> {
        let mut request = with_key(key);
        request.extensions_mut().insert::<IpAddr>(address.parse().unwrap());
        let mut knock: Knock<'_> = Box::pin(send_waiting(&self.layer, request));
        assert!(knock.as_mut().now_or_never().is_none(), "it waits");
        knock
    }

    /// Wrong keys that begin like the first.
    fn guesses(&self, numbers: std::ops::Range<usize>) -> Vec<Knock<'_>> {
        numbers.map(|number| self.knock(GUESSER, &wrong(number))).collect()
    }

    fn verifications(&self) -> u64 {
        self.legacy.stats().verifications
    }
}

fn wrong(number: usize) -> String {
    format!("{}-{number}", key(1))
}

async fn let_others_run() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

/// Lets the hash that has begun end, and one that would follow it, and their tasks go on.
async fn settle() {
    for _ in 0..2 {
        // The one thread comes to it after the hash.
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        let_others_run().await;
    }
}

#[test]
fn a_hash_that_has_not_begun_is_not_computed_for_clients_that_have_gone() {
    runtime().block_on(async {
        let door = door(|legacy| legacy.with_per_network(64)).await;
        let held = hold();
        let guesses = door.guesses(0..64);
        let_others_run().await;
        drop(guesses);
        let_others_run().await;
        // There is room at once: none of them waits any more.
        let more = door.guesses(100..163);
        drop(more);
        let good = door.knock(CALLER, &key(2));
        drop(held);
        assert_eq!(good.await.outcome(), "admitted");
        assert_eq!(door.verifications(), 2, "the one that had begun, and the good key's");
        assert_eq!(door.legacy.stats().shed, 0);
    });
}

/// Also with a throttle, for which the lookup goes on; they pay as if they had waited.
#[test]
fn those_that_have_gone_pay_for_their_guesses() {
    runtime().block_on(async {
        let mut door = door(|legacy| legacy.with_per_network(64)).await;
        let throttle = FailureThrottle::builder(Quota::per_hour(nonzero!(8)))
            .with_per_start(Quota::per_hour(nonzero!(8)))
            .with_clock(clock())
            .build();
        door.layer = door.layer.with_failure_throttle(throttle).unwrap();
        let held = hold();
        let guesses = door.guesses(0..8);
        let_others_run().await;
        drop(guesses);
        let_others_run().await;
        // The first is still being hashed, so it is pending.
        let ninth = door.knock(GUESSER, &wrong(8));
        let good = door.knock(CALLER, &key(2));
        drop(held);
        assert_eq!(ninth.await.outcome(), "unknown_key");
        assert_eq!(good.await.outcome(), "admitted");
        assert_eq!(door.verifications(), 3);
        settle().await;
        let mut request = with_key(&wrong(9));
        request.extensions_mut().insert::<IpAddr>(GUESSER.parse().unwrap());
        let answer = send_waiting(&door.layer, request).await;
        assert_eq!(answer.outcome(), "too_many_failures");
        // Nine are owed, so it has to wait for two.
        assert_eq!(answer.response.headers()["retry-after"], "900");
    });
}

/// It was this service that had no time for it.
#[test]
fn a_client_that_is_not_answered_in_time_is_no_guesser() {
    runtime().block_on(async {
        let mut door = door(|legacy| legacy.with_per_network(64)).await;
        let throttle = FailureThrottle::builder(Quota::per_hour(nonzero!(8)))
            .with_per_start(Quota::per_hour(nonzero!(8)))
            .with_clock(clock())
            .build();
        let patient = door.layer.with_failure_throttle(throttle).unwrap();
        door.layer = patient.clone().with_lookup_timeout(Duration::ZERO);
        let held = hold();
        let answers = join_all(door.guesses(0..20)).await;
        assert!(answers.iter().all(|answer| answer.outcome() == "store_unavailable"));
        drop(held);
        settle().await;
        assert_eq!(door.verifications(), 1);
        // But for the one that had begun.
        door.layer = patient;
        for number in 100..107 {
            assert_eq!(door.knock(GUESSER, &wrong(number)).await.outcome(), "unknown_key");
        }
        let mut request = with_key(&wrong(107));
        request.extensions_mut().insert::<IpAddr>(GUESSER.parse().unwrap());
        let last = send_waiting(&door.layer, request).await;
        assert_eq!(last.outcome(), "too_many_failures");
    });
}

/// A key is not lost because the client that sent it first went away.
#[test]
fn a_client_that_still_waits_keeps_the_hash() {
    runtime().block_on(async {
        let door = door(|legacy| legacy).await;
        let held = hold();
        let first = door.guesses(0..1);
        let gone = door.knock(CALLER, &key(2));
        let stays = door.knock(CALLER, &key(2));
        let_others_run().await;
        drop(gone);
        let_others_run().await;
        let again = door.knock(CALLER, &key(1));
        drop((first, held));
        assert_eq!(stays.await.outcome(), "admitted");
        assert_eq!(again.await.outcome(), "admitted");
        assert_eq!(door.verifications(), 3);
    });
}

#[test]
fn a_hash_that_has_begun_is_computed_to_its_end() {
    runtime().block_on(async {
        let door = door(|legacy| legacy).await;
        let held = hold();
        let gone = door.knock(CALLER, &key(2));
        let_others_run().await;
        drop((gone, held));
        while door.legacy.stats().upgrades == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(door.verifications(), 1);
    });
}

#[test]
fn guessers_of_one_network_leave_room_and_threads_for_others() {
    runtime().block_on(async {
        let door = door(|legacy| legacy).await;
        let held = hold();
        let requests = |count: usize| {
            (0..count).map(|number| {
                let mut request = with_key(&wrong(number));
                // All of one /24.
                let address = format!("198.51.100.{number}");
                request.extensions_mut().insert::<IpAddr>(address.parse().unwrap());
                send_waiting(&door.layer, request)
            })
        };
        let mut guesses = Box::pin(join_all(requests(64)));
        assert!(guesses.as_mut().now_or_never().is_none());
        let_others_run().await;
        assert_eq!(door.legacy.stats().shed, 64 - 16);
        let good = door.knock(CALLER, &key(2));
        let_others_run().await;
        drop(held);
        assert_eq!(good.await.outcome(), "admitted");
        // It was behind the one that had begun, and not behind the fifteen others.
        assert!(door.verifications() <= 3, "{}", door.verifications());
        let answers = guesses.await;
        let count = |outcome: &str| answers.iter().filter(|a| a.outcome() == outcome).count();
        assert_eq!((count("unknown_key"), count("lookup_overloaded")), (16, 48));
    });
}

#[test]
fn networks_are_not_told_apart_where_addresses_are_unknown() {
    runtime().block_on(async {
        let door = door(|legacy| legacy.with_per_network(1)).await;
        let keys: Vec<_> = (0..20).map(wrong).collect();
        let answers = join_all(keys.iter().map(|key| send_waiting(&door.layer, with_key(key))));
        assert!(answers.await.iter().all(|answer| answer.outcome() == "unknown_key"));
    });
}

/// Of more keys that begin alike than are tried, a key may be any: it is not unknown.
#[tokio::test]
async fn no_more_hashes_are_tried_for_a_key_than_are_allowed() {
    let store = MemoryStore::new();
    let alike: Vec<_> = (0..4).map(wrong).collect();
    for key in &alike {
        store.insert(&imported(key, &bcrypt_of(key))).await.unwrap();
    }
    for (most, expected) in [(3, "store_unavailable"), (4, "unknown_key")] {
        let legacy = LegacyHashes::builder(store.clone()).with_max_candidates(most).build();
        let layer = ApiKeyLayer::new(store.clone()).with_legacy_hashes(legacy.clone());
        let answer = send_waiting(&layer, with_key(&wrong(9))).await;
        assert_eq!(answer.outcome(), expected);
        assert_eq!(legacy.stats().verifications, if most < 4 { 0 } else { 4 });
    }
    let legacy = LegacyHashes::builder(store.clone()).with_max_candidates(4).build();
    let layer = ApiKeyLayer::new(store).with_legacy_hashes(legacy);
    for key in &alike {
        assert_eq!(send_waiting(&layer, with_key(key)).await.outcome(), "admitted");
    }
}
