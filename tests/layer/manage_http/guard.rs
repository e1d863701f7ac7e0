//! Who gets in, and as whom.

use std::{collections::HashSet, time::Duration};

use axum::{Extension, Router, body::Body};
use http::{Request, StatusCode, header};
use tower_api_key::{
    ApiKeyLayer, KeyManager, NewKey, OwnerId, OwnerLayer, Rejection, RejectionKind,
    RequireScopesLayer, Scopes,
    axum::{ManagementCaller, ManagementGuard, management_router},
    store::MemoryStore,
};

use super::{ADMIN_KEY, Answer, Api, admin_layer, items, path, send};
use crate::{grpc::as_grpc, support::respond};

/// Every route.
const ROUTES: [(&str, &str); 9] = [
    ("GET", "/"),
    ("POST", "/"),
    ("GET", "/events"),
    ("GET", "/01890000-0000-7000-8000-000000000000"),
    ("PATCH", "/01890000-0000-7000-8000-000000000000"),
    ("DELETE", "/01890000-0000-7000-8000-000000000000"),
    ("POST", "/01890000-0000-7000-8000-000000000000/revoke"),
    ("POST", "/01890000-0000-7000-8000-000000000000/rotate"),
    ("GET", "/01890000-0000-7000-8000-000000000000/events"),
];

#[tokio::test]
async fn no_route_is_open() {
    let keys = KeyManager::new(MemoryStore::new());
    let nobodys = keys.create(NewKey::named("nobody's")).await.unwrap();
    let nobody = || Err::<ManagementCaller, _>((StatusCode::IM_A_TEAPOT, "log in"));
    for (method, path) in ROUTES {
        let ask = async |guard: ManagementGuard, headers: &[(&str, &str)]| {
            let app: Router = management_router(keys.clone(), guard);
            send(&app, method, path, headers, "").await
        };
        let by_admin = || ManagementGuard::keys(admin_layer());
        ask(by_admin(), &[]).await.problem(401, "missing_key");
        ask(by_admin(), &[("x-admin-key", "some-other-key-of-good-length")])
            .await
            .problem(401, "unknown_key");
        let by_owner = || ManagementGuard::owner(keys.layer());
        let challenged = ask(by_owner(), &[]).await;
        challenged.problem(401, "missing_key");
        assert!(challenged.0.headers().contains_key(header::WWW_AUTHENTICATE));
        let ownerless = ask(by_owner(), &[("x-api-key", nobodys.secret.expose())]).await;
        ownerless.problem(401, "inactive_owner");
        assert!(ownerless.0.headers().contains_key(header::WWW_AUTHENTICATE));

        // Layers that let requests in without a key do not open these routes.
        for lenient in [keys.layer().allow_anonymous(), keys.layer().with_bypass(|_| true)] {
            ask(ManagementGuard::keys(lenient.clone()), &[]).await.problem(401, "missing_key");
            ask(ManagementGuard::owner(lenient), &[]).await.problem(401, "missing_key");
        }
        let answer = ask(ManagementGuard::custom(move |_| nobody()), &[]).await;
        assert_eq!((answer.status(), &answer.0.body()[..]), (418, &b"log in"[..]));
        let denied = ManagementGuard::custom(|_| Err(Rejection::new(RejectionKind::Missing)));
        ask(denied, &[]).await.problem(401, "missing_key");
    }
    let preflight = [("origin", "https://a.example"), ("access-control-request-method", "POST")];
    let app: Router = management_router(keys, ManagementGuard::keys(admin_layer()));
    send(&app, "OPTIONS", "/", &preflight, "").await.problem(401, "missing_key");
}

