//! Handles of owners: nothing that an owner does goes beyond the key that it is done with.

mod acts;
mod anything;
mod descendants;
mod disabled;
mod number;
mod shared;

use tower_api_key::{
    KeyManager, KeyPatch, NewKey,
    credits::NewCredits,
    key::{KeyDigest, KeyRecord},
    limit::{Limit, Limits, Quota},
    manage::{ImportKey, ManageError, OwnerBounds, RestoreKey, RotationGrace},
    nonzero,
};

use crate::{
    managed::{Managed, scopes, why},
    support::at,
};

const OWNER: &str = "user-1";

fn networks(texts: &[&str]) -> Vec<ipnet::IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn three_a_minute() -> Limits {
    Limits::new([Limit::new("minute", Quota::per_minute(nonzero!(3))).unwrap()]).unwrap()
}

/// A key with everything that a provider sells.
fn sold(managed: &Managed) -> NewKey {
    let hour = std::time::Duration::from_hours(1);
    let now = tower_api_key::clock::Clock::now(&managed.clock);
    let metadata = serde_json::json!({ "plan": "basic" });
    NewKey {
        owner: Some(OWNER.into()),
        scopes: scopes(&["orders:*", "stock:read"]),
        tier: Some("basic".into()),
        limits: three_a_minute(),
        credits: Some(NewCredits { remaining: 5, refill: None }),
        metadata: metadata.as_object().unwrap().clone(),
        allowed_addresses: networks(&["10.0.0.0/8", "2001:db8::/32"]),
        not_before: Some(now.saturating_sub(hour)),
        expires_at: Some(now.saturating_add(hour)),
        ..NewKey::named("sold")
    }
}

/// What the holder of this key may do.
fn with(managed: &Managed, key: &KeyRecord) -> KeyManager {
    let bounds = OwnerBounds::new(key.owner.clone().unwrap(), key.scopes.clone());
    managed.manager.within_bounds(bounds.bounded_by(key))
}

fn plain(texts: &[&str]) -> NewKey {
    NewKey { owner: Some(OWNER.into()), scopes: scopes(texts), ..NewKey::named("plain") }
}

fn extending(end: Option<tower_api_key::Timestamp>) -> KeyPatch {
    KeyPatch { expires_at: Some(end), ..KeyPatch::default() }
}

#[tokio::test]
async fn a_key_that_an_owner_makes_has_what_the_own_key_has() {
    let managed = Managed::new();
    let own = managed.manager.create(sold(&managed)).await.unwrap().record;
    let handle = with(&managed, &own);
    let mut made = handle.create(NewKey::named("made")).await.unwrap().record;
    // Also one that is made with it.
    for _ in 0..2 {
        assert_eq!(made.owner, own.owner);
        assert_eq!(made.lineage(), own.id);
        assert_eq!(
            (made.details.not_before, made.expires_at),
            (own.details.not_before, own.expires_at)
        );
        let (have, expected) = (&made.details, &own.details);
        assert_eq!((&have.tier, &have.limits), (&expected.tier, &expected.limits));
        assert_eq!((&have.metadata, &have.credits), (&expected.metadata, &expected.credits));
        assert_eq!(have.allowed_addresses, expected.allowed_addresses);
        assert!(made.scopes.is_empty(), "as ever: none that nobody named");
        let parent = made.id;
        made = with(&managed, &made).create(NewKey::named("made with it")).await.unwrap().record;
        assert_eq!(made.details.created_by, Some(parent));
    }
    // What is within the own key can be chosen.
    let narrow = NewKey {
        scopes: scopes(&["orders:read"]),
        allowed_addresses: networks(&["10.1.2.3/32", "::ffff:10.2.0.0/112", "2001:db8:7::/48"]),
        expires_at: Some(own.expires_at.unwrap().saturating_sub(std::time::Duration::from_secs(1))),
        ..NewKey::named("narrow")
    };
    let made = handle.create(narrow.clone()).await.unwrap().record;
    assert_eq!(made.scopes, narrow.scopes);
    assert_eq!(made.expires_at, narrow.expires_at);
    assert_eq!(made.details.allowed_addresses[..], narrow.allowed_addresses[..]);
}

