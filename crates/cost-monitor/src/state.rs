//! What the watcher knows, in one SQLite file: which alerts there were, what was done about each, and what is still to be
//! sent. A message is acknowledged when it is on the disk here; everything else follows from what is here, however often
//! the process dies in between.

mod event;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row as _, Sqlite, Transaction};

pub use event::{Event, EventKind, UnstoredEvent};

use crate::alert::{Alert, BudgetMessage, Malformed};
use crate::money::Micros;
use crate::policy::{self, Action, Policy, Taken};

/// How old an alert may be whose notices are sent again when nobody knows whether they were. A notice is tried for less
/// than two hours.
const RETOLD: chrono::TimeDelta = chrono::TimeDelta::days(1);

const SCHEMA: &str = include_str!("state/schema.sql");

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written.
    #[error("the state cannot be used")]
    Sqlite(#[from] sqlx::Error),
    /// Something in it is of another version.
    #[error("the state holds {0}, which is unknown")]
    Unknown(String),
}

type Result<T> = std::result::Result<T, Error>;

/// A message as it came.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// As Pub/Sub numbers it.
    pub message_id: String,
    /// Its attributes, as JSON.
    pub attributes: String,
    /// Its body.
    pub data: Vec<u8>,
    /// What it says, or why it says nothing.
    pub parsed: std::result::Result<BudgetMessage, Malformed>,
}

/// An alert that BigQuery does not have yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unstored {
    /// What it is.
    pub alert: Alert,
    /// What it asked for.
    pub actions: BTreeSet<Action>,
    /// When it was taken in.
    pub received_at: DateTime<Utc>,
}

/// A notice that is still to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The channel's name.
    pub channel: String,
    /// Of what.
    pub alert: Alert,
    /// What was done.
    pub actions: BTreeSet<Action>,
    /// How often it was tried.
    pub attempts: u32,
}

/// A message that was none of a budget's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// As Pub/Sub numbers it.
    pub message_id: String,
    /// Why.
    pub reason: String,
    /// Its attributes, as JSON.
    pub attributes: String,
    /// Its body.
    pub data: Vec<u8>,
}

/// The file.
#[derive(Debug, Clone)]
pub struct State {
    pool: SqlitePool,
}

impl State {
    /// Opens the file, and makes it when there is none. One watcher uses it at a time.
    ///
    /// # Errors
    /// When it cannot be made, or is no such file.
    pub async fn open(file: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // An acknowledged message outlives a power cut.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10));
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        Ok(Self { pool })
    }