/// Strangers learn neither which paths there are nor which methods they take: whatever they ask,
/// the answer is the same, byte for byte.
#[tokio::test]
async fn strangers_learn_no_methods() {
    let keys = KeyManager::new(MemoryStore::new());
    let methods = ["GET", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "QUERY"];
    let paths = ["", "/events", "/usage", "/usage/top", "/x", "/x/revoke", "/x/y/z", "//"];
    let guards: [fn(&KeyManager) -> ManagementGuard; 3] = [
        |_| ManagementGuard::keys(admin_layer()),
        |keys| ManagementGuard::owner(keys.layer()),
        |_| {
            ManagementGuard::custom(|_| {
                Err::<ManagementCaller, _>(Rejection::new(RejectionKind::Missing))
            })
        },
    ];
    for guard in guards {
        let app: Router =
            Router::new().nest("/keys", management_router(keys.clone(), guard(&keys)));
        let mut answers = HashSet::new();
        for path in paths {
            let path = format!("/keys{path}");
            for method in methods {
                let answer = send(&app, method, &path, &[], "").await;
                answer.problem(401, "missing_key");
                assert!(answer.0.headers().contains_key(header::WWW_AUTHENTICATE));
                assert!(!answer.0.headers().contains_key(header::ALLOW), "{method} {path}");
                answers.insert(described(&answer));
            }
            // Without a body, and that is all that differs.
            let head = send(&app, "HEAD", &path, &[], "").await;
            assert_eq!((head.status(), head.0.headers().get(header::ALLOW)), (401, None), "{path}");
        }
        assert_eq!(answers.len(), 1, "{answers:#?}");
    }
    // Who may manage keys is told.
    let app: Router =
        Router::new().nest("/keys", management_router(keys, ManagementGuard::keys(admin_layer())));
    let admin = [("x-admin-key", ADMIN_KEY)];
    let refused = send(&app, "PUT", "/keys", &admin, "").await;
    refused.problem(405, "method_not_allowed");
    assert_eq!(refused.header(header::ALLOW), "GET,HEAD,POST");
    send(&app, "GET", "/keys/x/y/z", &admin, "").await.problem(404, "not_found");
}

/// Headers in order, and the body.
fn described(answer: &Answer) -> String {
    let mut headers: Vec<_> = answer.0.headers().iter().collect();
    headers.sort_by_key(|(name, _)| name.as_str());
    format!("{headers:?} {:?}", answer.0.body())
}

/// A management route is none of gRPC, whatever a client says of its request.
#[tokio::test]
async fn denials_are_never_grpc() {
    let keys = KeyManager::new(MemoryStore::new());
    let scopes = || RequireScopesLayer::all(["keys:manage"]).unwrap();
    let ask = async |guard: ManagementGuard| {
        let app: Router = management_router(keys.clone(), guard);
        let request = as_grpc(http::Request::new(()), "application/grpc");
        Answer(respond(app, request.map(|()| axum::body::Body::empty())).await)
    };
    for guard in [
        ManagementGuard::keys(admin_layer()),
        ManagementGuard::keys(admin_layer().with_grpc_web_denials()),
        ManagementGuard::owner(keys.layer()).with_layer(scopes()),
        ManagementGuard::owner(keys.layer().allow_anonymous()).with_layer(scopes()),
        ManagementGuard::owner(keys.layer().allow_anonymous()),
        ManagementGuard::custom(|_| {
            Err::<ManagementCaller, _>(Rejection::new(RejectionKind::Missing))
        }),
    ] {
        ask(guard).await.problem(401, "missing_key");
    }
    // Nor where a layer outside is missing, which is a mistake of the program.
    let guard = ManagementGuard::custom(|_| Ok::<_, Rejection>(ManagementCaller::administrator()))
        .with_layer(scopes());
    let answer = ask(guard).await;
    assert_eq!(answer.status(), 500);
    assert_eq!(answer.header(header::CONTENT_TYPE), "text/plain; charset=utf-8");
}

