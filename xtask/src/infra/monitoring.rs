//! Dashboards, alerts and runbooks, held against what is measured: `docs/metrics.md` for the servers,
//! `monitoring/cost_metrics.json` for `cost-monitor`, and the table in `monitoring/README.md` for Google's own metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::promql::{self, Expression};
use super::tools::{find, left_out};
use super::{files, layout};
use crate::process::{root, run};

/// What a metric's labels are, and whether it is a counter, a gauge or a histogram.
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
}

/// Everything that may be charted or alerted on.
struct Known {
    /// The text of `docs/metrics.md`: the values of labels are in it.
    documentation: String,
    /// The routes' text, for the values of `route`.
    routes: String,
    server: BTreeMap<String, Metric>,
    /// Google's metrics and those of `cost-monitor`: type, then resource and labels.
    cloud: BTreeMap<String, (String, BTreeSet<String>)>,
}

/// Labels that a scrape adds to each series.
const SCRAPED: &[&str] = &["instance", "job"];

/// Checks them all.
pub fn check() -> Result<()> {
    let known = Known::read()?;
    let mut charts = 0;
    for path in files("monitoring/dashboards", "json")? {
        charts += cloud_dashboard(&known, &read_json(&path)?).with_context(|| path.clone())?;
    }
    for path in files("monitoring/grafana", "json")? {
        charts += grafana_dashboard(&known, &read_json(&path)?).with_context(|| path.clone())?;
    }
    let rules =
        rules(&known, &text("monitoring/prometheus/rules.yaml")?).context("monitoring/prometheus/rules.yaml")?;
    let policies = text("terraform/modules/monitoring/alerts.tf")?;
    policies_of_cloud(&known, &policies).context("terraform/modules/monitoring/alerts.tf")?;
    let runbooks = files("docs/runbooks", "md")?;
    for path in &runbooks {
        runbook(&known, path, &rules, &policies).with_context(|| path.clone())?;
    }
    eprintln!("monitoring: {charts} charts, {} rules, {} runbooks", rules.len(), runbooks.len());
    Ok(())
}

/// What the rules say of made-up servers, as Prometheus itself evaluates them.
pub fn alerts() -> Result<()> {
    match find("promtool") {
        Some(promtool) => run(Command::new(promtool).args(["test", "rules", "monitoring/prometheus/tests.yaml"])),
        None => left_out("promtool", "it comes with Prometheus"),
    }
}

impl Known {
    fn read() -> Result<Self> {
        let documentation = text("docs/metrics.md")?;
        let server = server_metrics(&documentation);
        ensure!(server.len() > 20, "docs/metrics.md: no table of metrics is found");
        let mut cloud = google_metrics(&text("monitoring/README.md")?);
        ensure!(!cloud.is_empty(), "monitoring/README.md: no table of Google's metrics is found");
        for metric in read_json("monitoring/cost_metrics.json")?.as_array().context("cost_metrics.json: no list")? {
            let name = metric["name"].as_str().context("cost_metrics.json: a metric without a name")?;
            let labels = strings(&metric["labels"]).chain(["environment".to_owned()]).collect();
            cloud.insert(format!("custom.googleapis.com/{name}"), ("global".to_owned(), labels));
        }
        Ok(Self { documentation, routes: text("crates/orchestra-api/src/http.rs")?, server, cloud })
    }

    /// Checks the names, labels, values of labels and functions of an expression, and gives the labels of its result.
    fn expression(&self, expression: &str) -> Result<BTreeSet<String>> {
        let Expression { selectors, grouping } = promql::read(expression)?;
        ensure!(!selectors.is_empty(), "{expression}: reads no metric");
        let mut labels = BTreeSet::new();
        for selector in &selectors {
            let part = ["_bucket", "_sum", "_count"].iter().find_map(|part| selector.name.strip_suffix(part));
            let family =
                part.filter(|family| self.server.get(*family).is_some_and(|metric| metric.kind == "histogram"));
            let name = family.unwrap_or(&selector.name);
            let metric = self.server.get(name).with_context(|| format!("{name}: nothing measures it"))?;
            ensure!(family.is_some() == (metric.kind == "histogram"), "{name}: is a {}", metric.kind);
            let grows = metric.kind != "gauge";
            let rated = matches!(selector.function.as_deref(), Some("rate" | "increase"));
            ensure!(
                grows == rated,
                "{name}: a {} in {}",
                metric.kind,
                selector.function.as_deref().unwrap_or("no function")
            );
            for (label, _, value) in &selector.matchers {
                let known = metric.labels.contains(label) || SCRAPED.contains(&label.as_str());
                ensure!(known, "{name}: has no label {label}");
                self.value(label, value)?;
            }
            labels.extend(metric.labels.iter().cloned());
            labels.extend(selector.name.ends_with("_bucket").then(|| "le".to_owned()));
        }
        let unknown: Vec<_> = grouping.difference(&labels).collect();
        ensure!(unknown.is_empty(), "{expression}: groups by {unknown:?}, which no metric in it has");
        Ok(grouping)
    }

