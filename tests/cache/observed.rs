//! What a cache says of its subscription, in the log and in metrics.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    set_default_local_recorder,
};
use tracing_subscriber::{fmt::MakeWriter, util::SubscriberInitExt};

use crate::{
    child,
    listening::{listening, reset, wait_until},
};

/// Keeps what is written, for all clones.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// How many lines of this level hold this text.
    fn count(&self, level: &str, text: &str) -> usize {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        log.lines().filter(|line| line.contains(level) && line.contains(text)).count()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
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

/// Counters as they are, and gauges as the bits of a float, by name.
#[derive(Default)]
struct Figures(Mutex<HashMap<String, Arc<AtomicU64>>>);

impl Figures {
    fn entry(&self, key: &Key) -> Arc<AtomicU64> {
        self.0.lock().unwrap().entry(key.name().to_owned()).or_default().clone()
    }

    /// Whether a cache listens, and how often it has ceased to.
    fn read(&self) -> (bool, u64) {
        let read = |name| self.entry(&Key::from_static_name(name)).load(SeqCst);
        let listening = read("tower_api_key_listening");
        assert!([0.0, 1.0].map(f64::to_bits).contains(&listening), "{listening:#x}");
        (listening != 0, read("tower_api_key_subscriptions_lost_total"))
    }
}

impl Recorder for Figures {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.entry(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.entry(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
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
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log.clone());
    let _log = subscriber.finish().set_default();
    let _figures = set_default_local_recorder(&figures);
    let heard = || log.count("INFO", "listening for changed keys");
    let lost = || log.count("WARN", "not listening for changed keys");

    let (fixture, bus) = listening(&[]).await;
    assert_eq!((figures.read(), heard(), lost()), ((true, 0), 1, 0));

    bus.cut();
    wait_until(|| bus.attempts() == 4).await;
    assert_eq!((figures.read(), heard()), ((false, 1), 1));
    // The loss, and each attempt that failed, with its cause.
    assert_eq!((lost(), log.count("WARN", "connection reset")), (4, 1));
    assert_eq!(log.count("WARN", "connection refused"), 3);

    bus.mend();
    reset(&fixture, 3).await;
    assert_eq!((figures.read(), heard(), lost()), ((true, 1), 2, 4));
}
