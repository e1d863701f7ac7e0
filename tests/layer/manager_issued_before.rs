//! Keys that are revoked by the time of their creation, as a manager does it.

use std::{sync::Arc, time::Duration};

use tower_api_key::{
    KeyManager, KeyPatch, NewKey, OwnerId, Timestamp,
    key::{KeyAction, KeyStatus},
    manage::{KeySet, RotationGrace},
    store::{KeyQuery, KeyRepository, MemoryStore, Watermark, Watermarks},
};

use crate::{
    managed::{Managed, scopes, why},
    support::NOW,
};

fn later(seconds: i64) -> Timestamp {
    Timestamp::from_unix_millis(NOW.as_unix_millis() + 1000 * seconds)
}

fn of(owner: &str) -> NewKey {
    NewKey { owner: Some(owner.into()), ..NewKey::named("x") }
}

async fn left(store: &MemoryStore) -> usize {
    store.current().await.unwrap().len()
}

/// One event for the act, and one for each key; the rows are written, and nothing stands any more.
#[tokio::test]
async fn all_keys_that_were_issued_before_are_revoked() {
    let managed = Managed::new();
    let old = managed.issue().await;
    let ended = managed.issue().await.record.id;
    managed.manager.revoke(ended, Some("lost")).await.unwrap();
    managed.set(later(10));
    let young = managed.issue().await;
    managed.heard();

    let report = managed.manager.revoke_issued_before(later(10), Some("it leaked")).await.unwrap();
    assert_eq!(report.changed, [old.record.id]);
    assert!(!report.is_pending && report.already_ended.is_empty());
    let row = managed.row(old.record.id).await;
    assert_eq!(row.details.revoked_at, Some(later(10)));
    assert_eq!(row.details.revoked_reason.as_deref(), Some("it leaked"));
    assert!(row.revision > old.record.revision);
    assert_eq!(managed.row(ended).await.details.revoked_reason.as_deref(), Some("lost"));
    // For keys that were being added. Those that come later were created afterwards.
    assert_eq!(left(&managed.store).await, 1);
    managed.clock.advance(Duration::from_mins(1));
    assert_eq!(managed.manager.finish_revocations().await.unwrap(), 0);
    assert_eq!(left(&managed.store).await, 0);

    let heard = managed.heard();
    let said: Vec<_> =
        heard.iter().map(|event| (event.action, event.key, event.detail.as_deref())).collect();
    let act = format!("keys that were created before {}: it leaked", later(10));
    assert_eq!(
        said,
        [
            (KeyAction::Revoked, None, Some(&*act)),
            (KeyAction::Revoked, Some(old.record.id), Some("it leaked"))
        ]
    );
    let log = managed.log().await;
    assert!(heard.iter().all(|event| log.contains(event)), "{log:?}");
    assert_eq!(
        (managed.outcome(&old), managed.outcome(&young)),
        ("revoked_key".into(), "admitted".into())
    );
}

#[tokio::test]
async fn owners_revoke_their_own_by_the_handle_or_the_set() {
    let managed = Managed::new();
    let mine = managed.manager.create(of("user-1")).await.unwrap();
    let theirs = managed.manager.create(of("user-2")).await.unwrap();
    managed.set(later(10));
    let me = managed.manager.for_owner("user-1");
    assert_eq!(why(me.revoke_issued_before(later(11), None).await), "invalid issued_before");
    assert_eq!(me.revoke_issued_before(NOW, None).await.unwrap().changed, []);
    assert_eq!(me.revoke_issued_before(later(10), None).await.unwrap().changed, [mine.record.id]);
    assert_eq!(managed.outcome(&theirs), "admitted");
    let set = KeySet::of_owner("user-2").issued_before(later(10));
    managed.heard();
    assert_eq!(managed.manager.revoke_all(set, None).await.unwrap().changed, [theirs.record.id]);
    let act = &managed.heard()[0];
    assert_eq!((act.key, act.owner.as_ref().map(OwnerId::as_str)), (None, Some("user-2")));
    // A handle that may not end every key does it key by key, or not at all.
    managed.set(later(20));
    let strong = NewKey { scopes: scopes(&["*"]), ..of("user-1") };
    let strong = managed.manager.create(strong).await.unwrap();
    managed.set(later(30));
    let reader = me.within_scopes(scopes(&["a"]));
    assert_eq!(why(reader.revoke_issued_before(later(30), None).await), "beyond ceiling");
    assert_eq!(managed.outcome(&strong), "admitted");
}

/// The repository's clock decides as well.
#[tokio::test(start_paused = true)]
async fn a_time_to_come_by_the_clock_of_the_repository_is_refused() {
    let managed = Managed::new();
    let behind = managed.clock.clone();
    let store = MemoryStore::new().with_clock(behind);
    let ahead = tower_api_key::clock::SettableClock::new(later(60));
    let manager = KeyManager::new(store.clone()).with_clock(ahead);
    let old = KeyManager::new(store.clone()).with_clock(managed.clock.clone());
    let old = old.create(NewKey::named("x")).await.unwrap().record.id;
    let key = manager.create(NewKey::named("x")).await.unwrap().record.id;
    assert_eq!(why(manager.revoke_issued_before(later(60), None).await), "invalid issued_before");
    assert_eq!(store.get(key).await.unwrap().unwrap().details.revoked_at, None);
    assert_eq!(left(&store).await, 0);
    // One that is a little behind is waited for.
    let manager = manager.with_clock(tower_api_key::clock::SettableClock::new(later(1)));
    let clock = managed.clock.clone();
    let (revoked, ()) = tokio::join!(manager.revoke_issued_before(later(1), None), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        clock.advance(Duration::from_secs(1));
    });
    // No key is younger for the clock of the node that created it.
    let (mut revoked, mut both) = (revoked.unwrap().changed, [old, key]);
    revoked.sort_unstable();
    both.sort_unstable();
    assert_eq!(revoked, both);
}

