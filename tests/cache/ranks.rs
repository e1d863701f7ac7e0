//! Which lookups go first in a flood, once the digests of all keys are known. Tokio's clock is paused:
//! it moves to the next timer when nothing else is left to do. The cache's own stands still unless a
//! test moves it.

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use tokio::task::JoinHandle;
use tower_api_key::{
    ApiKeyLayer, KeyManager, NewKey,
    key::KeyDigest,
    store::{
        CachedStoreBuilder, Invalidations, KeyStore, LocalInvalidations, Lookup, LookupHint,
        StoreErrorKind,
    },
};

use crate::{
    flood::{ask, random_key},
    listening::{Bus, reset},
    peppers::{NEXT, OLDEST, changing_hasher, under},
    support::{
        Answer::{Good, Unknown},
        Backend, Fixture, Listing, MILLISECOND, Mode, NOT_FOUND_TTL, digest, record, until,
    },
};

/// Lookups a second that find nothing, half of them for listed keys.
const BUDGET: u32 = 20;

/// Digests of no key, other than those that the tests name.
const NO_KEYS: u64 = 1_000_000;

/// A cache over a store with these keys, which it has listed.
async fn ranked(keys: &[KeyDigest]) -> Fixture {
    ranked_with(keys, |cache| cache).await
}

pub(crate) async fn ranked_with(
    keys: &[KeyDigest],
    change: impl FnOnce(CachedStoreBuilder<Backend>) -> CachedStoreBuilder<Backend>,
) -> Fixture {
    let fixture = unloaded(keys, change).await;
    fixture.store.list(Listing::Works);
    load(&fixture).await;
    fixture
}

async fn unloaded(
    keys: &[KeyDigest],
    change: impl FnOnce(CachedStoreBuilder<Backend>) -> CachedStoreBuilder<Backend>,
) -> Fixture {
    let budget = NonZeroU32::new(BUDGET).unwrap();
    // So large that no test meets a false positive by chance.
    let change = |cache: CachedStoreBuilder<_>| {
        change(cache.with_lookup_budget(budget).with_filter_bits_per_key(32))
    };
    let fixture = Fixture::with(change);
    for key in keys {
        fixture.store.insert(&record(*key)).await;
    }
    fixture
}

/// Lets the first lookup start the loader, and waits for the filter.
async fn load(fixture: &Fixture) {
    fixture.store.insert(&record(digest(NO_KEYS - 1))).await;
    assert_eq!(fixture.find(&digest(NO_KEYS - 1)).await, Ok(Good));
    wait(|| fixture.cache.stats().filter_keys.is_some()).await;
}

/// Lets time go by for tokio alone, until something is so.
async fn wait(mut is_so: impl FnMut() -> bool) {
    for _ in 0..100_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(10 * MILLISECOND).await;
    }
    panic!("it never came true");
}

/// So many lookups of keys that do not exist. Returns how many the store was asked for; the others
/// were refused.
async fn flood(fixture: &Fixture, first: u64, lookups: u64) -> usize {
    asked_for(fixture, first, lookups, |_| None).await
}

/// The same, by clients with these addresses.
async fn flood_from(
    fixture: &Fixture,
    first: u64,
    lookups: u64,
    address: impl Fn(u64) -> IpAddr,
) -> usize {
    asked_for(fixture, first, lookups, |number| Some(address(number))).await
}

async fn asked_for(
    fixture: &Fixture,
    first: u64,
    lookups: u64,
    address: impl Fn(u64) -> Option<IpAddr>,
) -> usize {
    let mut asked = 0;
    for number in NO_KEYS + first..NO_KEYS + first + lookups {
        asked += usize::from(is_asked(fixture, number, address(number)).await);
    }
    asked
}

/// Whether the store is asked for a key that does not exist.
async fn is_asked(fixture: &Fixture, number: u64, address: Option<IpAddr>) -> bool {
    let hint = LookupHint::new().with_address(address);
    match fixture.cache.find_for(&digest(number), hint).await {
        Ok(None) => true,
        Err(error) if error.kind() == StoreErrorKind::Overloaded => false,
        other => panic!("{other:?}"),
    }
}