#[tokio::test]
async fn no_new_key_goes_beyond_the_own() {
    let managed = Managed::new();
    let own = managed.manager.create(sold(&managed)).await.unwrap().record;
    let handle = with(&managed, &own);
    let (start, end) = (own.details.not_before.unwrap(), own.expires_at.unwrap());
    let milli = std::time::Duration::from_millis(1);
    let new = || NewKey::named("more");
    let (before, log) = (managed.rows().await, managed.log().await);
    for (expected, new) in [
        ("scopes", NewKey { scopes: scopes(&["*"]), ..new() }),
        ("scopes", NewKey { scopes: scopes(&["stock:write"]), ..new() }),
        ("expires_at", NewKey { expires_at: Some(end.saturating_add(milli)), ..new() }),
        ("not_before", NewKey { not_before: Some(start.saturating_sub(milli)), ..new() }),
        ("tier", NewKey { tier: Some("gold".into()), ..new() }),
        (
            "limits",
            NewKey {
                limits: Limits::new(
                    [Limit::new("minute", Quota::per_second(nonzero!(9))).unwrap()],
                )
                .unwrap(),
                ..new()
            },
        ),
        ("credits", NewKey { credits: Some(NewCredits { remaining: 1, refill: None }), ..new() }),
        (
            "metadata",
            NewKey {
                metadata: serde_json::json!({ "plan": "gold" }).as_object().unwrap().clone(),
                ..new()
            },
        ),
        ("allowed_addresses", NewKey { allowed_addresses: networks(&["10.0.0.0/7"]), ..new() }),
        ("allowed_addresses", NewKey { allowed_addresses: networks(&["0.0.0.0/0"]), ..new() }),
        ("allowed_addresses", NewKey { allowed_addresses: networks(&["::/0"]), ..new() }),
        (
            "allowed_addresses",
            NewKey { allowed_addresses: networks(&["10.0.0.0/8", "::ffff:11.0.0.0/104"]), ..new() },
        ),
    ] {
        assert_eq!(why(handle.create(new).await), format!("beyond {expected}"));
    }
    assert_eq!((managed.rows().await, managed.log().await), (before, log));
}

#[tokio::test]
async fn networks_are_compared_as_what_they_are() {
    let managed = Managed::new();
    let may = async |own: &[&str], wanted: &[&str]| {
        let new = NewKey { allowed_addresses: networks(own), ..plain(&[]) };
        let own = managed.manager.create(new).await.unwrap().record;
        let new = NewKey { allowed_addresses: networks(wanted), ..NewKey::named("n") };
        let made = with(&managed, &own).create(new).await;
        made.map_err(|error| assert_eq!(why(Err::<(), _>(error)), "beyond allowed_addresses"))
            .is_ok()
    };
    for (own, wanted, expected) in [
        (&[][..], &["0.0.0.0/0"][..], true),
        (&["10.0.0.0/9", "10.128.0.0/9"], &["10.0.0.0/8"], true),
        (&["10.9.9.9/8"], &["10.0.0.0/8"], true),
        (&["::ffff:10.0.0.0/104"], &["10.0.0.0/8"], true),
        (&["10.0.0.0/8"], &["::ffff:10.1.0.0/112"], true),
        (&["10.0.0.0/8"], &["10.0.0.0/8", "192.0.2.0/24"], false),
        (&["10.0.0.0/9"], &["10.0.0.0/8"], false),
        (&["2001:db8::/32"], &["10.0.0.0/8"], false),
        (&["0.0.0.0/0"], &["::/0"], false),
        (&["::/0"], &["0.0.0.0/0"], false),
        (&["::/0"], &["::ffff:1.2.3.4/128"], false),
    ] {
        assert_eq!(may(own, wanted).await, expected, "{wanted:?} in {own:?}");
    }
}

