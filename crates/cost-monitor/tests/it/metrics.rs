//! Metrics, written to a server that stands in for Cloud Monitoring.

use std::collections::BTreeSet;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::{Json, Router};
use memory_testkit::services::{self, Service};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::dataset::{PROJECT, dataset};
use crate::messages::eventually;
use crate::topics::Topic;

/// What the stand-in was sent: paths and bodies.
type Sent = Arc<Mutex<Vec<(String, Value)>>>;

async fn take(State(sent): State<Sent>, uri: Uri, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    let is_known = uri.path().contains("/my-project/");
    sent.lock().unwrap().push((uri.path().to_owned(), body));
    match is_known {
        true => (StatusCode::OK, Json(json!({}))),
        false => (
            StatusCode::FORBIDDEN,
            Json(json!({ "error": { "message": "Permission monitoring.timeSeries.create denied" } })),
        ),
    }
}

async fn monitoring() -> (String, Sent) {
    let sent = Sent::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(take).with_state(sent.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, sent)
}

/// The program, with figures of the emulator.
fn command(dataset: &str, arguments: &[&str]) -> Command {
    let bigquery = services::url(Service::BigQuery).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cost-monitor"));
    command.args(arguments).args(["--project", PROJECT, "--dataset", dataset]).env("BIGQUERY_EMULATOR_HOST", bigquery);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn cost_monitor(dataset: &str, arguments: &[&str]) -> Output {
    command(dataset, arguments).output().await.unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_stand_in_for_cloud_monitoring_is_sent_what_the_report_says() {
    let Some(warehouse) = dataset("metrics").await else { return };
    let dataset = &warehouse.place().dataset;
    let (url, sent) = monitoring().await;
    for arguments in [&["simulate", "--days", "12", "--lines", "40"][..], &["views", "apply"]] {
        let output = cost_monitor(dataset, arguments).await;
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    let mut arguments = vec!["report", "--json", "--metrics-project", "my-project", "--environment", "prod"];
    arguments.extend(["--budget", "125.5", "--metrics-endpoint", &url]);
    let output = cost_monitor(dataset, &arguments).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (path, body) = sent.lock().unwrap().pop().unwrap();
    assert_eq!(path, "/v3/projects/my-project/timeSeries");
    let series = body["timeSeries"].as_array().unwrap();
    let named = |name: &str| {
        let kind = format!("custom.googleapis.com/memory/cost/{name}");
        series.iter().filter(move |series| series["metric"]["type"] == kind).collect::<Vec<_>>()
    };
    let value = |series: &Value| series["points"][0]["value"]["doubleValue"].as_f64().unwrap();
    // The same money, to less than a millionth for each component.
    let open = report["monthly"].as_array().unwrap().iter().filter(|month| month["is_open"] == true);
    let net: i64 = open.clone().map(|month| month["net_micros"].as_i64().unwrap()).sum();
    let told: f64 = named("month_to_date_usd").into_iter().map(value).sum();
    assert!((told - net as f64 / 1e6).abs() < 1e-5, "{told} is not {net}");
    let components: BTreeSet<&str> = open.map(|month| month["component"].as_str().unwrap()).collect();
    let labels = named("month_to_date_usd");
    assert_eq!(
        labels.iter().map(|series| series["metric"]["labels"]["component"].as_str().unwrap()).collect::<BTreeSet<_>>(),
        components
    );
    assert_eq!(named("budget_usd").into_iter().map(value).collect::<Vec<_>>(), [125.5]);
    assert_eq!(named("export_age_seconds").len(), 1);
    for series in series {
        assert_eq!(series["metric"]["labels"]["environment"], "prod", "{series}");
        assert_eq!(series["resource"], json!({ "type": "global", "labels": { "project_id": "my-project" } }));
        assert_eq!((&series["metricKind"], &series["valueType"]), (&json!("GAUGE"), &json!("DOUBLE")));
    }

    // Refused, and figures that are made up.
    let output = cost_monitor(dataset, &["report", "--metrics-project", "other", "--metrics-endpoint", &url]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("403 Forbidden: Permission monitoring.timeSeries.create denied"));
    let output = cost_monitor(dataset, &["report", "--metrics-project", "my-project"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("figures of an emulator"));

    // The watcher writes the same by itself.
    let Some(topic) = Topic::make("metered").await else { return };
    sent.lock().unwrap().clear();
    let folder = tempfile::tempdir().unwrap();
    let mut watch = command(dataset, &["watch", "--subscription", &topic.subscription, "--budget", "99"]);
    watch.args(["--metrics-project", "my-project", "--metrics-endpoint", &url]).arg("--state").arg(folder.path());
    let mut watcher = watch.env("PUBSUB_EMULATOR_HOST", &topic.host).stderr(Stdio::null()).spawn().unwrap();
    eventually("metrics are written", Duration::from_secs(120), async || !sent.lock().unwrap().is_empty()).await;
    watcher.kill().await.unwrap();
    let (_, body) = sent.lock().unwrap().pop().unwrap();
    let mut budget = body["timeSeries"].as_array().unwrap().iter();
    let budget = budget.find(|series| series["metric"]["type"] == "custom.googleapis.com/memory/cost/budget_usd");
    assert_eq!(value(budget.unwrap()), 99.0);
}
