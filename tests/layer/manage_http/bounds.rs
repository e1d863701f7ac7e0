//! What an owner may not go beyond, over HTTP: the attacks on [`ManagementGuard::owner`], and what
//! it asks of a key.

use std::time::Duration;

use axum::Router;
use http::header;
use serde_json::{Value, json};
use tower_api_key::{
    IssuedKey, KeyManager, KeyPatch, NewKey, RateLimits, Rejection, Scopes,
    axum::{ManagementCaller, ManagementGuard, ManagementScopes, management_router},
    clock::Clock,
    credits::NewCredits,
    limit::{Limit, Limits, LocalLimiter, Quota},
    nonzero,
};

use super::{Answer, Api, path, send, uncounted};
use crate::support::{send_waiting, with_key};

/// A key with a tier of three a minute, five credits, an end and a network, that manages others.
async fn sold(api: &Api) -> IssuedKey {
    let limits = [Limit::new("minute", Quota::per_minute(nonzero!(3))).unwrap()];
    let new = NewKey {
        owner: Some("user-1".into()),
        scopes: Scopes::parse(["orders:*", "keys:read", "keys:write"]).unwrap(),
        tier: Some("basic".into()),
        limits: Limits::new(limits).unwrap(),
        credits: Some(NewCredits { remaining: 5, refill: None }),
        expires_at: Some(api.clock.now().saturating_add(Duration::from_hours(1))),
        allowed_addresses: vec!["10.0.0.0/8".parse().unwrap()],
        ..NewKey::named("sold")
    };
    api.keys.create(new).await.unwrap()
}

/// The tests' routes, for a client of that network.
fn from_inside(api: &mut Api) {
    let plain = KeyManager::new(api.store.clone()).with_clock(api.clock.clone());
    let layer = uncounted(&plain).with_client_address(|_| Some([10, 0, 0, 1].into()));
    api.app = Router::new()
        .nest("/me/api-keys", management_router(api.keys.clone(), ManagementGuard::owner(layer)));
}

/// As many as a client of that network gets in.
async fn admitted(api: &Api, secret: &str, requests: usize) -> usize {
    let layer = api.keys.layer().with_client_address(|_| Some([10, 0, 0, 1].into()));
    let mut admitted = 0;
    for _ in 0..requests {
        let answer = send_waiting(&layer, with_key(secret)).await;
        admitted += usize::from(answer.outcome() == "admitted");
    }
    admitted
}

#[tokio::test]
async fn a_key_that_is_limited_makes_no_unlimited_ones() {
    let mut api = Api::new();
    let limiter = LocalLimiter::builder().with_clock(api.clock.clone()).build();
    let credits = tower_api_key::Credits::builder(api.store.clone())
        .with_clock(api.clock.clone())
        .build()
        .unwrap();
    api.keys = api.keys.clone().with_rate_limits(RateLimits::new(limiter)).with_credits(credits);
    let me = sold(&api).await;
    // The routes' layer counts nothing, so that what is counted is what the keys are used for.
    from_inside(&mut api);

    let body = r#"{"name":"more","scopes":["orders:read"]}"#;
    let mut all = 0;
    for _ in 0..10 {
        let made = api.holder(&me, "POST", "", body).await.json(201);
        for field in ["tier", "limits", "expires_at", "allowed_addresses"] {
            let own = serde_json::to_value(tower_api_key::manage::KeyView::new(
                &me.record,
                api.clock.now(),
            ));
            assert_eq!(made[field], own.unwrap()[field], "{field}");
        }
        assert_eq!(made["created_by"], me.record.id.to_string());
        all += admitted(&api, made["key"].as_str().unwrap(), 5).await;
        // A key that replaces a deleted one does not begin anew.
        let id = format!("/{}", made["id"].as_str().unwrap());
        assert_eq!(api.holder(&me, "DELETE", &id, "").await.status(), 204);
    }
    assert_eq!(all, 3);
    api.clock.advance(Duration::from_mins(1));
    assert_eq!(admitted(&api, me.secret.expose(), 9).await, 2, "five credits for all of them");
}

