//! What was used, over HTTP.

use std::time::Duration;

use serde_json::{Value, json};
use tower_api_key::{
    IssuedKey, RejectionKind, Timestamp,
    clock::Clock,
    key::KeyRecord,
    store::UsageLog,
    usage::{HourlyUsage, UsageOutcome},
};

use super::{Api, items, path};

const ACCEPTED: UsageOutcome = UsageOutcome::Accepted;
const LIMITED: UsageOutcome = UsageOutcome::Denied(RejectionKind::RateLimited);

fn used(record: &KeyRecord, hour: &str, outcome: UsageOutcome, count: u64) -> HourlyUsage {
    let hour: Timestamp = hour.parse().unwrap();
    HourlyUsage::new(record.lineage(), hour, outcome, count).with_owner(record.owner.clone())
}

/// Two owners' keys that were used. It is midnight, the 23rd of November.
async fn busy() -> (Api, IssuedKey, IssuedKey) {
    let api = Api::new();
    let (mine, theirs) = (api.issue("user-1", &["a"]).await, api.issue("user-2", &[]).await);
    let usage = [
        used(&mine.record, "2026-11-20T09:00:00.000Z", ACCEPTED, 3),
        used(&mine.record, "2026-11-20T09:00:00.000Z", LIMITED, 1),
        used(&mine.record, "2026-11-20T11:00:00.000Z", ACCEPTED, 4),
        used(&mine.record, "2026-11-22T23:00:00.000Z", ACCEPTED, 5),
        used(&mine.record, "2026-01-01T00:00:00.000Z", ACCEPTED, 100),
        used(&theirs.record, "2026-11-20T09:00:00.000Z", ACCEPTED, 20),
    ];
    api.store.record_usage(&usage).await.unwrap();
    (api, mine, theirs)
}

fn item(at: &str, outcome: &str, count: u64) -> Value {
    json!({ "at": at, "outcome": outcome, "count": count })
}

#[tokio::test]
async fn the_last_thirty_days_come_by_day() {
    let (api, mine, _) = busy().await;
    let usage = format!("{}/usage", path(mine.record.id));
    let expected = json!({
        "since": "2026-10-25T00:00:00.000Z",
        "until": "2026-11-24T00:00:00.000Z",
        "by": "day",
        "items": [
            item("2026-11-20T00:00:00.000Z", "accepted", 7),
            item("2026-11-20T00:00:00.000Z", "rate_limited", 1),
            item("2026-11-22T00:00:00.000Z", "accepted", 5),
        ],
        "total": { "accepted": 12, "rate_limited": 1 },
    });
    assert_eq!(api.admin("GET", &usage, "").await.json(200), expected);
    assert_eq!(api.holder(&mine, "GET", &usage, "").await.json(200), expected);

    // A key that takes the place of another goes on counting.
    let rotated = api.admin("POST", &format!("{}/rotate", path(mine.record.id)), "").await;
    let usage = format!("/{}/usage", rotated.json(201)["id"].as_str().unwrap());
    assert_eq!(api.admin("GET", &usage, "").await.json(200), expected);

    let unused = path(api.issue("user-1", &[]).await.record.id);
    let nothing = api.admin("GET", &format!("{unused}/usage"), "").await.json(200);
    assert_eq!((&nothing["items"], &nothing["total"]), (&json!([]), &json!({})));
}

