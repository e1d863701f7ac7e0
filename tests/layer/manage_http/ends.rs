//! When keys end: every way of writing it, and those that are refused.

use serde_json::{Value, json};
use tower_api_key::{KeyPatch, NewKey, Timestamp, key::KeyDigest, manage::ImportKey};

use super::{Api, path};
use crate::support::at;

/// Ends, and what they are kept as. The tests take place on 2026-11-23.
const ENDS: [(&str, Option<&str>); 9] = [
    ("2026-11-23T00:00:00.001Z", Some("2026-11-23T00:00:00.001Z")),
    ("2030-01-31T12:00:00+01:00", Some("2030-01-31T11:00:00.000Z")),
    ("2030-01-31T12:00:00.9999Z", Some("2030-01-31T12:00:00.999Z")),
    ("2030-01-31", Some("2030-01-31T23:59:59.999Z")),
    ("2026-11-23", Some("2026-11-23T23:59:59.999Z")),
    ("infinity", None),
    ("9999-12-31", None),
    ("9999-12-31T23:59:59Z", None),
    ("9999-12-31T23:59:59.9999999Z", None),
];

#[tokio::test]
async fn an_end_is_written_in_many_ways_and_kept_in_one() {
    let api = Api::new();
    let key = api.issue("user-1", &[]).await;
    let id = path(key.record.id);
    for (sent, kept) in ENDS {
        let body = json!({ "name": "ends", "expires_at": sent }).to_string();
        for answer in [
            api.admin("POST", "", &body).await.json(201),
            api.admin("PATCH", &id, &json!({ "expires_at": sent }).to_string()).await.json(200),
        ] {
            assert_eq!(answer["expires_at"], json!(kept), "{sent}");
        }
    }
}

#[tokio::test]
async fn an_end_that_has_come_is_refused_and_changes_nothing() {
    let api = Api::new();
    let key = api.issue("user-1", &[]).await;
    let id = path(key.record.id);
    let before = api.everything().await;
    for past in ["2026-11-23T00:00:00Z", "2026-11-22", "2001-01-01T00:00:00Z", "0000-01-01"] {
        let body = json!({ "name": "ended", "expires_at": past }).to_string();
        assert_eq!(api.admin("POST", "", &body).await.field(422, "invalid_field"), "expires_at");
        let body = json!({ "expires_at": past }).to_string();
        let answer = api.admin("PATCH", &id, &body).await;
        assert_eq!(answer.field(422, "invalid_field"), "expires_at", "{past}");
    }
    assert_eq!(api.everything().await, before);
}

/// A client that sends back all that it was shown can change the name of a key that has expired.
#[tokio::test]
async fn an_end_that_stays_as_it_is_may_be_named() {
    let api = Api::new();
    let key = api.issue("user-1", &[]).await;
    let id = path(key.record.id);
    let body = r#"{"expires_at":"2026-11-23T00:00:01Z"}"#;
    api.admin("PATCH", &id, body).await.json(200);
    api.clock.set(at(1000));
    let body = r#"{"name":"renamed","expires_at":"2026-11-23T00:00:01Z"}"#;
    let changed = api.admin("PATCH", &id, body).await.json(200);
    assert_eq!((&changed["name"], &changed["status"]), (&json!("renamed"), &json!("expired")));
}

#[tokio::test]
async fn a_bad_time_says_what_is_wrong_with_it() {
    let api = Api::new();
    let detail = async |field: &str, value: Value| -> String {
        let answer = api.admin("POST", "", &json!({ "name": "x", field: value }).to_string()).await;
        let problem = answer.problem(422, "invalid_field");
        assert_eq!(problem["field"], field);
        problem["detail"].as_str().unwrap().to_owned()
    };
    for outside in ["10000-01-01T00:00:00Z", "-0001-12-31T00:00:00Z"] {
        assert!(detail("expires_at", json!(outside)).await.contains("0000 to 9999"), "{outside}");
        assert!(detail("not_before", json!(outside)).await.contains("0000 to 9999"), "{outside}");
    }
    for nonsense in ["", "tomorrow", "2030-02-30", "-infinity", "2030-01-31T25:00:00Z"] {
        assert!(detail("expires_at", json!(nonsense)).await.contains("RFC 3339"), "{nonsense}");
    }
    // "No end" is nothing that a beginning can be.
    for never in ["9999-12-31T23:59:59Z", "9999-01-01T00:00:00Z"] {
        assert!(detail("not_before", json!(never)).await.contains("9999"), "{never}");
    }
    for no_moment in ["infinity", "2030-01-31"] {
        assert!(detail("not_before", json!(no_moment)).await.contains("RFC 3339"), "{no_moment}");
    }
}

/// The last moment that a [`Timestamp`] has, and with it whatever is computed beyond, is no end.
#[tokio::test]
async fn the_library_keeps_no_end_in_the_year_9999() {
    let api = Api::new();
    let last = Timestamp::from_unix_millis(i64::MAX);
    let new = NewKey { expires_at: Some(last), ..NewKey::named("lasting") };
    let created = api.keys.create(new.clone()).await.unwrap().record;
    assert_eq!(created.expires_at, None);
    let patch = KeyPatch { expires_at: Some(Some(last)), ..KeyPatch::default() };
    assert_eq!(api.keys.update(created.id, patch).await.unwrap().expires_at, None);
    let import = ImportKey::from_digest(KeyDigest::from_bytes([7; 32]), new);
    let imported = api.keys.import(&[import]).await.unwrap().imported[0];
    assert_eq!(api.keys.get(imported).await.unwrap().expires_at, None);
    // What another system issued may have ended there.
    let ended = NewKey { expires_at: Some(at(-1000)), ..NewKey::named("ended") };
    let import = ImportKey::from_digest(KeyDigest::from_bytes([8; 32]), ended);
    let imported = api.keys.import(&[import]).await.unwrap().imported[0];
    assert_eq!(api.keys.get(imported).await.unwrap().expires_at, Some(at(-1000)));
}
