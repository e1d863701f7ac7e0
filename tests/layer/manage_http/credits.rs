//! `credits` of a key, over HTTP.

use std::time::Duration;

use serde_json::{Value, json};
use tower_api_key::{
    KeyId, NewKey,
    credits::{Balance, NewCredits},
    manage::KeyView,
    store::BalanceStore,
};

use super::{Api, path};

fn credits(remaining: u64, refill: &Value, next_refill_at: &Value) -> Value {
    json!({ "remaining": remaining, "refill": refill, "next_refill_at": next_refill_at })
}

async fn remaining(api: &Api, lineage: KeyId) -> Option<u64> {
    let balances = api.store.balances(&[lineage]).await.unwrap().items;
    balances.first().map(|(_, balance)| balance.remaining)
}

#[tokio::test]
async fn a_new_key_has_the_credits_that_it_was_given() {
    let api = Api::new();
    let daily = json!({ "amount": 7, "interval_seconds": 86_400 });
    let monthly = json!({ "amount": 9_223_372_036_854_775_807_i64, "interval": "month" });
    let (day, month) = (json!("2026-11-24T00:00:00.000Z"), json!("2026-12-23T00:00:00.000Z"));
    for (sent, shown) in [
        (json!(1000), credits(1000, &Value::Null, &Value::Null)),
        (json!(0), credits(0, &Value::Null, &Value::Null)),
        (json!({ "remaining": 5 }), credits(5, &Value::Null, &Value::Null)),
        (json!({ "remaining": 5, "refill": null }), credits(5, &Value::Null, &Value::Null)),
        (json!({ "remaining": 5, "refill": daily }), credits(5, &daily, &day)),
        (json!({ "refill": daily }), credits(7, &daily, &day)),
        (json!({ "remaining": 0, "refill": monthly }), credits(0, &monthly, &month)),
        (Value::Null, Value::Null),
    ] {
        let body = json!({ "name": "x", "credits": sent }).to_string();
        let created = api.admin("POST", "", &body).await.json(201);
        assert_eq!(created["credits"], shown, "{body}");
        let key = format!("/{}", created["id"].as_str().unwrap());
        assert_eq!(api.admin("GET", &key, "").await.json(200)["credits"], shown);
        // A key that takes the place of another spends what that one had.
        let rotated = api.admin("POST", &format!("{key}/rotate"), "").await.json(201);
        assert_eq!(rotated["credits"], shown);
        let list = api.admin("GET", "?limit=100", "").await.json(200);
        for key in [&created, &rotated] {
            let mut items = list["items"].as_array().unwrap().iter();
            let listed = items.find(|item| item["id"] == key["id"]).unwrap();
            assert_eq!(listed["credits"], shown);
        }
        let revoked = api.admin("POST", &format!("{key}/revoke"), "").await.json(200);
        assert_eq!(revoked["credits"], shown);
    }
}

#[tokio::test]
async fn what_has_come_back_is_shown() {
    let api = Api::new();
    let refill = json!({ "amount": 10, "interval_seconds": 60 });
    let body = json!({ "name": "x", "credits": { "remaining": 3, "refill": refill } }).to_string();
    let created = api.admin("POST", "", &body).await.json(201);
    let key = format!("/{}", created["id"].as_str().unwrap());
    for (minute, remaining) in [(0, 3), (1, 10), (2, 10)] {
        let shown = api.admin("GET", &key, "").await.json(200)["credits"].clone();
        let next = format!("2026-11-23T00:0{}:00.000Z", minute + 1);
        assert_eq!(shown, credits(remaining, &refill, &json!(next)));
        api.clock.advance(Duration::from_mins(1));
    }
}