/// A preflight is a stranger's request as well, also where the layer of the application lets preflights in.
#[tokio::test]
async fn a_preflight_is_judged_by_the_guard() {
    let keys = KeyManager::new(MemoryStore::new());
    let preflight = [("origin", "https://a.example"), ("access-control-request-method", "POST")];
    for guard in [
        || ManagementGuard::keys(admin_layer()),
        || ManagementGuard::keys(admin_layer().allow_anonymous()),
    ] {
        let routes = || management_router(keys.clone(), guard());
        let inside: Router =
            Router::new().nest("/keys", routes()).layer(keys.layer().pass_cors_preflights());
        for (_, path) in ROUTES {
            let nested = format!("/keys{}", path.trim_end_matches('/'));
            for (app, path) in [(routes(), path), (inside.clone(), nested.as_str())] {
                let answer = send(&app, "OPTIONS", path, &preflight, "").await;
                answer.problem(401, "missing_key");
            }
        }
    }
    // A guard of the application's own, which asks nobody and may be reached by a preflight, has
    // no route that answers one.
    let guard =
        ManagementGuard::insecure_unguarded().with_layer(keys.layer().pass_cors_preflights());
    let app: Router = management_router(keys.clone(), guard);
    send(&app, "OPTIONS", "/", &preflight, "").await.problem(405, "method_not_allowed");
}

/// An application whose keys open everything, and a part of it for administrators whose own layer
/// is lenient: an ordinary key is no administrator's there.
#[tokio::test]
async fn an_identity_from_outside_opens_nothing() {
    let api = Api::new();
    let key = api.issue("user-1", &["*"]).await;
    let key = [("x-api-key", key.secret.expose())];
    for lenient in [admin_layer().allow_anonymous(), admin_layer().with_bypass(|_| true)] {
        for guard in [ManagementGuard::keys(lenient.clone()), ManagementGuard::owner(lenient)] {
            let app: Router = Router::new()
                .nest("/admin", management_router(api.keys.clone(), guard))
                .layer(api.keys.layer());
            for (method, path) in ROUTES {
                let path = format!("/admin{}", path.trim_end_matches('/'));
                send(&app, method, &path, &key, "").await.problem(401, "missing_key");
                send(&app, method, &path, &[], "").await.problem(401, "missing_key");
            }
        }
    }
}

/// Not from inside either: the guard takes the word of its own layer alone.
#[tokio::test]
async fn an_identity_from_another_layer_inside_opens_nothing() {
    let api = Api::new();
    let key = api.issue("user-1", &["*"]).await;
    let headers = [("x-api-key", key.secret.expose()), ("x-admin-key", ADMIN_KEY)];
    for inside in [
        api.keys.layer(),
        api.keys.layer().allow_anonymous(),
        api.keys.layer().with_bypass(|_| true),
        // The guard's own, but changed: another one.
        admin_layer().allow_anonymous(),
    ] {
        for guard in [ManagementGuard::keys(admin_layer()), ManagementGuard::owner(admin_layer())] {
            let guard = guard.with_layer(inside.clone());
            let app: Router = management_router(api.keys.clone(), guard);
            for (method, path) in ROUTES {
                let request = Request::builder().method(method).uri(path);
                let request = request.header(headers[0].0, headers[0].1);
                let request = request.header(headers[1].0, headers[1].1);
                let response = respond(app.clone(), request.body(Body::empty()).unwrap()).await;
                assert_eq!(response.status(), 500, "{method} {path}");
                let text = String::from_utf8_lossy(response.body());
                assert!(text.contains("another layer"), "{text}");
            }
        }
    }
}

#[tokio::test]
async fn a_guard_may_have_more_layers() {
    let api = Api::new();
    let find_active = async |id: OwnerId| {
        Ok::<_, std::convert::Infallible>((id.as_str() == "user-1").then_some(()))
    };
    let guard = ManagementGuard::owner(api.keys.layer())
        .requiring(None)
        .with_layer(RequireScopesLayer::all(["keys:manage"]).unwrap())
        .with_layer(OwnerLayer::new(find_active));
    let app: Router = management_router(api.keys.clone(), guard);
    for (owner, scopes, outcome) in [
        ("user-1", &["keys:manage"][..], None),
        ("user-1", &["orders:read"], Some((403, "insufficient_scope"))),
        ("user-2", &["keys:manage"], Some((401, "inactive_owner"))),
        ("user-2", &[], Some((403, "insufficient_scope"))),
    ] {
        let key = api.issue_plain(owner, scopes).await;
        let answer = send(&app, "GET", "/", &[("x-api-key", key.secret.expose())], "").await;
        match outcome {
            None => drop(answer.json(200)),
            Some((status, code)) => drop(answer.problem(status, code)),
        }
    }
}

