//! What the keys of an owner have together: many keys have one allowance.

use tower_api_key::{
    Credits, IssuedKey, KeyManager, KeyPatch, NewKey, RateLimits,
    credits::NewCredits,
    limit::LocalLimiter,
    manage::{OwnerBounds, RotationGrace},
};

use super::{OWNER, plain, sold, three_a_minute, with};
use crate::{
    managed::{Managed, scopes, why},
    support::{send_waiting, with_key},
};

/// The tests' manager, which counts.
fn counting(mut managed: Managed) -> Managed {
    let limiter = LocalLimiter::builder().with_clock(managed.clock.clone()).build();
    managed.manager =
        managed.manager.clone().with_rate_limits(RateLimits::new(limiter)).with_credits(
            Credits::builder(managed.store.clone())
                .with_clock(managed.clock.clone())
                .build()
                .unwrap(),
        );
    managed
}

async fn outcome(manager: &KeyManager, key: &IssuedKey) -> String {
    let layer = manager.layer().with_client_address(|_| Some([10, 0, 0, 1].into()));
    send_waiting(&layer, with_key(key.secret.expose())).await.outcome()
}

#[tokio::test]
async fn many_keys_have_the_credits_and_the_rate_of_one() {
    let managed = counting(Managed::new());
    let own = managed.manager.create(sold(&managed)).await.unwrap();
    let handle = with(&managed, &own.record);
    let mut admitted = 0;
    for minute in 0..4 {
        for _ in 0..10 {
            let key = handle.create(NewKey::named("one of many")).await.unwrap();
            admitted += usize::from(outcome(&managed.manager, &key).await == "admitted");
            // One that takes the place of a deleted one has what that one left.
            handle.delete(key.record.id).await.unwrap();
        }
        let expected = [3, 5, 5, 5][minute];
        assert_eq!(admitted, expected, "minute {minute}");
        managed.clock.advance(std::time::Duration::from_mins(1));
    }
    assert_eq!(outcome(&managed.manager, &own).await, "credits_exhausted");
}

#[tokio::test]
async fn credits_that_are_set_or_added_are_those_of_all() {
    let managed = counting(Managed::new());
    let own = managed.manager.create(sold(&managed)).await.unwrap();
    let handle = with(&managed, &own.record);
    let mut keys = vec![own];
    for _ in 0..3 {
        keys.push(handle.create(NewKey::named("sibling")).await.unwrap());
    }
    let credits = |remaining| Some(Some(NewCredits { remaining, refill: None }.into()));
    for key in &keys {
        let patch = KeyPatch { credits: credits(7), ..KeyPatch::default() };
        managed.manager.update(key.record.id, patch).await.unwrap();
        managed.manager.top_up(key.record.id, 3).await.unwrap();
        for other in &keys {
            let balance = managed.manager.balance(other.record.id).await.unwrap().unwrap();
            assert_eq!(balance.remaining, 10);
            let row = managed.row(other.record.id).await;
            assert_eq!(row.details.credits, Some(balance.epoch));
        }
    }
    let none = KeyPatch { credits: Some(None), ..KeyPatch::default() };
    managed.manager.update(keys[2].record.id, none).await.unwrap();
    for key in &keys {
        assert_eq!(managed.row(key.record.id).await.details.credits, None);
    }
}

/// The balance stays as long as there is a key of the lineage, also without the first.
#[tokio::test]
async fn the_balance_outlives_the_key_that_it_began_with() {
    let managed = counting(Managed::new());
    let own = managed.manager.create(sold(&managed)).await.unwrap();
    let made = with(&managed, &own.record).create(NewKey::named("made")).await.unwrap();
    managed.manager.delete(own.record.id).await.unwrap();
    managed.clock.advance(std::time::Duration::from_secs(1));
    let now = tower_api_key::clock::Clock::now(&managed.clock);
    assert_eq!(managed.manager.purge(now).await.unwrap(), 1);
    let balance = managed.manager.balance(made.record.id).await.unwrap().unwrap();
    assert_eq!(balance.remaining, 5);
    assert_eq!(managed.manager.top_up(made.record.id, 1).await.unwrap().remaining, 6);
    assert_eq!(outcome(&managed.manager, &made).await, "admitted");
}

#[tokio::test]
async fn an_application_may_refuse_to_share_credits() {
    let managed = Managed::new();
    let spending = managed.manager.create(sold(&managed)).await.unwrap().record;
    let plain = managed.manager.create(plain(&["a"])).await.unwrap().record;
    for (key, expected) in [(&spending, Some("beyond credits")), (&plain, None)] {
        let bounds = OwnerBounds::new(OWNER, key.scopes.clone()).bounded_by(&**key);
        let handle = managed.manager.within_bounds(bounds.refusing_shared_credits());
        let made = handle.create(NewKey::named("n")).await;
        match expected {
            Some(expected) => assert_eq!(why(made), expected),
            None => drop(made.unwrap()),
        }
    }
}