#[tokio::test]
async fn ranges_are_of_whole_hours_or_days() {
    let (api, mine, _) = busy().await;
    let usage = format!("{}/usage", path(mine.record.id));
    for (query, since, until, counts) in [
        ("by=hour", "2026-11-22T01:00:00.000Z", "2026-11-23T01:00:00.000Z", &[5][..]),
        (
            "by=hour&since=2026-11-20T09:59:59Z&until=2026-11-20T11:00:00.001Z",
            "2026-11-20T09:00:00.000Z",
            "2026-11-20T12:00:00.000Z",
            &[3, 1, 4],
        ),
        (
            "by=hour&since=2026-11-20T10:00:00%2B00:00&until=2026-11-20T12:00:00%2B01:00",
            "2026-11-20T10:00:00.000Z",
            "2026-11-20T11:00:00.000Z",
            &[],
        ),
        (
            "by=day&since=2026-11-20T09:59:59Z&until=2026-11-20T10:00:00.000Z",
            "2026-11-20T00:00:00.000Z",
            "2026-11-21T00:00:00.000Z",
            &[7, 1],
        ),
        (
            "until=2026-01-02T00:00:00.000Z",
            "2025-12-03T00:00:00.000Z",
            "2026-01-02T00:00:00.000Z",
            &[100],
        ),
        // The longest ranges that there are.
        (
            "by=hour&since=2026-10-23T00:00:00.000Z",
            "2026-10-23T00:00:00.000Z",
            "2026-11-23T01:00:00.000Z",
            &[3, 1, 4, 5],
        ),
        (
            "since=2025-11-22T00:00:00.000Z",
            "2025-11-22T00:00:00.000Z",
            "2026-11-24T00:00:00.000Z",
            &[100, 7, 1, 5],
        ),
    ] {
        let answer = api.admin("GET", &format!("{usage}?{query}"), "").await.json(200);
        assert_eq!((&answer["since"], &answer["until"]), (&json!(since), &json!(until)), "{query}");
        let all = answer["items"].as_array().unwrap().iter();
        let all: Vec<_> = all.map(|item| item["count"].as_u64().unwrap()).collect();
        assert_eq!(all, counts, "{query}");
    }
    // In the middle of an hour, this hour and this day are among those asked for.
    api.clock.advance(Duration::from_mins(90));
    for (by, until) in [("hour", "2026-11-23T02:00:00.000Z"), ("day", "2026-11-24T00:00:00.000Z")] {
        let answer = api.admin("GET", &format!("{usage}?by={by}"), "").await.json(200);
        assert_eq!(answer["until"], until);
    }
}

#[tokio::test]
async fn bad_parameters_are_named() {
    let (api, mine, _) = busy().await;
    let usage = format!("{}/usage", path(mine.record.id));
    for (query, field) in [
        ("by=week", "by"),
        ("by=", "by"),
        ("by=Day", "by"),
        ("since=yesterday", "since"),
        ("since=", "since"),
        ("until=2026-11-20", "until"),
        ("since=2026-11-20T00:00:00Z&until=2026-11-20T00:00:00.000Z", "since"),
        ("since=2026-11-20T00:00:01Z&until=2026-11-20T00:00:00.000Z", "since"),
        ("since=2026-12-01T00:00:00.000Z", "since"),
        ("since=2025-11-21T23:59:59.000Z", "since"),
        ("since=0000-01-01T00:00:00Z&until=9999-12-30T00:00:00.000Z", "since"),
        ("until=0000-01-01T00:00:00.000Z", "since"),
    ] {
        for path in [&usage, "/usage", "/usage/top"] {
            let answer = api.admin("GET", &format!("{path}?{query}"), "").await;
            assert_eq!(answer.field(400, "invalid_parameter"), field, "{path} {query}");
        }
    }
    let long = format!("{usage}?by=hour&since=2026-10-22T23:59:59.000Z");
    assert_eq!(api.admin("GET", &long, "").await.field(400, "invalid_parameter"), "since");
    for limit in ["0", "101", "x"] {
        let answer = api.admin("GET", &format!("/usage/top?limit={limit}"), "").await;
        assert_eq!(answer.field(400, "invalid_parameter"), "limit");
    }
}

