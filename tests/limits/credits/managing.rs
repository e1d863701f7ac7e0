//! Balances that a manager sets, adds to, reads and takes away.

use std::{
    future::Future,
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};

use tokio::sync::Semaphore;
use tower_api_key::{
    Credits, KeyPatch, NewKey,
    clock::Clock,
    credits::{NewCredits, Refill, RefillInterval, SpendOutcome},
    key::{EventQuery, KeyAction, KeyDigest, KeyRecord},
    manage::{ImportKey, ManageError, RotationGrace},
    store::{KeyRepository, StoreError},
};

use super::{
    repository::{Point, Watched},
    support::{Place, is_done, spend_all},
};

const MOST: u64 = i64::MAX as u64;

fn set(remaining: u64) -> KeyPatch {
    let credits = NewCredits { remaining, refill: None };
    KeyPatch { credits: Some(Some(credits.into())), ..KeyPatch::default() }
}

fn take_away() -> KeyPatch {
    KeyPatch { credits: Some(None), ..KeyPatch::default() }
}

impl Place {
    /// The key as a lookup finds it now.
    async fn found(&self, key: &KeyRecord) -> Arc<KeyRecord> {
        self.store.get(key.id).await.unwrap().unwrap()
    }

    /// Actions and details of all events about a key, the first one first.
    async fn history(&self, key: &KeyRecord) -> Vec<(KeyAction, String)> {
        let mut query = EventQuery::new(100);
        query.key = Some(key.id);
        let events = self.manager.events(&query).await.unwrap().items;
        let text =
            |event: &tower_api_key::key::KeyEvent| event.detail.as_deref().unwrap_or("").into();
        events.iter().rev().map(|event| (event.action, text(event))).collect()
    }
}

#[tokio::test]
async fn a_top_up_reaches_a_node_at_once() {
    let place = Place::new();
    let key = place.key(10).await;
    assert_eq!(spend_all(&place.credits, &key).await, 10);
    let balance = place.manager.top_up(key.id, 5).await.unwrap();
    assert_eq!((balance.remaining, balance.epoch), (5, 0));
    // The clock stands still, and whoever comes with the old record learns nothing.
    assert!(!is_done(place.credits.spend(&key, 1).await.unwrap()));
    let key = place.found(&key).await;
    assert_eq!(spend_all(&place.credits, &key).await, 5);
    assert_eq!(place.history(&key).await[1], (KeyAction::Updated, "5 credits added".into()));
}

#[tokio::test]
async fn a_top_up_adds_to_what_nodes_hold() {
    let place = Place::new();
    let key = place.key(1_000).await;
    assert!(is_done(place.credits.spend(&key, 1).await.unwrap()));
    let held = place.credits.held(key.lineage());
    place.manager.top_up(key.id, 500).await.unwrap();
    assert_eq!(place.credits.held(key.lineage()), held);
    assert_eq!(spend_all(&place.credits, &*place.found(&key).await).await, 1_499);
}

#[tokio::test]
async fn a_top_up_ends_at_the_most_that_there_can_be() {
    let place = Place::new();
    let key = place.key(MOST - 1).await;
    for amount in [1, 1, u64::MAX] {
        let balance = place.manager.top_up(key.id, amount).await.unwrap();
        assert_eq!(balance.remaining, MOST);
    }
    let before = place.found(&key).await;
    assert_eq!(place.manager.top_up(key.id, 0).await.unwrap().remaining, MOST);
    assert_eq!(*place.found(&key).await, *before, "adding nothing changes nothing");
}

#[tokio::test]
async fn there_is_no_adding_to_nothing() {
    let place = Place::new();
    let free = place.manager.create(NewKey::named("free")).await.unwrap().record;
    let refused = place.manager.top_up(free.id, 5).await.unwrap_err();
    assert!(matches!(refused, ManageError::NoCredits), "{refused:?}");
    assert_eq!(place.manager.balance(free.id).await.unwrap(), None);
    place.manager.delete(free.id).await.unwrap();
    let refused = place.manager.top_up(free.id, 5).await.unwrap_err();
    assert!(matches!(refused, ManageError::NotFound), "{refused:?}");
}