    /// Takes messages in, all or none of them. Gives the alerts among them that are new.
    ///
    /// # Errors
    /// When the file cannot be written; then the messages must not be acknowledged.
    pub async fn take(
        &self,
        messages: &[Incoming],
        policy: &Policy,
        channels: &[String],
        now: DateTime<Utc>,
    ) -> Result<Vec<Alert>> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let mut new = Vec::new();
        for message in messages {
            match &message.parsed {
                Err(reason) => bury(&mut transaction, message, &reason.to_string(), now).await?,
                Ok(parsed) => {
                    let amount = Some((parsed.budget, parsed.currency.as_str()));
                    see_budget(&mut transaction, &parsed.budget_id, parsed.period, amount).await?;
                    event::insert(&mut transaction, &Event::period(parsed), now, false).await?;
                    for alert in parsed.alerts() {
                        let actions = policy.actions(&alert);
                        if insert(&mut transaction, &alert, &actions, now, false).await? {
                            announce(&mut transaction, &alert, &actions, channels, now).await?;
                            new.push(alert);
                        }
                    }
                }
            }
        }
        transaction.commit().await?;
        Ok(new)
    }

    /// Takes in what another state, which is lost, has stored in BigQuery: nothing of it is done again. Notices of the last
    /// day that were not settled are sent.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn restore(
        &self,
        alerts: &[Unstored],
        events: &[Event],
        channels: &[String],
        now: DateTime<Utc>,
    ) -> Result<()> {
        let told: BTreeSet<&Event> = events.iter().filter(|event| event.kind == EventKind::Told).collect();
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for Unstored { alert, actions, received_at } in alerts {
            see_budget(&mut transaction, &alert.budget_id, alert.period, None).await?;
            insert(&mut transaction, alert, actions, *received_at, true).await?;
            let is_open = |channel: &&String| !told.contains(&Event::told(alert, channel));
            let open: Vec<String> = channels.iter().filter(is_open).cloned().collect();
            if now - received_at < RETOLD {
                announce(&mut transaction, alert, actions, &open, now).await?;
            }
        }
        for event in events {
            event::insert(&mut transaction, event, now, true).await?;
            match event.kind {
                EventKind::Period => see_budget(&mut transaction, &event.budget_id, event.period, None).await?,
                EventKind::Released => {
                    let sql = "UPDATE action SET released_at = ? WHERE budget_id = ? AND period = ? AND action = ?";
                    let update = sqlx::query(sql).bind(now.timestamp_micros()).bind(&event.budget_id);
                    let update = update.bind(event.period.timestamp_micros()).bind(&event.name);
                    update.execute(&mut *transaction).await?;
                }
                EventKind::Told => {}
            }
        }
        Ok(transaction.commit().await?)
    }

    /// Whether nothing was ever taken in.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn is_empty(&self) -> Result<bool> {
        Ok(sqlx::query("SELECT 1 FROM budget LIMIT 1").fetch_optional(&self.pool).await?.is_none())
    }

    /// The budget in that currency, as its messages say; the largest, where there are several.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn budget(&self, currency: &str) -> Result<Option<Micros>> {
        let sql = "SELECT max(amount_micros) AS amount FROM budget WHERE currency = ?";
        let row = sqlx::query(sql).bind(currency).fetch_one(&self.pool).await?;
        Ok(row.try_get::<Option<i64>, _>("amount")?.map(Micros))
    }

    /// What is in force now.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn in_force(&self) -> Result<BTreeSet<Action>> {
        let newest = sqlx::query("SELECT budget_id, newest FROM budget").fetch_all(&self.pool).await?;
        let newest = newest.iter().map(|row| Ok((row.try_get("budget_id")?, time(row.try_get("newest")?))));
        let newest: Vec<_> = newest.collect::<Result<_>>()?;
        let sql = "SELECT budget_id, period, action, released_at IS NOT NULL AS released FROM action";
        let taken = sqlx::query(sql).fetch_all(&self.pool).await?;
        let taken = taken.iter().map(|row| {
            Ok(Taken {
                budget_id: row.try_get("budget_id")?,
                period: time(row.try_get("period")?),
                action: action(row.try_get("action")?)?,
                released: row.try_get("released")?,
            })
        });
        Ok(policy::in_force(&newest, &taken.collect::<Result<Vec<_>>>()?))
    }

    /// Releases an action in every period that it is in force in. Gives whether it was.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn release(&self, action: Action, now: DateTime<Utc>) -> Result<bool> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let sql =
            "UPDATE action SET released_at = ? WHERE action = ? AND released_at IS NULL RETURNING budget_id, period";
        let update = sqlx::query(sql).bind(now.timestamp_micros()).bind(action.name());
        let released = update.fetch_all(&mut *transaction).await?;
        for row in &released {
            let event = Event::released(row.try_get("budget_id")?, time(row.try_get("period")?), action);
            event::insert(&mut transaction, &event, now, false).await?;
        }
        transaction.commit().await?;
        Ok(!released.is_empty())
    }

    /// Alerts that BigQuery does not have yet, oldest first, at most 500.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn unstored(&self) -> Result<Vec<Unstored>> {
        let sql =
            "SELECT body, actions, received_at FROM alert WHERE stored = 0 ORDER BY received_at, alert_id LIMIT 500";
        let rows = sqlx::query(sql).fetch_all(&self.pool).await?;
        let unstored = rows.iter().map(|row| {
            Ok(Unstored {
                alert: alert(row.try_get("body")?)?,
                actions: actions(row.try_get("actions")?)?,
                received_at: time(row.try_get("received_at")?),
            })
        });
        unstored.collect()
    }

    /// Says that BigQuery has these.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn stored(&self, alerts: &[Unstored]) -> Result<()> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for unstored in alerts {
            let update = sqlx::query("UPDATE alert SET stored = 1 WHERE alert_id = ?").bind(unstored.alert.id());
            update.execute(&mut *transaction).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Notices that are due, oldest first, at most 100.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn due(&self, now: DateTime<Utc>) -> Result<Vec<Delivery>> {
        let sql = "SELECT channel, body, actions, attempts FROM delivery JOIN alert USING (alert_id) \
                   WHERE state = 'waiting' AND next_at <= ? ORDER BY next_at, alert_id LIMIT 100";
        let rows = sqlx::query(sql).bind(now.timestamp_micros()).fetch_all(&self.pool).await?;
        let due = rows.iter().map(|row| {
            Ok(Delivery {
                channel: row.try_get("channel")?,
                alert: alert(row.try_get("body")?)?,
                actions: actions(row.try_get("actions")?)?,
                attempts: row.try_get("attempts")?,
            })
        });
        due.collect()
    }

    /// Says what became of a notice: sent; or not, to be tried again at `again`, or never when that is none.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn tried(&self, delivery: &Delivery, error: Option<&str>, again: Option<DateTime<Utc>>) -> Result<()> {
        let state = match (error, again) {
            (None, _) => "sent",
            (Some(_), Some(_)) => "waiting",
            (Some(_), None) => "dead",
        };
        let sql = "UPDATE delivery SET state = ?, attempts = attempts + 1, error = ?, next_at = coalesce(?, next_at) \
                   WHERE alert_id = ? AND channel = ?";
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let update = sqlx::query(sql).bind(state).bind(error).bind(again.map(|again| again.timestamp_micros()));
        update.bind(delivery.alert.id()).bind(&delivery.channel).execute(&mut *transaction).await?;
        if state != "waiting" {
            let event = Event::told(&delivery.alert, &delivery.channel);
            event::insert(&mut transaction, &event, Utc::now(), false).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Messages that are not in the dead letter topic yet, at most 100.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn unpublished(&self) -> Result<Vec<DeadLetter>> {
        let sql = "SELECT message_id, reason, attributes, data FROM dead_letter WHERE published = 0 LIMIT 100";
        let rows = sqlx::query(sql).fetch_all(&self.pool).await?;
        let letters = rows.iter().map(|row| {
            Ok(DeadLetter {
                message_id: row.try_get("message_id")?,
                reason: row.try_get("reason")?,
                attributes: row.try_get("attributes")?,
                data: row.try_get("data")?,
            })
        });
        letters.collect()
    }

    /// Says that it is there.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn published(&self, message_id: &str) -> Result<()> {
        let sql = "UPDATE dead_letter SET published = 1 WHERE message_id = ?";
        sqlx::query(sql).bind(message_id).execute(&self.pool).await?;
        Ok(())
    }

    /// How many alerts there are, and how much is still to be stored, sent and published.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn counts(&self) -> Result<Counts> {
        let sql = "SELECT (SELECT count(*) FROM alert) AS alerts, \
                   (SELECT count(*) FROM alert WHERE stored = 0) + (SELECT count(*) FROM event WHERE stored = 0) AS unstored, \
                   (SELECT count(*) FROM delivery WHERE state = 'waiting') AS unsent, \
                   (SELECT count(*) FROM delivery WHERE state = 'dead') AS undeliverable, \
                   (SELECT count(*) FROM dead_letter) AS dead_letters, \
                   (SELECT count(*) FROM dead_letter WHERE published = 0) AS unpublished";
        let row = sqlx::query(sql).fetch_one(&self.pool).await?;
        Ok(Counts {
            alerts: row.try_get("alerts")?,
            unstored: row.try_get("unstored")?,
            unsent: row.try_get("unsent")?,
            undeliverable: row.try_get("undeliverable")?,
            dead_letters: row.try_get("dead_letters")?,
            unpublished: row.try_get("unpublished")?,
        })
    }
}

