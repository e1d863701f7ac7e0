//! What a cache says of its subscription, in the log and in metrics.

use std::{
    io,
    sync::{Arc, Mutex},
};

use metrics::set_default_local_recorder;
use tracing_subscriber::{fmt::MakeWriter, util::SubscriberInitExt};

use crate::{
    child,
    figures::Figures,
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

/// Whether a cache listens, and how often it has ceased to.
fn read(figures: &Figures) -> (bool, u64) {
    let listening = figures.gauge("tower_api_key_listening");
    assert!([0, 1].contains(&listening), "{listening}");
    (listening == 1, figures.counter("tower_api_key_subscriptions_lost_total"))
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