#[tokio::test]
async fn many_top_ups_at_once_all_count() {
    let place = Place::new();
    let key = place.key(0).await;
    let top_up = |amount| {
        let (manager, id) = (place.manager.clone(), key.id);
        tokio::spawn(async move { manager.top_up(id, amount).await })
    };
    let tasks: Vec<_> = (1..=100).map(top_up).collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(place.stored(&key).await, 5_050);
}

#[tokio::test]
async fn what_is_set_reaches_a_node_at_once_and_ends_what_it_holds() {
    let place = Place::new();
    let key = place.key(100_000).await;
    assert!(is_done(place.credits.spend(&key, 1).await.unwrap()));
    assert!(place.credits.held(key.lineage()) > 7);
    let key = place.manager.update(key.id, set(7)).await.unwrap();
    assert_eq!(key.details.credits, Some(1));
    assert_eq!(spend_all(&place.credits, &key).await, 7);
    place.credits.close().await.unwrap();
    assert_eq!(place.stored(&key).await, 0);
    assert_eq!(place.history(&key).await[1], (KeyAction::Updated, "credits".into()));
}

#[tokio::test]
async fn what_was_taken_before_it_was_set_is_not_given_back() {
    let place = Place::new();
    let key = place.key(100_000).await;
    assert!(is_done(place.credits.spend(&key, 1).await.unwrap()));
    place.manager.update(key.id, set(7)).await.unwrap();
    // This node has not seen the new record.
    assert!(place.credits.held(key.lineage()) > 0);
    place.credits.close().await.unwrap();
    assert_eq!(place.credits.held(key.lineage()), 0);
    assert_eq!(place.stored(&key).await, 7);
}

#[tokio::test]
async fn what_is_put_back_after_it_was_set_is_not_spent() {
    let place = Place::new();
    let old = place.key(100).await;
    assert!(is_done(place.credits.spend(&old, 50).await.unwrap()));
    let new = place.manager.update(old.id, set(7)).await.unwrap();
    assert!(is_done(place.credits.spend(&new, 1).await.unwrap()));
    place.credits.give_back(&old, 50);
    assert_eq!(spend_all(&place.credits, &new).await, 6);
}

#[tokio::test]
async fn a_key_can_be_given_credits_later_and_they_can_be_taken_away() {
    let place = Place::new();
    let free = place.manager.create(NewKey::named("free")).await.unwrap().record;
    let key = place.manager.update(free.id, set(3)).await.unwrap();
    assert_eq!(key.details.credits, Some(0));
    assert_eq!(spend_all(&place.credits, &key).await, 3);

    let free = place.manager.update(key.id, take_away()).await.unwrap();
    assert_eq!(free.details.credits, None);
    assert_eq!(place.manager.balance(free.id).await.unwrap(), None);
    assert!(matches!(place.manager.top_up(free.id, 1).await, Err(ManageError::NoCredits)));
    let again = place.manager.update(free.id, take_away()).await.unwrap();
    assert_eq!(*again, *free, "nothing is left to take away");

    // The epoch goes on: what is left of the first balance is not a part of the second.
    let key = place.manager.update(free.id, set(4)).await.unwrap();
    assert_eq!(key.details.credits, Some(1));
    assert_eq!(spend_all(&place.credits, &key).await, 4);
}

#[tokio::test]
async fn setting_credits_goes_with_other_changes_and_their_revision() {
    let place = Place::new();
    let key = place.key(3).await;
    let patch = KeyPatch { name: Some("renamed".into()), ..set(5) };
    let stale = place.manager.if_revision(9);
    let refused = stale.update(key.id, patch.clone()).await.unwrap_err();
    assert!(matches!(refused, ManageError::RevisionMismatch), "{refused:?}");
    let refused = stale.top_up(key.id, 5).await.unwrap_err();
    assert!(matches!(refused, ManageError::RevisionMismatch), "{refused:?}");
    let invalid = KeyPatch { name: Some(String::new()), ..patch.clone() };
    assert!(place.manager.update(key.id, invalid).await.is_err());
    assert_eq!(place.stored(&key).await, 3, "all or nothing");

    let key = place.manager.if_revision(key.revision).update(key.id, patch).await.unwrap();
    assert_eq!((&*key.name, place.stored(&key).await), ("renamed", 5));
    assert_eq!(place.history(&key).await[1].1, "name, credits");
    assert_eq!(*place.found(&key).await, *key);
}