/// Users who have a session and no key.
#[tokio::test]
async fn keys_of_a_template_share_what_it_gives() {
    let managed = counting(Managed::new());
    let bounds = |owner: &str| {
        let template = NewKey { owner: Some("nobody".into()), ..sold(&managed) };
        OwnerBounds::new(owner, scopes(&["a"])).with_template(template)
    };
    let handle = managed.manager.within_bounds(bounds(OWNER));
    let first = handle.create(NewKey::named("first")).await.unwrap();
    let expected = sold(&managed);
    let details = &first.record.details;
    assert_eq!(details.tier.as_deref(), expected.tier.as_deref());
    assert_eq!((&details.limits, details.created_by), (&three_a_minute(), None));
    assert_eq!(first.record.expires_at, expected.expires_at);
    assert_eq!(details.allowed_addresses[..], expected.allowed_addresses[..]);

    let mut admitted = usize::from(outcome(&managed.manager, &first).await == "admitted");
    for _ in 0..6 {
        let key = handle.create(NewKey::named("next")).await.unwrap();
        assert_eq!(key.record.lineage(), first.record.lineage());
        admitted += usize::from(outcome(&managed.manager, &key).await == "admitted");
        handle.delete(key.record.id).await.unwrap();
    }
    assert_eq!(admitted, 3);
    // Another owner has another allowance.
    let other = managed.manager.within_bounds(bounds("user-2"));
    let other = other.create(NewKey::named("other")).await.unwrap();
    assert_ne!(other.record.lineage(), first.record.lineage());
    assert_eq!(outcome(&managed.manager, &other).await, "admitted");
    let later = KeyPatch { expires_at: Some(None), ..KeyPatch::default() };
    assert_eq!(why(handle.update(first.record.id, later).await), "beyond expires_at");
}

/// Of many that begin at once, one begins the balance.
#[tokio::test]
async fn the_credits_of_a_template_are_given_once() {
    let managed = Managed::new();
    let bounds = OwnerBounds::new(OWNER, scopes(&["a"])).with_template(sold(&managed));
    let handle = managed.manager.within_bounds(bounds);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let handle = handle.clone();
        tasks.spawn(async move { handle.create(NewKey::named("n")).await.unwrap().record });
    }
    for key in tasks.join_all().await {
        let balance = managed.manager.balance(key.id).await.unwrap().unwrap();
        assert_eq!(balance.remaining, 5);
    }
}

/// What was used up stays used up, also after the rows of all keys are gone.
#[tokio::test]
async fn the_credits_of_a_template_are_given_once_whatever_is_purged() {
    let managed = Managed::new();
    let bounds = OwnerBounds::new(OWNER, scopes(&["a"])).with_template(sold(&managed));
    let handle = managed.manager.within_bounds(bounds);
    let first = handle.create(NewKey::named("first")).await.unwrap().record;
    managed.manager.deduct(first.id, 5).await.unwrap();
    handle.delete(first.id).await.unwrap();
    managed.clock.advance(std::time::Duration::from_secs(1));
    let now = tower_api_key::clock::Clock::now(&managed.clock);
    assert_eq!(managed.manager.purge(now).await.unwrap(), 1);
    let next = handle.create(NewKey::named("next")).await.unwrap().record;
    assert_eq!(managed.manager.balance(next.id).await.unwrap().unwrap().remaining, 0);
}

/// None is left out, however many there are: it would be free.
#[tokio::test]
async fn all_keys_of_a_large_lineage_begin_to_spend() {
    let mut managed = Managed::new();
    managed.manager = managed.manager.clone().with_max_keys_per_owner(u32::MAX).unwrap();
    let own = managed.manager.create(plain(&["a"])).await.unwrap().record;
    let handle = with(&managed, &own);
    let mut made = Vec::new();
    for number in 0..300 {
        if number % 20 == 0 {
            managed.clock.advance(std::time::Duration::from_mins(1));
        }
        made.push(handle.create(NewKey::named("n")).await.unwrap().record.id);
    }
    let credits = NewCredits { remaining: 7, refill: None };
    for (credits, spends) in [(Some(credits.into()), true), (None, false)] {
        let patch = KeyPatch { credits: Some(credits), ..KeyPatch::default() };
        managed.manager.update(own.id, patch).await.unwrap();
        for id in &made {
            assert_eq!(managed.row(*id).await.details.credits.is_some(), spends);
        }
    }
}

/// The end of a key that was replaced, and waits for the first use of that key, is not known yet.
#[tokio::test]
async fn a_key_that_waits_to_end_makes_none_that_outlive_it() {
    let managed = Managed::new();
    let own = managed.manager.create(plain(&["a"])).await.unwrap().record;
    let handle = with(&managed, &own);
    let other = handle.create(NewKey::named("other")).await.unwrap().record;
    let grace = RotationGrace::FromFirstUse(std::time::Duration::from_hours(1));
    managed.manager.rotate(own.id, grace).await.unwrap();
    assert_eq!(why(handle.create(NewKey::named("n")).await), "beyond status");
    assert_eq!(why(handle.rotate(other.id, RotationGrace::NONE).await), "beyond status");
    // What takes away is still open to it.
    handle.revoke(other.id, None).await.unwrap();
}
