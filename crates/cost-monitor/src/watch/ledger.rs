//! What BigQuery has of the watcher's state: enough to go on with when the state is lost. Each row is there once, however
//! often it is brought.

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::alert::{Alert, Kind, Share};
use crate::money::Micros;
use crate::policy::Action;
use crate::state::{Event, EventKind, Unstored, UnstoredEvent};
use crate::tables::{ALERTS, WATCH_EVENTS};
use crate::warehouse::Warehouse;

/// Older ones change nothing: a budget's period is a year at most.
const KEPT: &str = "TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 400 DAY)";

/// Makes the tables where they are missing.
pub(super) async fn ensure(warehouse: &Warehouse) -> Result<()> {
    warehouse.ensure_dataset().await?;
    for table in [ALERTS, WATCH_EVENTS] {
        warehouse.ensure_table(table.name, &table).await?;
    }
    Ok(())
}

pub(super) async fn store_alerts(warehouse: &Warehouse, alerts: &[Unstored]) -> Result<()> {
    let rows: Vec<Value> = alerts.iter().map(alert_row).collect();
    let sql = include_str!("store_alerts.sql").replace("${alerts}", &warehouse.place().table(ALERTS.name)?);
    Ok(warehouse.execute(&sql, &[("rows", &Value::from(rows).to_string())]).await?)
}

pub(super) async fn store_events(warehouse: &Warehouse, events: &[UnstoredEvent]) -> Result<()> {
    let rows: Vec<Value> = events.iter().map(event_row).collect();
    let sql = include_str!("store_events.sql").replace("${events}", &warehouse.place().table(WATCH_EVENTS.name)?);
    Ok(warehouse.execute(&sql, &[("rows", &Value::from(rows).to_string())]).await?)
}

/// As `store_alerts.sql` takes it.
fn alert_row(unstored: &Unstored) -> Value {
    let alert = &unstored.alert;
    json!({
        "received_at": unstored.received_at.timestamp_micros(),
        "alert_id": alert.id(),
        "budget_id": alert.budget_id,
        "budget_name": alert.budget_name,
        "cost_interval_start": alert.period.timestamp_micros(),
        "kind": alert.kind,
        "threshold_ppm": alert.threshold,
        "cost_micros": alert.cost,
        "budget_micros": alert.budget,
        "currency_code": alert.currency,
        "actions": unstored.actions,
    })
}

/// As `store_events.sql` takes it.
fn event_row((event, at): &UnstoredEvent) -> Value {
    json!({
        "happened_at": at.timestamp_micros(),
        "event_id": event.id(),
        "kind": event.kind,
        "budget_id": event.budget_id,
        "cost_interval_start": event.period.timestamp_micros(),
        "name": event.name,
        "alert_id": event.alert_id,
    })
}

fn time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

/// The alerts that are stored.
pub(super) async fn alerts(warehouse: &Warehouse) -> Result<Vec<Unstored>> {
    #[derive(Deserialize)]
    struct Row {
        received_at: i64,
        budget_id: String,
        budget_name: Option<String>,
        cost_interval_start: i64,
        kind: Kind,
        threshold_ppm: u32,
        cost_micros: i64,
        budget_micros: i64,
        currency_code: String,
        /// Names, separated by commas.
        actions: Option<String>,
    }
    let sql = format!(
        "SELECT received_at, budget_id, budget_name, cost_interval_start, kind, threshold_ppm, cost_micros, budget_micros, \
         currency_code, ARRAY_TO_STRING(actions, ',') AS actions FROM {} WHERE received_at > {KEPT}",
        warehouse.place().table(ALERTS.name)?
    );
    let rows = warehouse.query::<Row>(&sql, &[]).await.context("the alerts in BigQuery cannot be read")?;
    let alerts = rows.into_iter().map(|row| Unstored {
        alert: Alert {
            budget_id: row.budget_id,
            budget_name: row.budget_name.unwrap_or_default(),
            period: time(row.cost_interval_start),
            kind: row.kind,
            threshold: Share(row.threshold_ppm),
            cost: Micros(row.cost_micros),
            budget: Micros(row.budget_micros),
            currency: row.currency_code,
        },
        actions: row.actions.unwrap_or_default().split(',').filter_map(Action::named).collect(),
        received_at: time(row.received_at),
    });
    Ok(alerts.collect())
}

/// The events that are stored.
pub(super) async fn events(warehouse: &Warehouse) -> Result<Vec<Event>> {
    #[derive(Deserialize)]
    struct Row {
        kind: EventKind,
        budget_id: String,
        cost_interval_start: i64,
        name: Option<String>,
        alert_id: Option<String>,
    }
    let sql = format!(
        "SELECT kind, budget_id, cost_interval_start, name, alert_id FROM {} WHERE happened_at > {KEPT}",
        warehouse.place().table(WATCH_EVENTS.name)?
    );
    let rows = warehouse.query::<Row>(&sql, &[]).await.context("the watcher's events in BigQuery cannot be read")?;
    let events = rows.into_iter().map(|row| Event {
        kind: row.kind,
        budget_id: row.budget_id,
        period: time(row.cost_interval_start),
        name: row.name.unwrap_or_default(),
        alert_id: row.alert_id.unwrap_or_default(),
    });
    Ok(events.collect())
}