#[tokio::test]
async fn there_are_no_more_credits_than_databases_can_count() {
    let place = Place::new();
    let refill = |amount| Refill::new(NonZeroU64::new(amount).unwrap(), RefillInterval::Month);
    let key = place.key(MOST).await;
    for (remaining, refill) in [(MOST + 1, None), (0, Some(refill(MOST + 1)))] {
        let credits = NewCredits { remaining, refill };
        let new = NewKey { credits: Some(credits), ..NewKey::named("rich") };
        let patch = KeyPatch { credits: Some(Some(credits.into())), ..KeyPatch::default() };
        let import = ImportKey::from_digest(KeyDigest::from_bytes([1; 32]), new.clone());
        for refused in [
            place.manager.create(new).await.map(drop),
            place.manager.import(&[import]).await.map(drop),
            place.manager.update(key.id, patch).await.map(drop),
        ] {
            let Err(ManageError::Invalid(invalid)) = refused else { panic!("{refused:?}") };
            assert_eq!(invalid.field(), "credits");
        }
    }
}

#[tokio::test]
async fn imported_keys_bring_their_credits() {
    let place = Place::new();
    let import = |digest, remaining: Option<u64>| {
        let credits = remaining.map(|remaining| NewCredits { remaining, refill: None });
        let new = NewKey { credits, ..NewKey::named("imported") };
        ImportKey::from_digest(KeyDigest::from_bytes([digest; 32]), new)
    };
    let report = place.manager.import(&[import(1, Some(10)), import(2, None)]).await.unwrap();
    // The first is there already, so the others come one by one.
    let more = [import(1, Some(99)), import(3, Some(30))];
    let more = place.manager.import(&more).await.unwrap();
    let mut keys = Vec::new();
    for id in report.imported.iter().chain(&more.imported) {
        keys.push(place.manager.get(*id).await.unwrap());
    }
    let balances = place.manager.balances_of(&keys).await.unwrap();
    let remaining = |b: Option<tower_api_key::credits::Balance>| b.map(|balance| balance.remaining);
    assert_eq!(balances.into_iter().map(remaining).collect::<Vec<_>>(), [Some(10), None, Some(30)]);
    assert_eq!(spend_all(&place.credits, &keys[2]).await, 30);
}

#[tokio::test]
async fn a_balance_is_shown_with_what_has_come_back() {
    let place = Place::new();
    let amount = NonZeroU64::new(10).unwrap();
    let refill = Refill::new(amount, RefillInterval::Month);
    let key = place.key_with(5, Some(refill)).await;
    assert_eq!(place.stored(&key).await, 5);
    place.clock.advance(Duration::from_hours(29 * 24));
    assert_eq!(place.stored(&key).await, 10);
    assert_eq!(place.manager.top_up(key.id, 1).await.unwrap().remaining, 11);
    assert_eq!(spend_all(&place.credits, &key).await, 11);
}

#[tokio::test]
async fn a_rotation_begins_no_new_balance() {
    let place = Place::new();
    let old = place.key(10).await;
    assert!(is_done(place.credits.spend(&old, 4).await.unwrap()));
    let grace = RotationGrace::FromNow(Duration::from_hours(1));
    let new = place.manager.rotate(old.id, grace).await.unwrap().record;
    assert!(is_done(place.credits.spend(&new, 4).await.unwrap()));
    let short = place.credits.spend(&new, 3).await.unwrap();
    assert_eq!(short, SpendOutcome::Short { remaining: 2, retry_after: None });
    assert_eq!(spend_all(&place.credits, &old).await, 2);
}

/// A lineage of four: one revoked, one in its grace, one that was replaced at once, and the last.
async fn lineage(place: &Place) -> [Arc<KeyRecord>; 4] {
    let first = place.key(1_000).await;
    let hour = RotationGrace::FromNow(Duration::from_hours(1));
    let second = place.manager.rotate(first.id, hour).await.unwrap().record;
    let third = place.manager.rotate(second.id, hour).await.unwrap().record;
    let fourth = place.manager.rotate(third.id, RotationGrace::NONE).await.unwrap().record;
    place.manager.revoke(first.id, None).await.unwrap();
    [first, second, third, fourth]
}