/// How much is in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Alerts.
    pub alerts: u32,
    /// Alerts, and what became of them, that BigQuery does not have yet.
    pub unstored: u32,
    /// Notices that are to be sent yet.
    pub unsent: u32,
    /// Notices that were given up.
    pub undeliverable: u32,
    /// Messages that were none of a budget's.
    pub dead_letters: u32,
    /// Those of them that are not in the topic yet.
    pub unpublished: u32,
}

async fn bury(to: &mut Transaction<'_, Sqlite>, message: &Incoming, reason: &str, now: DateTime<Utc>) -> Result<()> {
    let sql = "INSERT INTO dead_letter (message_id, reason, attributes, data, received_at) VALUES (?, ?, ?, ?, ?) \
               ON CONFLICT DO NOTHING";
    let insert = sqlx::query(sql).bind(&message.message_id).bind(reason).bind(&message.attributes);
    insert.bind(&message.data).bind(now.timestamp_micros()).execute(&mut **to).await?;
    Ok(())
}

/// Keeps the newest period of the budget, and its amount: messages come in any order.
async fn see_budget(
    to: &mut Transaction<'_, Sqlite>,
    budget_id: &str,
    period: DateTime<Utc>,
    amount: Option<(Micros, &str)>,
) -> Result<()> {
    let sql = "INSERT INTO budget (budget_id, newest, amount_micros, currency) VALUES (?, ?, ?, ?) \
               ON CONFLICT (budget_id) DO UPDATE SET newest = excluded.newest, \
               amount_micros = coalesce(excluded.amount_micros, amount_micros), \
               currency = coalesce(excluded.currency, currency) WHERE excluded.newest >= newest";
    let insert = sqlx::query(sql).bind(budget_id).bind(period.timestamp_micros());
    let insert = insert.bind(amount.map(|(amount, _)| amount.0)).bind(amount.map(|(_, currency)| currency));
    insert.execute(&mut **to).await?;
    Ok(())
}

