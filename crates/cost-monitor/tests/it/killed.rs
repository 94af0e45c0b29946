//! The watcher: thousands of messages, many times, out of order and damaged, and a process that is killed in between.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use cost_monitor::alert::{Alert, BudgetMessage};
use cost_monitor::brake;
use cost_monitor::policy::{Action, Policy};
use cost_monitor::state::{Counts, State};
use google_cloud_pubsub::model::Message;

use crate::dataset::dataset;
use crate::messages::{Random, budget_message, crossing, eventually, status};
use crate::receiver::Receiver;
use crate::topics::Topic;
use crate::watcher::{Watcher, stored};

const MESSAGES: usize = 10_000;
const DAMAGED: usize = 137;
const KILLS: usize = 8;
const THRESHOLDS: [f64; 5] = [0.5, 0.8, 0.9, 1.0, 1.2];

/// Messages in no order: each crossing many times, plain statuses, and some that are none of a budget's.
fn flood(random: &mut Random) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    for number in 0..DAMAGED {
        messages.push(match number % 5 {
            0 => Message::new().set_data("{").set_attributes([("schemaVersion", "1.0")]),
            1 => budget_message("b-0", 11, "{\"costAmount\":"),
            2 => Message::new().set_data(format!("scope {number}")),
            3 => crossing("b-1", 11, "alertThresholdExceeded", -0.8),
            _ => budget_message("b-2", 11, "[]"),
        });
    }
    let kinds = ["alertThresholdExceeded", "forecastThresholdExceeded"];
    for number in messages.len()..MESSAGES {
        let (budget, month) = (format!("b-{}", number % 7), 8 + u32::try_from(number / 7 % 4).unwrap());
        messages.push(match number % 4 {
            0 => status(&budget, month),
            kind => crossing(&budget, month, kinds[kind % 2], THRESHOLDS[number / 28 % THRESHOLDS.len()]),
        });
    }
    for last in (1..messages.len()).rev() {
        let other = usize::try_from(random.next(last as u64 + 1)).unwrap();
        messages.swap(last, other);
    }
    messages
}

/// The alerts in messages, by the parser alone.
fn alerts(messages: &[Message]) -> BTreeMap<String, Alert> {
    let parsed = messages.iter().filter_map(|message| BudgetMessage::parse(&message.attributes, &message.data).ok());
    parsed.flat_map(|message| message.alerts()).map(|alert| (alert.id(), alert)).collect()
}

/// What a killed watcher held is given again ten seconds later: a state that stands still for longer is what it is.
async fn moves_on(state: &State, from: Counts) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while state.counts().await.unwrap() == from && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_and_a_killed_watcher_are_acted_on_once_each() {
    let (Some(warehouse), Some(topic), Some(dead)) =
        (dataset("alerts").await, Topic::make("budget").await, Topic::make("dead").await)
    else {
        return;
    };
    let mut random = Random::of_test();
    let receiver = Receiver::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("watch.yaml"), receiver.settings()).unwrap();
    let start = || Watcher::start(folder.path(), &warehouse, &topic, &dead);

    let messages = flood(&mut random);
    let expected = alerts(&messages);
    let notified = expected.iter().filter(|(_, alert)| Policy::default().actions(alert).contains(&Action::Notify));
    let told: BTreeSet<&String> = notified.map(|(id, _)| id).collect();
    let known = State::open(&folder.path().join("watch.sqlite")).await.unwrap();

    // Some come before each life of the watcher, the rest before the last one.
    let portion = messages.len().div_ceil(KILLS + 1);
    for (life, some) in messages.chunks(portion).enumerate() {
        topic.publish(some.to_vec()).await;
        if life == KILLS {
            break;
        }
        let before = known.counts().await.unwrap();
        let watcher = start();
        // At any moment of the first second; or within a moment of its first new dead letter or alert.
        if random.next(2) == 0 {
            tokio::time::sleep(Duration::from_millis(random.next(1000))).await;
        } else {
            moves_on(&known, before).await;
            tokio::time::sleep(Duration::from_millis(random.next(150))).await;
        }
        watcher.kill();
        topic.end_streams().await;
    }
    let done = Counts {
        alerts: u32::try_from(expected.len()).unwrap(),
        unstored: 0,
        unsent: 0,
        undeliverable: 0,
        dead_letters: u32::try_from(DAMAGED).unwrap(),
        unpublished: 0,
    };
    let watcher = start();
    let is_done = || async { known.counts().await.unwrap() == done };
    eventually("everything is taken in and passed on", Duration::from_secs(300), is_done).await;

    // Every damaged one is in the dead letter with its reason; a kill between sending one and writing that down sends it
    // again, with the same id.
    let letters = dead.drain("deadLetterMessageId", DAMAGED).await;
    watcher.kill();
    let reasons: BTreeMap<&String, &String> = letters
        .iter()
        .map(|letter| (&letter.attributes["deadLetterMessageId"], &letter.attributes["deadLetterReason"]))
        .collect();
    assert_eq!(reasons.len(), DAMAGED);
    assert!(letters.len() <= DAMAGED + KILLS, "{} letters", letters.len());
    let kinds: BTreeSet<&str> = reasons.values().map(|reason| reason.split(':').next().unwrap()).collect();
    let known_reasons = [
        "alertThresholdExceeded is out of range",
        "attribute billingAccountId is missing",
        "attribute schemaVersion is missing",
        "the body is no budget notification",
    ];
    assert_eq!(kinds, BTreeSet::from(known_reasons));
    // Stored once each.
    assert_eq!(stored(&warehouse).await, expected.keys().cloned().collect::<Vec<_>>());
    // Told once each. A kill between a notice and its being written down as sent repeats that one, with the same key:
    // whoever looks at keys acts once.
    let keys = receiver.keys();
    assert_eq!(keys.keys().collect::<BTreeSet<_>>(), told);
    let repeated: usize = keys.values().map(|times| times - 1).sum();
    assert!(repeated <= KILLS, "{repeated} repeated notices after {KILLS} kills");
    // In force is what the newest period of each budget asks for.
    let all = [Action::TightenCache, Action::SlowConsolidation, Action::RefuseEmbedding];
    assert_eq!(brake::read(&folder.path().join("brake.json")), Some(brake::of(&all.into_iter().collect())));
}
