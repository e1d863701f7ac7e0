//! Requests through a layer, and what errors say.

use std::{convert::Infallible, error::Error, future::poll_fn, task::Poll, time::Duration};

use http::{Request, Response, StatusCode, header};
use tower::{ServiceBuilder, ServiceExt};
use tower_api_key::{
    ApiKeyLayer, AuthenticatedKey, EventId, EventQuery, KeyAction, KeyEvent, KeyId, Rejection,
    RejectionKind,
    store::{Changes, KeyRepository, KeyUpdate, Update},
};

use crate::conformance::{at, record, stored};

/// How a request with this key ends: whose it is, or why it was denied.
pub(crate) async fn ask(layer: &ApiKeyLayer, key: &str) -> Result<KeyId, Rejection> {
    let service =
        ServiceBuilder::new().layer(layer).service_fn(|request: Request<()>| async move {
            let id = request.extensions().get::<AuthenticatedKey>().unwrap().id();
            let mut response = Response::new(String::new());
            response.extensions_mut().insert(id);
            Ok::<_, Infallible>(response)
        });
    let request = Request::builder().header("x-api-key", key).body(()).unwrap();
    let mut response = service.oneshot(request).await.unwrap();
    if let Some(rejection) = response.extensions_mut().remove::<Rejection>() {
        assert_eq!(response.status(), rejection.kind().status());
        if rejection.kind() == RejectionKind::Unavailable {
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(response.headers().contains_key(header::RETRY_AFTER));
            assert!(!response.headers().contains_key(header::WWW_AUTHENTICATE));
        }
        return Err(rejection);
    }
    assert_eq!(response.status(), StatusCode::OK);
    Ok(*response.extensions().get::<KeyId>().unwrap())
}

/// An error and all that caused it, as a log would have it.
pub(crate) fn texts(error: &dyn Error) -> String {
    let mut text = format!("{error}: {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

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
        let changes = Changes {
            inserts: records.clone(),
            updates: vec![KeyUpdate { record: updated, expected }],
            events: vec![event],
        };
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
            let mut touched = stored(store, shared.id).await;
            touched.revision += 1;
            let expected = touched.revision - 1;
            if store.update(&touched, expected).await.unwrap() == Update::Done {
                break touched;
            }
        };
        let is_made = current.revision == expected + 2;
        assert!(is_made || !is_done && current.revision == expected + 1, "round {round}");
        for record in [&records[0], &records[59]] {
            let found = store.get(record.id).await.unwrap();
            assert_eq!(found.is_some(), is_made, "round {round}");
        }
        let log = store.events(&EventQuery::new(1)).await.unwrap().items;
        let last = log.first().map(|event| *event.id.as_bytes());
        assert_eq!(last == Some(*records[0].id.as_bytes()), is_made, "round {round}");
        shared = current;
    }
}