#[tokio::test]
async fn the_usage_of_all_keys_and_the_busiest_of_them() {
    let (api, mine, theirs) = busy().await;
    let total = async |query: &str| {
        let answer = api.admin("GET", &format!("/usage?{query}"), "").await.json(200);
        answer["total"]["accepted"].clone()
    };
    assert_eq!(total("").await, 32);
    assert_eq!(total("owner=user-1").await, 12);
    assert_eq!(total("owner=user-1&since=2026-01-01T00:00:00.000Z").await, 112);
    assert_eq!(total("owner=nobody").await, Value::Null);
    assert_eq!(total("owner=%00").await, Value::Null);

    let (mine, theirs) = (mine.record.id.to_string(), theirs.record.id.to_string());
    for (query, expected) in [
        ("", json!([{ "key": theirs, "count": 20 }, { "key": mine, "count": 12 }])),
        ("limit=1", json!([{ "key": theirs, "count": 20 }])),
        ("owner=user-1", json!([{ "key": mine, "count": 12 }])),
        (
            "since=2026-01-01T00:00:00.000Z",
            json!([{ "key": mine, "count": 112 }, { "key": theirs, "count": 20 }]),
        ),
        (
            "since=2026-11-20T11:30:00Z&until=2026-11-20T11:40:00.000Z",
            json!([{ "key": mine, "count": 4 }]),
        ),
        ("owner=nobody", json!([])),
    ] {
        let top = api.admin("GET", &format!("/usage/top?{query}"), "").await.json(200);
        assert_eq!(top["items"], expected, "{query}");
    }
    let top = api.admin("GET", "/usage/top", "").await.json(200);
    assert_eq!(
        (&top["since"], &top["until"]),
        (&json!("2026-10-24T01:00:00.000Z"), &json!("2026-11-23T01:00:00.000Z"))
    );
}

#[tokio::test]
async fn owners_see_the_usage_of_their_own_keys_alone() {
    let (api, mine, theirs) = busy().await;
    let refused = api.holder(&mine, "GET", &format!("{}/usage", path(theirs.record.id)), "").await;
    refused.problem(404, "not_found");
    for query in ["", "?owner=user-1"] {
        let usage = api.holder(&mine, "GET", &format!("/usage{query}"), "").await.json(200);
        assert_eq!(usage["total"], json!({ "accepted": 12, "rate_limited": 1 }));
        let top = api.holder(&mine, "GET", &format!("/usage/top{query}"), "").await.json(200);
        assert_eq!(items(&top, "key"), [mine.record.id.to_string()]);
    }
    let usage = api.holder(&mine, "GET", "/usage?owner=user-2", "").await.json(200);
    assert_eq!((&usage["items"], &usage["total"]), (&json!([]), &json!({})));
    let top = api.holder(&mine, "GET", "/usage/top?owner=user-2", "").await.json(200);
    assert_eq!(top["items"], json!([]));
}

/// The last invoice comes after the key.
#[tokio::test]
async fn a_deleted_key_has_its_usage_until_it_is_purged() {
    let (api, mine, theirs) = busy().await;
    let colleague = api.issue("user-1", &[]).await;
    let key = path(mine.record.id);
    let usage = format!("{key}/usage");
    let before = api.admin("GET", &usage, "").await.json(200);
    assert_eq!(before["total"]["accepted"], 12);
    assert_eq!(api.admin("DELETE", &key, "").await.status(), 204);
    // To the administrator and to another key of this owner, and to no other owner.
    assert_eq!(api.admin("GET", &usage, "").await.json(200), before);
    assert_eq!(api.holder(&colleague, "GET", &usage, "").await.json(200), before);
    api.holder(&theirs, "GET", &usage, "").await.problem(404, "not_found");
    // Nothing else of it comes back.
    api.admin("GET", &key, "").await.problem(404, "not_found");

    api.clock.advance(Duration::from_millis(1));
    assert_eq!(api.keys.purge(api.clock.now()).await.unwrap(), 1);
    api.admin("GET", &usage, "").await.problem(404, "not_found");
    // The counts of its owner stay.
    let usage = api.admin("GET", "/usage?owner=user-1", "").await.json(200);
    assert_eq!(usage["total"]["accepted"], 12);
}