/// The digest of a key with a slow hash is stored at its first use, so no filter lists it before.
#[tokio::test(start_paused = true)]
async fn a_key_that_may_have_a_slow_hash_goes_with_those_that_are_listed() {
    let fixture = ranked(&[]).await;
    let asked = flood(&fixture, 0, 1_000).await;
    assert!(asked <= 10, "{asked}");
    let hint = LookupHint::new().with_slow_hash(true);
    for number in 0..10 {
        let answer = fixture.cache.find_for(&digest(NO_KEYS + 5_000 + number), hint).await;
        assert!(matches!(answer, Ok(None)), "{answer:?}");
    }
    assert!(!is_asked(&fixture, NO_KEYS + 6_000, None).await);
}

/// A request by a task of its own, which has come to where it waits.
async fn spawned(
    fixture: &Fixture,
    key: KeyDigest,
) -> JoinHandle<Result<crate::support::Answer, StoreErrorKind>> {
    let stats = fixture.cache.stats();
    let before = (fixture.store.lookups(), stats.coalesced, stats.shed);
    let task = fixture.spawn_find(key);
    for _ in 0..20 {
        tokio::task::yield_now().await;
        let stats = fixture.cache.stats();
        if (fixture.store.lookups(), stats.coalesced, stats.shed) != before {
            break;
        }
    }
    task
}

fn digests(numbers: std::ops::Range<u64>) -> Vec<KeyDigest> {
    numbers.map(digest).collect()
}

#[tokio::test(start_paused = true)]
async fn a_flood_that_spends_its_share_leaves_every_listed_key_in() {
    let keys = digests(0..100);
    let fixture = ranked(&keys).await;
    assert_eq!(fixture.cache.stats().filter_keys, Some(101));
    assert_eq!(flood(&fixture, 0, 300).await, 10, "half of the budget");
    for key in &keys {
        assert_eq!(fixture.find(key).await, Ok(Good));
    }
    assert_eq!(flood(&fixture, 300, 300).await, 0);
    let stats = fixture.cache.stats();
    assert_eq!((stats.shed, stats.shed_unlisted, stats.shed_listed), (590, 590, 0));
    // The share fills by the second, as the budget does.
    fixture.at(Duration::from_millis(500));
    assert_eq!(flood(&fixture, 600, 300).await, 5);
    fixture.at(Duration::from_mins(1));
    assert_eq!(flood(&fixture, 900, 300).await, 10);
}

/// Thirty times the budget, for a minute, while a hundred good keys come for the first time.
#[tokio::test(start_paused = true)]
async fn good_keys_get_in_at_once_during_a_long_flood() {
    let keys = digests(0..120);
    let fixture = ranked(&keys).await;
    let mut asked = 0;
    for (tick, key) in (0_u64..).zip(&keys) {
        fixture.at(Duration::from_millis(500 * tick));
        asked += flood(&fixture, 300 * tick, 300).await;
        assert_eq!(fixture.find(key).await, Ok(Good));
    }
    assert!(asked <= 10 + 10 * 60, "{asked}");
    assert_eq!(fixture.cache.stats().shed_listed, 0);
}

/// Of a hundredth of random keys, the filter says that they are known.
#[tokio::test(start_paused = true)]
async fn listed_keys_wait_where_all_is_spent() {
    let (deleted, keys) = (digests(0..30), digests(100..103));
    let fixture = ranked(&[&deleted[..], &keys].concat()).await;
    for key in &deleted {
        fixture.store.delete(key).await;
    }
    assert_eq!(flood(&fixture, 0, 100).await, 10);
    for key in &deleted[..10] {
        assert_eq!(fixture.find(key).await, Ok(Unknown));
    }
    let before = fixture.store.lookups();
    let waiting = [spawned(&fixture, keys[0]).await, spawned(&fixture, keys[1]).await];
    assert_eq!(fixture.store.lookups(), before, "all is spent");
    // They go before what comes later, listed or not.
    assert_eq!(flood(&fixture, 100, 100).await, 0);
    fixture.pass(Duration::from_millis(50)).await;
    for task in waiting {
        assert_eq!(task.await.unwrap(), Ok(Good));
    }
    // What they waited for is still there: they were found.
    assert_eq!(fixture.find(&deleted[10]).await, Ok(Unknown));
    // The clock stands still from here on.
    let refused = spawned(&fixture, keys[2]).await;
    assert_eq!(refused.await.unwrap(), Err(StoreErrorKind::Overloaded));
    assert_eq!(fixture.cache.stats().shed_listed, 1);
}

