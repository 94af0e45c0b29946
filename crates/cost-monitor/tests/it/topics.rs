//! Topics and subscriptions of a test's own, in the emulator that the tests share.

use std::sync::atomic::{AtomicU32, Ordering};

use cost_monitor::auth::Access;
use google_cloud_pubsub::client::{Publisher, Subscriber, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::model::Message;
use memory_testkit::services::{self, Service};

use crate::dataset::PROJECT;

/// A topic with one subscription.
pub struct Topic {
    pub host: String,
    pub topic: String,
    pub subscription: String,
}

impl Topic {
    /// None where there is no emulator, which was said.
    pub async fn make(name: &str) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let host = tokio::task::spawn_blocking(|| services::url(Service::PubSub)).await.unwrap()?;
        let name = format!("{name}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let made = Self {
            topic: format!("projects/{PROJECT}/topics/{name}"),
            subscription: format!("projects/{PROJECT}/subscriptions/{name}"),
            host,
        };
        let credentials = Access::Emulator.for_pubsub();
        let topics = TopicAdmin::builder().with_endpoint(made.endpoint()).with_credentials(credentials.clone());
        topics.build().await.unwrap().create_topic().set_name(&made.topic).send().await.unwrap();
        let admin = SubscriptionAdmin::builder().with_endpoint(made.endpoint()).with_credentials(credentials);
        let create = admin.build().await.unwrap().create_subscription();
        // The shortest there is: what a killed watcher held comes again soon.
        let create = create.set_name(&made.subscription).set_topic(&made.topic).set_ack_deadline_seconds(10);
        create.send().await.unwrap();
        Some(made)
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
}
