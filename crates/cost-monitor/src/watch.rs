//! Budget messages from Pub/Sub to what is done about them.
//!
//! A message is written to the [`State`]; the brake, the rows in BigQuery, the notices and the dead letters all follow from
//! there. It is acknowledged when BigQuery, or the dead letter topic, has what it says. Whatever dies, and whenever: what was
//! acknowledged is carried on with, and what was not comes again and is known by its id. A state that is lost is made again
//! out of BigQuery.

mod ledger;

use std::collections::HashMap;
use std::future::{Future, pending};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use chrono::Utc;
use google_cloud_pubsub::client::{Publisher as TopicPublisher, Subscriber};
use google_cloud_pubsub::model::Message;
use google_cloud_pubsub::subscriber::handler::Handler;
use tokio::sync::{Notify, OnceCell};
use tokio::time::{Instant, sleep, timeout};

use crate::alert::BudgetMessage;
use crate::brake;
use crate::config::Config;
use crate::metrics::{self, Figures, Publisher};
use crate::money::Micros;
use crate::notify;
use crate::state::{DeadLetter, Delivery, Incoming, State};
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
/// How often metrics are written: an alert's query looks back five minutes.
const PULSE: Duration = Duration::from_secs(120);
/// How often the figures in them are read: the export gets new lines a few times a day, and reading costs.
const READING: Duration = Duration::from_secs(3600);

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
    pub dead_letters: Option<TopicPublisher>,
    /// The file that says what is in force.
    pub brake: PathBuf,
    /// How long until a notice is tried for the second time; then twice as long each time.
    pub first_retry: Duration,
    /// Where the figures are written as metrics; none to write none.
    pub metrics: Option<Publisher>,
    /// The budget that metrics tell until a message does.
    pub budget: Option<Micros>,
}

