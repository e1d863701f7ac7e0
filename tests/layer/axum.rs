//! The layer and the extractors in axum routers.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Body, routing::get as route};
use bytes::Bytes;
use http::{Request, Response, header};
use tower_api_key::{ApiKeyLayer, AuthenticatedKey, Rejection, RejectionKind, RequireScopesLayer};

use crate::{
    denials::TABLE,
    stores::TestStore,
    support::{KEY, code, get, header_values, record, request_to, respond, with_key},
};

fn layer() -> ApiKeyLayer {
    ApiKeyLayer::new(TestStore::waiting([record(KEY)]))
}

async fn required(key: AuthenticatedKey) -> String {
    format!("required {}", key.name())
}

async fn optional(key: Option<AuthenticatedKey>) -> String {
    format!("optional {}", key.map_or("nobody".into(), |key| key.name().to_owned()))
}

fn app() -> Router {
    Router::new().route("/required", route(required)).route("/optional", route(optional))
}

async fn ask(app: &Router, request: Request<()>) -> Response<Bytes> {
    respond(app.clone(), request.map(|()| Body::empty())).await
}

fn keyed(path: &str) -> Request<()> {
    request_to(path, &[("x-api-key", KEY)])
}

#[tokio::test]
async fn extractors_give_the_key() {
    let app = app().layer(layer());
    assert_eq!(ask(&app, keyed("/required")).await.body(), "required key of the tests");
    assert_eq!(ask(&app, keyed("/optional")).await.body(), "optional key of the tests");
}

#[tokio::test]
async fn extractors_know_the_anonymous() {
    for layer in [layer().allow_anonymous(), layer().with_bypass(|_| true)] {
        let app = app().layer(layer);
        assert_eq!(ask(&app, get("/optional")).await.body(), "optional nobody");
        let denied = ask(&app, get("/required")).await;
        assert_eq!(denied.status(), 401);
        assert_eq!(code(&denied), "missing_key");
        assert_eq!(header_values(&denied, header::WWW_AUTHENTICATE).len(), 2);
    }
    let strict = app().layer(layer());
    assert_eq!(code(&ask(&strict, get("/optional")).await), "missing_key");
}

#[tokio::test]
async fn extractors_without_a_layer_say_which_one_to_add() {
    for path in ["/required", "/optional"] {
        let response = ask(&app(), keyed(path)).await;
        assert_eq!(response.status(), 500);
        let text = std::str::from_utf8(response.body()).unwrap();
        assert!(text.contains("tower_api_key::ApiKeyLayer"), "{text}");
    }
}

/// Denies with a kind that is named in the path.
fn denying() -> Router {
    async fn deny(axum::extract::Path(code): axum::extract::Path<String>) -> Rejection {
        let kind = RejectionKind::all().find(|kind| kind.code() == code).unwrap();
        Rejection::new(kind).with_retry_after(std::time::Duration::from_millis(1500))
    }
    Router::new().route("/{code}", route(deny))
}

#[tokio::test]
async fn a_handlers_rejection_is_completed_by_the_layer_outside() {
    let app = denying().layer(layer());
    for (kind, status, _, expected, error) in TABLE {
        let response = ask(&app, keyed(&format!("/{expected}"))).await;
        assert_eq!(response.status(), status);
        assert_eq!(code(&response), expected);
        assert_eq!(header_values(&response, header::CACHE_CONTROL), ["no-store"]);
        assert_eq!(header_values(&response, header::RETRY_AFTER), ["2"]);
        assert_eq!(response.extensions().get::<Rejection>().unwrap().kind(), kind);
        let challenges = header_values(&response, header::WWW_AUTHENTICATE);
        let expects_some = status == 401 || error.is_some();
        assert_eq!(challenges.len(), if expects_some { 2 } else { 0 }, "{expected}");
        for challenge in challenges {
            let named = error.is_some_and(|error| challenge.contains(&format!("=\"{error}\"")));
            assert_eq!(named, error.is_some(), "{challenge}");
        }
    }
}

#[tokio::test]
async fn a_handlers_rejection_obeys_the_layers_choices() {
    let uniform = denying().layer(layer().with_uniform_denials());
    assert_eq!(code(&ask(&uniform, keyed("/inactive_owner")).await), "invalid_key");
    let hook = |rejection: &Rejection, prepared: Response<Bytes>| {
        prepared.map(|_| format!("hook: {rejection}").into())
    };
    let hooked = denying().layer(layer().with_rejection_response(hook));
    let response = ask(&hooked, keyed("/rate_limited")).await;
    assert_eq!(response.body(), "hook: denied: rate_limited");
}

