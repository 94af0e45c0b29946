//! The metrics of `monitoring/cost_metrics.json`, written to Cloud Monitoring: what the dashboards chart and the alerts of
//! the cost look at. Billed cost is no metric of Google's.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::{self, Access};
use crate::money::Micros;
use crate::report::Report;
use crate::warehouse::{self, Warehouse};

/// Where metrics are written.
pub const GOOGLE: &str = "https://monitoring.googleapis.com";
/// The currency that the names of the metrics say.
pub const CURRENCY: &str = "USD";
/// How many days a reading looks at: the month so far, and the week before its last whole day.
pub const DAYS: u32 = 40;
/// With how many days before it a day is compared.
const TRAILING: usize = 7;
/// How many series Cloud Monitoring takes at a time.
const BATCH: usize = 200;
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why metrics were not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no access to Cloud Monitoring.
    #[error(transparent)]
    Access(#[from] auth::Error),
    /// Where they were to be written is no URL.
    #[error("{0:?} is no URL")]
    Endpoint(String),
    /// It was not reached.
    #[error("cloud monitoring was not reached")]
    Request(#[source] reqwest::Error),
    /// It refused them.
    #[error("cloud monitoring refuses metrics: {0}")]
    Refused(String),
}

/// A figure, as a metric has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The metric's name, below `custom.googleapis.com/`.
    pub name: &'static str,
    /// Of which component, where the metric tells them apart.
    pub component: Option<String>,
    /// How much.
    pub value: f64,
}

/// What is known of the cost at some time.
#[derive(Debug, Clone)]
pub struct Figures {
    /// The report of the last [`DAYS`].
    pub report: Report,
    /// When the newest line of the export was written.
    pub exported_at: Option<DateTime<Utc>>,
}

impl Figures {
    /// Reads the views.
    ///
    /// # Errors
    /// When BigQuery refuses.
    pub async fn read(warehouse: &Warehouse) -> warehouse::Result<Self> {
        #[derive(Deserialize)]
        struct Newest {
            seconds: Option<i64>,
        }
        let report = Report::read(warehouse, DAYS, CURRENCY).await?;
        let sql = format!(
            "SELECT UNIX_SECONDS(MAX(export_time)) AS seconds FROM {} \
             WHERE export_day >= DATE_SUB(CURRENT_DATE(), INTERVAL {DAYS} DAY)",
            warehouse.place().table("lines")?
        );
        let newest: Vec<Newest> = warehouse.query(&sql, &[]).await?;
        let exported_at = newest.first().and_then(|newest| DateTime::from_timestamp(newest.seconds?, 0));
        Ok(Self { report, exported_at })
    }

    /// The metrics at `now`, as far as their figures are known. The month's budget is that of the budget's messages.
    #[must_use]
    pub fn points(&self, budget: Option<Micros>, now: DateTime<Utc>) -> Vec<Point> {
        let Self { report, exported_at } = self;
        let mut points = Vec::new();
        let mut put = |name, component: Option<&str>, value: Option<f64>| {
            let component = component.map(str::to_owned);
            points.extend(value.map(|value| Point { name, component, value }));
        };
        let newest = report.newest_month();
        for month in report.monthly.iter().filter(|month| month.is_open) {
            put("memory/cost/month_to_date_usd", Some(&month.component), Some(month.net_micros.units()));
            put("memory/cost/credits_usd", Some(&month.component), Some(month.credit_micros.units()));
        }
        for (component, _) in report.components() {
            let days = report.series(component);
            // The newest day's lines are still coming.
            let Some((&day, before)) = days.split_last().and_then(|(_, whole)| whole.split_last()) else { continue };
            put("memory/cost/daily_usd", Some(component), Some(day.units()));
            let before = &before[before.len().saturating_sub(TRAILING)..];
            #[expect(clippy::cast_precision_loss, reason = "there are seven")]
            let usual: f64 = before.iter().map(|day| day.units()).sum::<f64>() / before.len().max(1) as f64;
            let ratio = (before.len() == TRAILING && usual > 0.0).then(|| day.units() / usual);
            put("memory/cost/anomaly_ratio", Some(component), ratio);
        }
        let month = newest.map_or("", |(month, _, _)| month);
        let used = report.unit_costs.iter().find(|used| used.invoice_month == month);
        let saved = report.savings.iter().find(|saved| saved.invoice_month == month);
        put("memory/cost/forecast_usd", None, newest.and_then(|(_, _, forecast)| forecast).map(Micros::units));
        put("memory/cost/budget_usd", None, budget.map(Micros::units));
        let cache = used.map(|used| used.cache_micros).unwrap_or_default();
        put("memory/cost/savings_usd", None, saved.map(|saved| saved.net_micros.units() - cache.units()));
        let per_recall = used.and_then(|used| used.per_1000_recalls_micros).map(Micros::units);
        put("memory/cost/cost_per_1000_recalls_usd", None, per_recall);
        put("memory/cost/cost_per_cache_hit_usd", None, used.and_then(|used| used.per_hit_micros).map(Micros::units));
        let age = exported_at.and_then(|at| (now - at).max(TimeDelta::zero()).to_std().ok());
        let age = age.map(|age| age.as_secs_f64().floor());
        put("memory/cost/export_age_seconds", None, age);
        points
    }
}