#[tokio::test]
async fn setting_the_credits_of_one_key_reaches_all_that_can_be_used() {
    for changed in [1, 3] {
        let place = Place::new();
        let keys = lineage(&place).await;
        assert!(is_done(place.credits.spend(&keys[1], 1).await.unwrap()));
        place.manager.update(keys[changed].id, set(7)).await.unwrap();
        let mut epochs = Vec::new();
        for key in &keys {
            epochs.push(place.found(key).await.details.credits);
        }
        assert_eq!(epochs, [Some(0), Some(1), Some(0), Some(1)]);
        // The other key of the two is used.
        let other = place.found(&keys[4 - changed]).await;
        assert_eq!(spend_all(&place.credits, &other).await, 7);
        assert_eq!(place.history(&other).await.last().unwrap().1, "credits");

        place.manager.update(keys[changed].id, take_away()).await.unwrap();
        assert_eq!(place.found(&other).await.details.credits, None);
    }
}

#[tokio::test]
async fn a_top_up_of_one_key_reaches_all_that_can_be_used() {
    let place = Place::new();
    let keys = lineage(&place).await;
    for key in &keys {
        spend_all(&place.credits, key).await;
    }
    place.manager.top_up(keys[3].id, 5).await.unwrap();
    let other = place.found(&keys[1]).await;
    assert_eq!(spend_all(&place.credits, &other).await, 5);
    // One event tells of it.
    assert!(!place.history(&other).await.iter().any(|(_, detail)| detail.contains("added")));
}

#[tokio::test]
async fn a_line_is_found_around_keys_that_were_purged() {
    let place = Place::new();
    let first = place.key(1_000).await;
    let hour = RotationGrace::FromNow(Duration::from_hours(1));
    let second = place.manager.rotate(first.id, hour).await.unwrap().record;
    let third = place.manager.rotate(second.id, hour).await.unwrap().record;
    place.manager.revoke(second.id, None).await.unwrap();
    place.clock.advance(Duration::from_millis(1));
    assert_eq!(place.manager.purge(place.clock.now()).await.unwrap(), 1);
    place.manager.update(third.id, set(7)).await.unwrap();
    assert_eq!(place.found(&first).await.details.credits, Some(1));
}

/// A sibling whose record nobody could reach spends from the balance that there is now.
#[tokio::test]
async fn a_key_that_was_not_reached_spends_from_the_new_balance() {
    let place = Place::new();
    let old = place.key(100_000).await;
    assert!(is_done(place.credits.spend(&old, 1).await.unwrap()));
    let new = place.manager.update(old.id, set(7)).await.unwrap();
    assert!(is_done(place.credits.spend(&new, 1).await.unwrap()));
    assert_eq!(spend_all(&place.credits, &old).await, 6);
    assert_eq!(spend_all(&place.node(), &old).await, 0);
}

