//! The dashboard, with the answers of a Prometheus to its queries.

use std::fs;

use serde_json::Value;

use crate::prometheus::{Prometheus, Series, root};

const DASHBOARD: &str = "docs/grafana/dashboard.json";

/// A row's title, or a plot.
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) unit: String,
    pub(crate) is_row: bool,
    pub(crate) is_stacked: bool,
    /// Of 24 columns, and of rows of eight.
    pub(crate) place: [f64; 4],
    pub(crate) lines: Vec<Line>,
}

/// What the legend says, and seconds since the beginning with their values.
pub(crate) struct Line {
    pub(crate) legend: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// All panels. Each query must have an answer with a number in it.
pub(crate) fn panels(prometheus: &Prometheus, times: (f64, f64)) -> Vec<Panel> {
    let dashboard = fs::read_to_string(root().join(DASHBOARD)).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let panels: Vec<_> = panels.map(|panel| answered(prometheus, panel, times)).collect();
    let plots = panels.iter().filter(|panel| !panel.is_row);
    assert!(plots.count() >= 15);
    panels
}

fn answered(prometheus: &Prometheus, panel: &Value, times: (f64, f64)) -> Panel {
    let defaults = &panel["fieldConfig"]["defaults"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines = Vec::new();
    for target in panel["targets"].as_array().into_iter().flatten() {
        let query = text(&target["expr"]).replace("$__rate_interval", "10s");
        // What the choice `All` becomes.
        let query = query.replace("$job", ".*");
        assert!(!query.contains('$'), "a variable that has no value: {query}");
        let answers = prometheus.query_range(&query, times);
        let is_number = |series: &Series| series.points.iter().any(|(_, value)| !value.is_nan());
        assert!(answers.iter().any(is_number), "no answer: {query}");
        let legend = text(&target["legendFormat"]);
        lines.extend(answers.into_iter().filter(is_number).map(|series| Line {
            legend: filled_in(&legend, &series.labels),
            points: series.points.iter().map(|(at, value)| (at - times.0, *value)).collect(),
        }));
    }
    let place = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_f64().unwrap());
    Panel {
        title: text(&panel["title"]),
        unit: text(&defaults["unit"]),
        is_row: panel["type"] == "row",
        is_stacked: defaults["custom"]["stacking"]["mode"] == "normal",
        place,
        lines,
    }
}

/// `{{code}}` becomes the value of the label.
fn filled_in(legend: &str, labels: &Value) -> String {
    let mut filled = String::new();
    let mut rest = legend;
    while let Some((before, label)) = rest.split_once("{{") {
        let (label, after) = label.split_once("}}").unwrap();
        let value = labels[label].as_str();
        let value = value.unwrap_or_else(|| panic!("no label {label} for {legend}: {labels}"));
        filled.push_str(before);
        filled.push_str(value);
        rest = after;
    }
    filled + rest
}