/// Writes metrics of a project.
#[derive(Debug, Clone)]
pub struct Publisher {
    http: reqwest::Client,
    access: Access,
    url: Url,
    project: String,
    environment: String,
}

impl Publisher {
    /// Prepares it; nothing is asked yet. `base` is [`GOOGLE`], or another place that takes the same.
    ///
    /// # Errors
    /// When `base` is no URL, or TLS cannot be set up.
    pub fn new(base: &str, access: Access, project: &str, environment: &str) -> Result<Self, Error> {
        auth::choose_tls();
        let wrong = || Error::Endpoint(base.to_owned());
        let mut url = Url::parse(base).map_err(|_| wrong())?;
        // The project becomes one part of the path, whatever is in it.
        url.path_segments_mut().map_err(|()| wrong())?.extend(["v3", "projects", project, "timeSeries"]);
        let http = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
        let http = http.build().map_err(Error::Request)?;
        Ok(Self { http, access, url, project: project.to_owned(), environment: environment.to_owned() })
    }

    /// Writes points, all at the same time.
    ///
    /// # Errors
    /// When there is no access, or Cloud Monitoring is away or refuses.
    pub async fn write(&self, points: &[Point], now: DateTime<Utc>) -> Result<(), Error> {
        for some in points.chunks(BATCH) {
            let series: Vec<Value> = some.iter().map(|point| self.series(point, now)).collect();
            let request = self.http.post(self.url.clone()).header("Content-Type", "application/json");
            let request =
                request.bearer_auth(self.access.token().await?).body(json!({ "timeSeries": series }).to_string());
            let answer = request.send().await.map_err(Error::Request)?;
            let status = answer.status();
            if !status.is_success() {
                let said: Value =
                    serde_json::from_str(&answer.text().await.map_err(Error::Request)?).unwrap_or_default();
                let message = said["error"]["message"].as_str().unwrap_or("no reason given");
                return Err(Error::Refused(format!("{status}: {message}")));
            }
        }
        Ok(())
    }

