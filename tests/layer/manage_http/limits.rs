//! `limits` and `tier` of a key, over HTTP.

use serde_json::{Value, json};

use super::{Api, path};

fn limit(name: &str, requests: u32) -> Value {
    json!({ "name": name, "requests": requests, "window_seconds": 60, "burst": 20 })
}

#[tokio::test]
async fn a_new_key_has_the_limits_and_the_tier_that_it_was_given() {
    let api = Api::new();
    for (sent, shown) in [
        (json!([limit("minute", 100)]), json!([limit("minute", 100)])),
        (
            json!([
                { "name": "second", "requests": 5, "window_seconds": 0.5 },
                { "name": "day", "requests": 1000, "window_seconds": 86_400.0, "burst": null },
            ]),
            json!([
                { "name": "second", "requests": 5, "window_seconds": 0.5, "burst": 5 },
                { "name": "day", "requests": 1000, "window_seconds": 86_400, "burst": 1000 },
            ]),
        ),
        (json!([]), json!([])),
        (Value::Null, json!([])),
    ] {
        let body = json!({ "name": "x", "tier": "pro", "limits": sent }).to_string();
        let created = api.admin("POST", "", &body).await.json(201);
        assert_eq!((&created["limits"], &created["tier"]), (&shown, &json!("pro")));
        let key = format!("/{}", created["id"].as_str().unwrap());
        assert_eq!(api.admin("GET", &key, "").await.json(200)["limits"], shown);
        let list = api.admin("GET", "?limit=100", "").await.json(200);
        let mut items = list["items"].as_array().unwrap().iter();
        let listed = items.find(|item| item["id"] == created["id"]).unwrap();
        assert_eq!(listed["limits"], shown);
        // A key that takes the place of another has its limits.
        let rotated = api.admin("POST", &format!("{key}/rotate"), "").await.json(201);
        assert_eq!((&rotated["limits"], &rotated["tier"]), (&shown, &json!("pro")));
    }
    let plain = api.admin("POST", "", r#"{"name":"x"}"#).await.json(201);
    assert_eq!((&plain["limits"], &plain["tier"]), (&json!([]), &Value::Null));
}

#[tokio::test]
async fn limits_are_replaced_and_taken_away() {
    let api = Api::new();
    let key = path(api.issue("user-1", &[]).await.record.id);
    for (sent, shown) in [
        (json!([limit("a", 1)]), json!([limit("a", 1)])),
        (json!([limit("b", 2), limit("c", 3)]), json!([limit("b", 2), limit("c", 3)])),
        (json!([]), json!([])),
        (json!([limit("a", 1)]), json!([limit("a", 1)])),
        (Value::Null, json!([])),
    ] {
        let changed = api.admin("PATCH", &key, &json!({ "limits": sent }).to_string()).await;
        assert_eq!(changed.json(200)["limits"], shown);
        // Left out, they stay.
        let renamed = api.admin("PATCH", &key, r#"{"description":"d"}"#).await.json(200);
        assert_eq!(renamed["limits"], shown);
    }
    let log = api.admin("GET", &format!("{key}/events?limit=1"), "").await.json(200);
    assert_eq!(log["items"][0]["detail"], "limits");
}

#[tokio::test]
async fn what_is_no_limit_is_refused_by_its_path() {
    let api = Api::new();
    let key = path(api.issue("user-1", &[]).await.record.id);
    let before = api.everything().await;
    let with = |field: &str, value: Value| {
        let mut limit = limit("a", 1);
        limit[field] = value;
        json!([{ "name": "good", "requests": 1, "window_seconds": 1 }, limit])
    };
    let without = |field: &str| {
        let mut limit = limit("a", 1);
        limit.as_object_mut().unwrap().remove(field);
        json!([limit])
    };
    let nine: Vec<_> = (0..9).map(|n| limit(&n.to_string(), 1)).collect();
    for (limits, field) in [
        (json!("a"), "limits"),
        (json!({}), "limits"),
        (json!([limit("a", 1), limit("a", 2)]), "limits"),
        (json!(nine), "limits"),
        (json!([["a", 1, 1, 1]]), "limits[0]"),
        (json!([null]), "limits[0]"),
        (without("name"), "limits[0]"),
        (without("requests"), "limits[0]"),
        (without("window_seconds"), "limits[0]"),
        (with("name", json!("")), "limits[1].name"),
        (with("name", json!("a b")), "limits[1].name"),
        (with("name", json!("x".repeat(33))), "limits[1].name"),
        (with("requests", json!(0)), "limits[1].requests"),
        (with("requests", json!(-1)), "limits[1].requests"),
        (with("requests", json!(1.5)), "limits[1].requests"),
        (with("requests", json!(4_294_967_296_u64)), "limits[1].requests"),
        (with("requests", json!("1")), "limits[1].requests"),
        (with("window_seconds", json!(0)), "limits[1].window_seconds"),
        (with("window_seconds", json!(-1)), "limits[1].window_seconds"),
        (with("window_seconds", json!(0.0001)), "limits[1].window_seconds"),
        (with("window_seconds", json!(2_678_401)), "limits[1].window_seconds"),
        (with("window_seconds", json!(1e300)), "limits[1].window_seconds"),
        (with("window_seconds", json!("1m")), "limits[1].window_seconds"),
        (with("burst", json!(0)), "limits[1].burst"),
        (with("colour", json!(1)), "limits[1].colour"),
    ] {
        let body = json!({ "name": "x", "limits": limits }).to_string();
        for (method, path) in [("POST", ""), ("PATCH", &key)] {
            let answer = api.admin(method, path, &body).await;
            assert_eq!(answer.field(422, "invalid_field"), field, "{body}: {answer:?}");
        }
    }
    assert_eq!(api.everything().await, before);
}