impl Watch {
    /// Watches until `stop` is.
    ///
    /// # Errors
    /// When the state cannot be written: what is not written down must not be acknowledged.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<()> {
        self.recover().await?;
        self.keep_brake().await?;
        let inbox = Inbox::default();
        tokio::select! {
            () = stop => Ok(()),
            ended = self.receive(&inbox) => ended,
            ended = self.follow(&inbox) => ended,
            () = self.publish() => Ok(()),
        }
    }

    /// Learns from BigQuery what a state that was lost knew.
    async fn recover(&self) -> Result<()> {
        let Some(warehouse) = self.warehouse.as_ref() else { return Ok(()) };
        if !self.state.is_empty().await? {
            return Ok(());
        }
        ledger::ensure(warehouse).await?;
        let (alerts, events) = (ledger::alerts(warehouse).await?, ledger::events(warehouse).await?);
        let count = alerts.len();
        tracing::info!(alerts = count, "the state is new: what BigQuery has is taken as done");
        Ok(self.state.restore(&alerts, &events, &self.channels(), Utc::now()).await?)
    }

    fn channels(&self) -> Vec<String> {
        self.config.channels.iter().map(|(name, _)| name.clone()).collect()
    }

    async fn receive(&self, inbox: &Inbox) -> Result<()> {
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
                self.take(batch, inbox).await?;
            }
            sleep(PAUSE).await;
        }
    }

    async fn take(&self, batch: Vec<(Message, Handler)>, inbox: &Inbox) -> Result<()> {
        let incoming: Vec<Incoming> = batch.iter().map(|(message, _)| read(message)).collect();
        let alerts = self.state.take(&incoming, &self.config.policy, &self.channels(), Utc::now()).await?;
        self.keep_brake().await?;
        for alert in alerts {
            let (cost, threshold) = (alert.cost.to_string(), alert.threshold.to_string());
            tracing::warn!(alert = alert.id(), kind = %alert.kind, cost, threshold, "a threshold was passed");
        }
        inbox.hold(batch.into_iter().map(|(_, handler)| handler));
        Ok(())
    }

    async fn keep_brake(&self) -> Result<()> {
        let actions = self.state.in_force().await?;
        if brake::write(brake::of(&actions), &self.brake)? {
            let names: Vec<&str> = actions.iter().map(|action| action.name()).collect();
            tracing::warn!(in_force = names.join(","), file = %self.brake.display(), "the brake was set");
        }
        Ok(())
    }

    /// Does what follows from the state. What fails is tried again.
    async fn follow(&self, inbox: &Inbox) -> Result<()> {
        let (http, prepared) = (notify::client()?, OnceCell::new());
        loop {
            // A release by hand, in another process, is seen here.
            self.keep_brake().await?;
            // They are in the state. What comes from now on waits for the next round.
            let held = inbox.take();
            let mut is_kept = true;
            if let Err(error) = self.store(&prepared).await {
                tracing::warn!(error = format!("{error:#}"), "what BigQuery is to have was not stored");
                is_kept = false;
            }
            is_kept &= self.bury().await?;
            match is_kept {
                true => held.into_iter().for_each(Handler::ack),
                // The client goes on extending their leases.
                false => inbox.put_back(held),
            }
            for delivery in self.state.due(Utc::now()).await? {
                self.tell(&http, &delivery).await?;
            }
            // Either is a reason to look again.
            let _ = timeout(PACE, inbox.news.notified()).await;
        }
    }

    /// Brings alerts and events to BigQuery.
    async fn store(&self, prepared: &OnceCell<()>) -> Result<()> {
        let Some(warehouse) = &self.warehouse else { return Ok(()) };
        loop {
            let (alerts, events) = (self.state.unstored().await?, self.state.unstored_events().await?);
            if alerts.is_empty() && events.is_empty() {
                return Ok(());
            }
            prepared.get_or_try_init(|| ledger::ensure(warehouse)).await?;
            if !alerts.is_empty() {
                ledger::store_alerts(warehouse, &alerts).await?;
                self.state.stored(&alerts).await?;
            }
            if !events.is_empty() {
                ledger::store_events(warehouse, &events).await?;
                self.state.stored_events(&events).await?;
            }
        }
    }

    /// Brings what was none of a budget's to the dead letter topic. Gives whether it has everything; where there is no
    /// topic, the state is where they stay.
    async fn bury(&self) -> Result<bool> {
        let Some(topic) = &self.dead_letters else { return Ok(true) };
        loop {
            let letters = self.state.unpublished().await?;
            if letters.is_empty() {
                return Ok(true);
            }
            for letter in letters {
                if let Err(error) = topic.publish(dead(&letter)).await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a dead letter was not published");
                    return Ok(false);
                }
                self.state.published(&letter.message_id).await?;
            }
        }
    }

    /// Writes metrics for ever. What fails is tried again; nothing else waits for it.
    async fn publish(&self) {
        let (Some(publisher), Some(warehouse)) = (&self.metrics, &self.warehouse) else { return pending().await };
        let mut read: Option<(Instant, Figures)> = None;
        loop {
            if read.as_ref().is_none_or(|(at, _)| at.elapsed() >= READING) {
                match Figures::read(warehouse).await {
                    Ok(figures) => read = Some((Instant::now(), figures)),
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "the figures were not read");
                    }
                }
            }
            if let Some((_, figures)) = &read {
                let written = async {
                    let budget = self.state.budget(metrics::CURRENCY).await?.or(self.budget);
                    anyhow::Ok(publisher.write(&figures.points(budget, Utc::now()), Utc::now()).await?)
                };
                if let Err(error) = written.await {
                    tracing::warn!(error = format!("{error:#}"), "metrics were not written");
                }
            }
            sleep(PULSE).await;
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

/// Messages that are in the state and not acknowledged yet.
#[derive(Default)]
struct Inbox {
    held: Mutex<Vec<Handler>>,
    /// There are more.
    news: Notify,
}

impl Inbox {
    fn hold(&self, handlers: impl IntoIterator<Item = Handler>) {
        self.put_back(handlers);
        self.news.notify_one();
    }

    fn put_back(&self, handlers: impl IntoIterator<Item = Handler>) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).extend(handlers);
    }

    fn take(&self) -> Vec<Handler> {
        std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The message as it came, with the reason why it is dead.
fn dead(letter: &DeadLetter) -> Message {
    let mut attributes: HashMap<String, String> = serde_json::from_str(&letter.attributes).unwrap_or_default();
    attributes.insert("deadLetterReason".to_owned(), letter.reason.clone());
    attributes.insert("deadLetterMessageId".to_owned(), letter.message_id.clone());
    Message::new().set_data(letter.data.clone()).set_attributes(attributes)
}

fn read(message: &Message) -> Incoming {
    Incoming {
        message_id: message.message_id.clone(),
        attributes: serde_json::to_string(&message.attributes).unwrap_or_default(),
        data: message.data.to_vec(),
        parsed: BudgetMessage::parse(&message.attributes, &message.data),
    }
}
