//! Spans of decisions, for `tracing`.

use std::{collections::HashMap, time::Duration};

use http::Request;
use tower_api_key::{ApiKeyLayer, KeySource};
use tracing_subscriber::{filter::LevelFilter, fmt::format::FmtSpan, util::SubscriberInitExt};

use crate::{
    denials::denied,
    secrets::{child, log::Log},
    stores::TestStore,
    support::{KEY, OTHER_KEY, at, clock, get, record_with, send_waiting, with_key},
};

const ENDED_KEY: &str = "ended-key-of-these-tests-0123456";
const A_SECOND: Duration = Duration::from_secs(1);

/// Keeps a line of each span that ends.
fn spans(log: &Log, level: LevelFilter) -> tracing::subscriber::DefaultGuard {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(false)
        .with_writer(log.clone());
    subscriber.finish().set_default()
}

/// The fields of the spans that have ended since the last call.
fn ended(log: &Log) -> Vec<HashMap<String, String>> {
    let lines = log.take();
    for line in &lines {
        assert!(!line.contains(KEY) && !line.contains(OTHER_KEY), "{line}");
    }
    let of_spans = |line: &String| {
        let (_, rest) = line.split_once("api_key{").filter(|_| line.contains("close "))?;
        let (fields, _) = rest.split_once('}').unwrap();
        let field = |text: &str| {
            let (name, value) = text.split_once('=').unwrap();
            (name.to_owned(), value.trim_matches('"').to_owned())
        };
        Some(fields.split(' ').map(field).collect())
    };
    lines.iter().filter_map(of_spans).collect()
}

/// What a caller sent is judged, and the span that tells of it.
async fn span_of(log: &Log, layer: &ApiKeyLayer, request: Request<()>) -> HashMap<String, String> {
    tokio::time::advance(A_SECOND).await;
    send_waiting(layer, request).await;
    let mut spans = ended(log);
    assert_eq!(spans.len(), 1, "{spans:?}");
    spans.remove(0)
}

fn told<const N: usize>(fields: [(&str, &str); N]) -> HashMap<String, String> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn they_tell_of_the_key_and_where_it_was_found() {
    if !child::is_child() {
        child::run("decision_spans::they_tell_of_the_key_and_where_it_was_found", None);
        return;
    }
    let log = Log::default();
    let _guard = spans(&log, LevelFilter::TRACE);
    let record = record_with(KEY, |key| key.owner = Some("user-1".into()));
    let id = record.id.to_string();
    let ended = record_with(ENDED_KEY, |key| key.details.revoked_at = Some(at(-1)));
    let ended_id = ended.id.to_string();
    let records = [record, ended];
    let sources = [KeySource::x_api_key(), KeySource::query("key").unwrap()];
    for (store, cache) in
        [(TestStore::new(records.clone()), "hit"), (TestStore::waiting(records.clone()), "miss")]
    {
        let layer = ApiKeyLayer::new(store).with_clock(clock()).with_sources(sources.clone());
        let accepted = |source| {
            told([
                ("outcome", "accepted"),
                ("key", id.as_str()),
                ("owner", "user-1"),
                ("source", source),
                ("cache", cache),
            ])
        };
        assert_eq!(span_of(&log, &layer, with_key(KEY)).await, accepted("header"));
        let in_query = get(&format!("/?key={KEY}"));
        assert_eq!(span_of(&log, &layer, in_query).await, accepted("query"));
        let unknown = told([
            ("outcome", "denied"),
            ("code", "unknown_key"),
            ("source", "header"),
            ("cache", cache),
        ]);
        assert_eq!(span_of(&log, &layer, with_key(OTHER_KEY)).await, unknown);
        let ended = told([
            ("outcome", "denied"),
            ("code", "revoked_key"),
            ("key", ended_id.as_str()),
            ("source", "header"),
            ("cache", cache),
        ]);
        assert_eq!(span_of(&log, &layer, with_key(ENDED_KEY)).await, ended);
        let open = layer.clone().allow_anonymous();
        assert_eq!(span_of(&log, &open, get("/")).await, told([("outcome", "anonymous")]));
        let passing = layer.with_bypass(|_| true);
        assert_eq!(span_of(&log, &passing, get("/")).await, told([("outcome", "bypassed")]));
    }
}

#[tokio::test(start_paused = true)]
async fn each_denial_has_one() {
    if !child::is_child() {
        child::run("decision_spans::each_denial_has_one", None);
        return;
    }
    let log = Log::default();
    let _guard = spans(&log, LevelFilter::TRACE);
    for (kind, layer, request) in denied() {
        let span = span_of(&log, &layer, request).await;
        let said = (span["outcome"].as_str(), span["code"].as_str());
        assert_eq!(said, ("denied", kind.code()));
    }
}

/// Ten a second of each outcome, and of those that wait together.
#[tokio::test(start_paused = true)]
async fn a_flood_has_few() {
    if !child::is_child() {
        child::run("decision_spans::a_flood_has_few", None);
        return;
    }
    let log = Log::default();
    let _guard = spans(&log, LevelFilter::TRACE);
    let at_once = ApiKeyLayer::new(TestStore::new([record_with(KEY, |_| {})]));
    let at_once = at_once.with_clock(clock());
    let waiting = ApiKeyLayer::new(TestStore::waiting([record_with(KEY, |_| {})]));
    let waiting = waiting.with_clock(clock());
    for seconds in 1..4 {
        for _ in 0..1_000 {
            for key in [KEY, OTHER_KEY] {
                send_waiting(&at_once, with_key(key)).await;
                send_waiting(&waiting, with_key(key)).await;
            }
            send_waiting(&at_once, get("/")).await;
        }
        let spans = ended(&log);
        let count = |name: &str, value: &str| {
            spans.iter().filter(|span| span.get(name).is_some_and(|other| other == value)).count()
        };
        assert_eq!(count("cache", "miss"), 10, "in second {seconds}");
        assert_eq!(count("cache", "hit"), 20);
        assert_eq!(count("code", "missing_key"), 10);
        assert_eq!(spans.len(), 40);
        tokio::time::advance(A_SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn there_is_none_above_trace() {
    if !child::is_child() {
        child::run("decision_spans::there_is_none_above_trace", None);
        return;
    }
    let log = Log::default();
    let _guard = spans(&log, LevelFilter::DEBUG);
    for (_, layer, request) in denied() {
        tokio::time::advance(A_SECOND).await;
        send_waiting(&layer, request).await;
    }
    assert_eq!(ended(&log), []);
}