#[tokio::test(start_paused = true)]
async fn the_places_for_listed_keys_are_bounded_and_their_own() {
    let (deleted, keys) = (digests(0..20), digests(100..10_102));
    let fixture = ranked(&[&deleted[..], &keys].concat()).await;
    for key in &deleted {
        fixture.store.delete(key).await;
        assert_eq!(fixture.find(key).await, Ok(Unknown));
    }
    let waiting: Vec<_> = keys.iter().map(|key| fixture.spawn_find(*key)).collect();
    until(|| fixture.cache.stats().shed == 2).await;
    assert_eq!(fixture.cache.stats().shed_listed, 2);
    fixture.pass(Duration::from_millis(50)).await;
    let mut good = 0;
    for task in waiting {
        match task.await.unwrap() {
            Ok(Good) => good += 1,
            other => assert_eq!(other, Err(StoreErrorKind::Overloaded)),
        }
    }
    assert_eq!(good, 10_000);
}

#[tokio::test(start_paused = true)]
async fn the_share_is_settable() {
    for (percent, unlisted) in [(0, 20), (25, 15), (95, 1), (100, 1), (255, 1)] {
        let fixture = ranked_with(&[digest(1)], |cache| cache.with_reserved_share(percent)).await;
        assert_eq!(flood(&fixture, 0, 100).await, unlisted, "{percent}");
    }
}

#[tokio::test(start_paused = true)]
async fn until_the_filter_is_loaded_all_have_the_whole_budget() {
    for listing in [Listing::Never, Listing::Fails] {
        let fixture = unloaded(&[digest(1)], |cache| cache).await;
        fixture.store.list(listing);
        assert_eq!(flood(&fixture, 0, 100).await, 20);
        tokio::time::sleep(Duration::from_mins(3)).await;
        fixture.at(Duration::from_mins(3));
        assert_eq!(flood(&fixture, 100, 100).await, 20);
        let stats = fixture.cache.stats();
        assert_eq!((stats.filter_keys, stats.filter_bytes), (None, 0));
        assert_eq!((stats.shed, stats.shed_listed, stats.shed_unlisted), (160, 0, 0));
        let (pages, added) = fixture.store.pages();
        // After 1, 2, 4 seconds and so on, or half of that.
        assert!(
            added == 0 && pages <= 10 && (pages >= 6) == (listing == Listing::Fails),
            "{pages}"
        );
        fixture.store.list(if listing == Listing::Fails { Listing::Works } else { listing });
        tokio::time::sleep(Duration::from_mins(5)).await;
        let is_loaded = fixture.cache.stats().filter_keys.is_some();
        assert_eq!(is_loaded, listing == Listing::Fails);
    }
}

/// The filter takes these for known, as it does one of a hundred random digests.
#[tokio::test(start_paused = true)]
async fn collected_false_positives_gain_nothing() {
    let collected = digests(0..20);
    let fixture = ranked(&[&collected[..], &[digest(100)]].concat()).await;
    let replay = async |after: Duration| {
        fixture.at(after);
        let mut asked = 0;
        for key in &collected {
            match fixture.find(key).await {
                Ok(Unknown) => asked += 1,
                other => assert_eq!(other, Err(StoreErrorKind::Overloaded)),
            }
        }
        asked
    };
    for key in &collected {
        fixture.store.delete(key).await;
    }
    assert_eq!(replay(Duration::ZERO).await, 20, "the whole budget");
    // Each lookup that brought them in has its price: from then on, they are as good as any other.
    for minutes in [1, 20, 59] {
        assert_eq!(replay(Duration::from_mins(minutes)).await, 10, "after {minutes} minutes");
        assert_eq!(fixture.find(&digest(100)).await, Ok(Good));
    }
    assert_eq!(replay(Duration::from_hours(2)).await, 20);
}

