//! Records in files and in Postgres: what is stored is loaded again, and of two who write the same revision one is refused.

use memory_testkit::services::{self, Service};
use migrate::Error;
use migrate::plan::Plan;
use migrate::record::file::FileRecords;
use migrate::record::postgres::PostgresRecords;
use migrate::record::{Record, Records};

async fn keeps_one_of_two(records: &dyn Records, others: &dyn Records) {
    assert_eq!(records.load().await.expect("load"), None);
    let first = Record::planned(Plan::default(), false, 7, memory_core::Timestamp::UNIX_EPOCH);
    records.store(&first).await.expect("store");
    assert_eq!(others.load().await.expect("load"), Some(first.clone()));
    let again = others.store(&first).await;
    assert!(matches!(again, Err(Error::Superseded)), "{again:?}");
    let (one, other) = (first.taken_over(), first.started(100, memory_core::Timestamp::UNIX_EPOCH).expect("started"));
    assert_eq!(one.revision, other.revision);
    let (one_stored, other_stored) = tokio::join!(records.store(&one), others.store(&other));
    assert!(one_stored.is_ok() != other_stored.is_ok(), "{one_stored:?}, {other_stored:?}");
    let kept = if one_stored.is_ok() { one } else { other };
    assert_eq!(records.load().await.expect("load"), Some(kept.clone()));
    let ahead = kept.taken_over().taken_over();
    assert!(matches!(records.store(&ahead).await, Err(Error::Superseded)), "a revision is left out");
    assert_eq!(records.load().await.expect("load"), Some(kept));
}

#[tokio::test]
async fn a_file_keeps_one_of_two() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("move.json");
    keeps_one_of_two(&FileRecords::new(&path), &FileRecords::new(&path)).await;
}

#[tokio::test]
async fn a_damaged_file_is_no_record() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("move.json");
    std::fs::write(&path, "{\"revision\": 1").expect("a file");
    let read = FileRecords::new(&path).load().await;
    assert!(matches!(read, Err(Error::Record { operation: "read", .. })), "{read:?}");
}

/// A server may be older than the mover.
#[tokio::test]
async fn a_record_with_more_in_it_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("move.json");
    let record = Record::planned(Plan::default(), false, 7, memory_core::Timestamp::UNIX_EPOCH);
    let mut json = serde_json::to_value(&record).expect("JSON");
    for of in ["", "/plan", "/plan/gates"] {
        json.pointer_mut(of).expect("a part of it")["of_later"] = serde_json::json!({"more": 1});
    }
    std::fs::write(&path, json.to_string()).expect("a file");
    assert_eq!(FileRecords::new(&path).load().await.expect("load"), Some(record));
}

#[tokio::test]
async fn a_table_keeps_one_of_two() {
    let Some(url) = services::url(Service::Postgres) else { return };
    let name = format!("test-{}", uuid::Uuid::new_v4());
    let options = || url.parse().expect("a URL");
    let one = PostgresRecords::connect(options(), &name).await.expect("connect");
    let other = PostgresRecords::connect(options(), &name).await.expect("connect");
    keeps_one_of_two(&one, &other).await;
}