    fn series(&self, point: &Point, now: DateTime<Utc>) -> Value {
        let mut labels = BTreeMap::from([("environment", self.environment.as_str())]);
        labels.extend(point.component.as_deref().map(|component| ("component", component)));
        json!({
            "metric": { "type": format!("custom.googleapis.com/{}", point.name), "labels": labels },
            "resource": { "type": "global", "labels": { "project_id": self.project } },
            "metricKind": "GAUGE",
            "valueType": "DOUBLE",
            "points": [{
                "interval": { "endTime": now.to_rfc3339_opts(SecondsFormat::Secs, true) },
                "value": { "doubleValue": point.value },
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::NaiveDate;

    use super::*;
    use crate::report::{Day, Month, Saving, UnitCost};

    fn at(day: u32) -> DateTime<Utc> {
        NaiveDate::from_ymd_opt(2026, 10, day).unwrap().and_hms_opt(12, 0, 0).unwrap().and_utc()
    }

    /// Ten days of one component at 2.00 a day, but for the last whole one: 5.00.
    fn figures() -> Figures {
        let net = |day| Micros(if day == 9 { 5_000_000 } else { 2_000_000 });
        let day = |day| Day {
            usage_day: NaiveDate::from_ymd_opt(2026, 10, day).unwrap(),
            component: "redis".into(),
            gross_micros: net(day),
            credit_micros: Micros(0),
            net_micros: net(day),
        };
        let report = Report {
            currency: "USD".into(),
            newest_day: NaiveDate::from_ymd_opt(2026, 10, 10),
            daily: (1..=10).map(day).collect(),
            monthly: vec![Month {
                invoice_month: "202610".into(),
                component: "redis".into(),
                is_open: true,
                gross_micros: Micros(24_000_000),
                credit_micros: Micros(-1_000_000),
                net_micros: Micros(23_000_000),
                forecast_micros: Some(Micros(70_000_000)),
            }],
            anomalies: Vec::new(),
            credits: Vec::new(),
            tenants: Vec::new(),
            unit_costs: vec![UnitCost {
                invoice_month: "202610".into(),
                net_micros: Micros(23_000_000),
                cache_micros: Micros(3_000_000),
                recalls: 1000,
                hits: 100,
                per_1000_recalls_micros: Some(Micros(23_000_000)),
                per_hit_micros: Some(Micros(30_000)),
            }],
            savings: vec![Saving {
                invoice_month: "202610".into(),
                hits: 100,
                false_hits: 1,
                saved_tokens: 1,
                gross_micros: Micros(11_000_000),
                false_hit_micros: Micros(1_000_000),
                net_micros: Micros(10_000_000),
            }],
            skus: Vec::new(),
        };
        Figures { report, exported_at: Some(at(10)) }
    }

    #[test]
    fn the_metrics_are_those_of_the_list_with_its_labels() {
        #[derive(Deserialize)]
        struct Metric {
            name: String,
            labels: Vec<String>,
        }
        let list = include_str!("../../../monitoring/cost_metrics.json");
        let list: Vec<Metric> = serde_json::from_str(list).unwrap();
        let listed: BTreeSet<(&str, bool)> =
            list.iter().map(|metric| (&*metric.name, metric.labels == ["component"])).collect();
        let points = figures().points(Some(Micros(1)), at(11));
        let written = points.iter().map(|point| (point.name, point.component.is_some())).collect();
        assert_eq!(listed, written);
    }

    #[test]
    fn figures_are_those_of_the_month_and_of_its_last_whole_day() {
        let points = figures().points(Some(Micros(125_000_000)), at(11));
        let lines: Vec<String> = points
            .iter()
            .map(|point| format!("{} {}", point.name.trim_start_matches("memory/cost/"), point.value))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        month_to_date_usd 23
        credits_usd -1
        daily_usd 5
        anomaly_ratio 2.5
        forecast_usd 70
        budget_usd 125
        savings_usd 7
        cost_per_1000_recalls_usd 23
        cost_per_cache_hit_usd 0.03
        export_age_seconds 86400
        ");
    }

    #[test]
    fn what_is_not_known_is_not_written() {
        let mut young = figures();
        young.report.daily.truncate(8);
        young.report.newest_day = NaiveDate::from_ymd_opt(2026, 10, 8);
        (young.exported_at, young.report.savings) = (None, Vec::new());
        let points = young.points(None, at(11));
        let unknown = ["anomaly_ratio", "budget_usd", "savings_usd", "export_age_seconds"];
        let is_unknown = |point: &&Point| unknown.iter().any(|name| point.name.ends_with(name));
        assert_eq!(points.iter().find(is_unknown), None);
        assert_eq!(points.len(), 6);
    }
}
