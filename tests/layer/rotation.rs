//! Rotation: what the new key inherits, how long the old one lives on, and what is refused.

use std::{convert::Infallible, time::Duration};

use http::{Request, Response};
use tower::{ServiceBuilder, service_fn};
use tower_api_key::{KeyId, KeyPatch, NewKey, key::KeyRecord, manage::RotationGrace};

use crate::{
    managed::{Managed, now_in_seconds, retirement, scopes, why},
    support::{at, respond_now, send, with_key},
};

const HOUR: i64 = 3_600_000;

pub(crate) fn hours(hours: u64) -> Duration {
    Duration::from_hours(hours)
}

/// A key with something in every field that its owner may choose.
fn rich() -> NewKey {
    let mut new = NewKey {
        description: Some("described".into()),
        owner: Some("user-1".into()),
        scopes: scopes(&["orders:*", "stock:read"]),
        tier: Some("gold".into()),
        allowed_addresses: vec!["192.0.2.0/24".parse().unwrap()],
        not_before: Some(at(-1)),
        expires_at: Some(at(1000 * HOUR)),
        request_id: Some("request-1".into()),
        ..NewKey::named("a rich key")
    };
    new.metadata.insert("team".into(), "blue".into());
    new
}

#[tokio::test]
async fn the_new_key_inherits_everything_but_the_secret() {
    let managed = Managed::new();
    let old = managed.manager.create(rich()).await.unwrap();
    managed.set(at(5));
    let new =
        managed.manager.rotate(old.record.id, RotationGrace::FromNow(hours(1))).await.unwrap();

    assert_ne!(new.secret.expose(), old.secret.expose());
    assert_eq!(*managed.row(new.record.id).await, *new.record);
    let mut expected = KeyRecord::clone(&old.record);
    expected.id = new.record.id;
    expected.digest = new.record.digest;
    expected.start = new.record.start.clone();
    (expected.created_at, expected.updated_at) = (at(5), at(5));
    expected.revision = old.record.revision + 5;
    expected.details.request = None;
    expected.details.rotation.lineage = Some(old.record.id);
    expected.details.rotation.from = Some(old.record.id);
    assert_eq!(*new.record, expected);
    assert!(new.secret.expose().starts_with(&*new.record.start));
    assert_ne!(new.record.digest, old.record.digest);

    // And nothing else about the old one has changed.
    let mut replaced = KeyRecord::clone(&old.record);
    replaced.details.rotation.to = Some(new.record.id);
    replaced.details.rotation.rotated_at = Some(at(5));
    replaced.details.rotation.retires_at = Some(at(5 + HOUR));
    (replaced.updated_at, replaced.revision) = (at(5), old.record.revision + 5);
    assert_eq!(*managed.row(old.record.id).await, replaced);
}

#[tokio::test]
async fn uses_are_not_inherited_and_the_line_is() {
    let managed = Managed::new();
    let first = managed.issue().await;
    let used = tower_api_key::store::KeyUse::new(first.record.id, 7, at(1));
    tower_api_key::store::KeyRepository::record_uses(&managed.store, &[used]).await.unwrap();
    let mut id = first.record.id;
    for n in 0..5 {
        managed.set(at(n));
        let next = managed.manager.rotate(id, RotationGrace::FromNow(hours(1))).await.unwrap();
        assert_eq!(next.record.lineage(), first.record.id);
        assert_eq!(next.record.details.rotation.from, Some(id));
        assert_eq!((next.record.use_count, next.record.last_used_at), (0, None));
        assert_eq!(next.record.revision, u64::try_from(at(n).as_unix_millis()).unwrap());
        id = next.record.id;
    }
    assert_eq!(managed.row(first.record.id).await.use_count, 7);
    assert_eq!(first.record.lineage(), first.record.id);
}

