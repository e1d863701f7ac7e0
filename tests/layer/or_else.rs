//! Keys beside another way to authenticate.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{FutureExt, future::Either};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::Full;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};
use tower_api_key::{
    ApiKeyLayer, AuthenticatedKey, ConfigError, KeyFormat, KeyManager, KeySource, NewKey,
    Precedence, RequireScopesLayer,
    auth::OrElseLayer,
    store::{FixedStore, MemoryStore},
};

use crate::support::{code, header_values, request, request_to, respond_now};

/// Accepts `Bearer ey…` and a cookie `session`, and says who is let in. Denies all others as tower-http does.
#[derive(Clone, Debug)]
struct Tokens;

#[derive(Clone)]
struct CheckTokens<S>(S);

#[derive(Clone)]
struct Person(&'static str);

impl<S> Layer<S> for Tokens {
    type Service = CheckTokens<S>;

    fn layer(&self, inner: S) -> CheckTokens<S> {
        CheckTokens(inner)
    }
}

type Answer = Response<Full<Bytes>>;

impl<S, B> Service<Request<()>> for CheckTokens<S>
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: Default,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = Either<S::Future, std::future::Ready<Result<S::Response, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<()>) -> Self::Future {
        let has = |name, start: &str| {
            let values = request.headers().get_all(name).iter();
            values.filter_map(|value| value.to_str().ok()).any(|value| value.starts_with(start))
        };
        let person = match (has("authorization", "Bearer ey"), has("cookie", "session=")) {
            (true, _) => Person("token"),
            (_, true) => Person("session"),
            _ => {
                let mut denied = Response::new(B::default());
                *denied.status_mut() = StatusCode::UNAUTHORIZED;
                let challenge = HeaderValue::from_static(r#"Bearer realm="accounts""#);
                denied.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
                return Either::Right(std::future::ready(Ok(denied)));
            }
        };
        request.extensions_mut().insert(person);
        Either::Left(self.0.call(request))
    }
}

const TOKEN: &str = "eyJhbGciOiJFZERTQSJ9.e30.c2ln";

struct Keys {
    good: String,
    revoked: String,
    layer: ApiKeyLayer,
}

async fn keys(prefix: &str) -> Keys {
    let format = KeyFormat::new(prefix).unwrap();
    let manager = KeyManager::new(MemoryStore::new()).with_format(format);
    let create = async || manager.create(NewKey::named(prefix)).await.unwrap();
    let (good, revoked) = (create().await, create().await);
    manager.revoke(revoked.record.id, None).await.unwrap();
    let layer = manager.layer().with_sources([
        KeySource::x_api_key(),
        KeySource::bearer(),
        KeySource::basic(),
        KeySource::query("api_key").unwrap(),
    ]);
    let text = |key: &tower_api_key::manage::IssuedKey| key.secret.expose().to_owned();
    Keys { good: text(&good), revoked: text(&revoked), layer: layer.with_realm("keys") }
}

/// The identities that a service sees, or the reason of the denial.
fn outcome<L, S, B>(layer: L, request: Request<()>) -> (String, Response<Bytes>)
where
    L: Layer<Seen, Service = S>,
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let response = respond_now(layer.layer(service_fn(see as fn(_) -> _)), request);
    let text = match response.status() {
        StatusCode::OK => String::from_utf8(response.body().to_vec()).unwrap(),
        _ if response.headers().contains_key(header::CONTENT_TYPE) => code(&response),
        status => status.as_str().to_owned(),
    };
    (text, response)
}

type Seen =
    tower::util::ServiceFn<fn(Request<()>) -> std::future::Ready<Result<Answer, Infallible>>>;

#[expect(clippy::needless_pass_by_value, reason = "as services are")]
fn see(request: Request<()>) -> std::future::Ready<Result<Answer, Infallible>> {
    let extensions = request.extensions();
    let key = extensions.get::<AuthenticatedKey>().map(AuthenticatedKey::name);
    let person = extensions.get::<Person>().map(|person| person.0);
    let all: Vec<_> = key.into_iter().chain(person).collect();
    std::future::ready(Ok(Response::new(all.join(" and ").into())))
}

#[tokio::test]
async fn the_body_of_each_half_tells_its_size() {
    let keys = keys("acme").await;
    for header in [("x-api-key", &*keys.good), ("cookie", "session=1")] {
        for text in ["an answer", ""] {
            let inner = service_fn(async |_: Request<()>| {
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(text)))
            });
            let service = keys.layer.clone().or_else(Tokens).unwrap().layer(inner);
            let response = service.oneshot(request(&[header])).now_or_never().unwrap().unwrap();
            let body = response.into_body();
            assert_eq!(body.size_hint().exact(), Some(text.len() as u64));
            assert_eq!(body.is_end_stream(), text.is_empty());
        }
    }
}