#[tokio::test]
async fn no_bound_is_lifted() {
    let mut api = Api::new();
    let me = sold(&api).await;
    from_inside(&mut api);
    let mine = path(me.record.id);
    let made = api.holder(&me, "POST", "", r#"{"name":"x"}"#).await.json(201);
    let made = format!("/{}", made["id"].as_str().unwrap());
    let before = api.everything().await;
    for (field, value) in [
        ("expires_at", Value::Null),
        ("expires_at", json!("2099-01-01T00:00:00Z")),
        ("expires_at", json!("9999-12-31T23:59:59Z")),
        ("allowed_addresses", json!([])),
        ("allowed_addresses", json!(["0.0.0.0/0", "::/0"])),
        ("allowed_addresses", json!(["::ffff:0.0.0.0/96"])),
        ("scopes", json!(["*"])),
    ] {
        for key in [&mine, &made] {
            let body = json!({ "name": "lifted", field: value }).to_string();
            let refused = api.holder(&me, "PATCH", key, &body).await;
            assert_eq!(refused.field(403, "beyond_own_key"), field, "{value}");
        }
        // What is left out of a new key, or is nothing, is as with the own key.
        if !value.is_null() && value != json!([]) && value != json!("9999-12-31T23:59:59Z") {
            let body = json!({ "name": "lifted", field: value }).to_string();
            let refused = api.holder(&me, "POST", "", &body).await;
            assert_eq!(refused.field(403, "beyond_own_key"), field, "{value}");
        }
    }
    assert_eq!(api.everything().await, before);
    for end in [Value::Null, json!("9999-12-31T23:59:59Z")] {
        let body = json!({ "name": "x", "expires_at": end }).to_string();
        let made = api.holder(&me, "POST", "", &body).await.json(201);
        assert_eq!(made["expires_at"], me.record.expires_at.unwrap().to_string());
    }
}

#[tokio::test]
async fn what_an_administrator_disabled_stays_so() {
    let api = Api::new();
    let me = api.issue("user-1", &["a"]).await;
    let id = api.issue_plain("user-1", &["a"]).await.record.id;
    let (key, on, off) = (path(id), r#"{"disabled":false}"#, r#"{"disabled":true}"#);
    let disabled = api.admin("PATCH", &key, off).await;
    assert_eq!(api.admin("GET", &key, "").await.json(200)["disabled_by"], "administrator");
    assert_eq!(disabled.status(), 200);
    for body in [on, r#"{"disabled":false,"name":"x"}"#] {
        let refused = api.holder(&me, "PATCH", &key, body).await;
        assert_eq!(refused.field(403, "beyond_own_key"), "disabled");
    }
    // Neither by switching it off once more, nor by a new secret.
    api.holder(&me, "PATCH", &key, off).await.json(200);
    assert_eq!(api.holder(&me, "PATCH", &key, on).await.field(403, "beyond_own_key"), "disabled");
    let new = api.holder(&me, "POST", &format!("{key}/rotate"), "").await.json(201);
    assert_eq!((&new["disabled"], &new["disabled_by"]), (&json!(true), &json!("administrator")));
    let new = format!("/{}", new["id"].as_str().unwrap());
    assert_eq!(api.holder(&me, "PATCH", &new, on).await.field(403, "beyond_own_key"), "disabled");

    let enabled = api.admin("PATCH", &new, on).await.json(200);
    assert_eq!(enabled["disabled_by"], Value::Null);
    let disabled = api.holder(&me, "PATCH", &new, off).await.json(200);
    assert_eq!(disabled["disabled_by"], "owner");
    assert_eq!(api.holder(&me, "PATCH", &new, on).await.json(200)["disabled"], false);
}

#[tokio::test]
async fn a_key_that_may_only_read_is_no_foothold() {
    let api = Api::new();
    let reading = api.issue_plain("user-1", &["orders:read"]).await;
    let looking = api.issue_plain("user-1", &["orders:read", "keys:read"]).await;
    let writing = api.issue_plain("user-1", &["orders:read", "keys:write"]).await;
    let great = path(api.issue_plain("user-1", &["*"]).await.record.id);
    let before = api.everything().await;
    let revoke = format!("{great}/revoke");
    let missing = |answer: &Answer, scope: &str| {
        let problem = answer.problem(403, "insufficient_scope");
        assert_eq!(problem["missing_scopes"], json!([scope]), "{problem}");
    };
    for read in ["", "/events", "/usage", &great, &format!("{great}/events")] {
        missing(&api.holder(&reading, "GET", read, "").await, "keys:read");
        missing(&api.holder(&writing, "GET", read, "").await, "keys:read");
        assert_ne!(api.holder(&looking, "GET", read, "").await.status(), 403);
    }
    for (method, path, body) in [
        ("POST", "", r#"{"name":"x"}"#),
        ("POST", "", "not even JSON"),
        ("PATCH", &*great, r#"{"disabled":true}"#),
        ("DELETE", &*great, ""),
        ("POST", &*revoke, ""),
        ("POST", &*format!("{great}/rotate"), ""),
        // Nor are there other ways to ask about the own key.
        ("PATCH", &*super::path(reading.record.id), r#"{"name":"x"}"#),
    ] {
        missing(&api.holder(&reading, method, path, body).await, "keys:write");
        missing(&api.holder(&looking, method, path, body).await, "keys:write");
    }
    // Where the scope is there, the key is still the lesser one.
    let refused = api.holder(&writing, "POST", &revoke, "").await;
    assert_eq!(refused.field(403, "beyond_own_key"), "scopes");
    assert_eq!(api.everything().await, before);

    // What a holder may do with the own key takes no scope.
    let own = super::path(reading.record.id);
    assert_eq!(api.holder(&reading, "GET", &own, "").await.json(200)["name"], "of a test");
    api.holder(&reading, "POST", &format!("{own}/revoke"), "").await.json(200);
    api.holder(&reading, "GET", &own, "").await.problem(401, "revoked_key");
}

#[tokio::test]
async fn the_scopes_are_the_applications_to_choose() {
    let api = Api::new();
    let ask = async |guard: ManagementGuard, key: &IssuedKey, method: &str| {
        let app: Router = management_router(api.keys.clone(), guard);
        let headers = [("x-api-key", key.secret.expose())];
        let body = if method == "POST" { r#"{"name":"x"}"# } else { "" };
        send(&app, method, "/", &headers, body).await.status()
    };
    let own = || ManagementGuard::owner(api.keys.layer());
    let scopes = || ManagementScopes {
        read: "admin:look".parse().unwrap(),
        write: "admin:do".parse().unwrap(),
    };
    let plain = api.issue_plain("user-1", &["a"]).await;
    let usual = api.issue("user-1", &["a"]).await;
    let named = api.issue_plain("user-1", &["admin:*"]).await;
    for (key, expected) in
        [(&plain, [403, 200, 403]), (&usual, [200, 200, 403]), (&named, [403, 200, 200])]
    {
        for (method, done) in [("GET", 200), ("POST", 201)] {
            let expected = expected.map(|status| if status == 200 { done } else { status });
            assert_eq!(ask(own(), key, method).await, expected[0]);
            assert_eq!(ask(own().requiring(None), key, method).await, expected[1]);
            assert_eq!(ask(own().requiring(Some(scopes())), key, method).await, expected[2]);
        }
    }
}

#[tokio::test]
async fn minted_keys_manage_none_unless_owners_may_delegate() {
    let api = Api::new();
    let me = api.issue_plain("user-1", &["*"]).await;
    let own = || ManagementGuard::owner(api.keys.layer());
    let create = async |guard: ManagementGuard, scope: &str| {
        let app: Router = management_router(api.keys.clone(), guard);
        let headers = [("x-api-key", me.secret.expose())];
        let body = json!({ "name": "minted", "scopes": [scope] }).to_string();
        send(&app, "POST", "/", &headers, &body).await
    };
    for scope in ["*", "keys:*", "keys:read", "keys:write"] {
        assert_eq!(create(own(), scope).await.field(403, "beyond_own_key"), "scopes");
        assert_eq!(create(own().delegating(), scope).await.status(), 201);
        assert_eq!(create(own().requiring(None), scope).await.status(), 201);
    }
    assert_eq!(create(own(), "orders:*").await.status(), 201);
}

#[tokio::test]
async fn owners_have_a_rate() {
    let api = Api::new();
    let me = api.issue("user-1", &["a"]).await;
    let other = api.issue("user-2", &["a"]).await;
    let mut last = String::new();
    for _ in 0..15 {
        let made = api.holder(&me, "POST", "", r#"{"name":"x"}"#).await.json(201);
        last = made["id"].to_string();
        let made = format!("/{}", last.trim_matches('"'));
        api.holder(&me, "PATCH", &made, r#"{"name":"y"}"#).await.json(200);
    }
    let last = format!("/{}", last.trim_matches('"'));
    for (method, path, body) in [
        ("POST", "", r#"{"name":"x"}"#),
        ("PATCH", &*last, r#"{"name":"z"}"#),
        ("POST", &*format!("{last}/rotate"), ""),
    ] {
        let refused = api.holder(&me, method, path, body).await;
        refused.problem(429, "rate_limited");
        assert_eq!(refused.header(header::RETRY_AFTER), "2");
    }
    api.holder(&other, "POST", "", r#"{"name":"x"}"#).await.json(201);
    api.admin("PATCH", &last, r#"{"name":"y"}"#).await.json(200);
    api.holder(&me, "GET", &last, "").await.json(200);
    api.holder(&me, "POST", &format!("{last}/revoke"), "").await.json(200);
    api.clock.advance(Duration::from_secs(2));
    api.holder(&me, "POST", "", r#"{"name":"x"}"#).await.json(201);
}

/// An application that says who an owner is and not what the owner has.
#[tokio::test]
async fn a_caller_without_bounds_only_reduces() {
    let api = Api::new();
    let key = api.issue_plain("user-1", &["a"]).await.record;
    let bounding = key.clone();
    let scopes = || Scopes::parse(["a", "b"]).unwrap();
    let app = |caller: ManagementCaller| -> Router {
        let guard = ManagementGuard::custom(move |_| Ok::<_, Rejection>(caller.clone()));
        management_router(api.keys.clone(), guard)
    };
    let bare = app(ManagementCaller::owner("user-1", scopes()));
    let (mine, body) = (path(key.id), r#"{"name":"x","scopes":["b"]}"#);
    let refused = send(&bare, "POST", "/", &[], r#"{"name":"x"}"#).await;
    assert_eq!(refused.field(403, "beyond_own_key"), "owner");
    let refused = send(&bare, "PATCH", &mine, &[], r#"{"scopes":["a","b"]}"#).await;
    assert_eq!(refused.field(403, "beyond_own_key"), "scopes");
    send(&bare, "GET", &mine, &[], "").await.json(200);
    send(&bare, "PATCH", &mine, &[], r#"{"disabled":true}"#).await.json(200);
    api.keys.enable(key.id).await.unwrap();

    let by_key = app(ManagementCaller::owner("user-1", scopes()).bounded_by(&*bounding));
    let refused = send(&by_key, "POST", "/", &[], body).await;
    assert_eq!(refused.field(403, "beyond_own_key"), "scopes");
    send(&by_key, "POST", "/", &[], r#"{"name":"x","scopes":["a"]}"#).await.json(201);
    let template = NewKey { tier: Some("basic".into()), ..NewKey::default() };
    let by_template = app(ManagementCaller::owner("user-1", scopes()).with_template(template));
    assert_eq!(send(&by_template, "POST", "/", &[], body).await.json(201)["tier"], "basic");

    // An administrator who is bounded by a key is none any more.
    let other = api.issue_plain("user-2", &["a"]).await.record;
    let ownerless = api.keys.create(NewKey::named("nobody's")).await.unwrap().record;
    for (bounding, owned) in [(&key, Some(200)), (&ownerless, None)] {
        let app = app(ManagementCaller::administrator().bounded_by(&**bounding));
        for id in [other.id, ownerless.id] {
            send(&app, "GET", &path(id), &[], "").await.problem(404, "not_found");
        }
        let expected = owned.unwrap_or(404);
        assert_eq!(send(&app, "GET", &path(key.id), &[], "").await.status(), expected);
    }
}

#[tokio::test]
async fn a_key_that_leaked_is_revoked_with_what_was_made_with_it() {
    let api = Api::new();
    let me = api.issue("user-1", &["a"]).await;
    let made = api.holder(&me, "POST", "", r#"{"name":"x"}"#).await.json(201);
    let made = format!("/{}", made["id"].as_str().unwrap());
    let other = api.issue("user-1", &["a"]).await.record.id;
    let body = r#"{"reason":"leaked","descendants":true}"#;
    let revoked = api.admin("POST", &format!("{}/revoke", path(me.record.id)), body).await;
    assert_eq!(revoked.json(200)["status"], "revoked");
    let made = api.admin("GET", &made, "").await.json(200);
    assert_eq!((&made["status"], &made["revoked_reason"]), (&json!("revoked"), &json!("leaked")));
    assert_eq!(api.admin("GET", &path(other), "").await.json(200)["status"], "active");
}

/// A change of an administrator's counts from the next request on, whatever is in a cache.
#[tokio::test]
async fn the_own_key_is_what_it_is_now() {
    let api = Api::new();
    let me = api.issue("user-1", &["a", "b"]).await;
    let cached = api.keys.layer();
    let app: Router = management_router(
        api.keys.clone(),
        ManagementGuard::custom({
            let record = me.record.clone();
            move |_| {
                let caller = ManagementCaller::owner("user-1", record.scopes.clone());
                Ok::<_, Rejection>(caller.bounded_by(&*record))
            }
        }),
    );
    drop(cached);
    let body = r#"{"name":"x","scopes":["b"]}"#;
    assert_eq!(send(&app, "POST", "/", &[], body).await.status(), 201);
    let fewer = KeyPatch { scopes: Some(Scopes::parse(["a"]).unwrap()), ..KeyPatch::default() };
    api.keys.update(me.record.id, fewer).await.unwrap();
    let refused = send(&app, "POST", "/", &[], body).await;
    assert_eq!(refused.field(403, "beyond_own_key"), "scopes");
    api.keys.revoke(me.record.id, None).await.unwrap();
    let refused = send(&app, "POST", "/", &[], r#"{"name":"x"}"#).await;
    assert_eq!(refused.field(403, "beyond_own_key"), "status");
}

#[tokio::test]
async fn owners_make_twenty_five_keys_and_no_five_thousand() {
    let api = Api::new();
    let me = api.issue("user-1", &["a"]).await;
    let mut outcomes = Vec::new();
    for _ in 0..30 {
        outcomes.push(api.holder(&me, "POST", "", r#"{"name":"x"}"#).await);
        api.clock.advance(Duration::from_secs(2));
    }
    assert_eq!(outcomes.iter().filter(|answer| answer.status() == 201).count(), 24);
    outcomes[29].problem(403, "too_many_keys");
    let list = api.holder(&me, "GET", "?limit=100", "").await.json(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 25);
    let mine = path(me.record.id);
    assert_eq!(api.holder(&me, "POST", &format!("{mine}/rotate"), "").await.status(), 201);
    let body = r#"{"name":"x","owner":"user-1"}"#;
    assert_eq!(api.admin("POST", "", body).await.status(), 201);
}

/// Nor by a new secret for it, nor by prolonging it, nor by switching it on.
#[tokio::test]
async fn nobody_gets_what_another_key_was_sold() {
    let mut api = Api::new();
    let me = sold(&api).await;
    from_inside(&mut api);
    let end = api.clock.now().saturating_add(Duration::from_mins(30));
    let basic = || NewKey {
        owner: Some("user-1".into()),
        scopes: Scopes::parse(["orders:read"]).unwrap(),
        tier: Some("basic".into()),
        limits: me.record.details.limits.clone(),
        credits: Some(NewCredits { remaining: 5, refill: None }),
        allowed_addresses: vec!["10.0.0.0/8".parse().unwrap()],
        expires_at: Some(end),
        ..NewKey::named("another")
    };
    for (field, new) in [
        ("tier", NewKey { tier: None, ..basic() }),
        ("tier", NewKey { tier: Some("gold".into()), ..basic() }),
        ("limits", NewKey { limits: Limits::default(), ..basic() }),
        ("credits", NewKey { credits: None, ..basic() }),
        ("credits", basic()),
    ] {
        let other = path(api.keys.create(new).await.unwrap().record.id);
        let refused = api.holder(&me, "POST", &format!("{other}/rotate"), "").await;
        assert_eq!(refused.field(403, "beyond_own_key"), field);
        let later = json!({ "expires_at": me.record.expires_at.unwrap().to_string() }).to_string();
        let refused = api.holder(&me, "PATCH", &other, &later).await;
        assert_eq!(refused.field(403, "beyond_own_key"), field);
        api.holder(&me, "PATCH", &other, r#"{"disabled":true}"#).await.json(200);
        let refused = api.holder(&me, "PATCH", &other, r#"{"disabled":false}"#).await;
        assert_eq!(refused.field(403, "beyond_own_key"), field);
    }
    let mine = path(me.record.id);
    api.holder(&me, "POST", &format!("{mine}/rotate"), "").await.json(201);
}

#[tokio::test]
async fn a_deleted_key_that_leaked_has_its_descendants_revoked() {
    let api = Api::new();
    let me = api.issue("user-1", &["a"]).await;
    let made = api.holder(&me, "POST", "", r#"{"name":"x"}"#).await.json(201);
    let made = format!("/{}", made["id"].as_str().unwrap());
    let mine = path(me.record.id);
    assert_eq!(api.admin("DELETE", &mine, "").await.status(), 204);
    let revoke = format!("{mine}/revoke");
    api.admin("POST", &revoke, r#"{"reason":"leaked"}"#).await.problem(404, "not_found");
    assert_eq!(api.admin("GET", &made, "").await.json(200)["status"], "active");
    for _ in 0..2 {
        let answer = api.admin("POST", &revoke, r#"{"descendants":true}"#).await;
        assert_eq!((answer.status(), answer.0.body().len()), (204, 0));
        assert_eq!(api.admin("GET", &made, "").await.json(200)["status"], "revoked");
    }
    let stranger = api.issue("user-2", &["a"]).await;
    let refused = api.holder(&stranger, "POST", &revoke, r#"{"descendants":true}"#).await;
    refused.problem(404, "not_found");
}

/// A denial that names a field says about it what is so.
#[tokio::test]
async fn denials_say_why() {
    let api = Api::new();
    let detail = |answer: &Answer, field: &str| {
        assert_eq!(answer.field(403, "beyond_own_key"), field);
        answer.problem(403, "beyond_own_key")["detail"].as_str().unwrap().to_owned()
    };
    let bare = ManagementGuard::custom(|_| {
        Ok::<_, Rejection>(ManagementCaller::owner("user-1", Scopes::parse(["*"]).unwrap()))
    });
    let bare: Router = management_router(api.keys.clone(), bare);
    let nothing_to_measure_by = send(&bare, "POST", "/", &[], r#"{"name":"x"}"#).await;
    let spending = ManagementGuard::custom(|_| {
        let credits = Some(NewCredits { remaining: 5, refill: None });
        let template = NewKey { credits, ..NewKey::default() };
        let caller = ManagementCaller::owner("user-1", Scopes::parse(["*"]).unwrap());
        Ok::<_, Rejection>(caller.with_template(template))
    });
    let spending: Router = management_router(api.keys.clone(), spending.refusing_shared_credits());
    let not_shared = send(&spending, "POST", "/", &[], r#"{"name":"x"}"#).await;
    let me = api.issue("user-1", &["a"]).await;
    let greater = api.holder(&me, "POST", "", r#"{"name":"x","scopes":["b"]}"#).await;
    for (answer, field, expected) in [
        (nothing_to_measure_by, "owner", "no API key of yours to measure this one by"),
        (not_shared, "credits", "You spend credits, and this API key would not share them."),
        (greater, "scopes", "something that is not yours to give"),
    ] {
        let detail = detail(&answer, field);
        assert!(detail.contains(expected), "{field}: {detail}");
        assert!(!detail.contains("more than your own"), "{detail}");
    }
}
