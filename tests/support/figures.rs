//! A recorder of metrics for tests.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

/// Counters as they are, and gauges as the bits of a float, by name and labels: `name{label=value}`.
#[derive(Default)]
#[allow(dead_code, reason = "not all programs of tests ask")]
pub(crate) struct Figures {
    values: Mutex<HashMap<String, Arc<AtomicU64>>>,
    histograms: Mutex<HashMap<String, Arc<Values>>>,
    described: Mutex<BTreeMap<String, (&'static str, &'static str)>>,
}

/// What a histogram was told.
#[derive(Default)]
struct Values(Mutex<Vec<f64>>);

impl HistogramFn for Values {
    fn record(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }
}

fn name(key: &Key) -> String {
    let labels = key.labels().map(|label| format!("{{{}={}}}", label.key(), label.value()));
    labels.fold(key.name().to_owned(), |name, label| name + &label)
}

impl Figures {
    fn entry(&self, key: &Key) -> Arc<AtomicU64> {
        self.values.lock().unwrap().entry(name(key)).or_default().clone()
    }

    fn describe(&self, name: &KeyName, kind: &'static str, unit: Option<Unit>) {
        let unit = unit.map_or("none", |unit| unit.as_str());
        let before = self.described.lock().unwrap().insert(name.as_str().to_owned(), (kind, unit));
        assert!(before.is_none(), "{name:?} twice");
    }

    /// The kinds and units that metrics were described with.
    #[allow(dead_code, reason = "not all programs of tests ask")]
    pub(crate) fn described(&self) -> BTreeMap<String, (&'static str, &'static str)> {
        self.described.lock().unwrap().clone()
    }

    /// The values of a histogram, in seconds rounded to milliseconds, in the order of time.
    #[allow(dead_code, reason = "not all programs of tests ask")]
    pub(crate) fn durations(&self, name: &str) -> Vec<f64> {
        let histograms = self.histograms.lock().unwrap();
        let values = histograms.get(name).map(|values| values.0.lock().unwrap().clone());
        let rounded = |value: f64| (value * 1_000.0).round() / 1_000.0;
        values.unwrap_or_default().into_iter().map(rounded).collect()
    }

    fn read(&self, name: &str) -> u64 {
        self.values.lock().unwrap().get(name).map_or(0, |value| value.load(SeqCst))
    }

    /// Whether there is such a counter or gauge.
    #[allow(dead_code, reason = "not all programs of tests ask")]
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.lock().unwrap().contains_key(name)
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
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&name, "counter", unit);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&name, "gauge", unit);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&name, "histogram", unit);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.entry(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.entry(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.histograms.lock().unwrap().entry(name(key)).or_default().clone())
    }
}
