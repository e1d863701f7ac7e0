//! The audit log, of those stores that keep one.

use super::{assert_duplicate, at, record};
use crate::{
    credits::Balance,
    key::{EventId, EventQuery, KeyAction, KeyEvent},
    store::{ApplyOutcome, BalanceUpdate, Changes, KeyRepository, KeyUpdate},
};

const ACTIONS: [KeyAction; 9] = [
    KeyAction::Created,
    KeyAction::Imported,
    KeyAction::Updated,
    KeyAction::Disabled,
    KeyAction::Enabled,
    KeyAction::Revoked,
    KeyAction::Rotated,
    KeyAction::Deleted,
    KeyAction::Purged,
];

/// The `number`th event: its id sorts by the number, its time does not.
fn event(number: u64) -> KeyEvent {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    let place = usize::try_from(number).unwrap() % ACTIONS.len();
    KeyEvent::new(EventId::from_bytes(id), at((number * 7 % 20).cast_signed()), ACTIONS[place])
}

fn events(events: impl IntoIterator<Item = KeyEvent>) -> Changes {
    Changes::default().with_audit(events.into_iter().collect())
}

async fn all(store: &impl KeyRepository) -> Vec<KeyEvent> {
    store.audit_log().unwrap().events(&EventQuery::new(1_000)).await.unwrap().items
}

pub async fn events_read_back_equal(store: impl KeyRepository) {
    let addresses = ["192.0.2.7", "::1", "::ffff:192.0.2.7", "2001:db8::ffff:0:1"];
    let times = [i64::MIN, -1, 0, 1_795_000_000_123, i64::MAX];
    let mut written = Vec::new();
    for number in 0..130 {
        let mut event = event(number);
        if number % 2 == 0 {
            let place = usize::try_from(number).unwrap();
            event.at = at(times[place % times.len()]);
            event.key = Some(record(number).id);
            event.owner = Some("user:Ω/1@example.com ".into());
            event.actor = Some("Zoë's “admin” 🦀; DROP TABLE api_keys_events; --".into());
            event.address = Some(addresses[place % addresses.len()].parse().unwrap());
            event.detail = Some("two\nlines, 'quotes', \\ and %_".into());
        }
        written.push(event);
    }
    assert_eq!(store.apply(&events(written.clone())).await.unwrap(), ApplyOutcome::Done);
    let mut alone = event(130);
    (alone.actor, alone.detail) = (Some("".into()), Some("".into()));
    store.apply(&events([alone.clone()])).await.unwrap();
    written.push(alone);
    written.reverse();
    assert_eq!(all(&store).await, written);
}

/// They are there if the change is.
pub async fn events_share_the_fate_of_their_changes(store: impl KeyRepository) {
    let created = events([event(1)]).with_inserts(vec![record(1)]);
    assert_eq!(store.apply(&created).await.unwrap(), ApplyOutcome::Done);
    let again = events([event(2)]).with_inserts(vec![record(2), record(1)]);
    assert_duplicate(store.apply(&again).await);
    let mut renamed = record(1);
    renamed.revision += 1;
    let renamed = |expected| {
        let mut update = KeyUpdate::new(&record(1), renamed.clone());
        update.expected = expected;
        events([event(3)]).with_updates(vec![update])
    };
    assert_eq!(store.apply(&renamed(9)).await.unwrap(), ApplyOutcome::Stale);
    let balance = Balance::new(1, None, at(0));
    let balance = BalanceUpdate { lineage: record(1).id, balance, expected: Some(9), due: None };
    let granted = events([event(4)]).with_balances(vec![balance]);
    assert_eq!(store.apply(&granted).await.unwrap(), ApplyOutcome::Stale);
    assert_eq!(all(&store).await, [event(1)]);
    assert_eq!(store.apply(&renamed(0)).await.unwrap(), ApplyOutcome::Done);
    assert_eq!(all(&store).await, [event(3), event(1)]);
}

/// Any filters together, page by page, find what [`EventQuery::matches`] says.
pub async fn events_are_listed_as_asked(store: impl KeyRepository) {
    // As a sloppy collation would not tell them apart.
    let owners = [None, Some("anna"), Some("Anna"), Some("anna "), Some("änna"), Some("")];
    let written: Vec<_> = (0..60_u64)
        .map(|number| {
            let mut event = event(number);
            event.owner = owners[usize::try_from(number).unwrap() % owners.len()].map(Into::into);
            event.key = (number % 4 > 0).then(|| record(number % 4).id);
            event
        })
        .collect();
    store.apply(&events(written.clone())).await.unwrap();
    let keys = [None, Some(record(1).id), Some(record(9).id)];
    let bounds = [(None, None), (Some(3), None), (None, Some(12)), (Some(3), Some(12))];
    for owner in owners {
        for key in keys {
            for (since, until) in bounds {
                let mut query = EventQuery::new(3);
                query.owner = owner.map(Into::into);
                (query.key, query.since, query.until) = (key, since.map(at), until.map(at));
                let expected: Vec<_> =
                    written.iter().rev().filter(|event| query.matches(event)).cloned().collect();
                let asked = format!("{query:?}");
                let mut found = Vec::new();
                loop {
                    let page = store.audit_log().unwrap().events(&query).await.unwrap();
                    assert!(page.items.len() <= 3);
                    found.extend(page.items);
                    let Some(next) = page.next else { break };
                    query.after = Some(next);
                }
                assert_eq!(found, expected, "{asked}");
            }
        }
    }
    let mut last = EventQuery::new(usize::MAX);
    last.after = Some(EventId::from_bytes([0; 16]));
    let end = store.audit_log().unwrap().events(&last).await.unwrap();
    assert_eq!((end.items.len(), end.next), (0, None));
}

pub async fn events_outlive_their_keys(store: impl KeyRepository) {
    let mut deleted = record(1);
    deleted.details.deleted_at = Some(at(1));
    let mut event = event(1);
    event.key = Some(deleted.id);
    let changes = events([event.clone()]).with_inserts(vec![deleted]);
    store.apply(&changes).await.unwrap();
    assert_eq!(store.purge(at(2), None).await.unwrap(), 1);
    assert_eq!(all(&store).await, [event]);
}

/// A store without an audit log makes the changes all the same.
pub async fn events_are_passed_over(store: impl KeyRepository) {
    let changes = events([event(1)]).with_inserts(vec![record(1)]);
    assert_eq!(store.apply(&changes).await.unwrap(), ApplyOutcome::Done);
    assert!(store.get(record(1).id).await.unwrap().is_some());
}