#[tokio::test]
async fn no_change_goes_beyond_the_own() {
    let managed = Managed::new();
    let own = managed.manager.create(sold(&managed)).await.unwrap().record;
    let handle = with(&managed, &own);
    let made = handle.create(NewKey::named("made")).await.unwrap().record;
    let milli = std::time::Duration::from_millis(1);
    let later = own.expires_at.unwrap().saturating_add(milli);
    let earlier = own.details.not_before.unwrap().saturating_sub(milli);
    let patch = KeyPatch::default;
    for key in [&own, &made] {
        let before = managed.row(key.id).await;
        for (expected, patch) in [
            ("expires_at", extending(None)),
            ("expires_at", extending(Some(later))),
            ("not_before", KeyPatch { not_before: Some(None), ..patch() }),
            ("not_before", KeyPatch { not_before: Some(Some(earlier)), ..patch() }),
            ("allowed_addresses", KeyPatch { allowed_addresses: Some(vec![]), ..patch() }),
            (
                "allowed_addresses",
                KeyPatch {
                    allowed_addresses: Some(networks(&["10.0.0.0/8", "192.0.2.0/24"])),
                    ..patch()
                },
            ),
            ("scopes", KeyPatch { scopes: Some(scopes(&["*"])), ..patch() }),
            ("tier", KeyPatch { tier: Some(Some("gold".into())), ..patch() }),
            ("tier", KeyPatch { tier: Some(None), ..patch() }),
            ("limits", KeyPatch { limits: Some(Limits::default()), ..patch() }),
            (
                "metadata",
                KeyPatch { metadata: Some(tower_api_key::key::Metadata::new()), ..patch() },
            ),
            ("credits", KeyPatch { credits: Some(None), ..patch() }),
            (
                "credits",
                KeyPatch {
                    credits: Some(Some(NewCredits { remaining: 9, refill: None }.into())),
                    ..patch()
                },
            ),
        ] {
            // Whatever else is changed with it.
            for name in [None, Some("renamed".to_owned())] {
                let patch = KeyPatch { name, ..patch.clone() };
                assert_eq!(why(handle.update(key.id, patch).await), format!("beyond {expected}"));
            }
        }
        assert_eq!(why(handle.top_up(key.id, 5).await), "beyond credits");
        assert_eq!(managed.row(key.id).await, before);
    }
    assert_eq!(why(handle.purge(at(1)).await), "beyond purge");
    let import = ImportKey::from_digest(KeyDigest::from_bytes([1; 32]), NewKey::named("n"));
    assert_eq!(why(handle.import(&[import]).await), "beyond import");
    let restore = RestoreKey::new(KeyRecord::clone(&own));
    assert_eq!(why(handle.restore(&[restore]).await), "beyond restore");
}

/// A key that can be used when or where the own cannot is not made wider, nor given a new secret.
/// But it may be made less, and be called something else.
#[tokio::test]
async fn a_key_beyond_the_own_is_only_reduced() {
    let managed = Managed::new();
    let own = managed.manager.create(sold(&managed)).await.unwrap().record;
    let handle = with(&managed, &own);
    let end = own.expires_at.unwrap();
    let minute = std::time::Duration::from_mins(1);
    let free = managed.manager.create(plain(&["orders:read"])).await.unwrap().record;
    let rename = KeyPatch { name: Some("renamed".into()), ..KeyPatch::default() };
    handle.update(free.id, rename).await.unwrap();
    assert_eq!(why(handle.rotate(free.id, RotationGrace::NONE).await), "beyond not_before");
    // Earlier than it was, and still later than the own end.
    handle.update(free.id, extending(Some(end.saturating_add(minute)))).await.unwrap();
    let again = extending(Some(end.saturating_add(2 * minute)));
    assert_eq!(why(handle.update(free.id, again).await), "beyond not_before");
    let fitting = KeyPatch {
        not_before: Some(own.details.not_before),
        allowed_addresses: Some(networks(&["10.7.0.0/16"])),
        ..extending(Some(end.saturating_sub(minute)))
    };
    handle.update(free.id, fitting).await.unwrap();
    // Now it is within the own in time and place, and still another product.
    handle.disable(free.id).await.unwrap();
    let patch = KeyPatch::default;
    let credits = NewCredits { remaining: 5, refill: None };
    for (expected, sold) in [
        ("tier", patch()),
        ("tier", KeyPatch { tier: Some(Some("gold".into())), ..patch() }),
        ("limits", KeyPatch { tier: Some(Some("basic".into())), ..patch() }),
        // Credits to spend without end, and then a balance of its own.
        ("credits", KeyPatch { limits: Some(three_a_minute()), ..patch() }),
        ("credits", KeyPatch { credits: Some(Some(credits.into())), ..patch() }),
    ] {
        managed.manager.update(free.id, sold).await.unwrap();
        let before = managed.row(free.id).await;
        let expected = format!("beyond {expected}");
        assert_eq!(why(handle.update(free.id, extending(Some(end))).await), expected);
        assert_eq!(why(handle.enable(free.id).await), expected);
        assert_eq!(why(handle.rotate(free.id, RotationGrace::NONE).await), expected);
        assert_eq!(managed.row(free.id).await, before);
    }
    // A key that shares all of it is widened up to the own.
    let earlier = Some(end.saturating_sub(minute));
    let made = NewKey { expires_at: earlier, ..NewKey::named("made") };
    let made = handle.create(made).await.unwrap().record;
    handle.update(made.id, extending(Some(end))).await.unwrap();
    handle.disable(made.id).await.unwrap();
    handle.enable(made.id).await.unwrap();
    let new = handle.rotate(made.id, RotationGrace::NONE).await.unwrap().record;
    assert_eq!((new.lineage(), new.details.created_by), (own.id, Some(own.id)));
    assert_eq!(new.expires_at, Some(end));
    // And the own key can always be replaced.
    handle.rotate(own.id, RotationGrace::NONE).await.unwrap();
}

