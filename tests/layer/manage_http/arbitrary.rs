//! Arbitrary requests: never the service's fault, and never a way to another owner's keys.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Api, send};

const FIELDS: [&str; 24] = [
    "name",
    "description",
    "owner",
    "scopes",
    "expires_at",
    "not_before",
    "tier",
    "allowed_addresses",
    "metadata",
    "disabled",
    "reason",
    "grace_seconds",
    "grace_from",
    "limits",
    "credits",
    "requests",
    "window_seconds",
    "burst",
    "remaining",
    "refill",
    "amount",
    "interval_seconds",
    "interval",
    "add",
];

/// What is below a key.
const OF_ONE: &[&str] = &["events", "revoke", "rotate", "usage", "credits"];

/// JSON that looks like what the routes take, or not at all.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(json!("user-2")),
        Just(json!("*")),
        Just(json!("2030-01-01T00:00:00Z")),
        Just(json!("10.0.0.0/8")),
        Just(json!("first_use")),
        Just(json!("month")),
        (1..100_u32).prop_map(Value::from),
        Just(json!([{ "name": "a", "requests": 1, "window_seconds": 1 }])),
        Just(json!({ "amount": 1, "interval": "month" })),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let name = prop_oneof![
            2 => prop::sample::select(&FIELDS[..]).prop_map(str::to_owned),
            1 => any::<String>(),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn body() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => any_json().prop_map(|json| json.to_string()),
        // Nearly a good one.
        2 => (prop::sample::select(&FIELDS[..]), any_json())
            .prop_map(|(field, json)| {
                let mut body = json!({ "name": "x" });
                body[field] = json;
                body.to_string()
            }),
        1 => any::<String>(),
        1 => Just(String::new()),
    ]
}

/// What a URI may hold, escapes of anything among it.
fn text() -> impl Strategy<Value = String> {
    "([a-zA-Z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2}|%|events|revoke|rotate|usage|top|credits){1,12}"
}

fn target() -> impl Strategy<Value = String> {
    let id = prop_oneof![Just("MINE".to_owned()), Just("THEIRS".to_owned()), text()];
    let query = prop_oneof![
        Just(String::new()),
        (
            prop::sample::select(
                &["owner", "status", "scope", "prefix", "cursor", "limit", "since", "until", "by",]
                    [..]
            ),
            prop_oneof![
                text(),
                Just("hour".to_owned()),
                "[0-9]{4}-[01][0-9]-[0-3][0-9]T[012][0-9]:00:00Z",
            ],
        )
            .prop_map(|(name, value)| format!("?{name}={value}")),
        text().prop_map(|text| format!("?{text}")),
    ];
    prop_oneof![
        query.clone(),
        (id.clone(), query.clone()).prop_map(|(id, query)| format!("/{id}{query}")),
        (id, prop::sample::select(OF_ONE), query)
            .prop_map(|(id, rest, query)| format!("/{id}/{rest}{query}")),
        text().prop_map(|path| format!("/{path}")),
    ]
}

fn lacks_what_is_the_providers(key: &tower_api_key::key::KeyRecord) -> bool {
    key.details.tier.is_none() && key.details.limits.is_empty() && key.details.credits.is_none()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn is_never_the_services_fault(
        method in prop::sample::select(&["GET", "HEAD", "POST", "PATCH", "DELETE", "PUT"][..]),
        target in target(),
        body in body(),
        headers in prop::collection::vec((
            prop::sample::select(&["if-match", "idempotency-key", "content-type"][..]),
            prop_oneof![Just("\"0\"".to_owned()), "[ -~]{0,12}"],
        ), 0..3),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let api = Api::new();
            let mine = api.issue("user-1", &["a"]).await;
            let theirs = api.issue("user-2", &["a"]).await.record;
            let target = target
                .replace("MINE", &mine.record.id.to_string())
                .replace("THEIRS", &theirs.id.to_string());
            let keys =
                [("x-admin-key", super::ADMIN_KEY), ("x-api-key", mine.secret.expose())];
            let headers = headers.iter().map(|(name, value)| (*name, &**value));
            let headers: Vec<_> = keys.into_iter().chain(headers).collect();
            for at in ["/me/api-keys", "/admin/api-keys"] {
                let answer =
                    send(&api.app, method, &format!("{at}{target}"), &headers, &body).await;
                assert!(answer.status() < 500, "{answer:?}");
                if answer.status() >= 400 && method != "HEAD" {
                    crate::support::code(&answer.0);
                }
                if at == "/me/api-keys" {
                    assert_eq!(*api.keys.get(theirs.id).await.unwrap(), *theirs);
                    let list = tower_api_key::store::KeyQuery::new(100);
                    for key in api.keys.list(&list).await.unwrap().items {
                        let is_new = key.id != theirs.id && key.id != mine.record.id;
                        let owner = key.owner.as_ref().map(tower_api_key::OwnerId::as_str);
                        assert!(!is_new || owner == Some("user-1"), "{key:?}");
                        assert!(mine.record.scopes.allow_all(&key.scopes), "{key:?}");
                        assert!(lacks_what_is_the_providers(&key), "{key:?}");
                    }
                }
            }
        });
    }
}
