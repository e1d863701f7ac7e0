//! Rows that this crate did not write, and people who read those that it did.

use tower_api_key::{
    ApiKeyLayer, RejectionKind,
    key::{EventQuery, KeyAction, KeyEvent},
    store::{Changes, KeyQuery, KeyRepository, KeyStore, KeyUse, StoreErrorKind},
    usage::UsageQuery,
};

use super::{Remote, Session, open, session};
use crate::{
    conformance::{at, digest, full, record},
    first_version::hex_of,
    servers::Database,
    support::{ask, texts},
};

pub(crate) async fn a_row_that_does_not_read_as_a_key_is_an_error<R: Remote>(database: &Database) {
    let store = open::<R>(database).await;
    let mut session = session::<R>(database).await;
    for (number, (column, value)) in (1..).zip([
        ("metadata", "'{'"),
        ("metadata", "'[1]'"),
        ("scopes", "'[\"not a scope\"]'"),
        ("scopes", "'null'"),
        ("allowed_addresses", "'[\"10.0.0.0/33\"]'"),
        ("use_count", "-1"),
        ("revision", "-1"),
        ("grace_after_use", "-1"),
        ("limits", "'[{\"name\":\"minute\",\"requests\":0,\"window_seconds\":60}]'"),
        ("limits", "'null'"),
        ("credits", "-1"),
        ("last_used_from", "'10.0.0.0/8'"),
    ]) {
        store.insert(&record(number)).await.unwrap();
        let sql = format!("UPDATE api_keys SET {column} = {value} WHERE name = 'key {number}'");
        session.run(&sql).await.unwrap();
        // Never a key with less, or more, than was written.
        let error = store.find(&digest(number)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{column} = {value}");
        assert!(texts(&error).contains(column), "{error:?}");
        assert_eq!(store.get(record(number).id).await.unwrap_err().kind(), StoreErrorKind::Corrupt);
    }
    let listed = store.list(&KeyQuery::new(100)).await;
    assert_eq!(listed.unwrap_err().kind(), StoreErrorKind::Corrupt);

    // The others are not affected.
    store.insert(&full(99)).await.unwrap();
    assert_eq!(store.find(&digest(99)).await.unwrap().as_deref(), Some(&full(99)));
    let digests: Vec<_> = (1..=12).chain([99, 100]).map(digest).collect();
    let mut answers = store.find_many(&digests).await;
    assert!(answers.pop().unwrap().unwrap().is_none());
    assert_eq!(answers.pop().unwrap().unwrap().as_deref(), Some(&full(99)));
    for answer in answers {
        assert_eq!(answer.unwrap_err().kind(), StoreErrorKind::Corrupt);
    }
}

/// It raises the revision and does not know of the mark.
pub(crate) async fn what_an_older_program_disables_no_owner_has_disabled<R: Remote>(
    database: &Database,
) {
    let store = open::<R>(database).await;
    let mut key = record(1);
    (key.disabled, key.details.disabled_by_owner) = (true, true);
    key.details.created_by = Some(record(2).id);
    store.insert(&key).await.unwrap();
    for disabled in ["FALSE", "TRUE"] {
        let sql = format!("UPDATE api_keys SET disabled = {disabled}, revision = revision + 1");
        session::<R>(database).await.run(&sql).await.unwrap();
        let read = store.get(key.id).await.unwrap().unwrap();
        assert!(!read.details.disabled_by_owner);
        assert_eq!(read.details.created_by, key.details.created_by);
    }
}

pub(crate) async fn a_row_that_does_not_read_as_an_event_is_an_error<R: Remote>(
    database: &Database,
) {
    let store = open::<R>(database).await;
    let mut session = session::<R>(database).await;
    let id = R::id("0190163d8694739aaea5966c26f8ad91");
    let row = format!("INSERT INTO api_keys_events (id, at, action) VALUES ({id}, 1, 'created')");
    session.run(&row).await.unwrap();
    let log = EventQuery::new(1);
    assert_eq!(
        store.audit_log().unwrap().events(&log).await.unwrap().items[0].action,
        KeyAction::Created
    );
    for (column, value, good) in [("action", "'burnt'", "'created'"), ("address", "'here'", "NULL")]
    {
        for (value, is_good) in [(value, false), (good, true)] {
            session.run(&format!("UPDATE api_keys_events SET {column} = {value}")).await.unwrap();
            match store.audit_log().unwrap().events(&log).await {
                Ok(_) => assert!(is_good, "{column} = {value}"),
                Err(error) => {
                    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{column} = {value}");
                    assert!(texts(&error).contains(column) && !is_good, "{error:?}");
                }
            }
        }
    }
    // An event that is there already is no key that is.
    let event = KeyEvent::new(
        "0190163d-8694-739a-aea5-966c26f8ad91".parse().unwrap(),
        at(1),
        KeyAction::Created,
    );
    let changes = Changes::default().with_audit(vec![event]);
    let error = store.apply(&changes).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
}

pub(crate) async fn a_row_that_does_not_read_as_a_balance_is_an_error<R: Remote>(
    database: &Database,
) {
    let store = open::<R>(database).await;
    let mut session = session::<R>(database).await;
    let lineage = record(1).id;
    let row = format!(
        "INSERT INTO api_keys_credits (line, remaining, since, epoch, revision) \
         VALUES ({}, 1, 2, 3, 4)",
        R::id(&hex_of(&record(1)).0)
    );
    session.run(&row).await.unwrap();
    assert_eq!(
        store.balance_store().unwrap().balances(&[lineage]).await.unwrap().items[0].1.remaining,
        1
    );
    for (column, value, good) in [
        ("remaining", "-1", "1"),
        ("epoch", "-1", "3"),
        ("revision", "-1", "4"),
        ("refill", "'{'", "NULL"),
        ("refill", "'{\"amount\":0,\"interval\":\"month\"}'", "NULL"),
    ] {
        session.run(&format!("UPDATE api_keys_credits SET {column} = {value}")).await.unwrap();
        // Never more credits, or fewer, than were written.
        let error = store.balance_store().unwrap().balances(&[lineage]).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{column} = {value}");
        assert!(texts(&error).contains(column), "{error:?}");
        session.run(&format!("UPDATE api_keys_credits SET {column} = {good}")).await.unwrap();
        assert!(store.balance_store().unwrap().balances(&[lineage]).await.is_ok());
    }
}

pub(crate) async fn a_row_that_does_not_read_as_usage_is_an_error<R: Remote>(database: &Database) {
    let store = open::<R>(database).await;
    let mut session = session::<R>(database).await;
    let row = format!(
        "INSERT INTO api_keys_usage (line, hour, outcome, count) VALUES ({}, 0, 'accepted', 5)",
        R::id(&hex_of(&record(1)).0)
    );
    session.run(&row).await.unwrap();
    let ever = UsageQuery::new(at(i64::MIN), at(i64::MAX));
    assert_eq!(store.usage_log().unwrap().usage(&ever).await.unwrap()[0].count, 5);
    for (set, column) in
        [("outcome = 'burnt'", "outcome"), ("outcome = 'accepted', count = -1", "total")]
    {
        session.run(&format!("UPDATE api_keys_usage SET {set}")).await.unwrap();
        let error = store.usage_log().unwrap().usage(&ever).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{set}");
        assert!(texts(&error).contains(column), "{error:?}");
    }
    session.run("UPDATE api_keys_usage SET count = 7").await.unwrap();
    assert_eq!(store.usage_log().unwrap().usage(&ever).await.unwrap()[0].count, 7);
}

/// Keys that another system made: `secrets.token_urlsafe(32)` in Python, of which it keeps
/// `sha256(key).hexdigest()`.
pub(crate) async fn rows_of_other_systems_work_as_they_are<R: Remote>(database: &Database) {
    let key = "Vd3-kq_0mZ1xYtR7bW5sLhJ9cE2uG8oPnA4iQfT6vXy";
    let sql = R::FOREIGN_ROW
        .replace("{id}", "0190163d8694739aaea5966c26f8ad91")
        .replace("{digest}", "9455997ff03c35be3299e42e402b82da9d6575b5c3ee5880fa646ed4e2c4149a");

    let store = open::<R>(database).await;
    session::<R>(database).await.run(&sql).await.unwrap();
    let layer = ApiKeyLayer::new(store);
    let id = ask(&layer, key).await.unwrap();
    assert_eq!(id.to_string(), "0190163d-8694-739a-aea5-966c26f8ad91");
    let other = ask(&layer, &key.replace('V', "v")).await;
    assert_eq!(other.unwrap_err().kind(), RejectionKind::Unknown);
}

pub(crate) async fn counts_stop_at_the_greatest<R: Remote>(database: &Database) {
    let store = open::<R>(database).await;
    let mut record = record(1);
    record.use_count = i64::MAX as u64 - 5;
    store.insert(&record).await.unwrap();
    for count in [3, 9, u64::MAX] {
        let key_use = KeyUse::new(record.id, count, at(1));
        store.record_uses(&[key_use, key_use]).await.unwrap();
    }
    assert_eq!(store.get(record.id).await.unwrap().unwrap().use_count, i64::MAX as u64);
}

/// "A key with this id or digest exists" would be a lie.
pub(crate) async fn another_unique_index_makes_no_duplicate<R: Remote>(database: &Database) {
    let store = open::<R>(database).await;
    session::<R>(database).await.run(R::UNIQUE_NAMES).await.unwrap();
    let mut taken = record(2);
    taken.name = record(1).name;
    store.insert(&record(1)).await.unwrap();
    let error = store.insert(&taken).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    assert!(store.get(taken.id).await.unwrap().is_none());
    assert_eq!(store.insert(&record(1)).await.unwrap_err().kind(), StoreErrorKind::Duplicate);
}

/// The view that the documentation shows.
pub(crate) async fn times_can_be_read_by_people<R: Remote>(database: &Database) {
    let store = open::<R>(database).await;
    let mut record = record(1);
    record.id = "0190163d-8694-739a-aea5-966c26f8ad91".parse().unwrap();
    record.created_at = at(1_795_402_831_250);
    record.expires_at = Some(at(-86_400_000));
    store.insert(&record).await.unwrap();

    let mut session = session::<R>(database).await;
    session.run(R::READABLE).await.unwrap();
    let shown = async |session: &mut R::Session, column: &str| {
        let sql = format!("SELECT {column} FROM api_keys_readable");
        session.rows(&sql).await.remove(0)
    };
    assert_eq!(shown(&mut session, "id").await, record.id.to_string());
    let created_at = shown(&mut session, "created_at").await;
    assert!(created_at.starts_with("2026-11-23 03:00:31.25"), "{created_at}");
    let expires_at = shown(&mut session, "expires_at").await;
    assert!(expires_at.starts_with("1969-12-31 00:00:00"), "{expires_at}");
    assert_eq!(shown(&mut session, "coalesce(revoked_at, created_at)").await, created_at);
}
