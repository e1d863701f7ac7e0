//! `RequireScopesLayer` inside an `ApiKeyLayer`.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, header};
use tower::{ServiceBuilder, service_fn};
use tower_api_key::{
    ApiKeyLayer, Rejection, RejectionKind, RequireScopesLayer, Scopes,
    scope::{InvalidScope, ScopeRule},
};

use crate::{
    stores::TestStore,
    support::{
        KEY, OTHER_KEY, code, get, header_values, problem, record_with, respond_now, with_key,
    },
};

/// A layer that knows [`KEY`], with these scopes.
fn granting(scopes: &[&str]) -> ApiKeyLayer {
    let scopes = Scopes::parse(scopes).unwrap();
    ApiKeyLayer::new(TestStore::new([record_with(KEY, |record| record.scopes = scopes)]))
}

fn answer(auth: ApiKeyLayer, rule: RequireScopesLayer, request: Request<()>) -> Response<Bytes> {
    let inner =
        service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new("inner".to_owned())));
    respond_now(ServiceBuilder::new().layer(auth).layer(rule).service(inner), request)
}

/// Whether a key with these scopes is let in by the rule.
fn lets_in(rule: &RequireScopesLayer, granted: &[&str]) -> bool {
    let response = answer(granting(granted), rule.clone(), with_key(KEY));
    assert!([200, 403].contains(&response.status().as_u16()), "{response:?}");
    response.status() == 200
}

fn scope(scope: &str) -> ScopeRule {
    ScopeRule::scope(scope).unwrap()
}

#[test]
fn all() {
    let rule = RequireScopesLayer::all(["orders:read", "stock:read"]).unwrap();
    assert!(lets_in(&rule, &["stock:read", "orders:read", "other"]));
    assert!(!lets_in(&rule, &["orders:read"]));
    assert!(!lets_in(&rule, &["stock:read"]));
    assert!(!lets_in(&rule, &[]));
}

#[test]
fn any() {
    let rule = RequireScopesLayer::any(["orders:read", "stock:read"]).unwrap();
    assert!(lets_in(&rule, &["orders:read"]));
    assert!(lets_in(&rule, &["stock:read"]));
    assert!(!lets_in(&rule, &["orders:write"]));
    assert!(!lets_in(&rule, &[]));
}

#[test]
fn not_and_nested() {
    let rule = RequireScopesLayer::new(ScopeRule::all([
        scope("orders:read"),
        ScopeRule::any([scope("auditor"), !scope("bot")]),
    ]));
    assert!(lets_in(&rule, &["orders:read"]));
    assert!(lets_in(&rule, &["orders:read", "bot", "auditor"]));
    assert!(!lets_in(&rule, &["orders:read", "bot"]));
    assert!(!lets_in(&rule, &["auditor"]));
}

#[test]
fn wildcards() {
    let read = RequireScopesLayer::all(["orders:items:read"]).unwrap();
    for granted in ["*", "orders:*", "orders:items:*", "orders:items:read"] {
        assert!(lets_in(&read, &[granted]), "{granted}");
    }
    for granted in ["orders", "orders:items", "order:*", "orders:item:*", "orders:items:rea"] {
        assert!(!lets_in(&read, &[granted]), "{granted}");
    }
    // What a rule asks for is a scope like any other: granting less than the wildcard is less.
    let everything = RequireScopesLayer::all(["orders:*"]).unwrap();
    assert!(lets_in(&everything, &["orders:*"]));
    assert!(!lets_in(&everything, &["orders:read", "orders:write"]));
    // A family's own name is not among its members.
    assert!(!lets_in(&RequireScopesLayer::all(["orders"]).unwrap(), &["orders:*"]));
}

#[test]
fn no_rule_lets_every_key_in_and_no_alternative_none() {
    assert!(lets_in(&RequireScopesLayer::all([]).unwrap(), &[]));
    assert!(!lets_in(&RequireScopesLayer::any([]).unwrap(), &["*"]));
}