/// It hands out another secret of the key as it is, and compares neither of them.
#[tokio::test]
async fn a_rotation_leaves_name_and_metadata_as_they_are() {
    let managed = Managed::new();
    let own = managed.manager.create(plain(&["a"])).await.unwrap().record;
    let metadata = serde_json::json!({ "team": "shop" }).as_object().unwrap().clone();
    let other = NewKey { name: "other".into(), metadata, ..plain(&["a"]) };
    let other = managed.manager.create(other).await.unwrap().record;
    let new = with(&managed, &own).rotate(other.id, RotationGrace::NONE).await.unwrap().record;
    assert_eq!((&new.name, &new.details.metadata), (&other.name, &other.details.metadata));
    assert_ne!(new.details.metadata, own.details.metadata);
}

/// A trial of a greater product, which is over, is not prolonged with a key of a lesser one, or by an
/// owner who is to have the lesser one.
#[tokio::test]
async fn an_ended_trial_stays_ended() {
    let managed = Managed::new();
    let minute = std::time::Duration::from_mins(1);
    let basic = || NewKey { tier: Some("basic".into()), ..plain(&["orders:*"]) };
    let own = managed.manager.create(basic()).await.unwrap().record;
    let end = Some(tower_api_key::clock::Clock::now(&managed.clock).saturating_add(minute));
    let gold = NewKey { tier: Some("gold".into()), expires_at: end, ..plain(&["orders:read"]) };
    let trial = managed.manager.create(gold).await.unwrap().record;
    let same = managed.manager.create(NewKey { expires_at: end, ..basic() }).await.unwrap().record;
    managed.clock.advance(2 * minute);
    let bounds = OwnerBounds::new(OWNER, scopes(&["*"])).with_template(basic());
    for handle in [with(&managed, &own), managed.manager.within_bounds(bounds)] {
        assert_eq!(why(handle.update(trial.id, extending(None)).await), "beyond tier");
        let longer = managed.manager.update(trial.id, extending(None)).await.unwrap();
        assert_eq!(why(handle.rotate(longer.id, RotationGrace::NONE).await), "beyond tier");
        let again = extending(Some(
            tower_api_key::clock::Clock::now(&managed.clock).saturating_add(minute),
        ));
        managed.manager.update(trial.id, again).await.unwrap();
        managed.clock.advance(2 * minute);
        handle.update(same.id, extending(None)).await.unwrap();
    }
}

