//! Budget messages from Pub/Sub to what is done about them.
//!
//! A message is written to the [`State`] and only then acknowledged; the brake, the rows in BigQuery, the notices and the
//! dead letters all follow from the state. Whatever dies, and whenever: what was acknowledged is carried on with, and what
//! was not comes again and is known by its id.

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use google_cloud_pubsub::client::{Publisher, Subscriber};
use google_cloud_pubsub::model::Message;
use google_cloud_pubsub::subscriber::handler::Handler;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::alert::{Alert, BudgetMessage, Kind, Share};
use crate::brake::Brake;
use crate::config::Config;
use crate::money::Micros;
use crate::notify;
use crate::policy::Action;
use crate::state::{DeadLetter, Delivery, Incoming, State, Unstored};
use crate::tables::ALERTS;
use crate::warehouse::Warehouse;

/// How many messages are written down together.
const BATCH: usize = 200;
/// How many messages are on their way at a time.
const OUTSTANDING: i64 = 200;
/// How long a message is leased, and leased again: the shortest there is.
const LEASE: Duration = Duration::from_secs(10);
/// How long a message waits for others to be written down with.
const GATHERING: Duration = Duration::from_millis(20);
/// How often what is due is looked for without being told.
const PACE: Duration = Duration::from_secs(1);
/// How long until a subscription that fails is tried again.
const PAUSE: Duration = Duration::from_secs(2);
/// How often a notice is tried before it is given up.
const TRIES: u32 = 10;

/// What the watcher works with.
#[derive(Debug)]
pub struct Watch {
    /// What it knows.
    pub state: State,
    /// What is done, and whom it is told to.
    pub config: Config,
    /// Where alerts are stored; none to store them in the state alone.
    pub warehouse: Option<Warehouse>,
    /// The client of the subscription.
    pub subscriber: Subscriber,
    /// The subscription: `projects/P/subscriptions/S`.
    pub subscription: String,
    /// Where messages go that are none of a budget's; none to keep them in the state alone.
    pub dead_letters: Option<Publisher>,
    /// The file that says what is in force.
    pub brake: PathBuf,
    /// How long until a notice is tried for the second time; then twice as long each time.
    pub first_retry: Duration,
}