#[tokio::test]
async fn credits_are_set_anew_and_taken_away() {
    let api = Api::new();
    let issued = api.issue("user-1", &[]).await.record.id;
    let key = path(issued);
    let refill = json!({ "amount": 7, "interval": "month" });
    let more = json!({ "amount": 9, "interval": "month" });
    let daily = json!({ "amount": 9, "interval_seconds": 86_400 });
    let (day, next) = (json!("2026-11-24T00:00:00.000Z"), json!("2026-12-23T00:00:00.000Z"));
    for (sent, shown) in [
        (json!(10), credits(10, &Value::Null, &Value::Null)),
        (json!({ "remaining": 3, "refill": refill }), credits(3, &refill, &next)),
        // What is left out stays, at this depth too.
        (json!({ "remaining": 1 }), credits(1, &refill, &next)),
        (json!({ "refill": { "amount": 9 } }), credits(1, &more, &next)),
        (json!({ "refill": { "interval_seconds": 86_400 } }), credits(1, &daily, &day)),
        (json!({ "refill": {} }), credits(1, &daily, &day)),
        (json!({ "refill": null }), credits(1, &Value::Null, &Value::Null)),
        (json!({ "refill": {} }), credits(1, &Value::Null, &Value::Null)),
        (json!({ "refill": refill }), credits(1, &refill, &next)),
        (json!({}), credits(1, &refill, &next)),
        (json!(4), credits(4, &refill, &next)),
        (Value::Null, Value::Null),
        (json!({}), Value::Null),
        (json!({ "refill": null }), Value::Null),
        (json!(2), credits(2, &Value::Null, &Value::Null)),
        (Value::Null, Value::Null),
        (json!({ "refill": refill }), credits(7, &refill, &next)),
    ] {
        let changed = api.admin("PATCH", &key, &json!({ "credits": sent }).to_string()).await;
        assert_eq!(changed.json(200)["credits"], shown, "{sent}");
        // Left out, they stay.
        let renamed = api.admin("PATCH", &key, r#"{"description":"d"}"#).await.json(200);
        assert_eq!(renamed["credits"], shown);
    }
}

#[tokio::test]
async fn what_are_no_credits_is_refused_by_its_path() {
    let api = Api::new();
    let key = path(api.issue("user-1", &[]).await.record.id);
    let before = api.everything().await;
    let refill = |refill: Value| json!({ "remaining": 1, "refill": refill });
    for (credits, field) in [
        (json!(-1), "credits"),
        (json!(1.5), "credits"),
        (json!("1"), "credits"),
        (json!([1]), "credits"),
        (json!(9_223_372_036_854_775_808_u64), "credits"),
        (json!({ "remaining": -1 }), "credits.remaining"),
        (json!({ "remaining": 9_223_372_036_854_775_808_u64 }), "credits.remaining"),
        (json!({ "remaining": 1, "epoch": 1 }), "credits.epoch"),
        (refill(json!(1)), "credits.refill"),
        (
            refill(json!({ "amount": 1, "interval": "month", "interval_seconds": 1 })),
            "credits.refill",
        ),
        (
            refill(json!({ "amount": 9_223_372_036_854_775_808_u64, "interval": "month" })),
            "credits.refill",
        ),
        (refill(json!({ "amount": 0, "interval": "month" })), "credits.refill.amount"),
        (refill(json!({ "amount": 1, "interval": "year" })), "credits.refill.interval"),
        (refill(json!({ "amount": 1, "interval_seconds": 0 })), "credits.refill.interval_seconds"),
        (refill(json!({ "amount": 1, "of": 1, "interval": "month" })), "credits.refill.of"),
    ] {
        let body = json!({ "name": "x", "credits": credits }).to_string();
        for (method, path) in [("POST", ""), ("PATCH", &key)] {
            let answer = api.admin(method, path, &body).await;
            assert_eq!(answer.field(422, "invalid_field"), field, "{body}: {answer:?}");
        }
    }
    // A key without a refill needs both halves of one.
    for (half, missing) in [
        (json!({ "amount": 1 }), "credits.refill.interval"),
        (json!({ "interval": "month" }), "credits.refill.amount"),
    ] {
        let body = json!({ "name": "x", "credits": refill(half) }).to_string();
        let answer = api.admin("POST", "", &body).await;
        assert_eq!(answer.field(422, "invalid_field"), "credits.refill", "{body}: {answer:?}");
        let answer = api.admin("PATCH", &key, &body).await;
        assert_eq!(answer.field(422, "invalid_field"), missing, "{body}: {answer:?}");
    }
    // A new key needs one half at least.
    for credits in [json!({}), json!({ "refill": null }), json!({ "remaining": null })] {
        let body = json!({ "name": "x", "credits": credits }).to_string();
        let answer = api.admin("POST", "", &body).await;
        assert_eq!(answer.field(422, "invalid_field"), "credits", "{body}: {answer:?}");
    }
    let answer = api.admin("PATCH", &key, r#"{"credits":{"remaining":null}}"#).await;
    assert_eq!(answer.field(422, "invalid_field"), "credits.remaining");
    assert_eq!(api.everything().await, before);
}

#[tokio::test]
async fn top_ups_come_on_top() {
    let api = Api::new();
    let body = r#"{"name":"x","owner":"user-1","credits":{"remaining":5,"refill":{"amount":7,"interval":"month"}}}"#;
    let created = api.admin("POST", "", body).await.json(201);
    let key = format!("/{}", created["id"].as_str().unwrap());
    let top_up = format!("{key}/credits");
    let topped_up = api.admin("POST", &top_up, r#"{"add":10}"#).await.json(200);
    let refill = json!({ "amount": 7, "interval": "month" });
    let expected = credits(15, &refill, &json!("2026-12-23T00:00:00.000Z"));
    assert_eq!(topped_up["credits"], expected);
    assert_eq!(api.admin("GET", &key, "").await.json(200)["credits"], expected);

    // As much as there can be, and no more.
    let most = r#"{"add":9223372036854775807}"#;
    let full = api.admin("POST", &top_up, most).await.json(200);
    assert_eq!(full["credits"]["remaining"], 9_223_372_036_854_775_807_i64);

    let lineage: KeyId = created["id"].as_str().unwrap().parse().unwrap();
    let before = (api.everything().await, remaining(&api, lineage).await);
    for (body, field) in [
        (r#"{"add":0}"#, "add"),
        (r#"{"add":-1}"#, "add"),
        (r#"{"add":1.5}"#, "add"),
        (r#"{"add":9223372036854775808}"#, "add"),
        (r#"{"add":null}"#, "add"),
        (r#"{"add":1,"subtract":1}"#, "add"),
        (r#"{"add":1,"or_less":true}"#, "or_less"),
        (r#"{"subtract":0}"#, "subtract"),
        (r#"{"subtract":-1}"#, "subtract"),
        (r#"{"subtract":9223372036854775808}"#, "subtract"),
        (r#"{"subtract":1,"or_less":1}"#, "or_less"),
        (r#"{"add":1,"remaining":1}"#, "remaining"),
        ("[1]", "body"),
    ] {
        let answer = api.admin("POST", &top_up, body).await;
        assert_eq!(answer.field(422, "invalid_field"), field, "{body}: {answer:?}");
    }
    api.admin("POST", &top_up, "{}").await.problem(422, "invalid_field");
    let unknown = "/01890000-0000-7000-8000-000000000000/credits";
    api.admin("POST", unknown, r#"{"add":1}"#).await.problem(404, "not_found");
    assert_eq!((api.everything().await, remaining(&api, lineage).await), before);
}

#[tokio::test]
async fn a_refund_takes_what_is_there_or_nothing() {
    let api = Api::new();
    let created = api.admin("POST", "", r#"{"name":"x","credits":100}"#).await.json(201);
    let credits = format!("/{}/credits", created["id"].as_str().unwrap());
    let taken = api.admin("POST", &credits, r#"{"subtract":30}"#).await.json(200);
    assert_eq!((&taken["credits"]["remaining"], &taken["subtracted"]), (&json!(70), &json!(30)));
    let refused = api.admin("POST", &credits, r#"{"subtract":71}"#).await.json(409);
    assert_eq!(
        (&refused["code"], &refused["remaining"]),
        (&json!("not_enough_credits"), &json!(70))
    );
    let body = r#"{"subtract":71,"or_less":true}"#;
    let taken = api.admin("POST", &credits, body).await.json(200);
    assert_eq!((&taken["credits"]["remaining"], &taken["subtracted"]), (&json!(0), &json!(70)));
    let none = path(api.issue("user-1", &[]).await.record.id) + "/credits";
    api.admin("POST", &none, body).await.problem(409, "no_credits");
}

/// A key that spends none works without them, and would stop to.
#[tokio::test]
async fn a_key_without_credits_is_not_topped_up() {
    let api = Api::new();
    let key = path(api.issue("user-1", &[]).await.record.id);
    let before = api.everything().await;
    let refused = api.admin("POST", &format!("{key}/credits"), r#"{"add":1}"#).await;
    refused.problem(409, "no_credits");
    assert_eq!(api.everything().await, before);
}

/// Nor do owners learn that there is such a route, or such a key.
#[tokio::test]
async fn owners_do_not_give_themselves_credits() {
    let api = Api::new();
    let new = |owner: &str| NewKey {
        owner: Some(owner.into()),
        credits: Some(NewCredits { remaining: 5, refill: None }),
        ..NewKey::named("x")
    };
    let me = api.keys.create(new("user-1")).await.unwrap();
    let theirs = api.keys.create(new("user-2")).await.unwrap().record.id;
    let before = api.everything().await;
    let nothing = api.holder(&me, "POST", "/x/nothing", "").await;
    for id in [me.record.id.to_string(), theirs.to_string(), "x".to_owned()] {
        for body in [r#"{"add":1}"#, "", "{", &format!(r#"{{"add":{}1}}"#, " ".repeat(70_000))] {
            let refused = api.holder(&me, "POST", &format!("/{id}/credits"), body).await;
            refused.problem(404, "not_found");
            assert_eq!(refused.0.body(), nothing.0.body());
        }
    }
    assert_eq!(api.everything().await, before);
    for lineage in [me.record.id, theirs] {
        assert_eq!(remaining(&api, lineage).await, Some(5));
    }
    // What they have left they see.
    let mine = api.holder(&me, "GET", &path(me.record.id), "").await.json(200);
    assert_eq!(mine["credits"], credits(5, &Value::Null, &Value::Null));
}

/// What is left of a balance that a key does not spend any more is not its own.
#[tokio::test]
async fn a_view_shows_the_balance_of_a_key_that_spends_credits() {
    let api = Api::new();
    let now = crate::support::NOW;
    let balance = Balance::new(5, None, now);
    let spending = NewCredits { remaining: 1, refill: None };
    let with = NewKey { credits: Some(spending), ..NewKey::named("x") };
    for (new, shown) in
        [(NewKey::named("x"), Value::Null), (with, credits(5, &Value::Null, &Value::Null))]
    {
        let record = api.keys.create(new).await.unwrap().record;
        let view = KeyView::new(&record, now);
        assert_eq!(serde_json::to_value(&view).unwrap()["credits"], Value::Null);
        let view = serde_json::to_value(view.with_balance(Some(&balance))).unwrap();
        assert_eq!(view["credits"], shown);
    }
}

#[tokio::test]
async fn a_repeated_request_is_done_once_and_its_answer_repeated() {
    let api = Api::new();
    let created = api.admin("POST", "", r#"{"name":"x","credits":100}"#).await.json(201);
    let key = format!("/{}", created["id"].as_str().unwrap());
    let credits = format!("{key}/credits");
    let left = async || api.admin("GET", &key, "").await.json(200)["credits"]["remaining"].clone();
    for _ in 0..3 {
        let answer = api
            .admin_with("POST", &credits, &[("idempotency-key", "a")], r#"{"add":10}"#)
            .await
            .json(200);
        assert_eq!(answer["credits"]["remaining"], 110);
    }
    assert_eq!(left().await, 110);
    for _ in 0..3 {
        let body = r#"{"subtract":200,"or_less":true}"#;
        let answer =
            api.admin_with("POST", &credits, &[("idempotency-key", "b")], body).await.json(200);
        assert_eq!(
            (&answer["credits"]["remaining"], &answer["subtracted"]),
            (&json!(0), &json!(110))
        );
        api.admin("POST", &credits, r#"{"add":1}"#).await.json(200);
    }
    assert_eq!(left().await, 3);

    for (path, id, body) in [
        (&*credits, "a", r#"{"add":11}"#),
        (&*credits, "a", r#"{"subtract":10}"#),
        (&*credits, "b", r#"{"subtract":200}"#),
        (&*format!("{key}/rotate"), "a", ""),
    ] {
        let refused = api.admin_with("POST", path, &[("idempotency-key", id)], body).await;
        refused.problem(409, "request_id_reused");
    }
    let bad = api.admin_with("POST", &credits, &[("idempotency-key", "a b")], r#"{"add":1}"#).await;
    assert_eq!(bad.field(400, "invalid_parameter"), "Idempotency-Key");
    let bad =
        api.admin_with("POST", &format!("{key}/rotate"), &[("idempotency-key", "a b")], "").await;
    assert_eq!(bad.field(400, "invalid_parameter"), "Idempotency-Key");
    assert_eq!(left().await, 3);

    // With the tag that was seen before the first time, the answer is what it was.
    let seen = api.admin("GET", &key, "").await;
    let tag = seen.header(http::header::ETAG);
    let once = [("if-match", tag), ("idempotency-key", "d")];
    for _ in 0..2 {
        api.admin_with("POST", &credits, &once, r#"{"add":4}"#).await.json(200);
        assert_eq!(left().await, 7);
    }
    for body in [r#"{"add":1}"#, r#"{"subtract":1}"#] {
        let stale = api.admin_with("POST", &credits, &[("if-match", tag)], body).await;
        stale.problem(412, "revision_mismatch");
    }
    assert_eq!(left().await, 7);

    let rotate = format!("{key}/rotate");
    let new = api
        .admin_with("POST", &rotate, &[("idempotency-key", "c")], r#"{"grace_seconds":60}"#)
        .await
        .json(201);
    api.admin("POST", &format!("/{}/revoke", new["id"].as_str().unwrap()), "").await.json(200);
    let again = api
        .admin_with("POST", &rotate, &[("idempotency-key", "c")], r#"{"grace_seconds":60}"#)
        .await
        .json(409);
    assert_eq!((&again["code"], &again["rotated_to"]), (&json!("already_rotated"), &new["id"]));
}