#[tokio::test]
async fn the_grace_ends_on_time() {
    let managed = Managed::new();
    let old = managed.issue().await;
    let new =
        managed.manager.rotate(old.record.id, RotationGrace::FromNow(hours(2))).await.unwrap();
    for (now, expected) in [
        (at(0), "admitted"),
        (at(2 * HOUR - 1), "admitted"),
        (at(2 * HOUR), "expired_key"),
        (at(900 * HOUR), "expired_key"),
    ] {
        managed.set(now);
        assert_eq!(managed.outcome(&old), expected);
        assert_eq!(managed.outcome(&new), "admitted");
    }
}

#[tokio::test]
async fn without_a_grace_the_old_key_is_refused_at_once() {
    let managed = Managed::new();
    let old = managed.issue().await;
    assert_eq!(managed.outcome(&old), "admitted");
    let new = managed.manager.rotate(old.record.id, RotationGrace::NONE).await.unwrap();
    assert_eq!(managed.outcome(&old), "expired_key");
    assert_eq!(managed.outcome(&new), "admitted");
}

#[tokio::test]
async fn no_grace_outlives_the_old_keys_own_end() {
    let managed = Managed::new();
    for grace in [RotationGrace::FromNow(hours(5)), RotationGrace::FromNow(Duration::MAX)] {
        managed.set(at(0));
        let ends = NewKey { expires_at: Some(at(HOUR)), ..NewKey::named("ends") };
        let old = managed.manager.create(ends).await.unwrap();
        let new = managed.manager.rotate(old.record.id, grace).await.unwrap();
        assert_eq!(new.record.expires_at, Some(at(HOUR)));
        managed.set(at(HOUR - 1));
        assert_eq!(managed.outcome(&old), "admitted");
        let answer = managed.send(&old);
        assert_eq!(retirement(&answer.response)[1], Some("Mon, 23 Nov 2026 01:00:00 GMT"));
        managed.set(at(HOUR));
        assert_eq!(managed.outcome(&old), "expired_key");
        assert_eq!(managed.outcome(&new), "expired_key");
    }
}

#[tokio::test]
async fn responses_say_that_the_key_was_replaced_and_until_when_it_works() {
    let managed = Managed::new();
    let (old, other) = (managed.issue().await, managed.issue().await);
    assert_eq!(retirement(&managed.send(&old).response), [None, None]);
    managed.set(at(1999));
    let grace = RotationGrace::FromNow(Duration::from_millis(10_500));
    let new = managed.manager.rotate(old.record.id, grace).await.unwrap();
    // RFC 9745 §2, and RFC 8594 §3. Parts of seconds are cut off: never later than it ends.
    let deprecated = format!("@{}", now_in_seconds() + 1);
    let expected = [Some(deprecated.as_str()), Some("Mon, 23 Nov 2026 00:00:12 GMT")];
    assert_eq!(retirement(&managed.send(&old).response), expected);
    for key in [&new, &other] {
        assert_eq!(retirement(&managed.send(key).response), [None, None]);
    }
    // Without an end there is none to tell.
    let grace = RotationGrace::FromFirstUse(hours(1));
    managed.manager.rotate(other.record.id, grace).await.unwrap();
    assert_eq!(retirement(&managed.send(&other).response), [Some(deprecated.as_str()), None]);
    // The longest grace has an end that can be written.
    let long = managed.issue().await;
    managed.manager.rotate(long.record.id, RotationGrace::FromNow(Duration::MAX)).await.unwrap();
    let answer = managed.send(&long);
    assert_eq!(retirement(&answer.response)[1], Some("Thu, 30 Dec 9999 22:00:00 GMT"));
}

