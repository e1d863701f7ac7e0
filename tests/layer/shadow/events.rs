//! What is logged and counted of layers in shadow.

use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use metrics::set_default_local_recorder;
use tower::{
    Layer, ServiceExt,
    layer::{layer_fn, util::Stack},
    service_fn,
};
use tower_api_key::{
    RequireScopesLayer,
    auth::{Enforcement, Unidentified},
};
use tracing_subscriber::filter::LevelFilter;

use super::{keys, send, send_now};
use crate::{
    figures::Figures,
    secrets::{child, log::Log},
    stores::TestStore,
    support::{KEY, OTHER_KEY, at, clock, get, with_key},
};

/// The lines since the last call, without times. No key is in them.
fn lines(log: &Log) -> Vec<String> {
    for key in [KEY, OTHER_KEY] {
        log.assert_holds_nothing_of(key);
    }
    let without_time = |line: String| match line.split_once("Z ") {
        Some((_, rest)) => rest.trim_start().to_owned(),
        None => line,
    };
    log.take().into_iter().map(without_time).collect()
}

/// The names of the layers that say that they are in shadow.
fn reminders(lines: &[String]) -> Vec<&str> {
    let prefix =
        "WARN tower_api_key::shadow: in shadow: the layer lets on what it would deny layer=";
    let rests = lines.iter().filter_map(|line| line.strip_prefix(prefix));
    rests.map(|rest| rest.split('"').nth(1).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_would_be_denied_is_logged_and_counted() {
    if !child::is_child() {
        child::run("shadow::events::what_would_be_denied_is_logged_and_counted", None);
        return;
    }
    let (log, figures) = (Log::default(), Figures::default());
    let _log = log.listen_from(LevelFilter::INFO);
    let _figures = set_default_local_recorder(&figures);
    let clock = clock();
    let layers = || figures.gauge("tower_api_key_shadow_layers");
    let would_deny =
        |code| figures.counter(&format!("tower_api_key_would_deny_total{{code={code}}}"));

    let whole = keys().with_clock(clock.clone()).shadow_until(at(10_000_000));
    let scopes = RequireScopesLayer::all(["orders:read"])
        .unwrap()
        .with_clock(clock.clone())
        .shadow_until(at(20_000_000));
    let stack = Stack::new(scopes, whole);
    assert_eq!((lines(&log), layers()), (vec![], 0), "before there is a service");

    send_now(&stack, with_key(OTHER_KEY));
    let told = lines(&log);
    // Said as the service is made, from the inside out.
    assert_eq!(reminders(&told), ["RequireScopesLayer", "ApiKeyLayer"]);
    assert_eq!(layers(), 2);
    let denials: Vec<_> = told.iter().filter(|line| line.contains(": would deny ")).collect();
    assert_eq!(denials.len(), 1, "{told:?}");
    assert!(
        denials[0].starts_with("INFO tower_api_key::shadow: would deny code=\"revoked_key\" key=")
    );
    assert_eq!(
        (
            would_deny("revoked_key"),
            figures.counter("tower_api_key_denied_total{code=revoked_key}")
        ),
        (1, 0)
    );

    send_now(&stack, with_key(KEY));
    let told = lines(&log);
    assert_eq!(told.len(), 1);
    assert!(
        told[0].contains("code=\"insufficient_scope\"")
            && told[0].contains("missing=\"orders:read\"")
    );
    assert_eq!(would_deny("insufficient_scope"), 1);
    send_now(&stack, get("/"));
    assert_eq!(would_deny("missing_key"), 1);
    lines(&log);

    // Every hour, with the first request.
    clock.advance(Duration::from_millis(3_599_999));
    send_now(&stack, get("/"));
    assert_eq!(reminders(&lines(&log)), Vec::<&str>::new());
    clock.advance(Duration::from_millis(1));
    send_now(&stack, get("/"));
    assert_eq!(reminders(&lines(&log)).len(), 2);

    // Its end is told once, and what is dropped is in shadow no longer.
    clock.set(at(10_000_000));
    send_now(&stack, get("/"));
    send_now(&stack, get("/"));
    let ended = lines(&log).iter().filter(|line| line.contains("the shadow has ended")).count();
    assert_eq!((ended, layers()), (1, 1));
    drop(stack);
    assert_eq!(layers(), 0);

    // No decision is one too.
    let stuck = tower_api_key::ApiKeyLayer::new(TestStore::stuck()).with_clock(clock);
    let until = at(i64::from(u32::MAX));
    send(&stuck.clone().shadow_until(until), with_key(KEY)).await;
    assert_eq!(figures.counter("tower_api_key_shadow_undecided_total"), 1);
    assert!(lines(&log).iter().any(|line| line.contains("undecided")));

    // A difference to the check beside, with both answers. The denial by itself is none.
    let open = tower_api_key::ApiKeyLayer::new(TestStore::new([])).with_bypass(|_| true);
    send_now(&keys().shadowing(open), with_key(OTHER_KEY));
    let differences = "tower_api_key_shadow_differences_total{difference=only_keys_deny}";
    assert_eq!(figures.counter(differences), 1);
    let text = lines(&log).join("\n");
    assert!(
        text.contains("answers differ difference=\"only_keys_deny\" code=\"revoked_key\""),
        "{text}"
    );
    assert!(text.contains(&format!("status={}", StatusCode::OK.as_u16())));

    // An error is an answer of the other check as well.
    let failed = "answers differ difference=\"other_failed\"";
    for (key, is_told) in [(KEY, true), (OTHER_KEY, false)] {
        let broken = layer_fn(|_| service_fn(async |_: Request<()>| Err::<Response<()>, _>("no")));
        let service = keys().shadowing(broken).layer(());
        service.oneshot(with_key(key)).now_or_never().unwrap().unwrap_err();
        assert_eq!(lines(&log).iter().any(|line| line.contains(failed)), is_told);
    }

    // Enforced denials are denials.
    let all = Enforcement::by(|_| true, Unidentified::Enforce);
    send_now(&keys().shadow_until(at(1_000)).with_enforcement(all), with_key(OTHER_KEY));
    assert_eq!(figures.counter("tower_api_key_denied_total{code=revoked_key}"), 1);
    assert_eq!(would_deny("revoked_key"), 1);
}
