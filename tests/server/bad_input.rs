//! Bodies that are wrong, and the answers that say why.

use serde_json::{Value, json};

use crate::{
    process::{Reply, curl},
    support::{ADMIN_KEY, Ask, Running, assert_problem, directory, shared},
};

fn create(server: &Running, body: &str) -> Reply {
    server.admin_sends("POST", "/admin/api-keys", body, &[])
}

#[track_caller]
fn assert_invalid(reply: &Reply, field: &str) {
    assert_problem(reply, 422, "invalid_field");
    assert_eq!(reply.json()["field"], field, "{reply:?}");
}

#[test]
fn what_is_no_json_is_400() {
    let server = shared();
    let created = server.create(&json!({ "name": "x" }));
    let path = format!("/admin/api-keys/{}", created.id);
    let nested = "[".repeat(60_000);
    for body in ["{", "name", r#"{"name":"x"}}"#, r#"{"name":"\ud800"}"#, "[1,]", &nested] {
        assert_problem(&create(&server, body), 400, "malformed_json");
        assert_problem(&server.admin_sends("PATCH", &path, body, &[]), 400, "malformed_json");
        let revoke = format!("{path}/revoke");
        assert_problem(&server.admin_sends("POST", &revoke, body, &[]), 400, "malformed_json");
    }
    for (method, path) in [("POST", "/admin/api-keys"), ("PATCH", &path)] {
        assert_problem(&server.admin_sends(method, path, "", &[]), 400, "malformed_json");
    }
    assert_eq!(server.ask_as(&created.key, "GET", "/articles").status, 200);
}