#[test]
fn the_denial_names_what_is_missing() {
    let rule = RequireScopesLayer::all(["stock:write", "orders:read", "orders:write"]).unwrap();
    let response = answer(granting(&["orders:read"]), rule, with_key(KEY));
    assert_eq!(response.status(), 403);
    assert_eq!(code(&response), "insufficient_scope");
    assert_eq!(
        problem(&response)["missing_scopes"],
        serde_json::json!(["orders:write", "stock:write"])
    );
    let error = r#"error="insufficient_scope", scope="orders:write stock:write""#;
    assert_eq!(
        header_values(&response, header::WWW_AUTHENTICATE),
        [
            format!(r#"ApiKey realm="api", in="header", name="x-api-key", {error}"#),
            format!(r#"Bearer realm="api", {error}"#),
        ]
    );
    assert_eq!(header_values(&response, header::CACHE_CONTROL), ["no-store"]);

    let rejection: &Rejection = response.extensions().get().unwrap();
    assert_eq!(rejection.kind(), RejectionKind::InsufficientScope);
    assert!(rejection.key().is_some());
    assert_eq!(rejection.missing_scopes().unwrap().len(), 2);
}

#[test]
fn when_no_scope_would_help_none_is_named() {
    let rule = RequireScopesLayer::new(!scope("bot"));
    let response = answer(granting(&["bot"]), rule, with_key(KEY));
    assert_eq!(problem(&response)["missing_scopes"], serde_json::json!([]));
    let challenges = header_values(&response, header::WWW_AUTHENTICATE);
    assert!(challenges[1].ends_with(r#"error="insufficient_scope""#), "{challenges:?}");
}

#[test]
fn the_anonymous_are_asked_for_a_key() {
    let rule = RequireScopesLayer::all([]).unwrap();
    for layer in [granting(&[]).allow_anonymous(), granting(&[]).with_bypass(|_| true)] {
        let response = answer(layer, rule.clone(), get("/"));
        assert_eq!(response.status(), 401);
        assert_eq!(code(&response), "missing_key");
        let challenges = header_values(&response, header::WWW_AUTHENTICATE);
        assert_eq!(challenges.len(), 2, "the outer layer knows the challenges");
    }
}

#[test]
fn the_anonymous_go_on_only_where_this_layer_says_so_too() {
    let rule = RequireScopesLayer::all(["orders:read"]).unwrap().allow_anonymous();
    for layer in [granting(&[]).allow_anonymous(), granting(&[]).with_bypass(|_| true)] {
        assert_eq!(answer(layer, rule.clone(), get("/")).status(), 200);
    }
    let lenient = granting(&["orders:write"]).allow_anonymous();
    assert_eq!(code(&answer(lenient, rule.clone(), with_key(KEY))), "insufficient_scope");
    assert_eq!(code(&answer(granting(&[]), rule, get("/"))), "missing_key");
}

#[test]
fn authentication_comes_first() {
    let rule = RequireScopesLayer::all(["orders:read"]).unwrap();
    assert_eq!(code(&answer(granting(&[]), rule, with_key(OTHER_KEY))), "unknown_key");
}

#[test]
fn without_a_layer_outside_the_answer_says_which_one_to_add() {
    let inner =
        service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new("inner".to_owned())));
    let rule = RequireScopesLayer::all([]).unwrap();
    let service = ServiceBuilder::new().layer(rule).service(inner);
    let response = respond_now(service, with_key(KEY));
    assert_eq!(response.status(), 500);
    let text = std::str::from_utf8(response.body()).unwrap();
    assert!(text.contains("tower_api_key::ApiKeyLayer"), "{text}");
    assert!(response.extensions().get::<Rejection>().is_none());
}

#[test]
fn what_is_not_a_scope_is_refused_when_the_layer_is_made() {
    for bad in ["", "orders:", "orders read", "ord*:read"] {
        let error: InvalidScope = RequireScopesLayer::all([bad]).unwrap_err();
        assert!(error.to_string().contains(&format!("{bad:?}")), "{error}");
        assert_eq!(RequireScopesLayer::any(["fine", bad]).unwrap_err(), error);
    }
}
