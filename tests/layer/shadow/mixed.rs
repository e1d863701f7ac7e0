//! Ten thousand requests of every kind: through layers in shadow, whose responses are those of the bare
//! service to the byte, and through the same layers once they enforce, which deny what the shadow told of,
//! one by one.

use std::{
    convert::Infallible,
    future::Ready,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_api_key::{
    ApiKeyLayer, Credits, KeyFormat, KeyManager, KeyPatch, KeySource, NewKey, RateLimits,
    Rejection, RequireScopesLayer, Scopes, UsageRecorder,
    auth::{FailureThrottle, WouldDeny},
    clock::SettableClock,
    credits::NewCredits,
    extra_cost::ExtraCostLayer,
    key::KeyRecord,
    limit::{Limits, LocalLimiter, Quota},
    nonzero,
    store::{BalanceUpdate, Changes, KeyQuery, KeyRepository, MemoryStore},
};

use crate::{
    limits::limits,
    support::{NOW, at, clock, respond},
};

const REQUESTS: usize = 10_000;

/// Random numbers, the same in each run (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % most as u64).unwrap()
    }

    fn one_of<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        &all[self.below(all.len())]
    }
}

type App = BoxCloneSyncService<Request<()>, Response<Full<Bytes>>, Infallible>;

/// Repeats the request, and says nothing of the caller.
#[expect(clippy::needless_pass_by_value, reason = "as a service is called")]
fn answer(request: Request<()>) -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
    let status = if request.uri().path() == "/gone" { StatusCode::GONE } else { StatusCode::OK };
    let head = (request.method(), request.uri(), request.headers());
    let mut response = Response::new(Full::from(format!("{head:?}")));
    *response.status_mut() = status;
    response.headers_mut().insert("vary", "accept".parse().unwrap());
    std::future::ready(Ok(response))
}

/// Everything that a service has, made anew for each run: a store with the same keys, and layers that have
/// counted nothing.
struct World {
    clock: SettableClock,
    store: MemoryStore,
    keys: Vec<String>,
    unknown: Vec<String>,
    usage: UsageRecorder,
    credits: Credits,
    layer: ApiKeyLayer,
    scopes: RequireScopesLayer,
    cost: ExtraCostLayer,
}

fn credits(remaining: u64) -> NewCredits {
    NewCredits { remaining, refill: None }
}

fn per_minute(requests: std::num::NonZeroU32) -> Limits {
    limits(Quota::per_minute(requests))
}

async fn issue(manager: &KeyManager, clock: &SettableClock) -> Vec<String> {
    let orders = || Scopes::parse(["orders:read"]).unwrap();
    let all = || Scopes::parse(["orders:read", "reports"]).unwrap();
    let new = [
        NewKey { scopes: all(), ..NewKey::named("good") },
        NewKey { scopes: orders(), ..NewKey::named("of few scopes") },
        NewKey { limits: per_minute(nonzero!(30)), scopes: all(), ..NewKey::named("limited") },
        NewKey { credits: Some(credits(300)), scopes: all(), ..NewKey::named("with credits") },
        NewKey {
            allowed_addresses: vec!["192.0.2.0/30".parse().unwrap()],
            scopes: all(),
            ..NewKey::named("of a network")
        },
        NewKey { expires_at: Some(at(400_000)), scopes: all(), ..NewKey::named("that expires") },
        NewKey { scopes: all(), ..NewKey::named("revoked") },
        NewKey { scopes: all(), ..NewKey::named("disabled") },
    ];
    let mut keys = Vec::new();
    for new in new {
        let name = new.name.clone();
        let issued = manager.create(new).await.unwrap();
        match name.as_str() {
            "revoked" => _ = manager.revoke(issued.record.id, None).await.unwrap(),
            "disabled" => {
                let patch = KeyPatch { disabled: Some(true), ..KeyPatch::default() };
                manager.update(issued.record.id, patch).await.unwrap();
            }
            _ => {}
        }
        keys.push(issued.secret.expose().to_owned());
    }
    clock.advance(Duration::from_millis(1));
    keys
}