/// Gives whether the alert is new.
async fn insert(
    to: &mut Transaction<'_, Sqlite>,
    alert: &Alert,
    actions: &BTreeSet<Action>,
    now: DateTime<Utc>,
    stored: bool,
) -> Result<bool> {
    let body = serde_json::to_string(alert).expect("an alert is plain");
    let names = serde_json::to_string(actions).expect("actions are plain");
    let sql = "INSERT INTO alert (alert_id, body, actions, received_at, stored) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    let insert = sqlx::query(sql).bind(alert.id()).bind(body).bind(names).bind(now.timestamp_micros()).bind(stored);
    if insert.execute(&mut **to).await?.rows_affected() == 0 {
        return Ok(false);
    }
    for action in actions {
        let sql = "INSERT INTO action (budget_id, period, action, alert_id, taken_at) VALUES (?, ?, ?, ?, ?) \
                   ON CONFLICT DO NOTHING";
        let insert = sqlx::query(sql).bind(&alert.budget_id).bind(alert.period.timestamp_micros());
        let insert = insert.bind(action.name()).bind(alert.id()).bind(now.timestamp_micros());
        insert.execute(&mut **to).await?;
    }
    Ok(true)
}

async fn announce(
    to: &mut Transaction<'_, Sqlite>,
    alert: &Alert,
    actions: &BTreeSet<Action>,
    channels: &[String],
    now: DateTime<Utc>,
) -> Result<()> {
    for channel in channels.iter().filter(|_| actions.contains(&Action::Notify)) {
        let sql = "INSERT INTO delivery (alert_id, channel, next_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
        let insert = sqlx::query(sql).bind(alert.id()).bind(channel).bind(now.timestamp_micros());
        insert.execute(&mut **to).await?;
    }
    Ok(())
}

fn time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

fn alert(body: &str) -> Result<Alert> {
    serde_json::from_str(body).map_err(|_| Error::Unknown("an alert of another form".to_owned()))
}

fn action(name: &str) -> Result<Action> {
    Action::named(name).ok_or_else(|| Error::Unknown(format!("action {name:?}")))
}

fn actions(names: &str) -> Result<BTreeSet<Action>> {
    serde_json::from_str(names).map_err(|_| Error::Unknown(format!("actions {names:?}")))
}
