//! What is logged and counted of layers in shadow.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::StatusCode;
use metrics::set_default_local_recorder;
use tower::layer::util::Stack;
use tower_api_key::{
    KeyHasher, RequireScopesLayer,
    auth::{Enforcement, Unidentified},
};
use tracing_subscriber::{fmt::MakeWriter, util::SubscriberInitExt};

use super::{keys, send, send_now};
use crate::{
    figures::Figures,
    secrets::child,
    stores::TestStore,
    support::{KEY, OTHER_KEY, at, clock, get, with_key},
};

/// Keeps the lines that are written, for all clones.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// What was written since the last call, without times. No key is in it.
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        for key in [KEY, OTHER_KEY] {
            assert!(!text.contains(key), "{text}");
            assert!(!text.contains(&KeyHasher::sha256().digest(key).to_hex()), "{text}");
        }
        text.lines().map(|line| line.trim_start().to_owned()).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Log {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
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
    // `tracing` remembers for the whole process whether there is a subscriber for an event.
    if !child::is_child() {
        child::run("shadow::events::what_would_be_denied_is_logged_and_counted", None);
        return;
    }
    let (log, figures) = (Log::default(), Figures::default());
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(log.clone());
    let _log = subscriber.finish().set_default();
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
    assert_eq!((log.lines(), layers()), (vec![], 0), "before there is a service");

    send_now(&stack, with_key(OTHER_KEY));
    let lines = log.lines();
    // Said as the service is made, from the inside out.
    assert_eq!(reminders(&lines), ["RequireScopesLayer", "ApiKeyLayer"]);
    assert_eq!(layers(), 2);
    let denials: Vec<_> = lines.iter().filter(|line| line.contains(": would deny ")).collect();
    assert_eq!(denials.len(), 1, "{lines:?}");
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
    let lines = log.lines();
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].contains("code=\"insufficient_scope\"")
            && lines[0].contains("missing=\"orders:read\"")
    );
    assert_eq!(would_deny("insufficient_scope"), 1);
    send_now(&stack, get("/"));
    assert_eq!(would_deny("missing_key"), 1);
    log.lines();

    // Every hour, with the first request.
    clock.advance(Duration::from_millis(3_599_999));
    send_now(&stack, get("/"));
    assert_eq!(reminders(&log.lines()), Vec::<&str>::new());
    clock.advance(Duration::from_millis(1));
    send_now(&stack, get("/"));
    assert_eq!(reminders(&log.lines()).len(), 2);

    // Its end is told once, and what is dropped is in shadow no longer.
    clock.set(at(10_000_000));
    send_now(&stack, get("/"));
    send_now(&stack, get("/"));
    let ended = log.lines().iter().filter(|line| line.contains("the shadow has ended")).count();
    assert_eq!((ended, layers()), (1, 1));
    drop(stack);
    assert_eq!(layers(), 0);

    // No decision is one too.
    let stuck = tower_api_key::ApiKeyLayer::new(TestStore::stuck()).with_clock(clock);
    let until = at(i64::from(u32::MAX));
    send(&stuck.clone().shadow_until(until), with_key(KEY)).await;
    assert_eq!(figures.counter("tower_api_key_shadow_undecided_total"), 1);
    assert!(log.lines().iter().any(|line| line.contains("undecided")));

    // A difference to the check beside, with both answers. The denial by itself is none.
    let open = tower_api_key::ApiKeyLayer::new(TestStore::new([])).with_bypass(|_| true);
    send_now(&keys().shadowing(open), with_key(OTHER_KEY));
    let differences = "tower_api_key_shadow_differences_total{difference=only_keys_deny}";
    assert_eq!(figures.counter(differences), 1);
    let text = log.lines().join("\n");
    assert!(
        text.contains("answers differ difference=\"only_keys_deny\" code=\"revoked_key\""),
        "{text}"
    );
    assert!(text.contains(&format!("status={}", StatusCode::OK.as_u16())));

    // Enforced denials are denials.
    let all = Enforcement::by(|_| true, Unidentified::Enforce);
    send_now(&keys().shadow_until(at(1_000)).with_enforcement(all), with_key(OTHER_KEY));
    assert_eq!(figures.counter("tower_api_key_denied_total{code=revoked_key}"), 1);
    assert_eq!(would_deny("revoked_key"), 1);
}