/// Keys that were made by a template share its balance; others of the owner do not.
#[tokio::test]
async fn a_template_measures_what_is_sold_as_well() {
    let managed = Managed::new();
    let bounds = OwnerBounds::new(OWNER, scopes(&["*"])).with_template(sold(&managed));
    let handle = managed.manager.within_bounds(bounds);
    let made = handle.create(NewKey::named("made")).await.unwrap().record;
    handle.rotate(made.id, RotationGrace::NONE).await.unwrap();
    let other = managed.manager.create(sold(&managed)).await.unwrap().record;
    assert_eq!(why(handle.rotate(other.id, RotationGrace::NONE).await), "beyond credits");
    let free = NewKey { credits: None, ..sold(&managed) };
    let free = managed.manager.create(free).await.unwrap().record;
    assert_eq!(why(handle.rotate(free.id, RotationGrace::NONE).await), "beyond credits");
}

#[tokio::test]
async fn a_key_of_scopes_beyond_the_own_is_not_touched() {
    let managed = Managed::new();
    let small = managed.manager.create(plain(&["orders:read"])).await.unwrap().record;
    let great = managed.manager.create(plain(&["*"])).await.unwrap().record;
    let before = managed.row(great.id).await;
    for handle in [
        with(&managed, &small),
        managed.manager.within_bounds(OwnerBounds::new(OWNER, small.scopes.clone())),
        managed.manager.within_bounds(
            OwnerBounds::new(OWNER, small.scopes.clone()).with_template(NewKey::default()),
        ),
        // The key alone says what may be done, also where more is claimed.
        managed.manager.within_bounds(OwnerBounds::new(OWNER, scopes(&["*"])).bounded_by(&*small)),
    ] {
        let id = great.id;
        let rename = KeyPatch { name: Some("mine".into()), ..KeyPatch::default() };
        let fewer = KeyPatch { scopes: Some(scopes(&[])), ..KeyPatch::default() };
        for refused in [
            why(handle.revoke(id, None).await),
            why(handle.delete(id).await),
            why(handle.disable(id).await),
            why(handle.update(id, rename).await),
            why(handle.update(id, fewer).await),
            why(handle.rotate(id, RotationGrace::NONE).await),
        ] {
            assert_eq!(refused, "beyond scopes");
        }
        assert_eq!(*handle.get(id).await.unwrap(), *before);
    }
    assert_eq!(managed.row(great.id).await, before);
}

/// Nothing to measure by: what there is can be looked at and reduced.
#[tokio::test]
async fn without_a_key_or_a_template_an_owner_makes_nothing() {
    let managed = Managed::new();
    let key = managed.manager.create(plain(&["a"])).await.unwrap().record;
    let bounds = || OwnerBounds::new(OWNER, scopes(&["a", "b"]));
    let (mine, owners) = (managed.manager.within_bounds(bounds()), managed.manager.clone());
    // Bounds within bounds leave no more than that.
    let twice = owners.within_bounds(bounds().with_template(NewKey::default()));
    let twice = twice.within_bounds(bounds().bounded_by(&*key));
    for handle in [mine, twice] {
        let key = managed.manager.create(plain(&["a"])).await.unwrap().record;
        assert_eq!(why(handle.create(NewKey::named("n")).await), "beyond owner");
        assert_eq!(why(handle.rotate(key.id, RotationGrace::NONE).await), "beyond owner");
        let more = KeyPatch { scopes: Some(scopes(&["a", "b"])), ..KeyPatch::default() };
        assert_eq!(why(handle.update(key.id, more).await), "beyond scopes");
        let end = tower_api_key::clock::Clock::now(&managed.clock)
            .saturating_add(std::time::Duration::from_mins(1));
        handle.update(key.id, extending(Some(end))).await.unwrap();
        assert_eq!(why(handle.update(key.id, extending(None)).await), "beyond expires_at");
        handle.disable(key.id).await.unwrap();
        assert_eq!(why(handle.enable(key.id).await), "beyond disabled");
        handle.revoke(key.id, None).await.unwrap();
        handle.delete(key.id).await.unwrap();
    }
}

type End = std::pin::Pin<Box<dyn Future<Output = ()>>>;

