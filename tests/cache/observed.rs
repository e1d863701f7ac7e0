//! What a cache says of its subscription, in the log and in metrics.

use std::convert::Infallible;

use metrics::set_default_local_recorder;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_api_key::{ApiKeyLayer, KeyManager, NewKey, store::MemoryStore};
use tracing_subscriber::filter::LevelFilter;

use crate::{
    child,
    figures::Figures,
    listening::{listening, reset, wait_until},
    log::Log,
    outage::silent_limits,
    support::{Answer::Good, Fixture, Mode, TTL, digest, until},
};

/// Whether a cache listens, and how often it has ceased to.
fn read(figures: &Figures) -> (bool, u64) {
    let listening = figures.gauge("tower_api_key_listening");
    assert!([0, 1].contains(&listening), "{listening}");
    (listening == 1, figures.counter("tower_api_key_subscriptions_lost_total"))
}

/// Whether a back end is up, if that was said, and how often it was not.
fn back_end(figures: &Figures, back_end: &str) -> (Option<bool>, u64) {
    let name = |name| format!("tower_api_key_backend_{name}{{backend={back_end}}}");
    let is_known = figures.has(&name("up"));
    let is_up = is_known.then(|| figures.gauge(&name("up")) == 1);
    (is_up, figures.counter(&name("outages_total")))
}

#[tokio::test(start_paused = true)]
async fn a_lost_subscription_shows_in_the_log_and_in_metrics() {
    // `tracing` remembers for the whole process whether anybody listens to an event, and another
    // test's thread, where nobody does, may be the first to come by.
    if !child::is_child() {
        child::run("observed::a_lost_subscription_shows_in_the_log_and_in_metrics", None);
        return;
    }
    let (log, figures) = (Log::default(), Figures::default());
    // Both for this thread, which is the only one of this runtime.
    let _log = log.listen_from(LevelFilter::INFO);
    let _figures = set_default_local_recorder(&figures);
    let heard = || log.count("INFO", "listening for changed keys");
    let lost = || log.count("WARN", "not listening for changed keys");

    let (fixture, bus) = listening(&[]).await;
    assert_eq!((read(&figures), heard(), lost()), ((true, 0), 1, 0));

    bus.cut();
    wait_until(|| bus.attempts() == 4).await;
    assert_eq!((read(&figures), heard()), ((false, 1), 1));
    // The loss, and each attempt that failed, with its cause.
    assert_eq!((lost(), log.count("WARN", "connection reset")), (4, 1));
    assert_eq!(log.count("WARN", "connection refused"), 3);

    bus.mend();
    reset(&fixture, 3).await;
    assert_eq!((read(&figures), heard(), lost()), ((true, 1), 2, 4));
}

/// A layer over a store that works, with a limiter that does not, and a good key.
async fn silently_limited() -> (ApiKeyLayer, String) {
    let store = MemoryStore::new();
    let issued = KeyManager::new(store.clone()).create(NewKey::named("key")).await.unwrap();
    let layer = ApiKeyLayer::new(store).with_rate_limits(silent_limits());
    (layer, issued.secret.expose().to_owned())
}

/// Once each, however many requests find it so. What one back end does says nothing of another.
#[tokio::test(start_paused = true)]
async fn a_silent_back_end_shows_in_the_log_and_in_metrics() {
    if !child::is_child() {
        child::run("observed::a_silent_back_end_shows_in_the_log_and_in_metrics", None);
        return;
    }
    let (log, figures) = (Log::default(), Figures::default());
    let _log = log.listen_from(LevelFilter::INFO);
    let _figures = set_default_local_recorder(&figures);
    let down =
        |back_end| log.count("WARN", &format!("the {back_end} does not answer; until it does"));
    let up = |back_end| log.count("INFO", &format!("the {back_end} answers again"));

    let (layer, key) = silently_limited().await;
    for _ in 0..100 {
        let inner = service_fn(async |_: http::Request<()>| {
            Ok::<_, Infallible>(http::Response::new(String::new()))
        });
        let request = http::Request::builder().header("x-api-key", &key).body(()).unwrap();
        let response = ServiceBuilder::new().layer(&layer).service(inner).oneshot(request).await;
        assert_eq!(response.unwrap().status(), 200);
    }
    assert_eq!(back_end(&figures, "rate_limiter"), (Some(false), 1));
    assert_eq!(back_end(&figures, "key_store"), (None, 0));
    assert_eq!((down("rate limiter"), up("rate limiter")), (1, 0));

    let fixture = Fixture::knowing(&[digest(1)]).await;
    fixture.at(TTL);
    fixture.store.set(Mode::Hang);
    for _ in 0..100 {
        assert_eq!(fixture.find(&digest(1)).await, Ok(Good));
    }
    assert_eq!(back_end(&figures, "key_store"), (Some(false), 1));
    assert_eq!((down("key store"), up("key store")), (1, 0));

    fixture.store.set(Mode::Answer);
    let answers = fixture.store.answers();
    // The lookup that hangs is given up, and then one is made that does not.
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    fixture.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(fixture.find_now(&digest(1)), Some(Good));
    until(|| fixture.store.answers() > answers && up("key store") > 0).await;
    assert_eq!(back_end(&figures, "key_store"), (Some(true), 1));
    assert_eq!((down("key store"), up("key store")), (1, 1));
    assert_eq!((back_end(&figures, "rate_limiter"), up("rate limiter")), ((Some(false), 1), 0));
}