/// Wherever the store's call is when its balance is set: what it takes of the one before is spent for
/// no request, and what it takes of the new one is not lost.
#[tokio::test]
async fn a_call_on_its_way_while_the_balance_is_set_spends_the_new_one_alone() {
    for at in [Point::BeforeRead, Point::AfterRead, Point::BeforeWrite, Point::AfterWrite] {
        let place = Place::new();
        let old = place.key(10_000).await;
        let (reached, goes_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (arrives, waits) = (reached.clone(), goes_on.clone());
        let store = Watched::new(&place.store, move |point| {
            let (arrives, waits) = (arrives.clone(), waits.clone());
            async move {
                if point == at {
                    arrives.add_permits(1);
                    waits.acquire().await.unwrap().forget();
                }
                Ok(())
            }
        });
        let credits = Credits::builder(store).with_clock(place.clock.clone()).build().unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut first = Box::pin(credits.spend(&old, 1));
        assert!(first.as_mut().poll(&mut context).is_pending());
        reached.acquire().await.unwrap().forget();
        let new = place.manager.update(old.id, set(1_000)).await.unwrap();
        let mut second = Box::pin(credits.spend(&new, 1));
        assert!(second.as_mut().poll(&mut context).is_pending());
        goes_on.add_permits(Semaphore::MAX_PERMITS / 2);
        assert!(is_done(first.await.unwrap()) && is_done(second.await.unwrap()), "{at:?}");
        credits.close().await.unwrap();
        assert_eq!(place.stored(&new).await, 998, "{at:?}");
    }
}

/// Whatever comes of its calls.
#[tokio::test]
async fn a_node_that_has_heard_of_a_balance_holds_nothing_of_the_one_before() {
    let place = Place::new();
    let old = place.key(10_000).await;
    let fails = Arc::new(AtomicBool::new(false));
    let (reached, goes_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let hook = (fails.clone(), reached.clone(), goes_on.clone());
    let store = Watched::new(&place.store, move |point| {
        let (fails, reached, goes_on) = hook.clone();
        async move {
            if point != Point::BeforeRead || !fails.load(Ordering::Relaxed) {
                return Ok(());
            }
            reached.add_permits(1);
            goes_on.acquire().await.unwrap().forget();
            Err(StoreError::timeout())
        }
    });
    let credits = Credits::builder(store).with_clock(place.clock.clone()).build().unwrap();
    assert!(is_done(credits.spend(&old, 1).await.unwrap()));
    fails.store(true, Ordering::Relaxed);
    let gives_back = credits.clone();
    let closing = tokio::spawn(async move { gives_back.close().await });
    reached.acquire().await.unwrap().forget();
    let new = place.manager.update(old.id, set(1_000)).await.unwrap();
    let mut spend = Box::pin(credits.spend(&new, 1));
    assert!(spend.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    goes_on.add_permits(Semaphore::MAX_PERMITS / 2);
    closing.await.unwrap().unwrap_err();
    assert_eq!(credits.held(new.lineage()), 0, "it was not given back");
    spend.await.unwrap_err();
    credits.give_back(&old, 1);
    assert_eq!(credits.held(new.lineage()), 0, "it is put back");
}

/// What the store has told a node of a new balance stands when the record tells it as well.
#[tokio::test]
async fn a_balance_that_the_store_knew_first_loses_nothing() {
    let place = Place::new();
    let old = place.key(100_000).await;
    assert!(is_done(place.credits.spend(&old, 1).await.unwrap()));
    let new = place.manager.update(old.id, set(10_000)).await.unwrap();
    // More than is held, and then one, with the old record.
    for cost in [1_000, 1] {
        assert!(is_done(place.credits.spend(&old, cost).await.unwrap()));
    }
    let held = place.credits.held(new.lineage());
    assert!(held > 0);
    place.credits.give_back(&old, 1);
    assert_eq!(place.credits.held(new.lineage()), held, "of the balance before");
    assert!(is_done(place.credits.spend(&new, 1_000).await.unwrap()));
    place.credits.close().await.unwrap();
    assert_eq!(place.stored(&new).await, 7_999);
}

/// As after the store was restored from a copy.
#[tokio::test]
async fn the_store_is_believed_about_a_balance_that_a_record_knows_better() {
    let place = Place::new();
    let mut key = KeyRecord::clone(&*place.key(100).await);
    key.details.credits = Some(7);
    assert!(is_done(place.credits.spend(&key, 1).await.unwrap()));
    place.credits.close().await.unwrap();
    assert_eq!(place.stored(&key).await, 99);
}

#[tokio::test]
async fn handles_of_owners_reach_the_balances_of_their_keys_alone() {
    let place = Place::new();
    let credits = Some(NewCredits { remaining: 5, refill: None });
    let new = NewKey { credits, owner: Some("user-1".into()), ..NewKey::named("theirs") };
    let key = place.manager.create(new).await.unwrap().record;
    let stranger = place.manager.for_owner("user-2");
    for refused in [
        stranger.top_up(key.id, 1).await.map(drop),
        stranger.balance(key.id).await.map(drop),
        stranger.update(key.id, set(1)).await.map(drop),
    ] {
        assert!(matches!(refused, Err(ManageError::NotFound)), "{refused:?}");
    }
    let owner = place.manager.for_owner("user-1");
    assert_eq!(owner.top_up(key.id, 1).await.unwrap().remaining, 6);
}
