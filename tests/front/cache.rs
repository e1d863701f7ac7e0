//! nginx with a cache in front of the layer: no key sees the answer to another.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use axum::{
    Router,
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
};
use tower_api_key::{ApiKeyLayer, AuthenticatedKey, KeySource};
use tower_http::cors::{Any, CorsLayer};

use crate::{
    application::{KEY, Keys, listen, record},
    process::Reply,
    proxies::{self, Kind, Proxy},
};

const OTHER_KEY: &str = "other-key-behind-proxies-0123456789";

/// Routes of the application, with the headers that it sets itself.
const ROUTES: [(&str, &[(&str, &str)]); 9] = [
    // It says nothing of caches, as most do.
    ("/silent", &[]),
    ("/private", &[("cache-control", "private")]),
    ("/max-age", &[("cache-control", "max-age=60")]),
    ("/public", &[("cache-control", "public, max-age=60, s-maxage=60")]),
    ("/expires", &[("expires", "Thu, 01 Jan 2099 00:00:00 GMT")]),
    ("/accel", &[("x-accel-expires", "60")]),
    // Its own answers to what varies, in lines of their own.
    (
        "/varied",
        &[("cache-control", "max-age=60"), ("vary", "accept-encoding"), ("vary", "accept")],
    ),
    (
        "/varied-by-key",
        &[("cache-control", "max-age=60"), ("vary", "x-api-key"), ("vary", "accept")],
    ),
    // By everything that there is.
    (
        "/varied-by-all",
        &[("cache-control", "max-age=60"), ("vary", "accept"), ("vary", "origin,*")],
    ),
];

/// Routes of which the cache may keep an answer, for the same key. (`Expires` alone is not among them: the
/// layer says `private`.)
const MAY_BE_KEPT: [&str; 5] = ["/accel", "/max-age", "/public", "/varied", "/varied-by-key"];

/// How often each request came to the application.
#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

/// The application, which answers with the id of the key and a number of its own each time.
fn routes(count: &Count) -> Router {
    ROUTES.into_iter().fold(Router::new(), |router, (path, headers)| {
        let count = count.clone();
        let answer = async move |key: AuthenticatedKey| {
            let body = format!("{} {}", key.id(), count.0.fetch_add(1, SeqCst));
            let mut response = body.into_response();
            for (name, value) in headers {
                response.headers_mut().append(*name, HeaderValue::from_static(value));
            }
            response
        };
        router.route(path, get(answer))
    })
}

/// A layer that knows both keys, and their ids.
fn layer() -> (ApiKeyLayer, [String; 2]) {
    let records = [KEY, OTHER_KEY].map(|key| record(key, |_| {}));
    let ids = records.each_ref().map(|record| record.id.to_string());
    (ApiKeyLayer::new(Keys(records.into())), ids)
}

/// Runs `check` with the cache in front of this application, unless nginx is left out.
async fn behind_cache(router: Router, check: impl FnOnce(&Proxy) + Send + 'static) {
    if Kind::Nginx.is_left_out() {
        return;
    }
    let application: SocketAddr = listen(router).await;
    let checked = tokio::task::spawn_blocking(move || check(&proxies::start_cache(application)));
    checked.await.unwrap();
}

/// The answer to a request with this header, and whether it is from the cache.
fn ask(cache: &Proxy, line: &str, header: &str) -> (Reply, bool) {
    let reply = cache.ask(&format!("{line} HTTP/1.1"), &[header]);
    let status = reply.header("x-cache-status").expect("a status of the cache").to_owned();
    assert!(["MISS", "HIT"].contains(&&*status), "{reply:?}");
    (reply, status == "HIT")
}

fn of_key(key: &str) -> [String; 2] {
    [format!("X-API-Key: {key}"), format!("Authorization: Bearer {key}")]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_sees_the_answer_to_another() {
    let (layer, ids) = layer();
    behind_cache(routes(&Count::default()).layer(layer), move |cache| {
        let mut kept = BTreeSet::new();
        for (path, _) in ROUTES {
            // Twice, so that what may be kept is kept.
            for round in 0..2 {
                for source in 0..2 {
                    for (key, id) in [KEY, OTHER_KEY].into_iter().zip(&ids) {
                        let header = &of_key(key)[source];
                        // nginx asks with `GET`, and keeps the answer.
                        let (head, _) = ask(cache, &format!("HEAD {path}"), header);
                        assert_eq!((head.status, &*head.body), (200, ""));
                        let (reply, is_hit) = ask(cache, &format!("GET {path}"), header);
                        assert_eq!(reply.status, 200);
                        assert!(reply.body.starts_with(id), "{path} {round} {header}: {reply:?}");
                        if is_hit {
                            kept.insert(path);
                        }
                    }
                }
            }
        }
        // What the application allows is kept, each key's own: the cache is one.
        assert_eq!(kept, MAY_BE_KEPT.into());
    })
    .await;
}

/// A CORS layer outside adds a line of its own, behind ours. What the application says nothing of is safe
/// all the same; where it allows caches, that line names the headers of keys as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_cors_layer_outside_names_the_headers_of_keys() {
    let (layer, ids) = layer();
    let origin = || CorsLayer::new().allow_origin(Any);
    let names = ["origin", "x-api-key", "authorization"].map(HeaderName::from_static);
    for (cors, public) in [(origin(), false), (origin().vary(names), true)] {
        let router = routes(&Count::default()).layer(layer.clone()).layer(cors);
        let ids = ids.clone();
        behind_cache(router, move |cache| {
            let paths: &[&str] = if public { &["/silent", "/public"] } else { &["/silent"] };
            for path in paths.iter().cycle().take(4) {
                for (key, id) in [KEY, OTHER_KEY].into_iter().zip(&ids) {
                    for header in of_key(key) {
                        let (reply, _) = ask(cache, &format!("GET {path}"), &header);
                        assert!(reply.body.starts_with(id), "{path} {header}: {reply:?}");
                    }
                }
            }
        })
        .await;
    }
}

