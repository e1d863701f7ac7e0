//! Halves of credits, refunds, and requests that are repeated.

use std::{
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use tokio::task::JoinSet;
use tower_api_key::{
    KeyId, KeyManager, KeyPatch, NewKey,
    credits::{CreditsPatch, Refill, RefillInterval, RefillPatch},
    manage::{Deduction, ManageError, RotateKey, RotationGrace, TopUp},
    store::{KeyRepository, MemoryStore},
};

use super::support::{Place, is_done, spend_all};

fn monthly(amount: u64) -> Refill {
    let amount = NonZeroU64::new(amount).unwrap();
    Refill::new(amount, RefillInterval::Month)
}

fn patch(credits: CreditsPatch) -> KeyPatch {
    KeyPatch { credits: Some(Some(credits)), ..KeyPatch::default() }
}

#[tokio::test]
async fn half_of_the_credits_leaves_the_other_half() {
    let place = Place::new();
    let key = place.key_with(5, Some(monthly(10))).await;
    let balance = async || place.manager.balance(key.id).await.unwrap().unwrap();
    let before = balance().await;
    place.clock.advance(Duration::from_hours(24));

    let remaining = CreditsPatch { remaining: Some(3), ..CreditsPatch::default() };
    place.manager.update(key.id, patch(remaining)).await.unwrap();
    let after = balance().await;
    assert_eq!((after.remaining, after.epoch), (3, before.epoch + 1));
    let schedule = (before.refill, before.since, before.next_refill_at);
    assert_eq!((after.refill, after.since, after.next_refill_at), schedule);

    let refill = CreditsPatch { refill: Some(Some(monthly(7).into())), ..CreditsPatch::default() };
    place.manager.update(key.id, patch(refill)).await.unwrap();
    let after = balance().await;
    assert_eq!((after.remaining, after.epoch), (3, before.epoch + 1));
    assert_eq!(after.refill, Some(monthly(7)));
    assert_eq!(after.since, before.since.saturating_add(Duration::from_hours(24)));

    let none = CreditsPatch { refill: Some(None), ..CreditsPatch::default() };
    place.manager.update(key.id, patch(none)).await.unwrap();
    let after = balance().await;
    assert_eq!((after.remaining, after.refill, after.next_refill_at), (3, None, None));
    place.clock.advance(Duration::from_hours(24 * 100));
    assert_eq!(balance().await.remaining, 3);

    let record = place.store.get(key.id).await.unwrap().unwrap();
    let same = place.manager.update(key.id, patch(CreditsPatch::default())).await.unwrap();
    assert_eq!(*same, *record, "nothing was sent, and nothing changes");
}

/// A new amount comes when the old one would have; a new interval begins now.
#[tokio::test]
async fn half_of_a_refill_leaves_the_other_half() {
    let place = Place::new();
    let key = place.key_with(5, Some(monthly(10))).await;
    let balance = async || place.manager.balance(key.id).await.unwrap().unwrap();
    let half = |refill| CreditsPatch { refill: Some(Some(refill)), ..CreditsPatch::default() };
    let before = balance().await;
    let day = Duration::from_hours(24);
    place.clock.advance(day);

    let amount = RefillPatch { interval: None, ..monthly(7).into() };
    place.manager.update(key.id, patch(half(amount))).await.unwrap();
    let after = balance().await;
    assert_eq!(after.refill, Some(monthly(7)));
    let schedule = (before.remaining, before.since, before.next_refill_at);
    assert_eq!((after.remaining, after.since, after.next_refill_at), schedule);

    let daily = RefillInterval::Seconds(NonZeroU32::new(86_400).unwrap());
    let interval = RefillPatch { amount: None, interval: Some(daily) };
    place.manager.update(key.id, patch(half(interval))).await.unwrap();
    let after = balance().await;
    assert_eq!(after.refill, Some(Refill::new(monthly(7).amount, daily)));
    assert_eq!((after.remaining, after.since), (5, before.since.saturating_add(day)));
    place.clock.advance(day);
    assert_eq!(balance().await.remaining, 7);

    let nothing = patch(half(RefillPatch::default()));
    place.manager.update(key.id, nothing.clone()).await.unwrap();
    assert_eq!(balance().await.refill, after.refill);

    // There is no other half.
    let spends_none = place.manager.create(NewKey::named("spends none")).await.unwrap();
    let without = [place.key(5).await.id, spends_none.record.id];
    for key in without {
        place.manager.update(key, nothing.clone()).await.unwrap();
        for (refill, field) in
            [(amount, "credits.refill.interval"), (interval, "credits.refill.amount")]
        {
            let refused = place.manager.update(key, patch(half(refill))).await.unwrap_err();
            let ManageError::Invalid(invalid) = refused else { panic!("{refused:?}") };
            assert_eq!(invalid.field(), field);
        }
        let balance = place.manager.balance(key).await.unwrap();
        assert!(balance.is_none_or(|balance| balance.refill.is_none()));
    }
}

/// What a node has taken is neither forgotten nor counted twice where only the refill changes.
#[tokio::test]
async fn a_new_refill_leaves_what_nodes_hold() {
    let place = Place::new();
    let key = place.key(1_000).await;
    assert!(is_done(place.credits.spend(&key, 1).await.unwrap()));
    let held = place.credits.held(key.lineage());
    let refill = CreditsPatch { refill: Some(Some(monthly(7).into())), ..CreditsPatch::default() };
    let key = place.manager.update(key.id, patch(refill)).await.unwrap();
    assert_eq!(place.credits.held(key.lineage()), held);
    assert_eq!(spend_all(&place.credits, &key).await, 999);
}

#[tokio::test]
async fn a_refill_that_is_given_reaches_a_node_that_found_nothing() {
    let place = Place::new();
    let key = place.key(0).await;
    assert!(!is_done(place.credits.spend(&key, 1).await.unwrap()));
    let credits = CreditsPatch { refill: Some(Some(monthly(7).into())), ..CreditsPatch::default() };
    let key = place.manager.update(key.id, patch(credits)).await.unwrap();
    place.clock.advance(Duration::from_hours(24 * 31));
    assert_eq!(spend_all(&place.credits, &key).await, 7);
}

#[tokio::test]
async fn a_refund_is_refused_or_takes_what_is_there() {
    let place = Place::new();
    let key = place.key(100).await.id;
    let done = place.manager.deduct(key, 30).await.unwrap();
    assert_eq!((done.amount, done.balance.remaining), (30, 70));
    let refused = place.manager.deduct(key, 71).await.unwrap_err();
    assert!(matches!(refused, ManageError::NotEnoughCredits { remaining: 70 }), "{refused:?}");
    assert_eq!(place.stored(&place.manager.get(key).await.unwrap()).await, 70);
    let done = place.manager.deduct(key, Deduction::new(71).or_less()).await.unwrap();
    assert_eq!((done.amount, done.balance.remaining), (70, 0));
    let done = place.manager.deduct(key, Deduction::new(71).or_less()).await.unwrap();
    assert_eq!((done.amount, done.balance.remaining), (0, 0));
}

/// What this node holds is taken too; what another one holds is not, and comes back whole.
#[tokio::test]
async fn a_refund_counts_what_nodes_hold() {
    let place = Place::new();
    let key = place.key(1_000).await;
    let other = place.node();
    for node in [&place.credits, &other] {
        assert!(is_done(node.spend(&key, 1).await.unwrap()));
    }
    let manager = place.manager.clone().with_credits(place.credits.clone());
    let elsewhere = other.held(key.lineage());
    assert!(place.credits.held(key.lineage()) > 0 && elsewhere > 0);
    let there = 998 - elsewhere;
    let refused = manager.deduct(key.id, there + 1).await.unwrap_err();
    assert!(
        matches!(refused, ManageError::NotEnoughCredits { remaining } if remaining == there),
        "{refused:?}"
    );
    assert_eq!(manager.deduct(key.id, there).await.unwrap().balance.remaining, 0);
    other.close().await.unwrap();
    assert_eq!(place.stored(&key).await, elsewhere);
}

/// Refunds, top-ups and requests at once: the sum is right, and nothing is below zero.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refunds_and_requests_together_lose_nothing() {
    let place = Place::new();
    let key = place.key(1_000).await;
    let mut tasks = JoinSet::new();
    for task in 0..6_u64 {
        let (manager, node, key) = (place.manager.clone(), place.node(), key.clone());
        tasks.spawn(async move {
            let mut balance = 0_i64;
            for _ in 0..50 {
                match task % 3 {
                    0 if manager.deduct(key.id, 7).await.is_ok() => balance -= 7,
                    1 => {
                        manager.top_up(key.id, 3).await.unwrap();
                        balance += 3;
                    }
                    2 if is_done(node.spend(&key, 1).await.unwrap()) => balance -= 1,
                    _ => {}
                }
            }
            node.close().await.unwrap();
            balance
        });
    }
    let changed: i64 = tasks.join_all().await.into_iter().sum();
    assert_eq!(i64::try_from(place.stored(&key).await).unwrap(), 1_000 + changed);
}

