//! What the manager tells of changes: one event each to the hook and to the audit log.

use std::{net::IpAddr, time::Duration};

use tower_api_key::{
    KeyId, KeyPatch, NewKey,
    key::{EventQuery, KeyAction, KeyDigest, KeyEvent},
    manage::{ImportKey, RotationGrace},
};

use crate::{
    managed::{Managed, scopes, why},
    support::{NOW, at},
};

const CLIENT: &str = "192.0.2.7";

/// What an event says, as text: action, key, owner, actor, address and detail.
fn told(event: &KeyEvent, key: Option<KeyId>) -> String {
    assert_eq!(event.key, key);
    let owner = event.owner.as_ref().map_or("-", |owner| owner.as_str());
    let actor = event.actor.as_deref().unwrap_or("-");
    let address = event.address.map_or("-".into(), |address| address.to_string());
    let detail = event.detail.as_deref().unwrap_or("-");
    format!("{} {owner} {actor} {address} {detail}", event.action)
}

fn patch(change: impl FnOnce(&mut KeyPatch)) -> KeyPatch {
    let mut patch = KeyPatch::default();
    change(&mut patch);
    patch
}

/// The next event of each kind, one millisecond after the one before.
struct Story {
    managed: Managed,
    secrets: Vec<String>,
    told: Vec<KeyEvent>,
}

impl Story {
    /// The one event that was told since, which says this.
    fn expect(&mut self, key: Option<KeyId>, expected: &str) {
        let heard = self.managed.heard();
        assert_eq!(heard.len(), 1, "{expected}: {heard:?}");
        let now = tower_api_key::clock::Clock::now(&self.managed.clock);
        assert_eq!(heard[0].at, now);
        assert_eq!(told(&heard[0], key), expected);
        self.told.extend(heard);
        self.managed.clock.advance(Duration::from_millis(1));
    }
}

