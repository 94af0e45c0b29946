//! What is true beside the alerts, and has to be known again when the state is lost.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{Row as _, Sqlite, Transaction};

use super::{Error, Result, State, time};
use crate::alert::{Alert, BudgetMessage};
use crate::policy::Action;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A message spoke of the period: what was in force in an older one is not any more.
    Period,
    /// Someone released the action.
    Released,
    /// The notice through the channel was sent, or given up.
    Told,
}

/// Something that happens once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// Of which budget.
    pub budget_id: String,
    /// When its period began.
    pub period: DateTime<Utc>,
    /// The action or the channel; empty for a period.
    pub name: String,
    /// Of which alert a notice is; empty otherwise.
    pub alert_id: String,
}

/// An event that BigQuery does not have yet, and when it was.
pub type UnstoredEvent = (Event, DateTime<Utc>);

impl Event {
    pub(super) fn period(message: &BudgetMessage) -> Self {
        Self::new(EventKind::Period, &message.budget_id, message.period, "", String::new())
    }

    pub(super) fn released(budget_id: &str, period: DateTime<Utc>, action: Action) -> Self {
        Self::new(EventKind::Released, budget_id, period, action.name(), String::new())
    }

    pub(super) fn told(alert: &Alert, channel: &str) -> Self {
        Self::new(EventKind::Told, &alert.budget_id, alert.period, channel, alert.id())
    }

    fn new(kind: EventKind, budget_id: &str, period: DateTime<Utc>, name: &str, alert_id: String) -> Self {
        Self { kind, budget_id: budget_id.to_owned(), period, name: name.to_owned(), alert_id }
    }

    /// The same for the same event, however often it is written down.
    #[must_use]
    pub fn id(&self) -> String {
        let Self { kind, budget_id, period, name, alert_id } = self;
        match kind {
            EventKind::Period => format!("period/{budget_id}/{}", period.format("%Y-%m-%dT%H:%M:%SZ")),
            EventKind::Released => format!("released/{budget_id}/{}/{name}", period.format("%Y-%m-%dT%H:%M:%SZ")),
            EventKind::Told => format!("told/{alert_id}/{name}"),
        }
    }
}

impl State {
    /// Events that BigQuery does not have yet, oldest first, at most 500.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn unstored_events(&self) -> Result<Vec<UnstoredEvent>> {
        let sql = "SELECT body, at FROM event WHERE stored = 0 ORDER BY at, event_id LIMIT 500";
        let rows = sqlx::query(sql).fetch_all(&self.pool).await?;
        let unstored = rows.iter().map(|row| {
            let event = serde_json::from_str(row.try_get("body")?);
            let event = event.map_err(|_| Error::Unknown("an event of another form".to_owned()))?;
            Ok((event, time(row.try_get("at")?)))
        });
        unstored.collect()
    }

    /// Says that BigQuery has these.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn stored_events(&self, events: &[UnstoredEvent]) -> Result<()> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for (event, _) in events {
            let update = sqlx::query("UPDATE event SET stored = 1 WHERE event_id = ?").bind(event.id());
            update.execute(&mut *transaction).await?;
        }
        Ok(transaction.commit().await?)
    }
}

pub(super) async fn insert(
    to: &mut Transaction<'_, Sqlite>,
    event: &Event,
    at: DateTime<Utc>,
    stored: bool,
) -> Result<()> {
    let body = serde_json::to_string(event).expect("an event is plain");
    let sql = "INSERT INTO event (event_id, body, at, stored) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING";
    let insert = sqlx::query(sql).bind(event.id()).bind(body).bind(at.timestamp_micros()).bind(stored);
    insert.execute(&mut **to).await?;
    Ok(())
}