impl Watch {
    /// Watches until `stop` is.
    ///
    /// # Errors
    /// When the state cannot be written: what is not written down must not be acknowledged.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<()> {
        self.recover().await?;
        self.keep_brake().await?;
        let news = Notify::new();
        tokio::select! {
            () = stop => Ok(()),
            ended = self.receive(&news) => ended,
            ended = self.follow(&news) => ended,
        }
    }

    /// Learns from BigQuery what a state that was lost knew.
    async fn recover(&self) -> Result<()> {
        let Some(warehouse) = self.warehouse.as_ref() else { return Ok(()) };
        warehouse.ensure_dataset().await?;
        warehouse.ensure_table(ALERTS.name, &ALERTS).await?;
        if self.state.is_empty().await? {
            let alerts = stored_alerts(warehouse).await.context("the alerts in BigQuery cannot be read")?;
            tracing::info!(alerts = alerts.len(), "the state is new: what BigQuery has is taken as done");
            self.state.restore(&alerts).await?;
        }
        Ok(())
    }

    async fn receive(&self, news: &Notify) -> Result<()> {
        loop {
            // Leases of what is being worked on are extended by the client. What a process that died had leased comes again
            // soon, and it is not much.
            let stream = self.subscriber.subscribe(&self.subscription).set_max_lease_extension(LEASE);
            let mut stream = stream.set_max_outstanding_messages(OUTSTANDING).build();
            while let Some(first) = stream.next().await {
                let mut batch = match first {
                    Ok(first) => vec![first],
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "the subscription failed");
                        break;
                    }
                };
                let mut gathering = pin!(sleep(GATHERING));
                while batch.len() < BATCH {
                    tokio::select! {
                        () = &mut gathering => break,
                        next = stream.next() => match next {
                            Some(Ok(next)) => batch.push(next),
                            // The next round says why.
                            Some(Err(_)) | None => break,
                        },
                    }
                }
                self.take(batch).await?;
                news.notify_one();
            }
            sleep(PAUSE).await;
        }
    }

    async fn take(&self, batch: Vec<(Message, Handler)>) -> Result<()> {
        let incoming: Vec<Incoming> = batch.iter().map(|(message, _)| read(message)).collect();
        let channels: Vec<String> = self.config.channels.iter().map(|(name, _)| name.clone()).collect();
        let alerts = self.state.take(&incoming, &self.config.policy, &channels, Utc::now()).await?;
        self.keep_brake().await?;
        for alert in alerts {
            let (cost, threshold) = (alert.cost.to_string(), alert.threshold.to_string());
            tracing::warn!(alert = alert.id(), kind = %alert.kind, cost, threshold, "a threshold was passed");
        }
        // Only now: they are on the disk.
        batch.into_iter().for_each(|(_, handler)| handler.ack());
        Ok(())
    }

    async fn keep_brake(&self) -> Result<()> {
        let actions = self.state.in_force().await?;
        if Brake::of(&actions).write(&self.brake)? {
            let names: Vec<&str> = actions.iter().map(|action| action.name()).collect();
            tracing::warn!(in_force = names.join(","), file = %self.brake.display(), "the brake was set");
        }
        Ok(())
    }

    /// Does what follows from the state. What fails is tried again.
    async fn follow(&self, news: &Notify) -> Result<()> {
        let http = notify::client()?;
        loop {
            // A release by hand, in another process, is seen here.
            self.keep_brake().await?;
            if let Err(error) = self.store().await {
                tracing::warn!(error = format!("{error:#}"), "alerts were not stored");
            }
            for letter in self.state.unpublished().await? {
                self.bury(&letter).await?;
            }
            for delivery in self.state.due(Utc::now()).await? {
                self.tell(&http, &delivery).await?;
            }
            // Either is a reason to look again.
            let _ = timeout(PACE, news.notified()).await;
        }
    }

    /// Brings alerts to BigQuery. The same one twice is there once.
    async fn store(&self) -> Result<()> {
        let Some(warehouse) = &self.warehouse else { return Ok(()) };
        let alerts = self.state.unstored().await?;
        if alerts.is_empty() {
            return Ok(());
        }
        let rows = alerts.iter().map(row).collect::<Vec<_>>();
        let rows = serde_json::Value::from(rows).to_string();
        let sql = include_str!("watch/store.sql").replace("${alerts}", &warehouse.place().table(ALERTS.name)?);
        warehouse.execute(&sql, &[("rows", &rows)]).await?;
        Ok(self.state.stored(&alerts).await?)
    }

    async fn bury(&self, letter: &DeadLetter) -> Result<()> {
        let Some(topic) = &self.dead_letters else { return Ok(()) };
        let mut attributes: HashMap<String, String> = serde_json::from_str(&letter.attributes).unwrap_or_default();
        attributes.insert("deadLetterReason".to_owned(), letter.reason.clone());
        attributes.insert("deadLetterMessageId".to_owned(), letter.message_id.clone());
        let message = Message::new().set_data(letter.data.clone()).set_attributes(attributes);
        match topic.publish(message).await {
            Ok(_) => Ok(self.state.published(&letter.message_id).await?),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a dead letter was not published");
                Ok(())
            }
        }
    }

    async fn tell(&self, http: &reqwest::Client, delivery: &Delivery) -> Result<()> {
        let channel = self.config.channels.iter().find(|(name, _)| *name == delivery.channel);
        let sent = match channel {
            Some((_, channel)) => channel.send(http, delivery, Utc::now().timestamp()).await,
            None => Err(notify::Error::Never("there is no such channel any more".to_owned())),
        };
        let Err(error) = sent else { return Ok(self.state.tried(delivery, None, None).await?) };
        let goes_on = matches!(error, notify::Error::Later(_)) && delivery.attempts + 1 < TRIES;
        let again = goes_on.then(|| Utc::now() + self.first_retry * 2_u32.pow(delivery.attempts));
        let (alert, channel) = (delivery.alert.id(), &delivery.channel);
        match again {
            Some(again) => tracing::warn!(alert, channel, %error, %again, "a notice was not sent"),
            None => tracing::error!(alert, channel, %error, "a notice was given up"),
        }
        Ok(self.state.tried(delivery, Some(&error.to_string()), again).await?)
    }
}

fn read(message: &Message) -> Incoming {
    Incoming {
        message_id: message.message_id.clone(),
        attributes: serde_json::to_string(&message.attributes).unwrap_or_default(),
        data: message.data.to_vec(),
        parsed: BudgetMessage::parse(&message.attributes, &message.data),
    }
}

/// As `watch/store.sql` takes it.
fn row(unstored: &Unstored) -> serde_json::Value {
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

#[derive(Deserialize)]
struct Stored {
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

async fn stored_alerts(warehouse: &Warehouse) -> Result<Vec<Unstored>> {
    let sql = format!(
        "SELECT received_at, budget_id, budget_name, cost_interval_start, kind, threshold_ppm, cost_micros, budget_micros, \
         currency_code, ARRAY_TO_STRING(actions, ',') AS actions FROM {} \
         WHERE received_at > TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 400 DAY)",
        warehouse.place().table(ALERTS.name)?
    );
    let time = |micros| DateTime::from_timestamp_micros(micros).unwrap_or_default();
    let restored = warehouse.query::<Stored>(&sql, &[]).await?.into_iter().map(|stored| Unstored {
        alert: Alert {
            budget_id: stored.budget_id,
            budget_name: stored.budget_name.unwrap_or_default(),
            period: time(stored.cost_interval_start),
            kind: stored.kind,
            threshold: Share(stored.threshold_ppm),
            cost: Micros(stored.cost_micros),
            budget: Micros(stored.budget_micros),
            currency: stored.currency_code,
        },
        actions: stored.actions.unwrap_or_default().split(',').filter_map(Action::named).collect(),
        received_at: time(stored.received_at),
    });
    Ok(restored.collect())
}
