//! A process that is killed in the middle of its writes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use memory_core::{MemoryId, MemoryStore, Scope};
use memory_testkit::make;
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};

use crate::support::Home;

/// Set for the child: the path of its store.
const CHILD: &str = "PROVIDER_EMBEDDED_TEST_CHILD";
const ROUNDS: u64 = 10;
const WRITERS: usize = 8;

fn scope() -> Scope {
    make::user("acme", "ann")
}

/// Not a test of its own: what the child of the tests below runs. Writes until it is killed, and prints each id once its
/// insert is acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_process() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let store = EmbeddedProvider::open(EmbeddedConfig::new(path)).await.expect("the child opens the store");
    println!("opened");
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            for at in 0.. {
                let memories =
                    [0, 1].map(|half| crate::support::memory(&scope(), &format!("entry {writer} {at} {half}")));
                let ids = memories.each_ref().map(|memory| memory.id);
                store.insert(make::batch(memories)).await.expect("insert");
                println!("acknowledged {} {}", ids[0], ids[1]);
            }
        });
    }
    writers.join_all().await;
}

fn spawn(path: &Path) -> Child {
    Command::new(std::env::current_exe().expect("the test's own binary"))
        .args(["durability::child_process", "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts")
}

/// Reads the child's lines until `enough` are acknowledged, kills it, and reads what it had still printed.
fn kill_after(child: &mut Child, enough: usize, pause: Duration) -> Vec<[MemoryId; 2]> {
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut acknowledged = Vec::new();
    let mut read = |line: &str| {
        // A line that was cut short by the kill was not read by anyone.
        if let Some(ids) = line.split_once("acknowledged ").map(|(_, ids)| ids)
            && let Some((first, second)) = ids.split_once(' ')
            && second.len() == 36
        {
            acknowledged.push([first, second].map(|id| id.parse().expect("an id")));
        }
        acknowledged.len()
    };
    while let Some(Ok(line)) = lines.next() {
        if read(&line) >= enough {
            break;
        }
    }
    // Not a wait for anything: it moves the kill to another place in the writing.
    std::thread::sleep(pause);
    child.kill().expect("SIGKILL");
    child.wait().expect("the child is gone");
    lines.map_while(Result::ok).for_each(|line| {
        read(&line);
    });
    acknowledged
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let home = Home::new();
    let mut acknowledged: Vec<[MemoryId; 2]> = Vec::new();
    for round in 0..ROUNDS {
        let mut child = spawn(&home.path());
        let pause = Duration::from_micros(round * 1373 % 7000);
        let new = kill_after(&mut child, 20 + (round as usize * 17) % 60, pause);
        assert!(!new.is_empty(), "round {round}: the child wrote nothing");
        acknowledged.extend(new);

        let store = home.open().await;
        for id in acknowledged.iter().flatten() {
            assert!(
                store.get(&scope(), *id).await.expect("get").is_some(),
                "round {round}: {id} was acknowledged and is gone"
            );
        }
        let stored = MemoryStore::stats(&store, &scope()).await.expect("stats").memories;
        assert_eq!(stored % 2, 0, "round {round}: no half of a batch is there");
        assert_eq!(crate::support::count(&store, &scope(), "entry").await as u64, stored, "all of it is found");
        store.close().await.expect("close");
    }
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_file() {
    let home = Home::new();
    let mut child = spawn(&home.path());
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    while !lines.next().expect("the child opens the store").expect("a line").contains("opened") {}
    let error = EmbeddedProvider::open(home.config()).await.expect_err("in use").to_string();
    assert!(error.contains(&format!("is in use by process {}", child.id())), "{error}");
    child.kill().expect("SIGKILL");
    child.wait().expect("the child is gone");
    home.open().await.health().await.expect("a killed process leaves the file free");
}