#[tokio::test(start_paused = true)]
async fn a_key_created_on_another_node_during_the_flood_gets_in() {
    let bus = LocalInvalidations::new();
    let fixture = ranked_with(&[digest(1)], |cache| cache.with_invalidations(bus.clone())).await;
    let other = KeyManager::new(fixture.store.clone()).with_invalidations(bus.clone());
    assert_eq!(flood(&fixture, 0, 100).await, 10);
    let before = fixture.cache.stats().filter_keys.unwrap();
    let issued = other.create(NewKey::named("new")).await.unwrap();
    until(|| fixture.cache.stats().filter_keys == Some(before + 1)).await;
    assert_eq!(flood(&fixture, 100, 100).await, 0);
    assert_eq!(fixture.find(&issued.record.digest).await, Ok(Good));
    // As one that is created here does.
    let here = KeyManager::new(fixture.cache.clone()).create(NewKey::named("here")).await.unwrap();
    assert_eq!(fixture.find(&here.record.digest).await, Ok(Good));
}

/// Its client was too quick, and the store had no such key yet.
#[tokio::test(start_paused = true)]
async fn what_is_announced_is_no_longer_denied() {
    let bus = Bus::default();
    let fixture = ranked_with(&[digest(1)], |cache| cache.with_invalidations(bus.clone())).await;
    fixture.store.delete(&digest(1)).await;
    assert_eq!(fixture.find(&digest(1)).await, Ok(Unknown));
    assert_eq!(flood(&fixture, 0, 100).await, 10);
    fixture.at(NOT_FOUND_TTL / 2);
    flood(&fixture, 100, 100).await;
    assert_eq!(fixture.find(&digest(1)).await, Ok(Unknown), "as it is remembered");
    bus.publish(&[digest(1)].into()).await.unwrap();
    until(|| fixture.find_now(&digest(1)).is_none()).await;
    assert_eq!(fixture.find(&digest(1)).await, Ok(Unknown), "as the store says");
}

#[tokio::test(start_paused = true)]
async fn keys_that_other_programs_add_are_found() {
    let fixture = ranked(&[]).await;
    let pages = fixture.store.pages().0;
    flood(&fixture, 0, 100).await;
    fixture.store.insert(&record(digest(1))).await;
    assert_eq!(fixture.find(&digest(1)).await, Err(StoreErrorKind::Overloaded));
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(flood(&fixture, 100, 100).await, 0);
    assert_eq!(fixture.find(&digest(1)).await, Ok(Good));
    assert_eq!(fixture.store.pages().0, pages, "without listing all of them again");
}

#[tokio::test(start_paused = true)]
async fn after_a_lost_subscription_the_filter_catches_up() {
    let bus = Bus::default();
    let change = |cache: CachedStoreBuilder<_>| cache.with_invalidations(bus.clone());
    let fixture = unloaded(&[], change).await;
    bus.subscribed(1).await;
    until(|| fixture.cache.stats().resets == 1).await;
    fixture.store.list(Listing::Works);
    load(&fixture).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    let (pages, added) = fixture.store.pages();
    assert!((2..8).contains(&(added / 2)), "each 30 seconds: {added}");
    for loss in 1..=3 {
        bus.cut();
        reset(&fixture, 2 * loss).await;
        fixture.store.insert(&record(digest(loss))).await;
        bus.mend();
        reset(&fixture, 2 * loss + 1).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        flood(&fixture, 100 * loss, 100).await;
        assert_eq!(fixture.find(&digest(loss)).await, Ok(Good), "loss {loss}");
        assert_eq!(fixture.store.pages().0, pages, "it was listed as a whole just now");
    }
    tokio::time::sleep(Duration::from_mins(11)).await;
    assert_eq!(fixture.store.pages().0, pages + 1, "once, for all that was missed");
    tokio::time::sleep(Duration::from_mins(40)).await;
    assert_eq!(fixture.store.pages().0, pages + 1, "nothing was missed since");
    tokio::time::sleep(Duration::from_mins(21)).await;
    assert_eq!(fixture.store.pages().0, pages + 2, "each hour");
}

/// An error keeps what was loaded before.
#[tokio::test(start_paused = true)]
async fn a_filter_that_cannot_be_brought_up_to_date_goes_on() {
    let fixture = ranked(&[digest(1), digest(2)]).await;
    fixture.store.list(Listing::Fails);
    tokio::time::sleep(Duration::from_hours(3)).await;
    assert_eq!(fixture.cache.stats().filter_keys, Some(3));
    flood(&fixture, 0, 100).await;
    assert_eq!(fixture.find(&digest(1)).await, Ok(Good));
    let (pages, added) = fixture.store.pages();
    assert!(pages + added < 100, "{pages} {added}");
    // A deleted key is in it until it is loaded again.
    fixture.store.delete(&digest(2)).await;
    fixture.store.list(Listing::Works);
    tokio::time::sleep(Duration::from_mins(6)).await;
    assert_eq!(fixture.cache.stats().filter_keys, Some(2));
}

