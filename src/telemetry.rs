//! Metrics beyond those that are told as they happen.
//!
//! The `metrics` facade is pushed to. Denials and failures are told to the recorder when they happen.
//! Requests that are let in, and the figures of caches, limiters and recorders, are counted where they
//! happen by each thread for itself, since telling a recorder would cost more than the rest of a
//! request. They reach the recorder with [`publish`]: call it where metrics are read, or spawn
//! [`publish_every`]. What a dashboard shows is as old as the last call, and nothing is lost
//! in between: counters are told as their whole sums.
//!
//! The [crate's documentation](crate#metrics) lists all metrics, and says which of them are published.

use std::time::Duration;

use metrics::{describe_counter, describe_gauge, describe_histogram};

use crate::observe::{self, METRICS, MetricKind};

/// Tells the installed recorder what was counted until now.
///
/// Call it before metrics are rendered: then they are of this moment. It takes some microseconds, and
/// no request waits for it. Without a recorder it does nothing.
///
/// ```
/// # fn render() -> String { String::new() }
/// let scrape = || {
///     tower_api_key::telemetry::publish();
///     // With `metrics-exporter-prometheus`: `handle.render()`.
///     render()
/// };
/// # scrape();
/// ```
pub fn publish() {
    observe::publish();
}

/// [`publish`]es once in each `period`, for recorders that send metrics by themselves. Never ends.
///
/// Needs a tokio runtime with time enabled. A `period` of no time at all is a millisecond.
///
/// ```
/// use std::time::Duration;
/// use tower_api_key::telemetry;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let publishing = tokio::spawn(telemetry::publish_every(Duration::from_secs(1)));
/// # publishing.abort();
/// # }
/// ```
pub async fn publish_every(period: Duration) {
    loop {
        publish();
        tokio::time::sleep(period.max(Duration::from_millis(1))).await;
    }
}

/// Tells the installed recorder what each metric means, and its unit. Once, after the recorder was
/// installed.
pub fn describe() {
    for (name, kind, unit, text) in METRICS {
        match kind {
            MetricKind::Counter => describe_counter!(*name, *unit, *text),
            MetricKind::Gauge => describe_gauge!(*name, *unit, *text),
            MetricKind::Histogram => describe_histogram!(*name, *unit, *text),
        }
    }
}

/// Upper bounds, in seconds, of buckets for the histograms of this crate: from half a millisecond,
/// which Redis takes, to the time limit of a lookup. A recorder that is told of no buckets may make
/// a summary instead, whose quantiles cannot be added up over nodes.
pub const DURATION_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
