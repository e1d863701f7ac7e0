//! `limits`, `tier` and `credits` of keys, and `GET /admin/api-keys/{id}/usage`

use serde_json::{Value, json};
use tower_api_key::{
    KeyId, RejectionKind,
    store::{self, KeyRepository},
    usage::{HourlyUsage, UsageOutcome},
};

use crate::{
    process::Server,
    support::{Ask, Created, Running, assert_problem, command_on, directory, shared},
};

fn view(server: &Running, created: &Created) -> Value {
    server.admin("GET", &format!("/admin/api-keys/{}", created.id)).json()
}

#[test]
fn a_key_has_the_limits_the_tier_and_the_credits_that_it_was_given() {
    let server = shared();
    let limits = json!([{ "name": "minute", "requests": 100, "window_seconds": 60, "burst": 20 }]);
    for tier in ["basic", "pro"] {
        let refill = json!({ "amount": 1000, "interval_seconds": 86_400 });
        let created = server.create(&json!({
            "name": "limited", "tier": tier, "limits": limits,
            "credits": { "remaining": 500, "refill": refill },
        }));
        let shown = view(&server, &created);
        assert_eq!((&shown["tier"], &shown["limits"]), (&json!(tier), &limits));
        assert_eq!(shown["credits"]["remaining"], 500);
        assert_eq!(shown["credits"]["refill"], refill);
        assert!(shown["credits"]["next_refill_at"].is_string(), "{shown}");
        // Its holder sees the same.
        let me = server.ask_as(&created.key, "GET", "/me/key").json();
        for field in ["tier", "limits", "credits"] {
            assert_eq!(me[field].is_null(), shown[field].is_null(), "{me}");
        }
    }
    let created = server.create(&json!({ "name": "counted", "credits": 1000 }));
    let credits = json!({ "remaining": 1000, "refill": null, "next_refill_at": null });
    assert_eq!(view(&server, &created)["credits"], credits);
}

#[test]
fn limits_tier_and_credits_change_and_are_taken_away() {
    let server = shared();
    let created = server.create(&json!({ "name": "plain" }));
    let limits =
        json!([{ "name": "hour", "requests": 5000, "window_seconds": 3600, "burst": 5000 }]);
    let sent = json!([{ "name": "hour", "requests": 5000, "window_seconds": 3600 }]);
    let changed = server.change(&created, &json!({ "limits": sent, "tier": "pro", "credits": 10 }));
    assert_eq!((&changed["limits"], &changed["tier"]), (&limits, &json!("pro")));
    assert_eq!(changed["credits"]["remaining"], 10);
    assert_eq!(view(&server, &created), changed);

    let top_up = format!("/admin/api-keys/{}/credits", created.id);
    let topped_up = server.admin_sends("POST", &top_up, r#"{"add":5}"#, &[]);
    assert_eq!(topped_up.status, 200, "{topped_up:?}");
    assert_eq!(topped_up.json()["credits"]["remaining"], 15);

    let none = json!({ "limits": null, "tier": null, "credits": null });
    let changed = server.change(&created, &none);
    assert_eq!((&changed["limits"], &changed["tier"]), (&json!([]), &Value::Null));
    assert_eq!(changed["credits"], Value::Null);
    assert_eq!(server.change(&created, &json!({ "limits": sent }))["limits"], limits);
    assert_eq!(server.change(&created, &json!({ "limits": [] }))["limits"], json!([]));
    let refused = server.admin_sends("POST", &top_up, r#"{"add":5}"#, &[]);
    assert_problem(&refused, 409, "no_credits");
}

#[test]
fn usage_is_told_by_day_and_by_hour() {
    let directory = directory();
    let database = directory.path().join("keys.db");
    let server = Server::start(&mut command_on(&database));
    let created = server.create(&json!({ "name": "used", "owner": "user-1" }));
    let usage = format!("/admin/api-keys/{}/usage", created.id);
    let nothing = server.admin("GET", &usage);
    assert_eq!(nothing.status, 200, "{nothing:?}");
    assert_eq!(nothing.header("cache-control"), Some("no-store"), "{nothing:?}");
    let nothing = nothing.json();
    assert_eq!(nothing["by"], "day");
    assert_eq!((&nothing["items"], &nothing["total"]), (&json!([]), &json!({})));

    let lineage: KeyId = created.id.parse().unwrap();
    let limited = UsageOutcome::Denied(RejectionKind::RateLimited);
    let counts = [(9, UsageOutcome::Accepted, 3), (9, limited, 1), (11, UsageOutcome::Accepted, 4)];
    let counts = counts.map(|(hour, outcome, count)| {
        HourlyUsage::new(
            lineage,
            format!("2020-01-01T{hour:02}:00:00.000Z").parse().unwrap(),
            outcome,
            count,
        )
        .with_owner(Some("user-1".into()))
    });
    let url = format!("sqlite://{}", database.display());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = store::connect(&url).await.unwrap();
        store.usage_log().unwrap().record_usage(&counts).await.unwrap();
        store.close().await;
    });
    let range = "since=2020-01-01T00:00:00Z&until=2020-01-02T00:00:00Z";
    let item = |hour: &str, outcome: &str, count: u64| json!({ "at": format!("2020-01-01T{hour}:00:00.000Z"), "outcome": outcome, "count": count });
    let total = json!({ "accepted": 7, "rate_limited": 1 });
    let by_day = server.admin("GET", &format!("{usage}?{range}")).json();
    assert_eq!(by_day["items"], json!([item("00", "accepted", 7), item("00", "rate_limited", 1)]));
    assert_eq!(by_day["total"], total);
    let by_hour = server.admin("GET", &format!("{usage}?by=hour&{range}")).json();
    let hours =
        [item("09", "accepted", 3), item("09", "rate_limited", 1), item("11", "accepted", 4)];
    assert_eq!(by_hour["items"], json!(hours));
    assert_eq!(by_hour["total"], total);

    let all = server.admin("GET", &format!("/admin/api-keys/usage?owner=user-1&{range}")).json();
    assert_eq!(all["total"], total);
    let top = server.admin("GET", &format!("/admin/api-keys/usage/top?{range}")).json();
    assert_eq!(top["items"], json!([{ "key": created.id, "count": 7 }]));
}

#[test]
fn a_range_that_cannot_be_is_400_and_named() {
    let server = shared();
    let created = server.create(&json!({ "name": "unused" }));
    let usage = format!("/admin/api-keys/{}/usage", created.id);
    for (query, field) in [
        ("by=week", "by"),
        ("since=yesterday", "since"),
        ("until=tomorrow", "until"),
        ("since=2020-01-01T00:00:00Z&until=2019-01-01T00:00:00Z", "since"),
        ("since=2020-01-01T00:00:00Z&until=2021-01-02T00:00:00Z", "since"),
        ("by=hour&since=2020-01-01T00:00:00Z&until=2020-02-02T00:00:00Z", "since"),
    ] {
        let refused = server.admin("GET", &format!("{usage}?{query}"));
        assert_problem(&refused, 400, "invalid_parameter");
        assert_eq!(refused.json()["field"], field, "{query}");
    }
}

/// What is the administrator's is not there for others.
#[test]
fn usage_and_credits_need_the_administrators_key() {
    let server = shared();
    let created = server.create(&json!({ "name": "curious", "credits": 5 }));
    for (method, path) in [("GET", "usage"), ("POST", "credits")] {
        let path = format!("/admin/api-keys/{}/{path}", created.id);
        assert_problem(&server.ask_as(&created.key, method, &path), 401, "missing_key");
    }
    assert_eq!(view(&server, &created)["credits"]["remaining"], 5);
}
