//! Lists: filters through the manager, and what `KeyQuery::matches` says.

use proptest::{collection::vec, option, prelude::*, sample::select};
use tower_api_key::{
    KeyId, NewKey, Timestamp,
    key::{KeyDetails, KeyDigest, KeyRecord, KeyStatus, LegacyHash},
    store::KeyQuery,
};

use crate::{
    managed::{Managed, scopes},
    support::{NOW, at},
};

/// The names of what is listed, in alphabetical order.
async fn names(managed: &Managed, query: &KeyQuery) -> Vec<String> {
    let page = managed.manager.list(query).await.unwrap();
    let mut names: Vec<_> = page.items.iter().map(|record| record.name.to_string()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn status_is_what_it_is_at_the_moment_that_is_asked_for() {
    let managed = Managed::new();
    let manager = &managed.manager;
    let create = async |name: &str, start, end| {
        let new = NewKey { not_before: start, expires_at: end, ..NewKey::named(name) };
        manager.create(new).await.unwrap().record.id
    };
    create("always", None, None).await;
    create("from 10 to 20", Some(at(10)), Some(at(20))).await;
    let disabled = create("disabled", None, Some(at(20))).await;
    manager.disable(disabled).await.unwrap();
    let revoked = create("revoked", None, None).await;
    manager.revoke(revoked, None).await.unwrap();
    let replaced = create("replaced", None, None).await;
    let grace = tower_api_key::manage::RotationGrace::FromNow(std::time::Duration::from_millis(15));
    let new = manager.rotate(replaced, grace).await.unwrap().record.id;
    manager.delete(new).await.unwrap();
    let listed = async |status, now| {
        names(&managed, &KeyQuery::new(10).with_status(status, at(now))).await.join(", ")
    };
    for (status, now, expected) in [
        (KeyStatus::Active, 9, "always, replaced"),
        (KeyStatus::Active, 10, "always, from 10 to 20, replaced"),
        (KeyStatus::Active, 15, "always, from 10 to 20"),
        (KeyStatus::Active, 20, "always"),
        (KeyStatus::NotYetValid, 9, "from 10 to 20"),
        (KeyStatus::NotYetValid, 10, ""),
        (KeyStatus::Expired, 14, ""),
        (KeyStatus::Expired, 15, "replaced"),
        (KeyStatus::Expired, 20, "from 10 to 20, replaced"),
        (KeyStatus::Disabled, 9, "disabled"),
        (KeyStatus::Disabled, 20, "disabled"),
        (KeyStatus::Revoked, 20, "revoked"),
    ] {
        assert_eq!(listed(status, now).await, expected, "{status} at {now}");
    }
}

#[tokio::test]
async fn scopes_prefixes_and_owners_are_looked_for_as_they_are_written() {
    let managed = Managed::new();
    for (name, owner, granted) in [
        ("CI of the shop", "user-1", &["orders:read", "stock:*"][..]),
        ("CI of the bank", "user-2", &["orders:*"]),
        ("ci, small", "user-1", &["orders:read:all"]),
        ("100%_done", "user-1", &["*"]),
    ] {
        let new =
            NewKey { owner: Some(owner.into()), scopes: scopes(granted), ..NewKey::named(name) };
        managed.manager.create(new).await.unwrap();
        managed.clock.advance(std::time::Duration::from_millis(1));
    }
    let all = || KeyQuery::new(10);
    let scope = |text: &str| all().with_scope(text.parse().unwrap());
    let start = managed.rows().await[0].start.clone();
    for (query, expected) in [
        (scope("orders:read"), "CI of the shop"),
        (scope("orders:*"), "CI of the bank"),
        (scope("*"), "100%_done"),
        (scope("stock:read"), ""),
        (scope("orders"), ""),
        (all().with_prefix("CI of the "), "CI of the bank, CI of the shop"),
        (all().with_prefix("ci"), "ci, small"),
        (all().with_prefix("of the"), ""),
        // No pattern of any database.
        (all().with_prefix("100%"), "100%_done"),
        (all().with_prefix("100%_d"), "100%_done"),
        (all().with_prefix("1%"), ""),
        (all().with_prefix("CI_of"), ""),
        (all().with_prefix(start.clone()), "CI of the shop"),
        (all().with_prefix("shop_test_"), "100%_done, CI of the bank, CI of the shop, ci, small"),
        (all().with_owner("user-2"), "CI of the bank"),
        (all().with_owner("user-1").with_prefix("CI"), "CI of the shop"),
        (scope("orders:read").with_owner("user-2"), ""),
    ] {
        assert_eq!(names(&managed, &query).await.join(", "), expected, "{query:?}");
    }
}

/// Few different values, so that filters and records often meet.
fn any_time() -> impl Strategy<Value = Timestamp> {
    (0_i64..4).prop_map(at)
}

fn any_id() -> impl Strategy<Value = KeyId> {
    (0_u8..8).prop_map(|n| KeyId::from_bytes([n; 16]))
}

fn any_digest() -> impl Strategy<Value = KeyDigest> {
    (0_u8..3).prop_map(|n| KeyDigest::from_bytes([n; 32]))
}

prop_compose! {
    fn any_record()(
        id in any_id(),
        name in select(vec!["", "a", "ab", "b", "Ab"]),
        start in select(vec!["", "a", "key_a"]),
        owner in option::of(select(vec!["a", "b"])),
        granted in vec(select(vec!["a", "a:*", "*", "b"]), 0..3),
        disabled in any::<bool>(),
        [not_before, expires_at, revoked_at, deleted_at, retires_at] in
            prop::array::uniform5(option::weighted(0.3, any_time())),
        request in option::of(any_digest()),
        legacy in any::<bool>(),
    ) -> KeyRecord {
        let mut record = KeyRecord::new(id, KeyDigest::from_bytes([0; 32]), name, NOW);
        record.start = start.into();
        record.owner = owner.map(Into::into);
        record.scopes = scopes(&granted);
        record.disabled = disabled;
        record.details.not_before = not_before;
        record.expires_at = expires_at;
        record.details.revoked_at = revoked_at;
        let mut details = KeyDetails::default();
        details.deleted_at = deleted_at;
        details.rotation.retires_at = retires_at;
        details.request = request;
        details.legacy_hash = legacy.then(|| LegacyHash::new("$2b$"));
        record.details = details.into();
        record
    }
}

prop_compose! {
    fn any_query()(
        owner in option::weighted(0.3, select(vec!["a", "b", ""])),
        status in option::weighted(0.3, (select(vec![
            KeyStatus::Active,
            KeyStatus::Disabled,
            KeyStatus::Expired,
            KeyStatus::NotYetValid,
            KeyStatus::Revoked,
        ]), any_time())),
        scope in option::weighted(0.3, select(vec!["a", "a:*", "*", "b", "a:b"])),
        prefix in option::weighted(0.3, select(vec!["", "a", "A", "ab", "key_"])),
        request in option::weighted(0.2, any_digest()),
        legacy in prop::bool::weighted(0.2),
        after in option::weighted(0.3, any_id()),
    ) -> KeyQuery {
        let mut query = KeyQuery::new(10);
        query.owner = owner.map(Into::into);
        query.status = status;
        query.scope = scope.map(|scope| scope.parse().unwrap());
        query.prefix = prefix.map(Into::into);
        (query.request, query.legacy, query.after) = (request, legacy, after);
        query
    }
}

/// The definition, one filter after the other.
fn is_listed(query: &KeyQuery, record: &KeyRecord) -> bool {
    if record.details.deleted_at.is_some() {
        return false;
    }
    if let Some(after) = &query.after
        && record.id.as_bytes() >= after.as_bytes()
    {
        return false;
    }
    if query.owner.is_some() && query.owner != record.owner {
        return false;
    }
    if let Some((status, now)) = query.status {
        let ends = [record.expires_at, record.details.rotation.retires_at];
        let is = if record.details.revoked_at.is_some() {
            KeyStatus::Revoked
        } else if record.disabled {
            KeyStatus::Disabled
        } else if record.details.not_before.is_some_and(|start| start > now) {
            KeyStatus::NotYetValid
        } else if ends.into_iter().flatten().any(|end| end <= now) {
            KeyStatus::Expired
        } else {
            KeyStatus::Active
        };
        if is != status {
            return false;
        }
    }
    if let Some(scope) = &query.scope
        && !record.scopes.as_str().split(' ').any(|granted| granted == scope.as_str())
    {
        return false;
    }
    if let Some(prefix) = &query.prefix
        && record.name.find(&**prefix) != Some(0)
        && record.start.find(&**prefix) != Some(0)
    {
        return false;
    }
    if query.request.is_some() && query.request != record.details.request {
        return false;
    }
    !query.legacy || record.details.legacy_hash.is_some()
}

proptest! {
    #[test]
    fn matches_says_what_is_listed(
        records in vec(any_record(), 1..20),
        query in any_query(),
    ) {
        for record in &records {
            prop_assert_eq!(query.matches(record), is_listed(&query, record), "{:?}", record);
        }
    }
}