#[tokio::test]
async fn a_handlers_rejection_without_a_layer_is_a_plain_denial() {
    let response = ask(&denying(), get("/inactive_owner")).await;
    assert_eq!(response.status(), 401);
    assert_eq!(code(&response), "inactive_owner");
    // No layer says where a key belongs, and a 401 without a challenge is none (RFC 9110, 11.6.1).
    assert_eq!(
        header_values(&response, header::WWW_AUTHENTICATE),
        [r#"ApiKey realm="api", error="invalid_token""#]
    );
}

#[tokio::test]
async fn on_one_route() {
    let app = Router::new()
        .route("/guarded", route(required).layer(layer()))
        .route("/open", route(|| async { "open" }));
    assert_eq!(ask(&app, get("/guarded")).await.status(), 401);
    assert_eq!(ask(&app, keyed("/guarded")).await.status(), 200);
    assert_eq!(ask(&app, get("/open")).await.body(), "open");
}

#[tokio::test]
async fn on_a_group_of_routes() {
    let app = Router::new()
        .route("/open", route(|| async { "open" }))
        .merge(app().route_layer(layer()))
        .nest("/v1", app().layer(layer()));
    for path in ["/required", "/v1/required"] {
        assert_eq!(ask(&app, get(path)).await.status(), 401, "{path}");
        assert_eq!(ask(&app, keyed(path)).await.status(), 200, "{path}");
    }
    assert_eq!(ask(&app, get("/open")).await.body(), "open");
    assert_eq!(ask(&app, get("/nowhere")).await.status(), 404);
}

#[tokio::test]
async fn on_everything() {
    let app = app().layer(layer());
    // Whoever has no key does not learn which routes there are.
    assert_eq!(ask(&app, get("/nowhere")).await.status(), 401);
    assert_eq!(ask(&app, keyed("/nowhere")).await.status(), 404);
}

#[tokio::test]
async fn layers_run_from_the_outermost_in() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let order = order.clone();
        axum::middleware::from_fn(
            move |request: axum::extract::Request, next: axum::middleware::Next| {
                let known = request.extensions().get::<AuthenticatedKey>().is_some();
                order.lock().unwrap().push((name, known));
                next.run(request)
            },
        )
    };
    let app = Router::new()
        .route("/", route(required))
        .route_layer(RequireScopesLayer::all([]).unwrap())
        .layer(note("inside"))
        .layer(layer())
        .layer(note("outside"));
    assert_eq!(ask(&app, with_key(KEY)).await.status(), 200);
    assert_eq!(ask(&app, get("/")).await.status(), 401);
    let expected = [("outside", false), ("inside", true), ("outside", false)];
    assert_eq!(*order.lock().unwrap(), expected);
}

/// Over a socket, as `axum::serve` serves it.
#[cfg(feature = "axum-serve")]
#[tokio::test]
async fn around_the_whole_router() {
    use std::net::SocketAddr;

    use axum::{
        ServiceExt,
        extract::{ConnectInfo, Request},
    };
    use tokio::net::TcpListener;
    use tower::Layer;

    async fn peer(key: AuthenticatedKey, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> String {
        format!("{} at {}", key.name(), peer.ip())
    }

    let bind = async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    };
    let (listener, plain) = bind().await;
    let server = axum::serve(listener, layer().layer(app()));
    let plain_server = tokio::spawn(server.into_future());
    let (listener, informed) = bind().await;
    let service = layer().layer(Router::new().route("/required", route(peer))).into_axum();
    let server = axum::serve(
        listener,
        ServiceExt::<Request>::into_make_service_with_connect_info::<SocketAddr>(service),
    );
    let informed_server = tokio::spawn(server.into_future());

    for (address, body) in
        [(plain, "required key of the tests"), (informed, "key of the tests at 127.0.0.1")]
    {
        assert_eq!(over_http(address, keyed("/required")).await, (200, body.into()));
        let (status, denial) = over_http(address, get("/required")).await;
        assert_eq!(status, 401);
        assert!(denial.contains("missing_key"), "{denial}");
        // The layer is outside of the router: a path that is not there is denied first.
        assert_eq!(over_http(address, get("/nowhere")).await.0, 401);
        assert_eq!(over_http(address, keyed("/nowhere")).await.0, 404);
    }
    plain_server.abort();
    informed_server.abort();
}

#[cfg(feature = "axum-serve")]
async fn over_http(address: std::net::SocketAddr, request: Request<()>) -> (u16, String) {
    use http_body_util::BodyExt;
    use hyper_util::{client::legacy::Client, rt::TokioExecutor};

    let mut request = request.map(|()| http_body_util::Empty::<Bytes>::new());
    let uri = format!("http://{address}{}", request.uri().path());
    *request.uri_mut() = uri.parse().unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}