/// It is read for every change: a cache that does not know yet makes no difference.
#[tokio::test]
async fn a_key_that_cannot_be_used_makes_no_other() {
    let managed = Managed::new();
    let other = managed.manager.create(plain(&["a"])).await.unwrap().record;
    let foreign = NewKey { owner: Some("user-2".into()), ..plain(&["a"]) };
    let foreign = managed.manager.create(foreign).await.unwrap().record;
    let ended = async |end: &dyn Fn(KeyManager, tower_api_key::KeyId) -> End| {
        let key = managed.manager.create(plain(&["a"])).await.unwrap().record;
        let handle = with(&managed, &key);
        handle.create(NewKey::named("before")).await.unwrap();
        end(managed.manager.clone(), key.id).await;
        (handle, key)
    };
    let unowned = managed
        .manager
        .within_bounds(OwnerBounds::new(OWNER, scopes(&["a"])).bounded_by(&*foreign));
    let mut stranger = KeyRecord::clone(&other);
    stranger.id = tower_api_key::KeyId::from_bytes([7; 16]);
    let handles = [
        ended(&|keys, id| Box::pin(async move { drop(keys.revoke(id, None).await.unwrap()) }))
            .await
            .0,
        ended(&|keys, id| Box::pin(async move { drop(keys.disable(id).await.unwrap()) })).await.0,
        ended(&|keys, id| Box::pin(async move { keys.delete(id).await.unwrap() })).await.0,
        ended(&|keys, id| {
            Box::pin(async move { drop(keys.rotate(id, RotationGrace::NONE).await.unwrap()) })
        })
        .await
        .0,
        unowned,
        with(&managed, &stranger),
    ];
    for handle in handles {
        let rename = KeyPatch { expires_at: Some(None), ..KeyPatch::default() };
        let end = tower_api_key::clock::Clock::now(&managed.clock)
            .saturating_add(std::time::Duration::from_mins(1));
        managed.manager.update(other.id, extending(Some(end))).await.unwrap();
        assert_eq!(why(handle.create(NewKey::named("after")).await), "beyond status");
        assert_eq!(why(handle.rotate(other.id, RotationGrace::NONE).await), "beyond status");
        assert_eq!(why(handle.update(other.id, rename).await), "beyond status");
    }
}

#[tokio::test]
async fn an_administrator_and_the_application_are_not_bounded() {
    let managed = Managed::new();
    let own = managed.manager.create(sold(&managed)).await.unwrap().record;
    for handle in [managed.manager.clone(), managed.manager.for_owner(OWNER)] {
        handle.update(own.id, extending(None)).await.unwrap();
        let new = NewKey { tier: Some("gold".into()), ..plain(&["*"]) };
        let made = handle.create(new).await.unwrap().record;
        assert_eq!((made.lineage(), made.details.created_by), (made.id, None));
    }
}

#[tokio::test]
async fn withheld_scopes_are_given_to_no_key() {
    let managed = Managed::new();
    let own = managed.manager.create(plain(&["keys:*", "orders:*"])).await.unwrap().record;
    let other = managed.manager.create(plain(&["keys:write"])).await.unwrap().record;
    let bounds = OwnerBounds::new(OWNER, own.scopes.clone()).bounded_by(&*own);
    let handle = managed.manager.within_bounds(bounds.withholding(scopes(&["keys:write"])));
    for held in [&["keys:write"][..], &["keys:*"], &["keys:write", "orders:read"]] {
        let new = NewKey { scopes: scopes(held), ..NewKey::named("n") };
        assert_eq!(why(handle.create(new).await), "beyond scopes");
    }
    let new = NewKey { scopes: scopes(&["keys:read", "orders:*"]), ..NewKey::named("n") };
    let made = handle.create(new).await.unwrap().record;
    let more = KeyPatch { scopes: Some(scopes(&["keys:write"])), ..KeyPatch::default() };
    assert_eq!(why(handle.update(made.id, more).await), "beyond scopes");
    // A new secret of a key that manages others would be one more, but not that of the own key.
    assert_eq!(why(handle.rotate(other.id, RotationGrace::NONE).await), "beyond scopes");
    let rename = KeyPatch { name: Some("kept".into()), ..KeyPatch::default() };
    assert_eq!(handle.update(other.id, rename).await.unwrap().scopes, other.scopes);
    assert_eq!(handle.rotate(own.id, RotationGrace::NONE).await.unwrap().record.scopes, own.scopes);
}

#[tokio::test]
async fn an_error_names_the_field() {
    let error = ManageError::BeyondOwnKey { field: "expires_at" };
    assert_eq!(error.to_string(), "expires_at would go beyond the owner's own key");
}
