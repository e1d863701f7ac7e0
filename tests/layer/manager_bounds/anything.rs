//! Whatever owners do, no key can be used in a way in which neither it nor the own key could.

use std::net::IpAddr;

use proptest::{collection::vec, option, prelude::*, sample::select};
use tower_api_key::{
    KeyManager, KeyPatch, NewKey, Timestamp,
    credits::NewCredits,
    key::{KeyRecord, KeyStatus},
    limit::Limits,
    manage::RotationGrace,
    scope::Scope,
    store::{KeyRepository, MemoryStore},
};

use super::{networks, plain, three_a_minute, with};
use crate::{
    managed::{Managed, scopes},
    support::NOW,
};

const NETWORKS: [&str; 7] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/9",
    "10.128.0.0/9",
    "192.0.2.0/24",
    "::/0",
    "2001:db8::/32",
];
const ADDRESSES: [&str; 5] = ["10.0.0.1", "10.200.0.1", "192.0.2.1", "2001:db8::1", "3000::1"];
const SCOPES: [&str; 5] = ["*", "a:*", "a:x", "a:y", "b"];
const PROBED: [&str; 4] = ["a:x", "a:y", "b", "c"];

fn minutes(minutes: i64) -> Timestamp {
    Timestamp::from_unix_millis(NOW.as_unix_millis() + 60_000 * minutes)
}

#[derive(Clone, Debug)]
enum Act {
    Create(NewKey),
    /// Of one of the keys that there are.
    Update(usize, KeyPatch),
    Enable(usize),
    Disable(usize),
    Rotate(usize, bool),
    /// An administrator switches one off.
    Forbid(usize),
}

fn any_new() -> impl Strategy<Value = NewKey> {
    let time = || option::of((-3_i64..7).prop_map(minutes));
    let networks_of = vec(select(&NETWORKS[..]), 0..3);
    // Often the same for all, or nothing else would be tried.
    let sold = || prop_oneof![3 => Just([false; 3]), 1 => any::<[bool; 3]>()];
    (time(), time(), networks_of, vec(select(&SCOPES[..]), 0..3), sold()).prop_map(
        |(not_before, expires_at, addresses, granted, [tier, limits, credits])| NewKey {
            not_before,
            expires_at,
            allowed_addresses: networks(&addresses),
            tier: tier.then(|| "gold".to_owned()),
            limits: if limits { three_a_minute() } else { Limits::default() },
            credits: credits.then_some(NewCredits { remaining: 5, refill: None }),
            ..plain(&granted)
        },
    )
}

fn any_act() -> impl Strategy<Value = Act> {
    let patch = (any_new(), any::<[bool; 7]>(), option::of(any::<bool>())).prop_map(
        |(new, takes, disabled)| KeyPatch {
            not_before: takes[0].then_some(new.not_before),
            expires_at: takes[1].then_some(new.expires_at),
            allowed_addresses: takes[2].then_some(new.allowed_addresses),
            scopes: takes[3].then_some(new.scopes),
            tier: (takes[4] && takes[5]).then_some(new.tier),
            limits: (takes[4] && takes[6]).then_some(new.limits),
            credits: (takes[5] && takes[6]).then_some(new.credits.map(Into::into)),
            disabled,
            ..KeyPatch::default()
        },
    );
    prop_oneof![
        3 => any_new().prop_map(Act::Create),
        5 => (0_usize..6, patch).prop_map(|(key, patch)| Act::Update(key, patch)),
        2 => (0_usize..6).prop_map(Act::Enable),
        2 => (0_usize..6).prop_map(Act::Disable),
        2 => (0_usize..6, any::<bool>()).prop_map(|(key, graced)| Act::Rotate(key, graced)),
        1 => (0_usize..6).prop_map(Act::Forbid),
    ]
}