/// Without the headers of the layer, the same cache hands one key's answer to the next.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_headers_of_the_layer_the_answer_leaks() {
    let (layer, ids) = layer();
    let open = routes(&Count::default()).layer(layer.insecure_without_cache_headers());
    behind_cache(open, move |cache| {
        // Of several lines of `Vary`, it depends on the version of nginx which are read.
        for (path, _) in ROUTES.into_iter().filter(|(path, _)| !path.starts_with("/varied-by")) {
            let [first, second] = [KEY, OTHER_KEY].map(|key| {
                let (reply, is_hit) = ask(cache, &format!("GET {path}"), &of_key(key)[0]);
                (reply.body, is_hit)
            });
            assert!(first.0.starts_with(&ids[0]) && !first.1, "{path}: {first:?}");
            // What the application protects itself.
            if path == "/private" {
                assert!(second.0.starts_with(&ids[1]) && !second.1, "{path}: {second:?}");
                continue;
            }
            assert!(second.1, "{path}: {second:?}");
            assert_eq!(second.0, first.0, "{path}: the answer to the other key");
        }
    })
    .await;
}

/// A denial is not kept for a good key, nor an answer for a bad one.
#[tokio::test(flavor = "multi_thread")]
async fn denials_are_not_kept_and_no_answer_is_for_a_stranger() {
    let (layer, ids) = layer();
    behind_cache(routes(&Count::default()).layer(layer), move |cache| {
        for (path, _) in ROUTES {
            for source in 0..2 {
                let (good, bad) = (&of_key(KEY)[source], &of_key("a-wrong-key-0123456789")[source]);
                for header in [bad, "X-Other: nothing", good, bad, "X-Other: nothing", good] {
                    let (reply, is_hit) = ask(cache, &format!("GET {path}"), header);
                    if header == good {
                        assert!(
                            reply.status == 200 && reply.body.starts_with(&ids[0]),
                            "{reply:?}"
                        );
                        continue;
                    }
                    assert_eq!((reply.status, is_hit), (401, false), "{path} {header}: {reply:?}");
                    assert_eq!(reply.header("cache-control"), Some("no-store"));
                    let (head, is_hit) = ask(cache, &format!("HEAD {path}"), header);
                    assert_eq!((head.status, is_hit), (401, false), "{path} {header}");
                }
            }
        }
    })
    .await;
}

/// Such a cache does keep a denial that does not say otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_denial_without_the_header_is_kept_for_a_good_key() {
    let check = async |request: Request, next: Next| -> Response {
        let is_good = request.headers().get("x-api-key").is_some_and(|key| key == KEY);
        if is_good { next.run(request).await } else { StatusCode::UNAUTHORIZED.into_response() }
    };
    let open = Router::new().route("/", get(async || "let in")).layer(from_fn(check));
    behind_cache(open, |cache| {
        let (denied, is_hit) = ask(cache, "GET /", "X-API-Key: another");
        assert_eq!((denied.status, is_hit), (401, false));
        let (denied, is_hit) = ask(cache, "GET /", &of_key(KEY)[0]);
        assert_eq!((denied.status, is_hit), (401, true));
    })
    .await;
}

/// A key in the query is part of what the cache knows an answer by.
#[tokio::test(flavor = "multi_thread")]
async fn keys_in_the_query_are_told_apart() {
    let (layer, ids) = layer();
    let layer = layer.with_sources([KeySource::query("api_key").unwrap()]);
    behind_cache(routes(&Count::default()).layer(layer), move |cache| {
        for (path, _) in ROUTES {
            for _ in 0..2 {
                for (key, id) in [KEY, OTHER_KEY].into_iter().zip(&ids) {
                    let (reply, is_hit) =
                        ask(cache, &format!("GET {path}?api_key={key}"), "Accept: */*");
                    assert!(reply.status == 200 && reply.body.starts_with(id), "{reply:?}");
                    // Without a header that holds keys, the layer adds no `Vary`.
                    let may_be_kept = MAY_BE_KEPT.contains(&path) || path == "/varied-by-all";
                    assert!(!is_hit || may_be_kept, "{path}: {reply:?}");
                }
                let (denied, is_hit) = ask(cache, &format!("GET {path}"), "Accept: */*");
                assert_eq!((denied.status, is_hit), (401, false));
            }
        }
    })
    .await;
}