    /// Words that a matcher compares with are ones that are documented; patterns may be anything.
    fn value(&self, label: &str, value: &str) -> Result<()> {
        if SCRAPED.contains(&label) || value.contains('.') {
            return Ok(());
        }
        if label == "route" {
            ensure!(self.routes.contains(&format!("\"{value}\"")), "{value}: is no route");
            return Ok(());
        }
        for word in value.split('|') {
            let documented = self.documentation.contains(&format!("`{word}`"));
            ensure!(documented, "{label}={word:?}: docs/metrics.md has no such value");
        }
        Ok(())
    }

    /// Checks a filter of Cloud Monitoring and the fields it is grouped by.
    fn filter(&self, filter: &str, group_by: &[String]) -> Result<()> {
        let metric = quoted(filter, "metric.type = ").context("a filter names a metric")?;
        let resource = quoted(filter, "resource.type = ").context("a filter names a resource")?;
        let (of, labels) = self.cloud.get(metric).with_context(|| format!("{metric}: nothing measures it"))?;
        ensure!(of == resource, "{metric}: is of {of}, not of {resource}");
        for field in group_by {
            if let Some(label) = field.strip_prefix("metric.label.") {
                ensure!(labels.contains(label), "{metric}: has no label {label}");
            } else {
                ensure!(field.starts_with("resource.label."), "{field}: is no label");
            }
        }
        Ok(())
    }
}

/// The table of `docs/metrics.md`.
fn server_metrics(documentation: &str) -> BTreeMap<String, Metric> {
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let rows = documentation.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| `")?.split('|').map(str::trim).collect();
        let (name, kind, labels) = (cells.first()?, cells.get(1)?, cells.get(2)?);
        Some((name.trim_end_matches('`').to_owned(), Metric { kind: (*kind).to_owned(), labels: names(labels) }))
    });
    rows.collect()
}

/// The table of Google's metrics: metric, resource, labels.
fn google_metrics(readme: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let rows = readme.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix('|')?.split('|').collect();
        let (metric, resource) = (names(cells.first()?), names(cells.get(1)?));
        let metric = metric.first().filter(|metric| metric.contains(".googleapis.com/"))?;
        Some((metric.clone(), (resource.first()?.clone(), names(cells.get(2)?).into_iter().collect())))
    });
    rows.collect()
}

fn cloud_dashboard(known: &Known, dashboard: &Value) -> Result<usize> {
    let widgets = layout::of_cloud(dashboard)?;
    let mut charts = 0;
    for widget in widgets {
        let title = widget["title"].as_str().unwrap_or_default();
        for query in queries(widget) {
            cloud_query(known, query).with_context(|| format!("{title:?}"))?;
            charts += 1;
        }
    }
    Ok(charts)
}

/// A query with the legend that its result is shown by.
struct Query<'a> {
    query: &'a Value,
    legend: &'a str,
}

fn queries(widget: &Value) -> Vec<Query<'_>> {
    let sets = ["xyChart", "pieChart"].iter().filter_map(|kind| widget[kind]["dataSets"].as_array()).flatten();
    let mut queries: Vec<Query<'_>> = sets
        .map(|set| Query {
            query: &set["timeSeriesQuery"],
            legend: set["legendTemplate"].as_str().or_else(|| set["sliceNameTemplate"].as_str()).unwrap_or_default(),
        })
        .collect();
    if let Some(query) = widget["scorecard"].get("timeSeriesQuery") {
        queries.push(Query { query, legend: "" });
    }
    queries
}

fn cloud_query(known: &Known, Query { query, legend }: Query<'_>) -> Result<()> {
    let filter = &query["timeSeriesFilter"];
    let kept: BTreeSet<String> = match (query["prometheusQuery"].as_str(), filter["filter"].as_str()) {
        (Some(expression), None) => {
            known.expression(expression)?.into_iter().map(|label| format!("metric.labels.{label}")).collect()
        }
        (None, Some(text)) => {
            let group_by: Vec<String> = strings(&filter["aggregation"]["groupByFields"]).collect();
            known.filter(text, &group_by)?;
            group_by.iter().map(|field| field.replace(".label.", ".labels.")).collect()
        }
        _ => bail!("has one of prometheusQuery and timeSeriesFilter"),
    };
    for label in legend.split("${").skip(1).filter_map(|rest| rest.split('}').next()) {
        ensure!(kept.contains(label), "the legend shows {label}, which the query does not keep");
    }
    Ok(())
}

