//! The service is told of a denial that a program is answered with, and of no key.

use std::sync::{Arc, Mutex};

use serde_json::json;
use tower_api_key::{
    ApiKeyLayer,
    key::{KeyAction, KeyEvent},
};

use super::{outcome, question, send, unguarded};
use crate::{
    figures::Figures,
    secrets::{child, log::Log},
    stores::TestStore,
    support::{KEY, OTHER_KEY, record, record_with},
};

#[tokio::test]
async fn denials_are_counted_by_code_and_the_hook_hears_of_them() {
    let figures = Figures::default();
    let _figures = metrics::set_default_local_recorder(&figures);
    let disabled = record_with(KEY, |record| record.disabled = true);
    let id = disabled.id;
    let heard = Arc::new(Mutex::new(Vec::<KeyEvent>::new()));
    let ear = heard.clone();
    let layer = ApiKeyLayer::new(TestStore::new([disabled, record(OTHER_KEY)]))
        .with_event_hook(move |event| ear.lock().unwrap().push(event.clone()));
    let app = unguarded(layer);
    let body = |key: &str| json!({ "key": key, "address": "192.0.2.1", "scopes": ["a"] });
    for (key, code) in [(KEY, "disabled_key"), (OTHER_KEY, "insufficient_scope")] {
        assert_eq!(outcome(&app, body(key)).await, code);
        let counter = format!("tower_api_key_denied_total{{code={code}}}");
        assert_eq!(figures.counter(&counter), 1);
    }
    let heard = heard.lock().unwrap();
    assert_eq!(heard.len(), 2);
    assert_eq!((heard[0].key, heard[0].address), (Some(id), Some([192, 0, 2, 1].into())));
    let KeyAction::Denied(kind) = heard[0].action else { panic!("{heard:?}") };
    assert_eq!(kind.code(), "disabled_key");
}

#[tokio::test]
async fn no_event_holds_a_key() {
    if !child::is_child() {
        child::run("verification::told::no_event_holds_a_key", None);
        return;
    }
    let log = Log::default();
    let _guard = log.listen();
    let app = unguarded(ApiKeyLayer::new(TestStore::waiting([record(KEY)])));
    let (unknown, malformed) = (OTHER_KEY, "key with spaces, of these tests");
    assert_eq!(outcome(&app, json!({ "key": KEY })).await, "good");
    assert_eq!(outcome(&app, json!({ "key": unknown })).await, "unknown_key");
    assert_eq!(outcome(&app, json!({ "key": malformed })).await, "malformed_key");
    for body in [json!({ "key": KEY, "x": 1 }), json!({ "kez": KEY }), json!({ KEY: 1 })] {
        assert_eq!(send(&app, question(body.to_string())).await.status(), 422);
    }
    assert_eq!(log.text().matches("request denied").count(), 2, "{}", log.text());
    for secret in [KEY, unknown, malformed] {
        log.assert_holds_nothing_of(secret);
    }
}