/// A proxy or a client's library may have read the other one.
#[test]
fn a_member_that_is_there_twice_is_422() {
    let server = shared();
    let created = server.create(&json!({ "name": "once" }));
    let path = format!("/admin/api-keys/{}", created.id);
    let holder = format!("X-API-Key: {}", created.key);
    let json = "Content-Type: application/json";
    for (method, path, body) in [
        ("POST", "/admin/api-keys", r#"{"name":"a","scopes":[],"scopes":["*"]}"#),
        ("POST", "/admin/api-keys", r#"{"name":"a","metadata":{"b":[{"c":1,"c":2}]}}"#),
        ("POST", "/admin/api-keys", r#"{"name":"a","n\u0061me":"b"}"#),
        ("PATCH", &path, r#"{"disabled":true,"disabled":false}"#),
        ("PATCH", &path, r#"{"credits":{"remaining":1,"remaining":9}}"#),
        ("POST", &format!("{path}/rotate"), r#"{"grace_seconds":0,"grace_seconds":3600}"#),
        ("POST", &format!("{path}/revoke"), r#"{"reason":"a","reason":"b"}"#),
        ("POST", &format!("{path}/credits"), r#"{"add":1,"add":2}"#),
        ("POST", "/admin/api-keys/revoke", r#"{"owner":"a","owner":"b"}"#),
    ] {
        let reply = server.admin_sends(method, path, body, &[]);
        assert_invalid(&reply, "body");
        assert!(reply.body.contains("is there twice"), "{reply:?}");
    }
    let own = [("-H", &*holder), ("-H", json), ("-d", r#"{"reason":"a","reason":"b"}"#)];
    let own: Vec<_> = own.iter().flat_map(|(flag, value)| [*flag, *value]).collect();
    assert_invalid(&server.ask("POST", "/me/key/revoke", &own), "body");
    // What may be a key is not repeated.
    let twice = format!(r#"{{"{0}":1,"{0}":2}}"#, created.key);
    let reply = server.admin_sends("POST", "/admin/api-keys", &twice, &[]);
    assert!(!reply.body.contains(&created.key[..16]), "{reply:?}");
    assert_eq!(server.ask_as(&created.key, "GET", "/articles").status, 200);
}

/// The parser's own marker for JSON in a text: what is in it would be read past every check.
#[test]
fn json_in_a_text_is_no_json() {
    const RAW: &str = "$serde_json::private::RawValue";
    let server = shared();
    let created = server.create(&json!({ "name": "raw" }));
    let hidden = json!({ RAW: r#"{"name":"good","name":"evil","scopes":["*"]}"# }).to_string();
    assert_invalid(&create(&server, &hidden), "body");
    for field in ["scopes", "metadata", "limits", "credits"] {
        let body = json!({ "name": "raw", field: { RAW: r#"["*"]"# } }).to_string();
        assert_invalid(&create(&server, &body), "body");
    }
    // Each marker would begin a new bound on depth.
    let mut deep = "[".repeat(120) + &"]".repeat(120);
    for _ in 0..4 {
        let text = serde_json::to_string(&deep).unwrap();
        deep = format!("{}{{\"{RAW}\":{text}}}{}", "[".repeat(120), "]".repeat(120));
    }
    let body = format!(r#"{{"reason":{deep}}}"#);
    let holder = format!("X-API-Key: {}", created.key);
    let json = "Content-Type: application/json";
    let own = server.ask("POST", "/me/key/revoke", &["-H", &holder, "-H", json, "-d", &body]);
    assert_invalid(&own, "body");
    assert_eq!(server.ask_as(&created.key, "GET", "/articles").status, 200);
}

#[test]
fn what_is_no_object_is_422() {
    let server = shared();
    for body in ["[]", r#"["a name"]"#, "null", "7", "\"x\""] {
        assert_invalid(&create(&server, body), "body");
    }
}

#[test]
fn wrong_types_are_422_and_named() {
    let server = shared();
    for (field, value, path) in [
        ("name", json!(7), "name"),
        ("name", json!(null), "name"),
        ("name", json!(["x"]), "name"),
        ("description", json!({}), "description"),
        ("owner", json!(1), "owner"),
        ("scopes", json!("orders:read"), "scopes"),
        ("scopes", json!(["a", 1]), "scopes[1]"),
        ("expires_at", json!(1_900_000_000), "expires_at"),
        ("not_before", json!(true), "not_before"),
        ("tier", json!(1), "tier"),
        ("limits", json!({}), "limits"),
        ("limits", json!([1]), "limits[0]"),
        (
            "limits",
            json!([{ "name": "a", "requests": "1", "window_seconds": 1 }]),
            "limits[0].requests",
        ),
        ("credits", json!("5"), "credits"),
        ("credits", json!({ "remaining": 1.5 }), "credits.remaining"),
        ("allowed_addresses", json!("10.0.0.0/8"), "allowed_addresses"),
        ("allowed_addresses", json!([null]), "allowed_addresses[0]"),
        ("metadata", json!([]), "metadata"),
        ("metadata", json!("x"), "metadata"),
    ] {
        let mut body = json!({ "name": "x" });
        body[field] = value;
        assert_invalid(&create(&server, &body.to_string()), path);
    }
}

#[test]
fn values_out_of_range_are_422_and_named() {
    let server = shared();
    let a = |count: usize| "a".repeat(count);
    let ä = |count: usize| "ä".repeat(count);
    let scopes = |count: usize| (0..count).map(|i| format!("s{i}")).collect::<Vec<_>>();
    let networks = |count: usize| vec!["10.0.0.0/8"; count];
    let window = |seconds: Value| json!([{ "name": "a", "requests": 1, "window_seconds": seconds, "burst": 1 }]);
    let metadata = |bytes: usize| json!({ "x": a(bytes - r#"{"x":""}"#.len()) });
    for (field, good, bad, path) in [
        ("name", json!(ä(100)), json!(ä(101)), "name"),
        ("name", json!("a"), json!(""), "name"),
        ("name", json!("two words"), json!("nul\0"), "name"),
        ("name", json!("x"), json!(" \u{200b}"), "name"),
        ("name", json!("x"), json!("a\u{1b}[2Jb"), "name"),
        ("owner", json!("a\u{200f}"), json!("a\u{202e}"), "owner"),
        ("owner", json!("a b"), json!("\u{3000}"), "owner"),
        ("description", json!("one\r\n\ttwo"), json!("\u{9b}2J"), "description"),
        ("description", json!(ä(1000)), json!(ä(1001)), "description"),
        ("owner", json!(a(255)), json!(a(256)), "owner"),
        ("owner", json!("o"), json!(""), "owner"),
        ("tier", json!(a(100)), json!(a(101)), "tier"),
        ("tier", json!("t"), json!(""), "tier"),
        ("limits", window(json!(0.001)), window(json!(0)), "limits[0].window_seconds"),
        ("limits", window(json!(2_678_400)), window(json!(2_678_401)), "limits[0].window_seconds"),
        ("credits", json!(0), json!(-1), "credits"),
        ("credits", json!(i64::MAX), json!(u64::MAX), "credits"),
        ("scopes", json!(scopes(100)), json!(scopes(101)), "scopes"),
        ("scopes", json!([a(128)]), json!(["ok", a(129)]), "scopes[1]"),
        ("scopes", json!(["a:*"]), json!(["a*"]), "scopes[0]"),
        ("scopes", json!(["*"]), json!([""]), "scopes[0]"),
        ("metadata", metadata(16 * 1024), metadata(16 * 1024 + 1), "metadata"),
        ("allowed_addresses", json!(networks(100)), json!(networks(101)), "allowed_addresses"),
        (
            "allowed_addresses",
            json!(["::/0"]),
            json!(["10.0.0.0/8", "10.0.0.0/33"]),
            "allowed_addresses[1]",
        ),
        ("expires_at", json!("2030-01-31T12:00:00Z"), json!("2030-02-30"), "expires_at"),
        ("expires_at", json!("2030-01-31T12:00:00-08:00"), json!("tomorrow"), "expires_at"),
        ("not_before", json!("2030-01-31t12:00:00z"), json!("2030-02-31T12:00:00Z"), "not_before"),
    ] {
        let with = |value: Value| {
            let mut body = json!({ "name": "x" });
            body[field] = value;
            create(&server, &body.to_string())
        };
        let accepted = with(good);
        assert_eq!(accepted.status, 201, "{field}: {accepted:?}");
        assert_invalid(&with(bad), path);
    }
    let body =
        r#"{"name":"x","not_before":"2030-01-01T00:00:00Z","expires_at":"2030-01-01T00:00:00Z"}"#;
    assert_invalid(&create(&server, body), "expires_at");
}

#[test]
fn missing_and_unknown_fields_are_422_and_named() {
    let server = shared();
    assert_invalid(&create(&server, "{}"), "name");
    for field in ["colour", "key", "id", "disabled", "Name", "revoked_at"] {
        let body = json!({ "name": "x", field: 1 }).to_string();
        assert_invalid(&create(&server, &body), field);
    }
    let created = server.create(&json!({ "name": "x" }));
    let revoke = format!("/admin/api-keys/{}/revoke", created.id);
    for (body, field) in [
        (json!({ "because": "x" }), "because"),
        (json!({ "reason": 1 }), "reason"),
        (json!({ "reason": "a".repeat(1001) }), "reason"),
    ] {
        assert_invalid(&server.admin_sends("POST", &revoke, &body.to_string(), &[]), field);
    }
    assert_eq!(server.ask_as(&created.key, "GET", "/articles").status, 200);
}

/// A key in the place of a name, or of a value, comes back in no answer.
#[test]
fn no_answer_repeats_a_key_in_a_body() {
    let server = shared();
    let created = server.create(&json!({ "name": "misplaced" }));
    let key = &created.key;
    let cut = format!("{}…", &key[..12]);
    let header = format!("X-API-Key: {key}");
    let own = |body: &Value| {
        let body = body.to_string();
        let json = "Content-Type: application/json";
        server.ask("POST", "/me/key/revoke", &["-H", &header, "-H", json, "-d", &body])
    };
    for (reply, field) in [
        (own(&json!({ key: 1 })), &*cut),
        (create(&server, &json!({ "name": "x", key: 1 }).to_string()), &cut),
        (
            create(&server, &json!({ "name": "x", "credits": { key: 1 } }).to_string()),
            &format!("credits.{cut}"),
        ),
        (create(&server, &json!({ "name": "x", "limits": key }).to_string()), "limits"),
    ] {
        assert_invalid(&reply, field);
        assert!(!reply.body.contains(&key[..13]), "{reply:?}");
        assert!(reply.body.contains(&cut), "{reply:?}");
    }
    assert_eq!(server.ask_as(key, "GET", "/articles").status, 200);
}

#[test]
fn bodies_over_64_kib_are_413_however_they_are_framed() {
    let server = shared();
    let key = server.create(&json!({ "name": "large" })).key;
    let directory = directory();
    let admin = format!("X-Admin-Key: {ADMIN_KEY}");
    let key = format!("X-API-Key: {key}");
    let chunked = ["-H", "Transfer-Encoding: chunked"];
    let json = ["-H", "Content-Type: application/json"];
    for (size, framing, status) in [
        (64 * 1024, &[][..], 200),
        (64 * 1024, &chunked, 200),
        (64 * 1024 + 1, &[], 413),
        (64 * 1024 + 1, &chunked, 413),
        (900 * 1024, &[], 413),
        (900 * 1024, &chunked, 413),
        (5_000_000, &[], 413),
    ] {
        let file = directory.path().join("body");
        let quotes = 2;
        std::fs::write(&file, format!("\"{}\"", "a".repeat(size - quotes))).unwrap();
        let body = format!("@{}", file.display());
        let send = |path: &str, header: &str| {
            let args = ["-X", "POST", "--data-binary", &body, "-H", header];
            curl([&args, &json[..], framing, &[&*server.server.url(path)]].concat())
        };
        let received = send("/webhook/orders", &key);
        assert_eq!(received.status, status, "{size} {framing:?} {received:?}");
        if status == 413 {
            assert_problem(&received, 413, "body_too_large");
            assert_problem(&send("/admin/api-keys", &admin), 413, "body_too_large");
        }
    }
}

#[test]
fn bodies_of_another_type_are_415() {
    let server = shared();
    let admin = format!("X-Admin-Key: {ADMIN_KEY}");
    let send = |content_type: &str| {
        let body = r#"{"name":"typed"}"#;
        server.ask("POST", "/admin/api-keys", &["-H", &admin, "-H", content_type, "-d", body])
    };
    for good in [
        "application/json",
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "application/merge-patch+json",
        // `curl` reads this as "do not send that header".
        "",
    ] {
        let reply = send(&format!("Content-Type: {good}"));
        assert_eq!(reply.status, 201, "{good:?}: {reply:?}");
    }
    for bad in ["text/plain", "application/x-www-form-urlencoded", "text/json", "jsonx", "json"] {
        assert_problem(&send(&format!("Content-Type: {bad}")), 415, "unsupported_media_type");
    }
}