#[tokio::test]
async fn every_change_is_told_once_in_order_and_without_a_secret() {
    let managed = Managed::new();
    let manager = managed
        .manager
        .acting_as("admin")
        .from_address(format!("::ffff:{CLIENT}").parse::<IpAddr>().unwrap());
    let mut story = Story { managed, secrets: Vec::new(), told: Vec::new() };

    let new = NewKey { owner: Some("user-1".into()), ..NewKey::named("n") };
    let first = manager.create(new).await.unwrap();
    let id = first.record.id;
    story.expect(Some(id), "created user-1 admin 192.0.2.7 -");
    let described = patch(|patch| {
        patch.name = Some("m".into());
        patch.description = Some(Some("told nobody".into()));
        patch.scopes = Some(scopes(&["orders:read"]));
        patch.tier = Some(Some("gold".into()));
        patch.metadata = Some(serde_json::from_str(r#"{"a":1}"#).unwrap());
        patch.allowed_addresses = Some(vec!["192.0.2.0/24".parse().unwrap()]);
        patch.not_before = Some(Some(at(-1)));
        patch.expires_at = Some(Some(at(1_000_000)));
    });
    manager.update(id, described).await.unwrap();
    let fields = "name, description, scopes, tier, metadata, allowed_addresses, not_before, \
                  expires_at";
    story.expect(Some(id), &format!("updated user-1 admin 192.0.2.7 {fields}"));
    manager.update(id, patch(|patch| patch.tier = Some(None))).await.unwrap();
    story.expect(Some(id), "updated user-1 admin 192.0.2.7 tier");
    manager.disable(id).await.unwrap();
    story.expect(Some(id), "disabled user-1 admin 192.0.2.7 -");
    manager.enable(id).await.unwrap();
    story.expect(Some(id), "enabled user-1 admin 192.0.2.7 -");
    manager.update(id, patch(|patch| patch.disabled = Some(true))).await.unwrap();
    story.expect(Some(id), "disabled user-1 admin 192.0.2.7 -");
    let on = patch(|patch| {
        patch.disabled = Some(false);
        patch.name = Some("on again".into());
    });
    manager.update(id, on).await.unwrap();
    story.expect(Some(id), "enabled user-1 admin 192.0.2.7 name");
    let second = manager.rotate(id, RotationGrace::NONE).await.unwrap();
    let replaced = format!("rotated user-1 admin 192.0.2.7 replaced by {}", second.record.id);
    story.expect(Some(id), &replaced);
    let own = manager.for_owner("user-1").acting_as("user-1");
    own.revoke(second.record.id, Some("laptop stolen")).await.unwrap();
    story.expect(Some(second.record.id), "revoked user-1 user-1 192.0.2.7 laptop stolen");
    manager.delete(id).await.unwrap();
    story.expect(Some(id), "deleted user-1 admin 192.0.2.7 -");
    let digest = KeyDigest::from_bytes([0xab; 32]);
    let imports = [ImportKey::from_digest(digest, NewKey::named("n"))];
    let imported = story.managed.manager.import(&imports).await.unwrap().imported[0];
    story.expect(Some(imported), "imported - - - -");
    let before = tower_api_key::clock::Clock::now(&story.managed.clock);
    assert_eq!(manager.purge(before).await.unwrap(), 2);
    let purged = format!("purged - admin 192.0.2.7 2 keys that had ended before {before}");
    story.expect(None, &purged);

    // The audit log says the same, in the same order; also of keys that are no longer there.
    assert_eq!(story.managed.log().await, story.told);
    let everything = format!("{:?}", story.told);
    story.secrets.extend([&first, &second].map(|key| key.secret.expose().to_owned()));
    story.secrets.extend([&first, &second].map(|key| key.record.digest.to_hex()));
    story.secrets.push(digest.to_hex());
    story.secrets.push("told nobody".into());
    for secret in &story.secrets {
        assert!(!everything.to_lowercase().contains(&secret.to_lowercase()));
    }
}

#[tokio::test]
async fn what_changes_nothing_is_not_told() {
    let managed = Managed::new();
    let manager = &managed.manager;
    let key = manager
        .create(NewKey { request_id: Some("r".into()), ..NewKey::named("same") })
        .await
        .unwrap();
    let id = key.record.id;
    let revoked = managed.issue().await.record.id;
    manager.revoke(revoked, None).await.unwrap();
    managed.heard();
    let before = (managed.rows().await, managed.log().await);
    managed.set(at(100));

    manager.update(id, patch(|patch| patch.name = Some("same".into()))).await.unwrap();
    manager.update(id, KeyPatch::default()).await.unwrap();
    manager.update(id, patch(|patch| patch.description = Some(None))).await.unwrap();
    manager.enable(id).await.unwrap();
    manager.revoke(revoked, Some("again")).await.unwrap();
    assert_eq!(manager.purge(NOW).await.unwrap(), 0);
    manager.import(&[]).await.unwrap();

    let twice = NewKey { request_id: Some("r".into()), ..NewKey::named("same") };
    assert!(why(manager.create(twice).await).starts_with("already created"));
    assert_eq!(why(manager.create(NewKey::named("")).await), "invalid name");
    assert_eq!(
        why(manager.update(id, patch(|p| p.name = Some(String::new()))).await),
        "invalid name"
    );
    let stale = patch(|patch| {
        patch.name = Some("m".into());
    });
    assert_eq!(why(manager.if_revision(99).update(id, stale).await), "revision mismatch");
    assert_eq!(why(manager.enable(revoked).await), "ended revoked");
    assert_eq!(why(manager.rotate(revoked, RotationGrace::NONE).await), "ended revoked");
    assert_eq!(why(manager.delete(KeyId::generate(NOW).unwrap()).await), "not found");
    let long = "r".repeat(1001);
    assert_eq!(why(manager.revoke(id, Some(&long)).await), "invalid reason");
    let same = ImportKey::from_digest(key.record.digest, NewKey::named("n"));
    assert_eq!(manager.import(&[same]).await.unwrap().duplicates, [0]);

    assert_eq!(managed.heard(), []);
    assert_eq!((managed.rows().await, managed.log().await), before);
}

/// Also when many change one key at once, and have to try again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_had_to_be_tried_again_is_told_once() {
    let managed = Managed::new();
    let first = managed.issue().await.record;
    let id = first.id;
    let changes = (0..32).map(|n| {
        let manager = managed.manager.clone();
        let patch = patch(|patch| patch.name = Some(format!("name {n}")));
        tokio::spawn(async move { manager.update(id, patch).await.unwrap() })
    });
    futures_util::future::join_all(changes).await;
    assert_eq!(managed.row(id).await.revision, first.revision + 32);
    assert_eq!(managed.heard().len(), 33);
    assert_eq!(managed.log().await.len(), 33);
}

#[tokio::test]
async fn the_audit_log_is_read_in_pages_and_by_key_owner_and_time() {
    let managed = Managed::new();
    for n in 0..10_i64 {
        managed.set(at(n));
        let owner = if n % 2 == 0 { "even" } else { "odd" };
        let new = NewKey { owner: Some(owner.into()), ..NewKey::named("n") };
        managed.manager.create(new).await.unwrap();
    }
    let all = managed.log().await;
    let read = async |mut query: EventQuery| {
        let mut times = Vec::new();
        loop {
            let page = managed.manager.events(&query).await.unwrap();
            assert!(page.items.len() <= query.limit);
            assert!(page.items.iter().all(|event| query.matches(event)));
            times.extend(page.items.iter().map(|event| event.at.as_unix_millis() % 1000));
            query.after = page.next;
            if query.after.is_none() {
                return times;
            }
        }
    };
    for limit in [1, 3, 10, 1000] {
        assert_eq!(read(EventQuery::new(limit)).await, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    }
    let mut query = EventQuery::new(2);
    (query.since, query.until) = (Some(at(3)), Some(at(7)));
    assert_eq!(read(query.clone()).await, [6, 5, 4, 3], "from the first moment to before the last");
    query.owner = Some("even".into());
    assert_eq!(read(query.clone()).await, [6, 4]);
    query.key = all[4].key;
    assert_eq!(read(query.clone()).await, [4]);
    query.key = all[5].key;
    assert_eq!(read(query).await, Vec::<i64>::new());
    for limit in [0, 1001] {
        assert_eq!(why(managed.manager.events(&EventQuery::new(limit)).await), "invalid limit");
    }
}

#[tokio::test]
async fn an_actor_is_cut_to_what_every_store_keeps() {
    let managed = Managed::new();
    let manager = managed.manager.acting_as(&format!("\0{}", "ö".repeat(300)));
    manager.create(NewKey::named("n")).await.unwrap();
    let kept = format!("\u{fffd}{}", "ö".repeat(254));
    assert_eq!(managed.heard()[0].actor.as_deref(), Some(&*kept));
}

#[test]
fn actions_have_names_that_read_back() {
    use tower_api_key::RejectionKind;
    for action in [
        KeyAction::Created,
        KeyAction::Imported,
        KeyAction::Updated,
        KeyAction::Disabled,
        KeyAction::Enabled,
        KeyAction::Revoked,
        KeyAction::Rotated,
        KeyAction::Deleted,
        KeyAction::Purged,
    ] {
        assert_eq!(KeyAction::from_audit_log(action.as_str()), Some(action));
        assert_eq!(action.to_string(), action.as_str());
    }
    assert_eq!(KeyAction::Denied(RejectionKind::Missing).as_str(), "denied");
    for unknown in ["denied", "", "Created", "created "] {
        assert_eq!(KeyAction::from_audit_log(unknown), None);
    }
}