#[tokio::test]
async fn what_the_application_says_about_itself_comes_first() {
    let managed = Managed::new();
    let old = managed.issue().await;
    managed.manager.rotate(old.record.id, RotationGrace::FromNow(hours(1))).await.unwrap();
    for (name, expected) in [
        ("deprecation", [Some("own"), Some("Mon, 23 Nov 2026 01:00:00 GMT")]),
        ("sunset", [Some("@1795392000"), Some("own")]),
    ] {
        let inner = service_fn(|_: Request<()>| async move {
            let response = Response::builder().header(name, "own");
            Ok::<_, Infallible>(
                response.body(http_body_util::Full::<bytes::Bytes>::default()).unwrap(),
            )
        });
        let service = ServiceBuilder::new().layer(managed.manager.layer()).service(inner);
        let response = respond_now(service, with_key(old.secret.expose()));
        assert_eq!(retirement(&response), expected);
    }
}

/// Whoever lost the answer to the first request learns which key there is, and may replace that.
#[tokio::test]
async fn a_key_that_has_ended_is_not_replaced() {
    let managed = Managed::new();
    let manager = &managed.manager;
    let revoked = managed.issue().await.record.id;
    manager.revoke(revoked, None).await.unwrap();
    let ends = || NewKey { expires_at: Some(at(10)), ..NewKey::named("ends") };
    let expired = manager.create(ends()).await.unwrap().record.id;
    // Whose successor would be as expired as it is.
    let disabled = manager.create(ends()).await.unwrap().record.id;
    manager.disable(disabled).await.unwrap();
    managed.set(at(10));
    let before = managed.rows().await;
    for (id, expected) in
        [(revoked, "ended revoked"), (expired, "ended expired"), (disabled, "ended expired")]
    {
        assert_eq!(why(manager.rotate(id, RotationGrace::NONE).await), expected);
    }
    assert_eq!(managed.rows().await, before);
    managed.set(at(9));
    assert!(
        manager.rotate(expired, RotationGrace::NONE).await.is_ok(),
        "a millisecond before its end"
    );

    let deleted = managed.issue().await.record.id;
    manager.delete(deleted).await.unwrap();
    assert_eq!(why(manager.rotate(deleted, RotationGrace::NONE).await), "not found");
    let nobodys = KeyId::generate(at(0)).unwrap();
    assert_eq!(why(manager.rotate(nobodys, RotationGrace::NONE).await), "not found");
}

#[tokio::test]
async fn the_new_key_of_a_disabled_one_is_disabled() {
    let managed = Managed::new();
    let old = managed.issue().await;
    managed.manager.disable(old.record.id).await.unwrap();
    let new =
        managed.manager.rotate(old.record.id, RotationGrace::FromNow(hours(1))).await.unwrap();
    assert_eq!(
        (&*managed.outcome(&old), &*managed.outcome(&new)),
        ("disabled_key", "disabled_key")
    );
    managed.manager.enable(new.record.id).await.unwrap();
    assert_eq!(managed.outcome(&new), "admitted");
    assert_eq!(managed.outcome(&old), "disabled_key");
}

/// What is done to one of them is not done to the other.
#[tokio::test]
async fn after_a_rotation_the_two_keys_go_their_own_ways() {
    let managed = Managed::new();
    let old = managed.issue().await;
    let new =
        managed.manager.rotate(old.record.id, RotationGrace::FromNow(hours(1))).await.unwrap();
    managed.manager.revoke(new.record.id, Some("leaked")).await.unwrap();
    assert_eq!(managed.outcome(&old), "admitted");
    let rename = KeyPatch { name: Some("renamed".into()), ..KeyPatch::default() };
    managed.manager.update(old.record.id, rename).await.unwrap();
    assert_eq!(&*managed.row(new.record.id).await.name, "key of the tests");
    // A change does not lengthen the grace, and nobody can: it is no field of a patch.
    let unending = KeyPatch { expires_at: Some(None), ..KeyPatch::default() };
    managed.manager.update(old.record.id, unending).await.unwrap();
    managed.set(at(HOUR));
    let answer = send(&managed.manager.layer(), with_key(old.secret.expose()));
    assert_eq!(answer.outcome(), "expired_key");
    // A denial says nothing about what was once true.
    assert_eq!(retirement(&answer.response), [None, None]);
}
