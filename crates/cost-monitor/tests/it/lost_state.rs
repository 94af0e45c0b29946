//! A watcher whose state is lost: what BigQuery has is enough to go on with.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use cost_monitor::brake;
use cost_monitor::policy::Action;
use cost_monitor::state::State;

use crate::dataset::dataset;
use crate::messages::{Random, crossing, eventually, status};
use crate::receiver::Receiver;
use crate::topics::Topic;
use crate::watcher::{Watcher, stored};

const PATIENCE: Duration = Duration::from_secs(120);

fn lose(state: &Path) {
    for file in ["watch.sqlite", "watch.sqlite-wal", "watch.sqlite-shm", "brake.json"] {
        // One that was never written is lost already.
        let _ = std::fs::remove_file(state.join(file));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_state_is_made_again_and_nothing_is_done_twice() {
    let (Some(warehouse), Some(topic), Some(dead)) =
        (dataset("lost").await, Topic::make("lost").await, Topic::make("lost-dead").await)
    else {
        return;
    };
    let receiver = Receiver::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("watch.yaml"), receiver.settings()).unwrap();
    let start = || Watcher::start(folder.path(), &warehouse, &topic, &dead);

    // A budget that is over; one whose next period began after its alert; and what somebody released.
    let first = vec![
        crossing("over", 10, "alertThresholdExceeded", 1.0),
        crossing("past", 10, "alertThresholdExceeded", 0.9),
        status("past", 11),
    ];
    let watcher = start();
    topic.publish(first.clone()).await;
    let (file, brake_file) = (folder.path().join("watch.sqlite"), folder.path().join("brake.json"));
    eventually("the watcher has begun", PATIENCE, || async { file.exists() }).await;
    let known = State::open(&file).await.unwrap();
    eventually("the alerts are taken in", PATIENCE, || async { known.counts().await.unwrap().alerts == 2 }).await;
    assert!(known.release(Action::TightenCache, chrono::Utc::now()).await.unwrap());
    let is_settled = || async {
        let counts = known.counts().await.unwrap();
        counts.unstored == 0 && counts.unsent == 0
    };
    eventually("everything is passed on", PATIENCE, is_settled).await;
    let in_force = brake::of(&BTreeSet::from([Action::SlowConsolidation, Action::RefuseEmbedding]));
    eventually("the release is seen", PATIENCE, || async { brake::read(&brake_file) == Some(in_force) }).await;
    watcher.kill();
    drop(known);
    lose(folder.path());
    topic.end_streams().await;

    // The budget repeats itself, as it does several times a day, and goes on.
    let watcher = start();
    topic.publish(first).await;
    topic.publish(vec![crossing("over", 10, "alertThresholdExceeded", 1.2)]).await;
    let newest = "over/2026-10-01T08:00:00Z/actual/1200000";
    eventually("the new alert is told", PATIENCE, || async { receiver.keys().contains_key(newest) }).await;
    let known = State::open(&file).await.unwrap();
    let is_settled = || async {
        let counts = known.counts().await.unwrap();
        counts.alerts == 3 && counts.unstored == 0 && counts.unsent == 0
    };
    eventually("everything is passed on again", PATIENCE, is_settled).await;
    watcher.kill();
    let expected = ["over/2026-10-01T08:00:00Z/actual/1000000", newest, "past/2026-10-01T08:00:00Z/actual/900000"]
        .map(str::to_owned);
    assert_eq!(stored(&warehouse).await, expected);
    let keys = receiver.keys();
    assert_eq!(keys.keys().cloned().collect::<Vec<_>>(), expected);
    assert!(keys.values().all(|&times| times == 1), "{keys:?}");
    assert_eq!(
        brake::read(&brake_file),
        Some(in_force),
        "what was released stays so, and so does a period that is over"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_outlives_any_moment_at_which_the_state_is_lost() {
    let (Some(warehouse), Some(topic), Some(dead)) =
        (dataset("lossy").await, Topic::make("lossy").await, Topic::make("lossy-dead").await)
    else {
        return;
    };
    let mut random = Random::of_test();
    let receiver = Receiver::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("watch.yaml"), receiver.settings()).unwrap();
    let start = || Watcher::start(folder.path(), &warehouse, &topic, &dead);

    // Each once: nothing repeats what is lost.
    let mut expected = BTreeSet::new();
    for life in 0..4 {
        let mut messages = Vec::new();
        for number in 0..25 {
            let budget = format!("b-{life}-{number:02}");
            messages.push(crossing(&budget, 10, "alertThresholdExceeded", 0.8));
            expected.insert(format!("{budget}/2026-10-01T08:00:00Z/actual/800000"));
        }
        messages.push(google_cloud_pubsub::model::Message::new().set_data(format!("damaged {life}")));
        let watcher = start();
        topic.publish(messages).await;
        tokio::time::sleep(Duration::from_millis(random.next(1500))).await;
        watcher.kill();
        lose(folder.path());
        topic.end_streams().await;
    }
    let _watcher = start();
    let ids: Vec<String> = expected.iter().cloned().collect();
    eventually("every alert is told", PATIENCE, || async { receiver.keys().len() == ids.len() }).await;
    eventually("every alert is stored once", PATIENCE, || async { stored(&warehouse).await == ids }).await;
    assert_eq!(receiver.keys().into_keys().collect::<Vec<_>>(), ids);
    let bodies: BTreeSet<_> =
        dead.drain("deadLetterMessageId", 4).await.into_iter().map(|letter| letter.data).collect();
    assert_eq!(bodies, (0..4).map(|life| format!("damaged {life}").into()).collect());
}