/// There is room for a thousand keys at first, and then for as many as it takes, in one piece again.
#[tokio::test(start_paused = true)]
async fn it_grows_with_the_keys() {
    let bus = Bus::default();
    let change = |cache: CachedStoreBuilder<_>| {
        cache.with_invalidations(bus.clone()).with_filter_bits_per_key(12)
    };
    let fixture = ranked_with(&[], change).await;
    let small = fixture.cache.stats().filter_bytes;
    assert!(small <= 2 * 1_024, "{small}");
    let keys = digests(0..20_000);
    for key in &keys {
        fixture.store.insert(&record(*key)).await;
    }
    bus.publish(&keys.iter().copied().collect()).await.unwrap();
    until(|| fixture.cache.stats().filter_keys.is_some_and(|keys| keys > 19_500)).await;
    let grown = fixture.cache.stats().filter_bytes;
    tokio::time::sleep(Duration::from_mins(12)).await;
    let stats = fixture.cache.stats();
    assert!(stats.filter_bytes <= 40_064 && stats.filter_bytes != grown, "{stats:?}");
    assert!(stats.filter_keys.is_some_and(|keys| keys > 19_500), "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn the_loader_ends_with_the_cache() {
    let fixture = ranked(&[]).await;
    let Fixture { cache, store, .. } = fixture;
    drop(cache);
    let before = store.pages();
    tokio::time::sleep(Duration::from_hours(3)).await;
    assert_eq!(store.pages(), before);
}

/// It waits with the others of no rank, until it is known that there is such a key: its place is
/// with the best of all that wait for it.
#[tokio::test(start_paused = true)]
async fn one_lookup_for_all_has_the_best_rank_of_them() {
    let fixture = ranked_with(&[], |cache| cache.with_lookup_timeout(Duration::from_mins(2))).await;
    fixture.store.set(Mode::Wait);
    let mut held = Vec::new();
    for number in 0..10 {
        held.push(spawned(&fixture, digest(NO_KEYS + number)).await);
    }
    let asked = fixture.store.lookups();
    let early = spawned(&fixture, digest(1)).await;
    assert_eq!(fixture.store.lookups(), asked, "all tokens of the share are held");
    fixture.store.insert(&record(digest(1))).await;
    wait(|| fixture.cache.stats().filter_keys == Some(2)).await;
    assert!(!early.is_finished());
    let late = spawned(&fixture, digest(1)).await;
    fixture.store.asked(asked + 1).await;
    fixture.store.release(10);
    for task in [early, late] {
        assert_eq!(task.await.unwrap(), Ok(Good));
    }
    assert_eq!(fixture.cache.stats().coalesced, 1);
    assert!(held.iter().all(|task| !task.is_finished()));
}

/// The key is listed under a retired pepper, and not under the others.
#[tokio::test(start_paused = true)]
async fn a_key_is_listed_if_one_of_its_digests_is() {
    for pepper in [NEXT, OLDEST] {
        let keys: Vec<_> = (0..10).map(|_| random_key()).collect();
        let stored: Vec<_> = keys.iter().map(|key| under(pepper).digest(key)).collect();
        let fixture = ranked(&stored).await;
        let layer = ApiKeyLayer::new(fixture.cache.clone()).with_hasher(changing_hasher());
        let layer = layer.with_clock(fixture.clock.clone());
        while ask(&layer, &random_key()).await != "lookup_overloaded" {}
        for key in &keys {
            assert_eq!(ask(&layer, key).await, "admitted");
        }
        assert_eq!(ask(&layer, &random_key()).await, "lookup_overloaded");
    }
}

fn address(network: u64, host: u64) -> IpAddr {
    let bytes = network.to_be_bytes();
    IpAddr::from([10, bytes[6], bytes[7], u8::try_from(host % 256).unwrap()])
}

/// A network that floods takes what there is, down to half of it.
#[tokio::test(start_paused = true)]
async fn a_second_network_gets_its_share_beside_a_flooding_one() {
    let budget = NonZeroU32::new(320).unwrap();
    let fixture = ranked_with(&[], |cache| cache.with_lookup_budget(budget)).await;
    let from = async |first, lookups, network| {
        flood_from(&fixture, first, lookups, |number| address(network, number)).await
    };
    // Its eighth, and what others leave of the upper half: 160 in all.
    assert_eq!(from(0, 1_000, 1).await, 80);
    assert_eq!(from(1_000, 1_000, 2).await, 20, "an eighth");
    assert_eq!(from(2_000, 1_000, 3).await, 20);
    assert_eq!(from(3_000, 1_000, 1).await, 0);
    // For a minute, both as fast as they can: the second gets its eighth of 160 a second, however
    // early the first comes.
    let (mut one, mut other) = (0, 0);
    for tick in 1..=600 {
        fixture.at(Duration::from_millis(60_000 + 100 * tick));
        one += from(100_000 + 1_000 * tick, 200, 1).await;
        other += from(100_500 + 1_000 * tick, 10, 2).await;
    }
    assert!(other >= 20 * 60, "{other}");
    assert!(one >= 120 * 60, "alone it gets all that the other leaves: {one}");
    assert!(one + other <= 160 * 61, "{one} {other}");
}

/// From a hundred networks at once no less comes through than from one, and no more than the share.
#[tokio::test(start_paused = true)]
async fn many_networks_have_the_share_in_common() {
    let budget = NonZeroU32::new(320).unwrap();
    let keys = digests(0..100);
    let fixture = ranked_with(&keys, |cache| cache.with_lookup_budget(budget)).await;
    let asked = flood_from(&fixture, 0, 2_000, |number| address(number % 100, number)).await;
    assert_eq!(asked, 160);
    for key in &keys {
        assert_eq!(fixture.find(key).await, Ok(Good));
    }
}

/// Where addresses are unknown there is one share for all; known networks keep theirs beside it.
#[tokio::test(start_paused = true)]
async fn requests_without_an_address_have_no_network() {
    let budget = NonZeroU32::new(320).unwrap();
    let fixture = ranked_with(&[], |cache| cache.with_lookup_budget(budget)).await;
    assert_eq!(flood(&fixture, 0, 1_000).await, 160);
    let one = |number| address(1, number);
    assert_eq!(flood_from(&fixture, 1_000, 100, one).await, 0, "all is spent");
    fixture.at(Duration::from_mins(1));
    assert_eq!(flood_from(&fixture, 2_000, 100, one).await, 80);
    assert_eq!(flood(&fixture, 3_000, 1_000).await, 80);
}

/// Keys that are found cost their network nothing.
#[tokio::test(start_paused = true)]
async fn found_keys_cost_their_network_nothing() {
    let budget = NonZeroU32::new(320).unwrap();
    let fixture = ranked_with(&[], |cache| cache.with_lookup_budget(budget)).await;
    for number in 0..200 {
        fixture.store.insert(&record(digest(number))).await;
        let hint = LookupHint::new().with_address(Some(address(1, number)));
        assert!(fixture.cache.find_for(&digest(number), hint).await.unwrap().is_some());
    }
    assert_eq!(flood_from(&fixture, 0, 1_000, |number| address(2, number)).await, 80);
    assert_eq!(flood_from(&fixture, 1_000, 1_000, |number| address(1, number)).await, 20);
}

/// A listed key goes on whatever its network has had.
#[tokio::test(start_paused = true)]
async fn listed_keys_have_no_share_of_a_network() {
    let keys = digests(0..200);
    let fixture = ranked(&keys).await;
    flood_from(&fixture, 0, 1_000, |number| address(1, number)).await;
    for key in &keys {
        let hint = LookupHint::new().with_address(Some(address(1, 0)));
        assert!(fixture.cache.find_for(key, hint).await.unwrap().is_some());
    }
}

/// The filter never says that a key is unknown: one that it does not list is looked up as before.
#[tokio::test(start_paused = true)]
async fn the_filter_refuses_no_key() {
    let fixture = ranked(&[]).await;
    for number in 0..200 {
        fixture.store.insert(&record(digest(number))).await;
        assert_eq!(fixture.find(&digest(number)).await, Ok(Good));
    }
    assert!(matches!(fixture.cache.find_now(&digest(7)), Some(Lookup::Found(_))));
}
