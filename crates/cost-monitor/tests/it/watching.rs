//! The watcher: order, repetition, release, and notices that are not taken at once.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use cost_monitor::alert::BudgetMessage;
use cost_monitor::config::Config;
use cost_monitor::notify::{Channel, Mail, Tls};
use cost_monitor::policy::{Action, Policy};
use cost_monitor::state::{Incoming, State};
use cost_monitor::watch::Watch;
use google_cloud_pubsub::model::Message;

use crate::mail::relay;
use crate::messages::{crossing, eventually, status};
use crate::receiver::Receiver;
use crate::topics::Topic;

fn incoming(message: &Message, number: usize) -> Incoming {
    Incoming {
        message_id: number.to_string(),
        attributes: "{}".into(),
        data: message.data.to_vec(),
        parsed: BudgetMessage::parse(&message.attributes, &message.data),
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).unwrap()
}

#[tokio::test]
async fn the_order_of_messages_does_not_matter_and_a_new_period_releases() {
    let mut messages = vec![
        crossing("b", 10, "alertThresholdExceeded", 0.8),
        crossing("b", 10, "alertThresholdExceeded", 1.0),
        crossing("b", 11, "alertThresholdExceeded", 0.8),
        status("b", 11),
        status("b", 10),
    ];
    for turn in 0..messages.len() {
        messages.rotate_left(1);
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(&folder.path().join("state")).await.unwrap();
        for (number, message) in messages.iter().chain(&messages).enumerate() {
            state.take(&[incoming(message, number)], &Policy::default(), &[], now()).await.unwrap();
        }
        assert_eq!(state.in_force().await.unwrap(), BTreeSet::from([Action::TightenCache]), "turn {turn}");
        assert_eq!(state.counts().await.unwrap().alerts, 3);
        let next = [incoming(&status("b", 12), 99)];
        state.take(&next, &Policy::default(), &[], now()).await.unwrap();
        assert_eq!(state.in_force().await.unwrap(), BTreeSet::new());
    }
}

#[tokio::test]
async fn a_released_action_stays_released_when_the_alert_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(&folder.path().join("state")).await.unwrap();
    let alert = [incoming(&crossing("b", 10, "alertThresholdExceeded", 0.8), 1)];
    state.take(&alert, &Policy::default(), &[], now()).await.unwrap();
    assert!(state.release(Action::TightenCache, now()).await.unwrap());
    assert!(!state.release(Action::TightenCache, now()).await.unwrap());
    state.take(&alert, &Policy::default(), &[], now()).await.unwrap();
    assert_eq!(state.in_force().await.unwrap(), BTreeSet::new());
}

/// A watcher in this process, with these channels, which stops when its task is aborted.
async fn watch(folder: &Path, topic: &Topic, channels: Vec<(String, Channel)>) -> (State, tokio::task::AbortHandle) {
    let state = State::open(&folder.join("state")).await.unwrap();
    let watch = Watch {
        state: state.clone(),
        config: Config { policy: Policy::default(), channels },
        warehouse: None,
        subscriber: topic.subscriber().await,
        subscription: topic.subscription.clone(),
        dead_letters: None,
        brake: folder.join("brake.json"),
        first_retry: Duration::from_millis(20),
        metrics: None,
        budget: None,
    };
    (state, tokio::spawn(watch.run(std::future::pending())).abort_handle())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_is_tried_again_signed_and_given_up_when_refused() {
    let Some(topic) = Topic::make("notices").await else { return };
    let busy = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
    let (slow, refusing) = (Receiver::start(&busy).await, Receiver::start(&[StatusCode::GONE]).await);
    let (port, mail) = relay().await;
    let secret = Some("a-secret".into());
    let to = ["finance@example.com".to_owned()];
    let email = Mail::new(("127.0.0.1", Some(port), Tls::None), None, "monitor@example.com", &to).unwrap();
    let channels = vec![
        ("slack".to_owned(), Channel::Slack(refusing.url.clone().into())),
        ("hook".to_owned(), Channel::Webhook { url: slow.url.clone().into(), secret }),
        ("mail".to_owned(), Channel::Email(Box::new(email))),
    ];
    let folder = tempfile::tempdir().unwrap();
    let (state, watching) = watch(folder.path(), &topic, channels).await;
    topic.publish(vec![crossing("b", 10, "alertThresholdExceeded", 0.8)]).await;
    let is_done = || async {
        let counts = state.counts().await.unwrap();
        counts.alerts == 1 && counts.unsent == 0
    };
    eventually("the notices are settled", Duration::from_secs(60), is_done).await;
    watching.abort();
    assert_eq!(state.counts().await.unwrap().undeliverable, 1);
    assert_eq!(refusing.taken().len(), 0);
    let taken = slow.taken();
    let [(headers, body)] = &taken[..] else { panic!("{taken:?}") };
    assert_eq!(headers["idempotency-key"], "b/2026-10-01T08:00:00Z/actual/800000");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"a-secret");
    let signed = format!("{}.{body}", headers["x-timestamp"].to_str().unwrap());
    let tag: Vec<String> =
        ring::hmac::sign(&key, signed.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(headers["x-signature"].to_str().unwrap(), format!("sha256={}", tag.concat()));
    let mail = mail.await.unwrap();
    assert!(mail.contains("Subject: Memory budget: actual 80 %") && mail.contains("To: finance@example.com"), "{mail}");
}