/// Every way in which the key can be used, that there is a probe of.
fn uses(key: &KeyRecord) -> Vec<(i64, &'static str, &'static str)> {
    let mut uses = Vec::new();
    let is_deleted = key.details.deleted_at.is_some();
    for minute in (-4..8).filter(|_| !is_deleted) {
        let at = Timestamp::from_unix_millis(minutes(minute).as_unix_millis() + 1);
        for address in ADDRESSES {
            let parsed: IpAddr = address.parse().unwrap();
            let allowed = &key.details.allowed_addresses;
            let is_allowed = allowed.is_empty() || allowed.iter().any(|net| net.contains(&parsed));
            for scope in PROBED {
                let has_scope = key.scopes.allow(&scope.parse::<Scope>().unwrap());
                if is_allowed && has_scope && key.status(at) == KeyStatus::Active {
                    uses.push((minute, address, scope));
                }
            }
        }
    }
    uses
}

/// Whether what is counted of this key is counted for the other as well: they are of one tier and of
/// the same limits, and credits that the first one spends are those that the other spends.
fn is_counted_alike(one: &KeyRecord, other: &KeyRecord) -> bool {
    let balance = |key: &KeyRecord| key.details.credits.map(|_| key.lineage());
    one.details.tier == other.details.tier
        && one.details.limits == other.details.limits
        && balance(one).is_none_or(|balance_of_one| balance(other) == Some(balance_of_one))
}

async fn keys_of(store: &MemoryStore) -> Vec<KeyRecord> {
    let query = tower_api_key::store::KeyQuery::new(1000);
    let mut keys: Vec<_> = store.list(&query).await.unwrap().items;
    keys.reverse();
    keys.iter().map(|key| KeyRecord::clone(key)).collect()
}

async fn act(owner: &KeyManager, admin: &KeyManager, keys: &[KeyRecord], act: Act) {
    let id = |number: usize| keys[number % keys.len()].id;
    // Whether it may is the owner's handle to say; what comes of it is looked at.
    match act {
        Act::Create(new) => drop(owner.create(new).await),
        Act::Update(key, patch) => drop(owner.update(id(key), patch).await),
        Act::Enable(key) => drop(owner.enable(id(key)).await),
        Act::Disable(key) => drop(owner.disable(id(key)).await),
        Act::Rotate(key, graced) => {
            let grace = std::time::Duration::from_mins(if graced { 5 } else { 0 });
            drop(owner.rotate(id(key), RotationGrace::FromNow(grace)).await);
        }
        Act::Forbid(key) => drop(admin.disable(id(key)).await.unwrap()),
    }
}

proptest! {
    #[test]
    fn no_key_comes_to_more_than_it_or_the_own_key_had(
        own in any_new(),
        others in vec(any_new(), 1..4),
        acts in vec(any_act(), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let managed = Managed::new();
            managed.set(NOW);
            let admin = &managed.manager;
            let Ok(own) = admin.create(own).await else { return Ok(()) };
            for other in others {
                let _ = admin.create(other).await;
            }
            let own = own.record;
            // It claims everything: what the key has is what counts.
            let bounds = tower_api_key::manage::OwnerBounds::new("user-1", scopes(&["*"])).bounded_by(&*own);
            let owner = admin.within_bounds(bounds);
            prop_assert_eq!(&with(&managed, &own).get(own.id).await.unwrap().id, &own.id);
            for step in acts {
                let before = keys_of(&managed.store).await;
                let own_before = before.iter().find(|key| key.id == own.id).unwrap();
                let own_uses = uses(own_before);
                let shown = format!("{step:?}");
                let is_forbidden = matches!(step, Act::Forbid(_));
                act(&owner, admin, &before, step).await;
                for key in keys_of(&managed.store).await {
                    let old = before.iter().find(|old| old.id == key.id);
                    let old_uses = old.filter(|old| is_counted_alike(old, &key));
                    let old_uses = old_uses.map(uses).unwrap_or_default();
                    let is_like_own = is_counted_alike(own_before, &key);
                    for use_of in uses(&key) {
                        prop_assert!(
                            old_uses.contains(&use_of)
                                || (is_like_own && own_uses.contains(&use_of)),
                            "{shown} gave {use_of:?} to {key:?}"
                        );
                    }
                    // What an administrator switched off stays off.
                    let was_forbidden =
                        old.is_some_and(|old| old.disabled && !old.details.disabled_by_owner);
                    prop_assert!(is_forbidden || !was_forbidden || key.disabled, "{shown}");
                }
            }
            Ok(())
        })?;
    }
}
