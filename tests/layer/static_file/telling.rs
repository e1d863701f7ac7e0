//! What operators are told of a file that changes.

#![allow(clippy::print_stdout, reason = "how a child reports to its parent")]

use std::{fs, sync::Arc};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString,
    Unit,
};
use tower_api_key::store::FileStore;

use super::{Folder, digest, toml};
use crate::{
    secrets::child,
    support::{KEY, OTHER_KEY},
};

/// Prints every metric as it changes.
pub(crate) struct Printer;

struct Line(String);

impl Recorder for Printer {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(Line(key.to_string())))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::new(Line(key.to_string())))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

impl CounterFn for Line {
    fn increment(&self, value: u64) {
        println!("{} +{value}", self.0);
    }

    fn absolute(&self, _: u64) {}
}

impl GaugeFn for Line {
    fn increment(&self, _: f64) {}

    fn decrement(&self, _: f64) {}

    fn set(&self, value: f64) {
        println!("{} ={value}", self.0);
    }
}

#[tokio::test]
async fn a_bad_file_is_logged_and_counted() {
    const TEST: &str = "static_file::telling::a_bad_file_is_logged_and_counted";
    // Other tests of this process load files as well.
    if !child::is_child() {
        let printed = child::run(TEST, None);
        let lines: Vec<_> = printed.lines().filter(|line| line.contains("keys.toml")).collect();
        let expected = [
            vec!["INFO", "keys loaded from their file", "keys=1"],
            vec!["tower_api_key_file_current", "=1"],
            vec!["WARN", "those of the last good one stay", "key 2", "owners"],
            vec!["tower_api_key_file_current", "=0"],
            vec!["tower_api_key_file_loads_failed_total", "+1"],
            vec!["WARN", "those of the last good one stay", "cannot be read"],
            vec!["tower_api_key_file_current", "=0"],
            vec!["tower_api_key_file_loads_failed_total", "+1"],
            vec!["INFO", "keys loaded from their file", "keys=2"],
            vec!["tower_api_key_file_current", "=1"],
        ];
        assert_eq!(lines.len(), expected.len(), "{printed}");
        for (line, parts) in lines.iter().zip(expected) {
            assert!(parts.iter().all(|part| line.contains(part)), "{parts:?} in {line}");
        }
        for secret in [KEY, OTHER_KEY, &digest(KEY)[..16], &digest(OTHER_KEY)[..16]] {
            assert!(!printed.contains(secret), "{secret} in {printed}");
        }
        return;
    }
    tracing_subscriber::fmt().with_ansi(false).init();
    metrics::set_global_recorder(Printer).unwrap();
    let folder = Folder::new();
    let path = folder.write("keys.toml", toml(&[KEY]));
    let store = FileStore::open(&path).await.unwrap();
    folder.write("keys.toml", toml(&[KEY, OTHER_KEY]) + "owners = \"nobody\"\n");
    store.reload().await.unwrap_err();
    fs::remove_file(path).unwrap();
    store.reload().await.unwrap_err();
    folder.write("keys.toml", toml(&[KEY, OTHER_KEY]));
    store.reload().await.unwrap();
}