impl World {
    /// With the keys of another one, so that requests are the same.
    async fn new(of: Option<&Self>) -> Self {
        let (clock, format) = (clock(), KeyFormat::new("acme").unwrap());
        let store = MemoryStore::new().with_clock(clock.clone());
        let credits = Credits::builder(store.clone()).with_clock(clock.clone()).build().unwrap();
        let manager = KeyManager::new(store.clone())
            .with_clock(clock.clone())
            .with_format(format.clone())
            .with_credits(credits.clone());
        let (keys, unknown) = match of {
            None => {
                let unknown = (0..5).map(|_| format.generate().unwrap().expose().to_owned());
                (issue(&manager, &clock).await, unknown.collect())
            }
            Some(other) => {
                copy(&other.store, &store).await;
                clock.advance(Duration::from_millis(1));
                (other.keys.clone(), other.unknown.clone())
            }
        };
        let limiter = LocalLimiter::builder().with_clock(clock.clone()).build();
        let rate = RateLimits::new(limiter)
            .with_cost(|request| if request.uri.path() == "/reports" { 2 } else { 1 });
        let throttle = FailureThrottle::builder(Quota::per_minute(nonzero!(12)))
            .with_clock(clock.clone())
            .build();
        let usage =
            UsageRecorder::builder(store.clone()).with_clock(clock.clone()).build().unwrap();
        let layer = manager
            .layer()
            .with_source(KeySource::query("api_key").unwrap())
            .with_source(KeySource::cookie("session").unwrap())
            .with_client_address(|request| request.extensions.get::<IpAddr>().copied())
            .with_failure_throttle(throttle)
            .unwrap()
            .with_bypass(|request| request.uri.path() == "/health")
            .with_rate_limits(rate.clone())
            .with_usage(usage.clone());
        let scopes = RequireScopesLayer::all(["reports"]).unwrap().with_clock(clock.clone());
        let cost = ExtraCostLayer::new(rate, nonzero!(3)).with_clock(clock.clone());
        Self { clock, store, keys, unknown, usage, credits, layer, scopes, cost }
    }
}

/// Scopes and a price where they are asked for, inside of `outer`.
fn app(
    outer: impl FnOnce(App) -> App,
    routes: Option<(&RequireScopesLayer, &ExtraCostLayer)>,
) -> App {
    let bare = App::new(service_fn(answer as fn(_) -> _));
    let guarded = match routes {
        Some((scopes, cost)) => boxed(scopes.layer(boxed(cost.layer(bare.clone())))),
        None => bare.clone(),
    };
    outer(App::new(service_fn(move |request: Request<()>| {
        let is_dear = request.uri().path() == "/reports";
        if is_dear { guarded.clone() } else { bare.clone() }.oneshot(request)
    })))
}

/// With the body read, so that all have one type.
fn boxed<S, B>(service: S) -> App
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Debug,
{
    App::new(service_fn(move |request| {
        let service = service.clone();
        async move { Ok(respond(service, request).await.map(Full::from)) }
    }))
}

async fn copy(from: &MemoryStore, to: &MemoryStore) {
    let page = from.list(&KeyQuery::new(100)).await.unwrap();
    let lineages: Vec<_> = page.items.iter().map(|record| record.lineage()).collect();
    let balances = from.balance_store().unwrap().balances(&lineages).await.unwrap();
    for record in &page.items {
        let balances = balances.items.iter().filter(|(lineage, _)| *lineage == record.lineage());
        let updates = balances.map(|(lineage, balance)| BalanceUpdate {
            lineage: *lineage,
            balance: balance.clone(),
            expected: None,
            due: None,
        });
        let mut changes = Changes::default();
        changes.inserts = vec![KeyRecord::clone(record)];
        changes.balances = updates.collect();
        to.apply(&changes).await.unwrap();
    }
}