/// A client that goes away takes nothing along.
#[tokio::test(start_paused = true)]
async fn an_act_is_done_without_its_caller() {
    use futures_util::FutureExt;

    let managed = Managed::new();
    for _ in 0..1_500 {
        managed.issue().await;
    }
    managed.set(later(10));
    let act = managed.manager.revoke_issued_before(later(10), None);
    assert!(act.now_or_never().is_none(), "it has only begun");
    tokio::time::sleep(Duration::from_mins(1)).await;
    let rows = managed.rows().await;
    assert!(rows.iter().all(|row| row.details.revoked_at == Some(later(10))));
    let written = managed.store.unwritten(&Watermark::new(later(10)), None, 1).await.unwrap();
    assert_eq!(written, []);
}

/// 1,000 rows are written at once, and the others in the background. All of them are refused already.
#[tokio::test(start_paused = true)]
async fn further_rows_follow() {
    let managed = Managed::new();
    let mut keys = Vec::new();
    for _ in 0..2_300 {
        keys.push(managed.manager.create(of("user-1")).await.unwrap());
    }
    managed.set(later(10));
    let report = managed.manager.revoke_issued_before(later(10), Some("it leaked")).await.unwrap();
    assert_eq!((report.changed.len(), report.is_pending), (1_000, true));
    assert_eq!(left(&managed.store).await, 1);
    for key in &keys {
        assert_eq!(managed.outcome(key), "revoked_key");
    }
    // A key that is read as revoked has ended for every act.
    let last = keys.last().unwrap().record.id;
    let manager = &managed.manager;
    assert_eq!(why(manager.enable(last).await), "ended revoked");
    assert_eq!(why(manager.rotate(last, RotationGrace::NONE).await), "ended revoked");
    let status = (KeyStatus::Revoked, later(10));
    let mut revoked = KeyQuery::new(1_000);
    revoked.status = Some(status);
    assert_eq!(manager.list(&revoked).await.unwrap().items.len(), 1_000);
    // A field may change; the key stays revoked.
    let renamed = KeyPatch { name: Some("renamed".into()), ..KeyPatch::default() };
    let renamed = manager.update(last, renamed).await.unwrap();
    assert_eq!(renamed.status(later(10)), KeyStatus::Revoked);

    managed.clock.advance(Duration::from_mins(1));
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(left(&managed.store).await, 0);
    for key in &keys {
        let row = managed.row(key.record.id).await;
        assert_eq!(row.details.revoked_at, Some(later(10)));
    }
    // Each has one event, and the act has another; but for one whose row was written with another change.
    let revoked = managed.heard().into_iter().filter(|event| event.action == KeyAction::Revoked);
    let count = revoked.count();
    assert!((2_300..=2_301).contains(&count), "{count}");
}

/// A task that finds the watermark gone does not look for it for ever.
#[tokio::test(start_paused = true)]
async fn another_node_may_finish_it() {
    let managed = Managed::new();
    managed.issue().await;
    managed.set(later(10));
    managed.manager.revoke_issued_before(later(10), None).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!((tasks(), left(&managed.store).await), (1, 1));
    managed.clock.advance(Duration::from_mins(1));
    managed.manager.finish_revocations().await.unwrap();
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!((tasks(), left(&managed.store).await), (0, 0));
}

/// The program ended in the middle of it.
#[tokio::test]
async fn what_was_interrupted_is_finished() {
    let managed = Managed::new();
    for _ in 0..1_500 {
        managed.issue().await;
    }
    managed.set(later(10));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let manager = managed.manager.clone();
    let report = std::thread::spawn(move || {
        let report = runtime.block_on(manager.revoke_issued_before(later(10), None));
        // With the task that would have written the others.
        drop(runtime);
        report
    });
    assert!(report.join().unwrap().unwrap().is_pending);
    assert_eq!(left(&managed.store).await, 1);
    let last: Arc<_> = managed.rows().await.pop().unwrap();
    assert!(last.details.revoked_at.is_some());

    let left_over = managed.manager.finish_revocations().await.unwrap();
    assert!((1..=500).contains(&left_over), "{left_over}");
    managed.clock.advance(Duration::from_mins(1));
    assert_eq!(managed.manager.finish_revocations().await.unwrap(), 0);
    assert_eq!(left(&managed.store).await, 0);
    assert_eq!(managed.manager.finish_revocations().await.unwrap(), 0);
    let all = managed.manager.list(&KeyQuery::new(1_000)).await.unwrap().items;
    assert!(all.iter().all(|key| key.details.revoked_at == Some(later(10))));
}
