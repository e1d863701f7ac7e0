//! A recorder of metrics for tests.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// Counters as they are, and gauges as the bits of a float, by name and labels: `name{label=value}`.
#[derive(Default)]
pub(crate) struct Figures(Mutex<HashMap<String, Arc<AtomicU64>>>);

impl Figures {
    fn entry(&self, key: &Key) -> Arc<AtomicU64> {
        let labels = key.labels().map(|label| format!("{{{}={}}}", label.key(), label.value()));
        let name = labels.fold(key.name().to_owned(), |name, label| name + &label);
        self.0.lock().unwrap().entry(name).or_default().clone()
    }

    fn read(&self, name: &str) -> u64 {
        self.0.lock().unwrap().get(name).map_or(0, |value| value.load(SeqCst))
    }

    /// Whether there is such a counter or gauge.
    #[allow(dead_code, reason = "not all programs of tests ask")]
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.lock().unwrap().contains_key(name)
    }

    /// A counter; 0 before it counts anything.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.read(name)
    }

    /// A gauge, of those that are whole numbers; 0 before it is set.
    #[expect(clippy::cast_possible_truncation, reason = "a whole number")]
    pub(crate) fn gauge(&self, name: &str) -> i64 {
        let value = f64::from_bits(self.read(name));
        assert!(value.fract().abs() < f64::EPSILON, "{name}: {value}");
        value as i64
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