fn paid(amount: u64, id: &str) -> TopUp {
    TopUp::new(amount).with_request_id(id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_top_ups_with_one_id_one_is_done() {
    let place = Place::new();
    let key = place.key(5).await;
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let (manager, id) = (place.manager.clone(), key.id);
        tasks.spawn(async move { manager.top_up(id, paid(10, "invoice-17")).await.unwrap() });
    }
    let answers = tasks.join_all().await;
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(place.stored(&key).await, 15);
    // However much later, and whatever happened since.
    place.manager.top_up(key.id, 1).await.unwrap();
    let again = place.manager.top_up(key.id, paid(10, "invoice-17")).await.unwrap();
    assert_eq!(again, answers[0]);
    assert_eq!(place.stored(&key).await, 16);
}

fn is_reused<T: std::fmt::Debug>(result: &Result<T, ManageError>) -> bool {
    matches!(result, Err(ManageError::RequestIdReused))
}

#[tokio::test]
async fn an_id_is_of_one_act_on_one_key() {
    let place = Place::new();
    let key = place.key(100).await.id;
    let manager = &place.manager;
    let hour = RotationGrace::FromNow(Duration::from_hours(1));
    let other = manager.rotate(key, hour).await.unwrap().record.id;
    manager.top_up(key, paid(10, "a")).await.unwrap();
    let deduction = Deduction::new(10).with_request_id("a");
    assert!(is_reused(&manager.top_up(key, paid(11, "a")).await));
    assert!(is_reused(&manager.top_up(other, paid(10, "a")).await));
    assert!(is_reused(&manager.deduct(key, deduction.clone()).await));
    assert!(is_reused(&manager.rotate(other, RotateKey::new(hour).with_request_id("a")).await));
    assert_eq!(manager.balance(key).await.unwrap().unwrap().remaining, 110);

    // Another lineage, and another owner's handle, have ids of their own.
    let elsewhere = place.key(1).await.id;
    assert_eq!(manager.top_up(elsewhere, paid(1, "a")).await.unwrap().remaining, 2);
    let deduction = deduction.with_request_id("b");
    for _ in 0..3 {
        let done = manager.deduct(key, deduction.clone()).await.unwrap();
        assert_eq!((done.amount, done.balance.remaining), (10, 100));
    }
    assert!(is_reused(&manager.deduct(key, deduction.or_less()).await));
    for bad in ["", " ", "a b", "ä", &"x".repeat(256)] {
        let refused = manager.top_up(key, paid(1, bad)).await.unwrap_err();
        let ManageError::Invalid(invalid) = refused else { panic!("{refused:?}") };
        assert_eq!(invalid.field(), "request_id");
    }
}

fn named(grace: RotationGrace) -> RotateKey {
    RotateKey::new(grace).with_request_id("r")
}

fn replaced_by(result: Result<tower_api_key::IssuedKey, ManageError>) -> KeyId {
    match result {
        Err(ManageError::AlreadyRotated { to }) => to,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_rotations_with_one_id_one_makes_a_key() {
    let place = Place::new();
    let key = place.key(5).await;
    let hour = RotationGrace::FromNow(Duration::from_hours(1));
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let (manager, id) = (place.manager.clone(), key.id);
        tasks.spawn(async move { manager.rotate(id, named(hour)).await });
    }
    let (done, refused): (Vec<_>, Vec<_>) =
        tasks.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!((done.len(), refused.len()), (1, 15));
    let new = done.into_iter().next().unwrap().unwrap().record.id;
    assert!(refused.into_iter().all(|refused| replaced_by(refused) == new));

    // Also once the new key has ended, when a rotation without an id would make another.
    place.manager.revoke(new, None).await.unwrap();
    assert_eq!(replaced_by(place.manager.rotate(key.id, named(hour)).await), new);
    let other = place.manager.rotate(key.id, hour).await.unwrap().record.id;
    assert_ne!(other, new);
    assert_eq!(replaced_by(place.manager.rotate(key.id, named(hour)).await), new);
}

/// The ids of requests are kept for 30 days, whatever is purged.
#[tokio::test]
async fn ids_are_kept_for_thirty_days() {
    let place = Place::new();
    let key = place.key(5).await.id;
    let manager: &KeyManager = &place.manager;
    manager.top_up(key, paid(10, "a")).await.unwrap();
    let day = Duration::from_hours(24);
    place.clock.advance(day * 30);
    let ever = tower_api_key::Timestamp::from_unix_millis(i64::MAX);
    manager.purge(ever).await.unwrap();
    assert_eq!(manager.top_up(key, paid(10, "a")).await.unwrap().remaining, 15);
    place.clock.advance(day);
    // An owner's purge is of that owner's keys, and a purge of what is older leaves it.
    manager.for_owner("anna").purge(ever).await.unwrap();
    manager.purge(super::support::NOW).await.unwrap();
    assert_eq!(manager.top_up(key, paid(10, "a")).await.unwrap().remaining, 15);
    manager.purge(ever).await.unwrap();
    assert_eq!(manager.top_up(key, paid(10, "a")).await.unwrap().remaining, 25);
}

/// A store that cannot keep them does nothing that is to be done once.
#[tokio::test]
async fn a_store_without_requests_refuses_ids() {
    use tower_api_key::store::StoreErrorKind;
    let (watched, _) = super::repository::Watched::counting(&MemoryStore::new());
    let place = Place::on(watched);
    let key = place.key(5).await;
    let unsupported = |error: &ManageError| {
        let ManageError::Store(error) = error else { panic!("{error:?}") };
        assert_eq!(error.kind(), StoreErrorKind::Unsupported);
    };
    unsupported(&place.manager.top_up(key.id, paid(1, "a")).await.unwrap_err());
    unsupported(&place.manager.rotate(key.id, named(RotationGrace::NONE)).await.unwrap_err());
    assert_eq!(place.stored(&key).await, 5);
    assert_eq!(place.manager.top_up(key.id, 1).await.unwrap().remaining, 6);
}
