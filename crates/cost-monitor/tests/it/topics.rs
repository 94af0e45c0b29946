//! Topics and subscriptions of a test's own, in the emulator that the tests share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cost_monitor::auth::Access;
use google_cloud_pubsub::client::{Publisher, Subscriber, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::model::{Message, PushConfig};
use memory_testkit::services::{self, Service};

use crate::dataset::PROJECT;

/// How long the emulator may take to look at its streams: it does so every 50 ms.
const ROUND: Duration = Duration::from_millis(300);

/// A topic with one subscription.
pub struct Topic {
    pub host: String,
    pub topic: String,
    pub subscription: String,
    admin: SubscriptionAdmin,
}

impl Topic {
    /// None where there is no emulator, which was said.
    pub async fn make(name: &str) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let host = tokio::task::spawn_blocking(|| services::url(Service::PubSub)).await.unwrap()?;
        let name = format!("{name}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let (topic, subscription) =
            (format!("projects/{PROJECT}/topics/{name}"), format!("projects/{PROJECT}/subscriptions/{name}"));
        let (endpoint, credentials) = (format!("http://{host}"), Access::Emulator.for_pubsub());
        let topics = TopicAdmin::builder().with_endpoint(&endpoint).with_credentials(credentials.clone());
        topics.build().await.unwrap().create_topic().set_name(&topic).send().await.unwrap();
        let admin = SubscriptionAdmin::builder().with_endpoint(&endpoint).with_credentials(credentials);
        let admin = admin.build().await.unwrap();
        // The shortest there is: what a killed watcher held comes again soon.
        let create = admin.create_subscription().set_name(&subscription).set_topic(&topic).set_ack_deadline_seconds(10);
        create.send().await.unwrap();
        Some(Self { host, topic, subscription, admin })
    }

    /// Ends the streams of processes that are gone. Pub/Sub does so when their connection ends; the emulator does not, and
    /// goes on giving each of them its share of the messages, ten seconds at a time. It ends them when the subscription is
    /// one that pushes. What is pushed meanwhile finds nobody and comes again. Should a stream be missed, messages only
    /// come later.
    pub async fn end_streams(&self) {
        let modify = || self.admin.modify_push_config().set_subscription(&self.subscription);
        let nobody = PushConfig::new().set_push_endpoint("http://127.0.0.1:9/");
        modify().set_push_config(nobody).send().await.unwrap();
        tokio::time::sleep(ROUND).await;
        modify().set_push_config(PushConfig::new()).send().await.unwrap();
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.host)
    }

    pub async fn publish(&self, messages: Vec<Message>) {
        let credentials = Access::Emulator.for_pubsub();
        let publisher = Publisher::builder(&self.topic).with_endpoint(self.endpoint()).with_credentials(credentials);
        let publisher = publisher.build().await.unwrap();
        let publishing: Vec<_> = messages.into_iter().map(|message| publisher.publish(message)).collect();
        for published in publishing {
            published.await.unwrap();
        }
    }

    pub async fn subscriber(&self) -> Subscriber {
        let credentials = Access::Emulator.for_pubsub();
        let subscriber = Subscriber::builder().with_endpoint(self.endpoint()).with_credentials(credentials);
        subscriber.build().await.unwrap()
    }

    /// What comes: `distinct` messages by that attribute, and whatever else comes within a while.
    pub async fn drain(&self, attribute: &str, distinct: usize) -> Vec<Message> {
        let mut stream = self.subscriber().await.subscribe(&self.subscription).build();
        let (mut messages, mut seen) = (BTreeMap::new(), BTreeSet::new());
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let patience = match seen.len() < distinct {
                true => deadline.saturating_duration_since(Instant::now()),
                false => Duration::from_secs(1),
            };
            let Ok(next) = tokio::time::timeout(patience, stream.next()).await else { break };
            let (message, handler) = next.unwrap().unwrap();
            handler.ack();
            seen.extend(message.attributes.get(attribute).cloned());
            // One that the emulator gives again is the same one.
            messages.insert(message.message_id.clone(), message);
        }
        messages.into_values().collect()
    }
}