/// The next request, and how long after the one before.
fn request(random: &mut Random, keys: &[String], unknown: &[String]) -> (Request<()>, Duration) {
    let path = *random.one_of(&["/", "/orders", "/reports", "/gone", "/health"]);
    let method = random.one_of(&[Method::GET, Method::POST, Method::OPTIONS, Method::HEAD]).clone();
    let garbled = format!("{}x", keys[0]);
    let strange = ["acme_unknown", "short", "", "not a key at all", &garbled];
    let mut key = || match random.below(8) {
        0 => (*random.one_of(&strange)).to_owned(),
        1 => random.one_of(unknown).clone(),
        _ => random.one_of(keys).clone(),
    };
    let (first, second) = (key(), key());
    let mut headers: Vec<(&str, String)> = Vec::new();
    let mut uri = path.to_owned();
    match random.below(10) {
        0 => {}
        1 => headers.extend([("x-api-key", first), ("x-api-key", second)]),
        2 => headers.push(("authorization", format!("Bearer {first}"))),
        3 => uri = format!("{path}?api_key={}", first.replace(' ', "%20")),
        4 => headers.push(("cookie", format!("session={}", first.replace(' ', "")))),
        5 => headers.push(("authorization", "Bearer a.json.web.token".to_owned())),
        _ => headers.push(("x-api-key", first)),
    }
    if random.below(12) == 0 {
        headers.push(("content-type", "application/grpc".to_owned()));
        headers.push(("te", "trailers".to_owned()));
    }
    if random.below(4) == 0 {
        headers.push(("sec-fetch-site", "cross-site".to_owned()));
    }
    let mut request = Request::builder().method(method).uri(uri).body(()).unwrap();
    for (name, value) in headers {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    if random.below(10) > 0 {
        let address = Ipv4Addr::new(192, 0, 2, u8::try_from(random.below(20)).unwrap());
        request.extensions_mut().insert(IpAddr::from(address));
    }
    (request, Duration::from_millis(random.below(250) as u64))
}

/// A denial, with all that it says.
type Told = Option<(&'static str, Option<String>, Option<String>, Option<String>, Option<u64>)>;

fn told(rejection: Option<&Rejection>) -> Told {
    rejection.map(|rejection| {
        let missing = rejection.missing_scopes().map(|scopes| scopes.as_str().to_owned());
        let (key, limit) = (rejection.key().map(|key| key.to_string()), rejection.limit());
        let after = rejection.retry_after_seconds();
        (rejection.kind().code(), key, missing, limit.map(str::to_owned), after)
    })
}

type Bytewise = (StatusCode, HeaderMap, Bytes);

/// All requests, one after the other: the answers, and what was told of each.
async fn run(world: &World, app: App, tell: fn(&Response<Bytes>) -> Told) -> Vec<(Bytewise, Told)> {
    let mut random = Random(20_261_123);
    let mut answers = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let (request, pause) = request(&mut random, &world.keys, &world.unknown);
        world.clock.advance(pause);
        let response = respond(app.clone(), request).await;
        let told = tell(&response);
        let (parts, body) = response.into_parts();
        answers.push(((parts.status, parts.headers, body), told));
    }
    answers
}

#[tokio::test]
async fn the_shadow_is_what_enforcement_does() {
    let world = World::new(None).await;
    let enforced = World::new(Some(&world)).await;
    let bare = World::new(Some(&world)).await;
    let before = format!("{:?}", world.store.list(&KeyQuery::new(100)).await.unwrap());
    let lineages: Vec<_> = world
        .store
        .list(&KeyQuery::new(100))
        .await
        .unwrap()
        .items
        .iter()
        .map(|record| record.lineage())
        .collect();
    let balances = async |world: &World| {
        let store = world.store.balance_store().unwrap();
        store.balances(&lineages).await.unwrap().items
    };
    let balances_before = balances(&world).await;

    let until = NOW.saturating_add(Duration::from_hours(24));
    let (scopes, cost) =
        (world.scopes.clone().shadow_until(until), world.cost.clone().shadow_until(until));
    let layer = world.layer.clone().shadow_until(until);
    let shadow =
        run(&world, app(|inner| boxed(layer.layer(inner)), Some((&scopes, &cost))), |response| {
            assert!(response.extensions().get::<Rejection>().is_none());
            told(response.extensions().get().map(WouldDeny::rejection))
        });
    let shadow = shadow.await;
    let routes = Some((&enforced.scopes, &enforced.cost));
    let denied =
        run(&enforced, app(|inner| boxed(enforced.layer.layer(inner)), routes), |response| {
            told(response.extensions().get())
        });
    let denied = denied.await;
    let bare = run(&bare, app(|inner| inner, None), |_| None).await;

    let mut kinds = std::collections::BTreeMap::<_, usize>::new();
    for (number, ((shadow, denied), bare)) in shadow.iter().zip(&denied).zip(&bare).enumerate() {
        assert_eq!(shadow.0, bare.0, "request {number}");
        assert_eq!(shadow.1, denied.1, "request {number}");
        *kinds.entry(denied.1.as_ref().map_or("let in", |told| told.0)).or_default() += 1;
    }
    // Each kind happened, so that the comparison says something.
    for kind in [
        "let in",
        "missing_key",
        "malformed_key",
        "ambiguous_key",
        "unknown_key",
        "revoked_key",
        "disabled_key",
        "expired_key",
        "address_not_allowed",
        "insufficient_scope",
        "rate_limited",
        "credits_exhausted",
        "too_many_failures",
        "cross_site_request",
    ] {
        assert!(kinds.get(kind).is_some_and(|count| *count >= 10), "{kind}: {kinds:?}");
    }

    // Nothing was written, nor taken.
    world.usage.flush().await.unwrap();
    world.credits.close().await.unwrap();
    assert_eq!(format!("{:?}", world.store.list(&KeyQuery::new(100)).await.unwrap()), before);
    assert_eq!(balances(&world).await, balances_before);
}