#[tokio::test]
async fn the_shape_of_a_credential_decides() {
    let keys = keys("acme").await;
    let layer = keys.layer.clone().or_else(Tokens).unwrap();
    let Keys { good, revoked, .. } = &keys;
    let unknown = KeyFormat::new("acme").unwrap().generate().unwrap();
    let unknown = unknown.expose();
    let cookie = ("cookie", "session=1".to_owned());
    let bearer = |text: &str| ("authorization", format!("Bearer {text}"));
    let key = |text: &str| ("x-api-key", text.to_owned());
    for (headers, expected) in [
        (vec![key(good)], "acme"),
        (vec![bearer(good)], "acme"),
        // Ours, and not good: the other half never sees it.
        (vec![bearer(unknown)], "unknown_key"),
        (vec![bearer(revoked)], "revoked_key"),
        (vec![bearer("acme_")], "malformed_key"),
        (vec![bearer("acme_eyJhbGciOiJFZERTQSJ9.e30.c2ln")], "malformed_key"),
        (vec![key(revoked), cookie.clone()], "revoked_key"),
        // Not ours.
        (vec![bearer(TOKEN)], "token"),
        (vec![bearer("Acme_x")], "401"),
        (vec![bearer("xacme_x")], "401"),
        (vec![bearer(&good[1..])], "401"),
        (vec![bearer("")], "401"),
        (vec![key("eyJ")], "401"),
        (vec![cookie.clone()], "session"),
        (vec![], "401"),
        // Two credentials, of which one is ours, wherever they stand.
        (vec![key(good), bearer(TOKEN)], "ambiguous_key"),
        (vec![bearer(TOKEN), key(good)], "ambiguous_key"),
        (vec![bearer(TOKEN), bearer(good)], "ambiguous_key"),
        (vec![bearer(good), bearer(TOKEN)], "ambiguous_key"),
        (vec![key("other"), bearer(good)], "ambiguous_key"),
        (vec![key("other"), bearer(TOKEN)], "token"),
    ] {
        let (found, _) = outcome(layer.clone(), request(&headers));
        assert_eq!(found, expected, "{headers:?}");
    }
    // `acme_x:secret` and `acme_x`: ours by its name, whatever else it holds.
    for basic in ["Basic YWNtZV94OnNlY3JldA==", "Basic YWNtZV94"] {
        let (found, _) = outcome(layer.clone(), request(&[("authorization", basic)]));
        assert_eq!(found, "malformed_key", "{basic}");
    }
    let broken = request_to::<&str>("/?api_key=acme_%zz", &[]);
    assert_eq!(outcome(layer.clone(), broken).0, "malformed_key");
    let target = format!("/?api_key=%61{}", &good[1..]);
    assert_eq!(outcome(layer.clone(), request_to::<&str>(&target, &[])).0, "acme");
    assert_eq!(outcome(layer, request_to::<&str>("/?api_key=%zz", &[])).0, "401");
}

