//! Metrics as a pod serves them, and what the rendered alerts make of them, by promtool.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use e2e::run;
use serde_json::{Value, json};

/// Metrics with their labels, and their values.
pub(crate) type Metrics = BTreeMap<String, f64>;

/// Reads Prometheus' text format.
pub(crate) fn parse(text: &str) -> Metrics {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| Some((line.rsplit_once(' ')?.0.to_owned(), line.rsplit_once(' ')?.1.parse().ok()?)))
        .collect()
}

/// The value of a metric, of whatever cluster.
pub(crate) fn value(metrics: &Metrics, name: &str) -> Option<f64> {
    metrics.iter().find(|(series, _)| series.split('{').next() == Some(name)).map(|(_, value)| *value)
}

/// What was served, and for how many minutes it goes on: ages grow meanwhile.
pub(crate) struct Phase {
    pub(crate) metrics: Metrics,
    pub(crate) minutes: usize,
}

/// Asserts which alerts of a `PrometheusRule` fire at which minute, where the phases follow each other.
#[track_caller]
pub(crate) fn fire(folder: &Path, rule: &Value, namespace: &str, phases: &[Phase], expected: &[(usize, &[&str])]) {
    let names: std::collections::BTreeSet<&String> = phases.iter().flat_map(|phase| phase.metrics.keys()).collect();
    let series: Vec<Value> = names
        .into_iter()
        .map(|name| {
            let values: Vec<String> = phases
                .iter()
                .map(|phase| {
                    let rest = phase.minutes - 1;
                    match phase.metrics.get(name) {
                        None => format!("_x{}", phase.minutes),
                        Some(value) if name.contains("_age_seconds") => format!("{value}+60x{rest}"),
                        Some(value) => format!("{value}x{rest}"),
                    }
                })
                .collect();
            json!({"series": labelled(name, namespace), "values": values.join(" ")})
        })
        .collect();
    let tests: Vec<Value> = expected
        .iter()
        .map(|(minute, alerts)| {
            let samples: Vec<Value> = alerts
                .iter()
                .map(|name| json!({"labels": format!("{{alertname=\"{name}\"}}"), "value": 1}))
                .collect();
            json!({"expr": "sum by (alertname) (ALERTS{alertstate=\"firing\"})", "eval_time": format!("{minute}m"), "exp_samples": samples})
        })
        .collect();
    let test = json!({"rule_files": ["rules.json"], "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": tests}]});
    std::fs::write(folder.join("rules.json"), rule["spec"].to_string()).unwrap();
    std::fs::write(folder.join("test.json"), test.to_string()).unwrap();
    let mut promtool = Command::new("promtool");
    promtool.args(["test", "rules", "test.json"]).current_dir(folder);
    run(promtool).expect_code(0);
}

/// A series as Prometheus keeps what it has scraped of a pod in a namespace.
fn labelled(series: &str, namespace: &str) -> String {
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let comma = if labels == "}" { "" } else { "," };
    format!("{name}{{namespace=\"{namespace}\",pod=\"watch\"{comma}{labels}")
}