#[tokio::test]
async fn an_application_says_who_its_users_are() {
    #[derive(Clone)]
    struct Session(&'static str);
    let api = Api::new();
    let theirs = path(api.issue("user-2", &[]).await.record.id);
    let guard = || {
        ManagementGuard::custom(|request| match request.extensions.get::<Session>() {
            Some(Session(user)) => {
                Ok(ManagementCaller::owner(*user, Scopes::parse(["a"]).unwrap())
                    .with_template(NewKey::default())
                    .acting_as(user)
                    .from_address([192, 0, 2, 9].into()))
            }
            None => Err(Rejection::new(RejectionKind::Missing)),
        })
    };
    let outside: Router =
        management_router(api.keys.clone(), guard()).layer(Extension(Session("user-1")));
    let inside: Router =
        management_router(api.keys.clone(), guard().with_layer(Extension(Session("user-1"))));
    for app in [outside, inside] {
        // The next event is the latest.
        api.clock.advance(Duration::from_secs(1));
        let create = async |body: &str| send(&app, "POST", "/", &[], body).await;
        let created = create(r#"{"name":"x","scopes":["a"]}"#).await.json(201);
        assert_eq!(created["owner"], "user-1");
        let beyond = create(r#"{"name":"x","scopes":["b"]}"#).await;
        assert_eq!(beyond.field(403, "beyond_own_key"), "scopes");
        create(r#"{"name":"x","owner":"user-2"}"#).await.problem(422, "invalid_field");
        send(&app, "GET", &theirs, &[], "").await.problem(404, "not_found");
        let events = api.admin("GET", "/events?limit=1", "").await.json(200);
        assert_eq!(items(&events, "actor"), ["user-1"]);
        assert_eq!(items(&events, "address"), ["192.0.2.9"]);
    }
}

#[tokio::test]
async fn administrators_may_be_the_applications_too() {
    let api = Api::new();
    let guard = ManagementGuard::custom(|_| {
        Ok::<_, Rejection>(
            ManagementCaller::administrator()
                .acting_as("alice")
                .within_scopes(Scopes::parse(["a"]).unwrap()),
        )
    });
    let app: Router = management_router(api.keys.clone(), guard);
    let body = r#"{"name":"x","owner":"user-7","tier":"gold","scopes":["a"]}"#;
    assert_eq!(send(&app, "POST", "/", &[], body).await.json(201)["owner"], "user-7");
    let beyond = r#"{"name":"x","scopes":["*"]}"#;
    send(&app, "POST", "/", &[], beyond).await.problem(403, "scope_ceiling");
    let events = api.admin("GET", "/events", "").await.json(200);
    assert_eq!(items(&events, "actor"), ["alice"]);
}

#[tokio::test]
async fn without_a_guard_only_in_so_many_words() {
    let api = Api::new();
    let app: Router = management_router(api.keys.clone(), ManagementGuard::insecure_unguarded());
    assert_eq!(send(&app, "POST", "/", &[], r#"{"name":"x"}"#).await.status(), 201);
    // A request of no one: it is in the log as that.
    let events = send(&app, "GET", "/events", &[], "").await.json(200);
    assert_eq!(items(&events, "actor"), ["null"]);
}

#[tokio::test]
async fn denials_are_as_the_layer_says() {
    let api = Api::new();
    let ownerless = api.keys.create(NewKey::named("x")).await.unwrap();
    let layer: ApiKeyLayer = api.keys.layer().with_uniform_denials();
    let app: Router = management_router(api.keys.clone(), ManagementGuard::owner(layer));
    let headers = [("x-api-key", ownerless.secret.expose())];
    send(&app, "GET", "/", &headers, "").await.problem(401, "invalid_key");
}
