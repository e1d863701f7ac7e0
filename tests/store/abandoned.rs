//! Changes whose caller goes away in the middle.

use std::{future::poll_fn, task::Poll, time::Duration};

use tower_api_key::{
    key::{EventId, EventQuery, KeyAction, KeyEvent},
    store::{ApplyOutcome, Changes, KeyRepository, KeyUpdate},
};

use crate::conformance::{at, record, stored};

/// Applies changes and gives up after one poll, two, and so on: in each of `rounds` one more,
/// beginning again after `most`. Whatever became of them, they were made wholly or not at all, and
/// the store works on.
pub(crate) async fn give_changes_up(store: &impl KeyRepository, rounds: u64, most: u64) {
    let mut shared = record(1);
    store.insert(&shared).await.unwrap();
    for round in 1..=rounds {
        let records: Vec<_> = (0..60).map(|number| record(100 * round + number)).collect();
        let mut event = KeyEvent::new(EventId::from_bytes([0; 16]), at(1), KeyAction::Created);
        event.id = EventId::from_bytes(*records[0].id.as_bytes());
        let mut updated = shared.clone();
        updated.revision = shared.revision + 1;
        let expected = shared.revision;
        let changes = Changes::default()
            .with_inserts(records.clone())
            .with_updates(vec![KeyUpdate::new(&shared, updated)])
            .with_audit(vec![event]);
        let mut apply = store.apply(&changes);
        let mut is_done = false;
        for _ in 0..round % most {
            is_done = poll_fn(|context| Poll::Ready(apply.as_mut().poll(context).is_ready())).await;
            if is_done {
                break;
            }
            // Time for an answer to come, sometimes.
            tokio::time::sleep(Duration::from_micros(round % 7 * 100)).await;
        }
        drop(apply);
        // Goes through the same connections, and waits for what holds the key.
        let current = loop {
            let old = stored(store, shared.id).await;
            let mut touched = old.clone();
            touched.revision += 1;
            if store.update(&old, &touched).await.unwrap() == ApplyOutcome::Done {
                break touched;
            }
        };
        let is_made = current.revision == expected + 2;
        assert!(is_made || !is_done && current.revision == expected + 1, "round {round}");
        for record in [&records[0], &records[59]] {
            let found = store.get(record.id).await.unwrap();
            assert_eq!(found.is_some(), is_made, "round {round}");
        }
        let log = store.audit_log().unwrap().events(&EventQuery::new(1)).await.unwrap().items;
        let last = log.first().map(|event| *event.id.as_bytes());
        assert_eq!(last == Some(*records[0].id.as_bytes()), is_made, "round {round}");
        shared = current;
    }
}
