//! A Prometheus of the test's own, with its data in a folder that goes with it.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::{
    process::curl,
    wait::wait_until,
    web_server::{self, WebServer},
};

pub(crate) const ALERTS: &str = "docs/grafana/alerts.yml";

pub(crate) struct Prometheus(WebServer);

/// A service that is scraped.
pub(crate) struct Target {
    pub(crate) job: &'static str,
    pub(crate) address: String,
}

impl Prometheus {
    pub(crate) fn start(folder: &Path, targets: &[Target]) -> Self {
        let rules = root().join(ALERTS);
        promtool("rules", &rules);
        fs::write(folder.join("rules.yml"), shortened(&fs::read_to_string(rules).unwrap()))
            .unwrap();
        let scrapes = targets.iter().map(|target| {
            json!({ "job_name": target.job, "static_configs": [{ "targets": [target.address] }] })
        });
        // JSON is YAML.
        let configuration = json!({
            "global": { "scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s" },
            "rule_files": ["rules.yml"],
            "scrape_configs": scrapes.collect::<Vec<_>>(),
        });
        let path = folder.join("prometheus.yml");
        fs::write(&path, configuration.to_string()).unwrap();
        promtool("config", &path);
        let server = web_server::start("prometheus", folder, |address| {
            vec![
                format!("--config.file={}", path.display()),
                format!("--storage.tsdb.path={}", folder.join("data").display()),
                format!("--web.listen-address={address}"),
                "--log.level=warn".to_owned(),
            ]
        });
        // It listens before it answers.
        let ready = format!("http://{}/-/ready", server.address);
        wait_until("Prometheus is ready", || curl([&ready]).status == 200);
        Self(server)
    }

    /// The answer to a query, of this moment: `(labels, value)`.
    pub(crate) fn query(&self, query: &str) -> Vec<(Value, f64)> {
        let answer = self.get("query", &[("query", query)]);
        let series = answer["result"].as_array().unwrap().iter();
        series.map(|series| (series["metric"].clone(), number(&series["value"][1]))).collect()
    }

    /// The same of each second of these.
    pub(crate) fn query_range(&self, query: &str, times: (f64, f64)) -> Vec<Series> {
        let (start, end) = (times.0.to_string(), times.1.to_string());
        let parameters = [("query", query), ("start", &start), ("end", &end), ("step", "1")];
        let answer = self.get("query_range", &parameters);
        let series = answer["result"].as_array().unwrap().iter();
        let point = |point: &Value| (point[0].as_f64().unwrap(), number(&point[1]));
        series
            .map(|series| Series {
                labels: series["metric"].clone(),
                points: series["values"].as_array().unwrap().iter().map(point).collect(),
            })
            .collect()
    }

    /// The jobs and the alerts that were firing at any time, with the back end or the code.
    pub(crate) fn fired(&self) -> BTreeSet<(String, String)> {
        let fired = "max_over_time(ALERTS{alertstate=\"firing\"}[10m])";
        let name = |(labels, _): (Value, f64)| {
            let name = labels["alertname"].as_str().unwrap().strip_prefix("ApiKey").unwrap();
            let detail = labels["backend"].as_str().or_else(|| labels["code"].as_str());
            let detail = detail.map(|detail| format!(" {detail}")).unwrap_or_default();
            (labels["job"].as_str().unwrap().to_owned(), format!("{name}{detail}"))
        };
        self.query(fired).into_iter().map(name).collect()
    }

    /// What the alerts that fire now tell of themselves.
    pub(crate) fn summaries(&self) -> Vec<String> {
        let alerts = self.get("alerts", &[])["alerts"].clone();
        let summary = |alert: &Value| alert["annotations"]["summary"].as_str().unwrap().to_owned();
        alerts.as_array().unwrap().iter().map(summary).collect()
    }

    fn get(&self, what: &str, parameters: &[(&str, &str)]) -> Value {
        let mut arguments = vec!["-G".to_owned()];
        for (name, value) in parameters {
            arguments.extend(["--data-urlencode".to_owned(), format!("{name}={value}")]);
        }
        arguments.push(format!("http://{}/api/v1/{what}", self.0.address));
        let reply = curl(arguments);
        let answer = reply.json();
        assert!(answer["status"] == "success", "{parameters:?}: {answer}");
        answer["data"].clone()
    }
}

/// A line of a plot.
pub(crate) struct Series {
    pub(crate) labels: Value,
    /// Seconds and values.
    pub(crate) points: Vec<(f64, f64)>,
}

/// Prometheus has them as texts.
fn number(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn promtool(what: &str, path: &Path) {
    let output = Command::new("promtool").args(["check", what]).arg(path).output();
    let output = output.expect("promtool, which scripts/test installs with Prometheus");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
}

/// The rules, with seconds where they have minutes.
fn shortened(rules: &str) -> String {
    let rules = rules.replace("[5m]", "[10s]").replace("[10m]", "[20s]");
    let rules = rules.replace("offset 10m", "offset 20s");
    let short = |line: &str| match line.split_once("for: ") {
        Some((indent, _)) => format!("{indent}for: 4s\n"),
        None => format!("{line}\n"),
    };
    let rules: String = rules.lines().map(short).collect();
    for long in ["m]", "h]", "offset 1"] {
        assert!(!rules.contains(long), "a time that is not shortened: {rules}");
    }
    rules
}