fn grafana_dashboard(known: &Known, dashboard: &Value) -> Result<usize> {
    let mut charts = 0;
    for panel in layout::of_grafana(dashboard)? {
        let title = panel["title"].as_str().unwrap_or_default();
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().with_context(|| format!("{title:?} has a target without expr"))?;
            let mut kept = known.expression(expression).with_context(|| format!("{title:?}"))?;
            kept.extend(SCRAPED.iter().map(|&label| label.to_owned()));
            let legend = target["legendFormat"].as_str().unwrap_or_default();
            for label in legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()) {
                ensure!(kept.contains(label), "{title:?}: the legend shows {label}, which the query does not keep");
            }
            ensure!(target["datasource"]["uid"] == "${datasource}", "{title:?} names a source of its own");
            charts += 1;
        }
    }
    Ok(charts)
}

/// Name, summary and runbook of each rule.
fn rules(known: &Known, text: &str) -> Result<BTreeMap<String, (String, String)>> {
    let file: Value = yaml_serde::from_str(text)?;
    let mut rules = BTreeMap::new();
    for rule in file["groups"].as_array().into_iter().flatten().filter_map(|group| group["rules"].as_array()).flatten()
    {
        let name = rule["alert"].as_str().context("a rule without a name")?.to_owned();
        let expression = rule["expr"].as_str().with_context(|| format!("{name} has no expr"))?;
        known.expression(expression).with_context(|| name.clone())?;
        let minutes = rule["for"].as_str().and_then(|time| time.strip_suffix('m')).map(str::parse::<u32>);
        ensure!(matches!(minutes, Some(Ok(_))), "{name}: `for` is in minutes");
        let severity = rule["labels"]["severity"].as_str();
        ensure!(matches!(severity, Some("critical" | "warning")), "{name}: severity is critical or warning");
        let annotation = |key: &str| rule["annotations"][key].as_str().map(str::to_owned);
        let summary = annotation("summary").with_context(|| format!("{name} has no summary"))?;
        let runbook = annotation("runbook").with_context(|| format!("{name} has no runbook"))?;
        ensure!(root().join(&runbook).is_file(), "{name}: {runbook} is not there");
        ensure!(rules.insert(name.clone(), (summary, runbook)).is_none(), "{name} is there twice");
    }
    ensure!(!rules.is_empty(), "has no rules");
    Ok(rules)
}

/// The metrics that the policies of Terraform name.
fn policies_of_cloud(known: &Known, policies: &str) -> Result<()> {
    let plain = policies.replace("\\\"", "\"");
    let mut named: BTreeSet<String> = plain
        .match_indices("metric.type = ")
        .filter_map(|(at, start)| quoted(&plain[at..], start))
        .map(str::to_owned)
        .collect();
    for (at, start) in plain.match_indices("custom_googleapis_com:") {
        let name = plain[at + start.len()..].split('{').next().unwrap_or_default();
        // PromQL writes the first slash as a colon and the others as underscores.
        named.insert(format!("custom.googleapis.com/{}", name.replacen('_', "/", 2)));
    }
    ensure!(named.len() > 5, "names too few metrics: {named:?}");
    for metric in named {
        ensure!(known.cloud.contains_key(&metric), "{metric}: nothing measures it");
    }
    Ok(())
}

/// A runbook is an alert's, has the alert's summary as its title, and reads metrics that are there.
fn runbook(known: &Known, path: &str, rules: &BTreeMap<String, (String, String)>, policies: &str) -> Result<()> {
    let text = text(path)?;
    ensure!(text.len() < 8192, "Cloud Monitoring takes 8 KiB");
    let name = Path::new(path).file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let mut of = rules.iter().filter(|(_, (_, runbook))| runbook == path);
    let (alert, summary) = match of.next() {
        Some((alert, (summary, _))) => (alert.as_str(), summary.clone()),
        None => {
            let (_, policy) = policies.split_once(&format!(" {name} = {{")).context("is no alert's")?;
            (name, quoted(policy, "= ").context("its alert has no summary")?.to_owned())
        }
    };
    ensure!(text.starts_with(&format!("# {summary}\n\nAlert `{alert}`: ")), "its title is not the summary of {alert}");
    for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        ensure!(root().join("docs/runbooks").join(link).is_file(), "{link} is not there");
    }
    for code in text.split('`').skip(1).step_by(2) {
        let called = code.contains("orchestra_") || code.contains("memory_redis_") || code.contains("memory_alloydb_");
        if called && code.contains('(') {
            known.expression(code)?;
        } else if called {
            let name = code.split('{').next().unwrap_or_default();
            let name = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
            ensure!(known.server.contains_key(name), "{name}: nothing measures it");
        }
    }
    Ok(())
}

/// What stands in quotes behind the first `start`.
fn quoted<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.split_once(start)?.1.strip_prefix('"')?.split('"').next()
}

fn strings(list: &Value) -> impl Iterator<Item = String> + '_ {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned)
}

fn text(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| format!("{path}: cannot be read"))
}

/// A file that is written as the checks want it, so that a change shows as what it is.
fn read_json(path: &str) -> Result<Value> {
    serde_json::from_str(&text(path)?).with_context(|| format!("{path}: is no JSON"))
}
