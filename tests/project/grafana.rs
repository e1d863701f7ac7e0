//! The dashboard and the alert rules in `docs/grafana` use metrics, labels and codes that exist.

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;
use tower_api_key::RejectionKind;

use crate::facts::{items, read, root, text};

const DASHBOARD: &str = "docs/grafana/dashboard.json";
const ALERTS: &str = "docs/grafana/alerts.yml";

/// The metrics in a text, without the endings that Prometheus gives to the parts of a histogram.
fn metrics(source: &str) -> BTreeSet<String> {
    let of_name = |c: &char| c.is_ascii_lowercase() || *c == '_';
    let rests = source.split("tower_api_key_").skip(1);
    let names = rests.map(|rest| rest.chars().take_while(of_name).collect::<String>());
    let whole = |name: String| {
        let parts = ["_bucket", "_count", "_sum"];
        let base = parts.iter().find_map(|part| name.strip_suffix(part));
        base.filter(|base| base.ends_with("_seconds")).map_or(name.clone(), str::to_owned)
    };
    names.map(whole).collect()
}

/// Those of the crate's documentation, with what it says of each.
fn documented() -> Vec<(String, String)> {
    let docs = read("src/lib.rs");
    let rows = docs.lines().filter_map(|line| line.strip_prefix("//! | `tower_api_key_"));
    rows.map(|row| row.split_once('`').unwrap())
        .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        .collect()
}

#[test]
fn every_metric_of_the_dashboard_and_the_alerts_exists() {
    let known: BTreeSet<String> = documented().into_iter().map(|(name, _)| name).collect();
    for path in [DASHBOARD, ALERTS, "docs/guide/operation.md"] {
        let used = metrics(&read(path));
        assert!(used.len() >= 10, "{path}: {used:?}");
        let unknown: Vec<_> = used.difference(&known).collect();
        assert!(unknown.is_empty(), "{path}: {unknown:?}");
    }
}

#[test]
fn each_panel_has_queries_and_says_what_it_shows() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let (mut ids, mut panels) = (BTreeSet::new(), 0);
    for panel in items(&dashboard["panels"]) {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "an id twice: {panel}");
        if panel["type"] == "row" {
            continue;
        }
        panels += 1;
        assert!(!text(&panel["description"]).is_empty(), "{panel}");
        let mut letters = BTreeSet::new();
        for target in items(&panel["targets"]) {
            assert!(letters.insert(text(&target["refId"])), "{panel}");
            let query = text(&target["expr"]);
            // One program's among others, in each selector.
            let selectors = query.matches("job=~\"$job\"").count();
            assert_eq!(selectors, query.matches("tower_api_key_").count(), "{query}");
            assert_eq!(query.matches('(').count(), query.matches(')').count(), "{query}");
        }
        assert!(!letters.is_empty(), "{panel}");
    }
    assert!(panels >= 15, "{panels}");
}

/// A code that is not there would make a rule that never fires.
#[test]
fn codes_in_alerts_exist() {
    let codes: BTreeSet<&str> = RejectionKind::all().map(RejectionKind::code).collect();
    let alerts = read(ALERTS);
    let mut found = 0;
    for rest in alerts.split("code=~\"").skip(1) {
        for code in rest.split('"').next().unwrap().split('|') {
            assert!(codes.contains(code), "{code}");
            found += 1;
        }
    }
    assert!(found > 3);
    let sections = read("docs/guide/operation.md");
    for rest in alerts.split("runbook: \"").skip(1) {
        let section = rest.split('"').next().unwrap();
        assert!(sections.contains(&format!("\n## {section}\n")), "{section}");
    }
}

/// Where Prometheus is installed. `tests/alerts` has the rules fire; here are cases that take longer.
#[test]
fn promtool_reads_the_alerts_and_finds_them_right() {
    for (act, path) in [("check", ALERTS), ("test", "tests/alerts/rules.yml")] {
        let promtool =
            Command::new("promtool").args([act, "rules"]).arg(root().join(path)).output();
        let Ok(output) = promtool else { return };
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }
}