#[tokio::test]
async fn a_401_asks_for_both() {
    const BASIC: &str = r#"Basic realm="old""#;
    let keys = keys("acme").await;
    let ours = [
        r#"ApiKey realm="keys", in="header", name="x-api-key""#,
        r#"Bearer realm="keys""#,
        r#"ApiKey realm="keys", in="query", name="api_key""#,
    ];
    let asked = |layer: OrElseLayer<Tokens>, key: &str| {
        let (_, response) = outcome(layer, request(&[("x-api-key", key)]));
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let asked = header_values(&response, header::WWW_AUTHENTICATE);
        asked.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let layer = || keys.layer.clone().or_else(Tokens).unwrap();
    let mut of_other = vec![r#"Bearer realm="accounts""#];
    of_other.extend(ours);
    assert_eq!(asked(layer(), "none of ours"), of_other);
    let with_error = ours.map(|challenge| format!("{challenge}, error=\"invalid_token\""));
    assert_eq!(asked(layer(), &keys.revoked), with_error);
    let told = layer().with_challenge(of_other[0]).unwrap().with_challenge(BASIC).unwrap();
    let mut both = with_error.to_vec();
    both.extend([of_other[0].to_owned(), BASIC.to_owned()]);
    assert_eq!(asked(told, &keys.revoked), both);
    for bad in ["", "a\nb"] {
        assert!(layer().with_challenge(bad).is_err());
    }
    // A denial that asks for no credential names none of the other's.
    let scopes = RequireScopesLayer::all(["orders:read"]).unwrap();
    let layer = (layer().with_challenge(BASIC).unwrap(), scopes);
    let (found, response) = outcome(layer, request(&[("x-api-key", &*keys.good)]));
    assert_eq!(found, "insufficient_scope");
    let asked = header_values(&response, header::WWW_AUTHENTICATE);
    assert!(asked.iter().all(|challenge| challenge.contains("keys")), "{asked:?}");
}

#[tokio::test]
async fn two_layers_for_keys_stand_beside_each_other() {
    let (one, two) = (keys("one").await, keys("two").await);
    let both = one.layer.clone().or_else(two.layer.clone().with_realm("two")).unwrap();
    let of = |key: &str| outcome(both.clone(), request(&[("x-api-key", key)]));
    assert_eq!(of(&one.good).0, "one");
    assert_eq!(of(&two.good).0, "two");
    assert_eq!(of(&one.revoked).0, "revoked_key");
    assert_eq!(of("three_x").0, "malformed_key");
    // Both ask for both, and vary on what both read.
    for key in [&one.revoked, &two.revoked] {
        let (_, response) = of(key);
        let asked = header_values(&response, header::WWW_AUTHENTICATE);
        let realms = |realm: &str| asked.iter().filter(|text| text.contains(realm)).count();
        assert_eq!((realms("\"keys\""), realms("\"two\"")), (3, 3), "{asked:?}");
    }
    for key in [&one.good, &two.good] {
        let (_, response) = of(key);
        assert_eq!(header_values(&response, header::VARY), ["x-api-key, authorization"]);
    }
    // Keys of another system may be the last resort, and three layers stand in a row.
    let last =
        ApiKeyLayer::new(FixedStore::new().with_key("old", "a-key-of-the-old-system-1").unwrap());
    let three = one.layer.clone().or_else(two.layer.clone().or_else(last).unwrap()).unwrap();
    for (key, expected) in
        [(&*one.good, "one"), (&two.good, "two"), ("a-key-of-the-old-system-1", "old")]
    {
        assert_eq!(outcome(three.clone(), request(&[("x-api-key", key)])).0, expected);
    }
}

#[tokio::test]
async fn where_shape_cannot_decide_it_is_an_error() {
    let keys = keys("acme").await;
    let formats = [KeyFormat::new("acme").unwrap(), KeyFormat::opaque_of(30..=40).unwrap()];
    for (layer, setting) in [
        (ApiKeyLayer::new(MemoryStore::new()), "KeyFormat::opaque"),
        (keys.layer.clone().with_formats(formats), "KeyFormat::opaque"),
        (keys.layer.clone().allow_anonymous(), "allow_anonymous"),
        (keys.layer.clone().with_precedence(Precedence::FirstSource), "Precedence::FirstSource"),
    ] {
        let error = layer.or_else(Tokens).map(|_| ()).unwrap_err();
        assert!(
            matches!(error, ConfigError::Contradiction { settings: [_, other], .. } if other == setting)
        );
    }
    let same = self::keys("acme").await;
    let in_shadow = same.layer.clone().shadow_until(tower_api_key::Timestamp::UNIX_EPOCH);
    assert!(keys.layer.clone().or_else(same.layer).is_err());
    assert!(keys.layer.clone().or_else(in_shadow).is_err());
    let longer = self::keys("acme_live").await;
    assert!(keys.layer.clone().or_else(longer.layer.clone()).is_err());
    assert!(longer.layer.or_else(keys.layer).is_ok());
}

/// It belongs to both halves, or a request that one lets past would be denied by the other.
#[tokio::test]
async fn what_is_decided_before_a_credential_is_looked_for_holds_for_both() {
    let keys = keys("acme").await;
    let open = keys.layer.clone().with_bypass(|request| request.uri.path() == "/health");
    let open = open.or_else(Tokens).unwrap();
    let bearer = format!("Bearer {TOKEN}");
    let get = |layer: &OrElseLayer<Tokens>, target, headers: &[(&str, &str)]| {
        outcome(layer.clone(), request_to(target, headers)).0
    };
    assert_eq!(get(&open, "/health", &[]), "");
    assert_eq!(get(&open, "/health", &[("authorization", &*bearer)]), "");
    assert_eq!(get(&open, "/", &[]), "401");
    let secure = keys.layer.clone().require_secure_transport().or_else(Tokens).unwrap();
    assert_eq!(
        get(&secure, "http://api.example/", &[("authorization", &*bearer)]),
        "insecure_transport"
    );
    assert_eq!(get(&secure, "https://api.example/", &[("authorization", &*bearer)]), "token");
}

#[tokio::test]
async fn an_identity_of_a_layer_further_out_ends_here() {
    let (outer, inner) = (keys("outer").await, keys("inner").await);
    let outer_layer = outer.layer.clone().with_sources([KeySource::header("x-outer").unwrap()]);
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("x-outer", &*outer.good), ("authorization", &*bearer)];
    let layer = (outer_layer, inner.layer.or_else(Tokens).unwrap());
    assert_eq!(outcome(layer, request(&headers)).0, "token");
}

/// Both halves are around the same service: a place in it that one half held while the other waits for it
/// would be held for ever.
#[tokio::test]
async fn neither_half_holds_a_place_that_the_other_needs() {
    let keys = keys("acme").await;
    let mut service = ServiceBuilder::new()
        .layer(keys.layer.clone().or_else(Tokens).unwrap())
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Answer::default())));
    let mut other = service.clone();
    let bearer = format!("Bearer {TOKEN}");
    for _ in 0..3 {
        for header in [
            ("x-api-key", &*keys.good),
            ("authorization", &*bearer),
            ("x-api-key", &*keys.revoked),
            ("x", ""),
        ] {
            for service in [&mut service, &mut other] {
                let called = service.ready().await.unwrap().call(request(&[header]));
                called.now_or_never().expect("a place").unwrap();
            }
        }
    }
}
